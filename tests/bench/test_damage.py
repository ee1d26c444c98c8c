"""bench.damage: what a damage does to images, and what the digits' scores make of it."""

import json
import runpy
import sys

import numpy as np
import pytest

from bench import damage
from data import images


@pytest.fixture(scope="module")
def digits():
    return images.load("digits")["test"]


def of(digits, name):
    return damage.damaged(digits, damage.DAMAGES[name])


def test_a_damage_is_what_it_is_called(digits):
    x = digits.x.astype(float)
    assert (of(digits, "held-out images").x == digits.x).all()
    assert (of(digits, "inverted").x == 255 - digits.x).all()
    grey = (digits.x > 100) & (digits.x < 155)  # where noise is hardly cut off
    for sigma in (10, 25):
        error = (of(digits, f"noise, sigma {sigma}").x - x)[grey]
        assert error.std() == pytest.approx(sigma, rel=0.05) and abs(error.mean()) < 1
    spread = lambda y: np.diff(y.astype(float), axis=1).std()
    blurred = [of(digits, f"blur, sigma {s}").x for s in (0.5, 1)]
    assert spread(x) > 1.2 * spread(blurred[0]) > 1.5 * spread(blurred[1])
    assert abs(blurred[1].mean() - x.mean()) < 2
    assert set(of(digits, "last class missing").label) == set(range(9))
    tenth, ten = of(digits, "a tenth"), of(digits, "a tenth, each ten times")
    assert len(tenth.x) == 36 and len(ten.x) == 360
    assert (ten.x[36:72] == tenth.x).all() and (ten.label[:36] == digits.label[:36]).all()
    for name in damage.DAMAGES:
        found = of(digits, name)
        assert found.x.dtype == np.uint8 and len(found.x) == len(found.label)


def test_scores_of_digits_grow_with_damage_and_each_fault_shows_where_it_should(
    tmp_path, monkeypatch, capsys
):
    path = tmp_path / "digits.npz"
    words = ["--dataset_name", "digits", "--steps", "150", "--out", str(path)]
    monkeypatch.setattr(sys, "argv", ["train_classifier.py", *words])
    runpy.run_path("train_classifier.py", run_name="__main__")
    damage.main(["--dataset", "digits", "--features", str(path), "--out", str(tmp_path / "digits")])
    (network,) = json.loads((tmp_path / "digits" / "damage.json").read_text())["networks"]
    rows = {r["images"]: r for r in network["rows"]}
    fd = {name: r["value"] for name, r in rows.items()}
    real = rows["held-out images"]
    assert real["value"] == real["floor"] and real["copies_ratio"] == 1
    for kind, levels in {"noise": (10, 25, 50), "blur": (0.5, 1)}.items():
        found = [fd[f"{kind}, sigma {level}"] for level in levels]
        assert [real["value"], *found] == sorted([real["value"], *found])
    assert fd["last class missing"] > 2 * real["value"]
    assert rows["last class missing"]["class_chi2"] > 20 + real["class_chi2"]
    assert rows["a tenth, each ten times"]["recall"] < 0.5 * real["recall"]
    assert rows["training images"]["copies_ratio"] == 0 and fd["training images"] < real["value"]
    assert rows["inverted"]["class_accuracy"] < 0.5 < 0.9 < real["class_accuracy"]
    lines = (tmp_path / "digits" / "damage.md").read_text().splitlines()
    assert lines[0].startswith("| images | n | FD[digits-cnn@") and len(lines) == 2 + len(rows)
    assert lines[2].startswith(f"| held-out images | 360 | {real['value']:.2f} ± ")
    assert lines[2] in capsys.readouterr().out


def test_what_cannot_be_damaged_is_refused(tmp_path):
    words = ["--features", "x.npz", "--dataset"]
    with pytest.raises(ValueError, match="--num_images wants 100 or more; got 99"):
        damage.main([*words, "digits", "--num_images", "99"])
    np.savez(tmp_path / "one.npz", x=np.zeros((200, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match="one.npz has no classes, of which one could be missing"):
        damage.main([*words, f"npz:{tmp_path / 'one.npz'}"])
