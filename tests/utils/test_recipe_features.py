"""Files of features: which network each is taken for, what that sees, and which are refused."""

import numpy as np
import pytest

from models import dinov2, inception, lenet, resnet
from utils import measuring, recipe_features, scoring_images, weights_file
from utils.weights_file import Weights, save_npz

NETWORKS = {  # what its scores are called: (its arrays, an image, features, classes)
    "FD[lenet-mnist@abababab]": (lenet.shapes(), (28, 28, 1), 84, 10),
    "FD[resnet8-cifar10@abababab]": (resnet.shapes(1), (32, 32, 3), 64, 10),
    "FD[dinov2-128@abababab]": (dinov2.shapes(128, 1), (20, 30, 3), 128, 0),
}


def drawn(shapes):
    rng = np.random.default_rng(0)
    draw = lambda shape: np.abs(rng.normal(1, 0.3, shape)) / np.prod(shape[1:])
    return {name: draw(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("title", NETWORKS)
def test_a_file_is_known_by_its_arrays_and_sees_images(title, tmp_path):
    shapes, image, width, classes = NETWORKS[title]
    path = save_npz(tmp_path / "weights", Weights("ab" * 32, drawn(shapes)))
    found = recipe_features.load(path)
    assert found.title == title and found.classes == classes
    x = np.random.default_rng(1).integers(0, 256, (5, *image), np.uint8)
    seen = found.apply(x)
    assert seen.pool.shape == (5, width) and seen.spatial is None
    assert seen.logits is None if classes == 0 else seen.logits.shape == (5, classes)


def test_inception_is_known_by_its_arrays(tmp_path):
    """What it sees is tests/test_eval_fid.py's."""
    path = save_npz(tmp_path / "weights", Weights("6726825d" * 8, drawn(inception.shapes())))
    found = recipe_features.load(path, "pytorch")
    assert found.title == "FID[inception@6726825d]"
    assert (found.resize, found.range, found.classes) == ("pytorch", "2x/255-1", 0)


def test_files_of_no_known_network_are_refused_with_what_there_is(tmp_path):
    def refused(match, error=ValueError, name="a.npz", mode="tf1"):
        with pytest.raises(error, match=match) as told:
            recipe_features.load(tmp_path / name, mode)
        assert "\n" not in str(told.value)

    refused("no features at .*none.npz; .* LeNet's .github.com", FileNotFoundError, "none.npz")
    refused("no --resize 'cubic'; there are tf1", mode="cubic")
    np.savez(tmp_path / "a.npz", **{"fc.weight": np.zeros((10, 4))})
    refused("is not a features file: it has no weights of Inception, LeNet, ResNet, DINOv2,")
    np.savez(tmp_path / "a.npz", **{"convnet.c1.weight": np.zeros((6, 1, 5, 5))})
    refused(
        r"a.npz has not the weights of LeNet for MNIST: .* missing.*; wanted those of github.com/csi"
    )
    (tmp_path / "a.npz").write_bytes(b"")
    refused("a.npz is no npz of weights")
    (tmp_path / "a.pkl").write_bytes(b"")
    refused("weights are .pth", name="a.pkl")


class Features:
    classes, accuracy = 3, 0.9


def taken_for(guesses, label=None):
    logits = 9.0 * np.eye(3)[np.array(guesses)]
    return measuring.Measured(None, None, logits, None if label is None else np.array(label))


def test_classes_are_counted_against_the_references_and_beside_held_out_images():
    reference = taken_for([0] * 50 + [1] * 25 + [2] * 25)
    held_out = taken_for([0, 0, 1, 2], [0, 0, 1, 1])
    samples = taken_for([0, 0, 1] * 10, [0, 1, 1] * 10)
    out = scoring_images.classified(Features, reference, samples, held_out)
    assert out["class_counts"] == [20, 10, 0] and out["held_out_class_counts"] == [2, 1, 1]
    # 15, 7.5 and 7.5 were expected
    assert out["class_chi2"] == pytest.approx(25 / 15 + 6.25 / 7.5 + 7.5)
    assert out["held_out_class_chi2"] == 0
    assert out["class_accuracy"] == pytest.approx(2 / 3)
    assert out["classifier_accuracy"] == 0.75
    entropy = -(2 * np.log(2 / 3) + np.log(1 / 3)) / 3  # of what a certain classifier sees
    assert out["inception_score"] == pytest.approx(np.exp(entropy), rel=0.01)


def test_labels_of_other_classes_say_nothing_of_accuracy():
    samples = taken_for([0, 1, 2], [0, 1, 7])
    out = scoring_images.classified(Features, taken_for([0, 1, 2]), samples, None)
    assert out["class_accuracy"] is None and out["classifier_accuracy"] == 0.9
    assert "held_out_class_counts" not in out
    assert out["class_chi2"] == 0


def test_weights_are_named_by_the_file_that_they_come_from(tmp_path):
    named = drawn(lenet.shapes())
    path = save_npz(tmp_path / "w", Weights("cd" * 32, named))
    assert recipe_features.load(path).name == "lenet-mnist@cdcdcdcd"
    np.savez(tmp_path / "theirs.npz", **named)
    own = weights_file.read(tmp_path / "theirs.npz").sha256[:8]
    assert recipe_features.load(tmp_path / "theirs.npz").name == f"lenet-mnist@{own}"


def test_an_xla_without_the_choice_of_convolutions_is_left_alone(monkeypatch):
    assert recipe_features.has_eigen(), "what the benchmark was measured with"
    recipe_features.has_eigen.cache_clear()
    monkeypatch.setattr(recipe_features, "EIGEN", {"xla_cpu_no_such_thing": ""})
    assert recipe_features.jitted(lambda x, y: x + y)(1, 2) == 3 and not recipe_features.has_eigen()
    recipe_features.has_eigen.cache_clear()
