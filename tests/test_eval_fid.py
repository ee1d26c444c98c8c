"""eval_fid.py on images that need no model: sets against each other, statistics, its self-test."""

import json
import pickle
import re
import runpy
import sys

import numpy as np
import pytest

from models import inception
from tests import group
from utils import (
    fid_stats,
    image_sets,
    measuring,
    report_images,
    scoring_images,
    selftest,
    weights_file,
)


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """A classifier of the digits, after a few steps."""
    path = tmp_path_factory.mktemp("features") / "digits.npz"
    old, sys.argv = sys.argv, ["train_classifier.py", "--dataset_name", "digits"]
    sys.argv += ["--steps", "60", "--out", str(path)]
    try:
        runpy.run_path("train_classifier.py", run_name="__main__")
    finally:
        sys.argv = old
    return path


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """The digits' held-out images, and the same with noise, as npz files of images."""
    from data import images

    test = images.load("digits")["test"]
    x = test.x[:200]
    folder, rng, found = tmp_path_factory.mktemp("sets"), np.random.default_rng(0), {}
    for sigma in (0, 30, 90):
        found[sigma] = folder / f"{sigma}.npz"
        y = (x + rng.normal(0, sigma, x.shape)).clip(0, 255) if sigma else x
        np.savez(found[sigma], arr_0=y.astype(np.uint8), arr_1=test.label[:200])
    return found


@pytest.fixture
def score(script, features, tmp_path):
    def run(*words):
        refusal, out = script(
            "eval_fid.py", "--features", features, "--out", tmp_path, "--batch_size", 100, *words
        )
        path = tmp_path / "score.json"
        return refusal, json.loads(path.read_text()) if path.exists() else None, out

    return run


def test_more_noise_is_further_away_and_all_that_a_score_has_is_told(score, noisy):
    results = {}
    for sigma, path in noisy.items():
        refusal, results[sigma], out = score("--images", f"npz:{path}", "--reference", "digits")
        assert refusal == ""
    assert results[0]["value"] < results[30]["value"] < results[90]["value"]
    assert results[0]["kid"] < results[90]["kid"] and results[90]["n"] == 200
    assert 0 <= results[90]["precision"] < results[0]["precision"] <= 1
    assert results[90]["copies_ratio"] > 1.2 > results[0]["copies_ratio"] > 0.5
    assert sum(results[90]["class_counts"]) == 200
    assert len(results[90]["copies_ratio_by_class"]) == 10
    assert re.search(r"FD\[digits-cnn@\w{8}\] n=200 .* floor=.* \(held-out, n=200\)", out)
    words = ("KID", "precision", "standard error", "not an FID", "n below 50,000")
    for word in (*words, "class accuracy", "distance (class "):
        assert word in out


@pytest.mark.slow
def test_two_processes_with_two_devices_each_find_what_one_does(score, features, noisy, tmp_path):
    words = ["--images", f"npz:{noisy[30]}", "--reference", "digits", "--features", features]
    words += ["--batch_size", 99, "--write_stats"]
    _, one, _ = score(*words, tmp_path / "one.npz")
    both = ["eval_fid.py", *words, tmp_path / "two.npz", "--out", tmp_path / "two"]
    said = group.finished(group.start(2, 2, *both))
    assert "n=200" in said[0] and "n=200" not in said[1]
    two = json.loads((tmp_path / "two" / "score.json").read_text())
    assert one.keys() == two.keys()
    for name, value in one.items():
        if isinstance(value, float):
            assert two[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    assert two["class_counts"] == one["class_counts"] and two["reference"] == one["reference"]
    mine, theirs = (fid_stats.read(tmp_path / f"{name}.npz") for name in ("one", "two"))
    assert mine.data_hash == theirs.data_hash is not None
    np.testing.assert_allclose(theirs.covariance, mine.covariance, rtol=1e-4, atol=1e-6)


def test_statistics_that_were_written_stand_for_the_images(score, noisy, tmp_path):
    images = ("--images", f"npz:{noisy[30]}")
    _, direct, _ = score(*images, "--reference", "digits", "--write_stats", tmp_path / "d.npz")
    stats = fid_stats.read(tmp_path / "d.npz")
    assert stats.resize == "none" and stats.features in direct["score"]
    refusal, again, out = score(*images, "--fid_stats", tmp_path / "d.npz")
    assert refusal == "" and again["value"] == pytest.approx(direct["value"], rel=1e-9)
    assert again["floor"] is None and "floor unknown" in out
    refusal, _, out = score(*images, "--write_stats", tmp_path / "own.npz")
    assert refusal == "" and fid_stats.read(tmp_path / "own.npz").n == 200
    assert "statistics of 200 images" in out


def test_statistics_of_another_network_are_refused(score, noisy, tmp_path):
    stats = fid_stats.Stats(np.zeros(64), np.eye(64), 900, features="inception@6726825d")
    fid_stats.write(tmp_path / "other.npz", stats)
    refusal, *_ = score("--images", f"npz:{noisy[0]}", "--fid_stats", tmp_path / "other.npz")
    assert re.search("different features: .* inception@6726825d", refusal)
    refusal, *_ = score("--images", f"npz:{noisy[0]}")
    assert "wants a --reference to compare to, or --write_stats" in refusal


def test_of_adms_files_distances_are_of_all_images_and_precision_of_those_inside(
    score, noisy, tmp_path
):
    words = ["--images", f"npz:{noisy[30]}", "--fid_stats", tmp_path / "adm.npz"]
    _, direct, _ = score(*words[:2], "--reference", "digits", "--write_stats", tmp_path / "d.npz")
    stats = fid_stats.read(tmp_path / "d.npz")
    with np.load(noisy[0]) as file:
        np.savez(tmp_path / "adm.npz", mu=stats.mean, sigma=stats.covariance, arr_0=file["arr_0"])
    refusal, found, out = score(*words)
    assert refusal == "" and found["value"] == pytest.approx(direct["value"], rel=1e-6)
    assert found["manifold_n"] == [200, 200] and "precision" in out and found["floor"] is None
    np.savez(tmp_path / "few.npz", mu=stats.mean, sigma=stats.covariance, arr_0=np.zeros(3))
    refusal, found, _ = score(*words[:3], tmp_path / "few.npz")
    assert refusal == "" and "precision" not in found, "what are no images is no matter"


def test_of_edm2s_statistics_those_of_the_network_are_read(tmp_path):
    pair = lambda width: {"mu": np.zeros(width), "sigma": np.eye(width)}
    path = tmp_path / "img64.pkl"
    path.write_bytes(pickle.dumps({"fid": pair(8), "fd_dinov2": pair(4)}))
    for name, width in {"inception@6726825d": 8, "dinov2-vitl14@abababab": 4}.items():
        sets = image_sets.Sets(type("Network", (), {"name": name}), "", 1, None)
        assert sets.reference(str(path))[0].stats.mean.shape == (width,)


@pytest.mark.parametrize("classes", [2, 0])
def test_work_that_was_cut_off_goes_on_where_it_was(classes, tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (40 * 5, 2, 2, 1), np.uint8)
    asked = []

    class Network:
        name, resize, range = "toy@1", "none", "-1..1"

        def __init__(self, last):
            self.left = last

        def apply(self, x):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            flat = np.asarray(x, np.float32).reshape(len(x), -1)
            logits = flat[:, :classes] if classes else None
            return type("Seen", (), {"pool": flat, "logits": logits, "spatial": None})

    def batches(first):
        asked.append(first)
        return (x[i : i + 5] for i in range(first, len(x), 5))

    part = tmp_path / "part.npz"
    with pytest.raises(KeyboardInterrupt):
        measuring.measured(Network(33), batches, len(x), "x", part)
    again = measuring.measured(Network(20), batches, len(x), "x", part)
    whole = measuring.measured(Network(40), batches, len(x), "x")
    assert asked == [0, 100, 0] and not part.exists()
    np.testing.assert_array_equal(again.pool, whole.pool)
    np.testing.assert_array_equal(again.logits, whole.logits)
    if classes == 0:
        assert whole.logits is None
        assert scoring_images.classified(Network(0), whole, again, None) == {}
    np.testing.assert_allclose(again.stats.covariance, whole.stats.covariance, rtol=1e-12)


def test_a_sweep_is_all_combinations_and_what_it_cannot_be_is_refused():
    assert report_images.sweep("cfg_scale=1,1.5 steps=10") == [
        {"cfg_scale": 1.0, "steps": 10},
        {"cfg_scale": 1.5, "steps": 10},
    ]
    for text in ("scale=1", "steps=a", "", "steps"):
        with pytest.raises(ValueError, match="--sweep"):
            report_images.sweep(text)


def test_the_self_test_passes_and_can_fail(script, monkeypatch):
    refusal, out = script("eval_fid.py", "--selftest")
    assert refusal == "" and out.count("ok  ") == len(selftest.CHECKS)
    monkeypatch.setattr(selftest.fid, "frechet", lambda a, b: 1.0)
    with pytest.raises(ValueError, match="FAIL  a set and itself"):
        selftest.run()


@pytest.mark.slow
def test_inceptions_features_go_all_the_way_and_their_resizing_is_held_apart(script, tmp_path):
    rng = np.random.default_rng(0)
    named = {
        name: (np.abs(rng.normal(1, 0.3, shape)) / np.prod(shape[1:])).astype(np.float32)
        for name, shape in inception.shapes().items()
    }
    weights = weights_file.save_npz(tmp_path / "weights", weights_file.Weights("ab" * 32, named))
    for name, n in (("few", 5), ("more", 8)):
        np.savez(tmp_path / f"{name}.npz", x=rng.integers(0, 255, (n, 8, 8, 3), np.uint8))
    words = ["--images", f"npz:{tmp_path / 'few.npz'}", "--features", weights, "--out", tmp_path]
    more = [
        "--reference",
        f"npz:{tmp_path / 'more.npz'}",
        "--write_stats",
        tmp_path / "more_stats.npz",
    ]
    refusal, out = script("eval_fid.py", *words, *more)
    assert refusal == "" and "FD[inception@abababab] n=5" in out and "too few for 2048" in out
    result = json.loads((tmp_path / "score.json").read_text())
    assert result["inception_score"] >= 1 and np.isfinite(result["sfid"])
    stats = fid_stats.read(tmp_path / "more_stats.npz")
    assert stats.resize == "tf1" and stats.spatial.mean.shape == (2023,)
    words += ["--fid_stats", tmp_path / "more_stats.npz", "--resize"]
    refusal, _ = script("eval_fid.py", *words, "clean")
    assert "different resize: more_stats.npz has tf1" in refusal
    refusal, _ = script("eval_fid.py", *words, "bilinear")
    assert "no --resize 'bilinear'; there are tf1, pytorch, clean" in refusal
