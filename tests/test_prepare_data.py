"""prepare_data.py as a user runs it."""

import re

import pytest

from data import stories
from tests.pixels import pictures, png


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path / "cache"))
    for i, a in enumerate(pictures(40, 8)):
        (tmp_path / "toy" / f"c{i % 2}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "toy" / f"c{i % 2}" / f"{i}.png").write_bytes(b"" if i == 7 else png(a))
    return tmp_path


def test_images_are_prepared_and_then_verified(script, folder):
    words = ["--dataset_name", f"folder:{folder / 'toy'},unreadable=0.1", "--image_size", "4"]
    refusal, out = script("prepare_data.py", *words)
    assert refusal == ""
    assert "35 images 4x4x3 to train on, 4 held out, 2 classes" in out
    assert "not readable, and skipped: c1/7.png" in out
    place = re.search(rf"0.0 MB made, in ({folder}/cache/folder-\w+)\n", out)[1]
    assert f"there already, and verified, in {place}" in script("prepare_data.py", *words)[1]
    file = next(p for p in (folder / "cache").rglob("train_x.bin"))
    file.write_bytes(bytes([255 - file.read_bytes()[0]]) + file.read_bytes()[1:])
    assert re.search(
        r"train_x in the cache \S+ is damaged; remove", script("prepare_data.py", *words)[0]
    )


def test_a_corpus_is_prepared_by_its_name_or_by_a_config(script, folder):
    import numpy as np

    (folder / "mine.txt").write_text(
        "\n<|endoftext|>\n".join(stories.sample(np.random.default_rng(0), 50))
    )
    words = ["--dataset_name", f"Text:{folder / 'mine.txt'}", "--vocab_size", "400"]
    refusal, out = script("prepare_data.py", *words)
    assert refusal == "" and re.search(
        r"rows to train on.*\n.*\n.*\n.*\n0.0 MB made, in \S+/text-\w+", out
    )
    refusal, _ = script(
        "prepare_data.py", "--dataset_name", "parquet:nowhere", "--config=configs/text.py"
    )
    assert "text corpus 'parquet:nowhere' wants parquet files" in refusal
    assert "no dataset 'cifar11'" not in script("prepare_data.py", "--dataset_name", "cifar11")[0]
