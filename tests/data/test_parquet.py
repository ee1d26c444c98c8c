"""Parquet files in the schemas of the Hub, written by the package that the Hub's are written by."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import images, parquet
from tests.pixels import pictures, png

pa = pytest.importorskip("pyarrow", reason="parquet files want pyarrow")
import pyarrow.parquet as pq  # noqa: E402

DATA = os.environ.get("TANDEM_DATA")


SCHEMAS = {  # columns with the number of classes, splits, channels
    "mnist": ({"image": None, "label": 10}, ("train", "test"), 1),
    "cifar10": ({"img": None, "label": 10}, ("train", "test"), 3),
    "cifar100": ({"img": None, "fine_label": 100, "coarse_label": 20}, ("train", "test"), 3),
    "tiny-imagenet": ({"image": None, "label": 200}, ("train", "valid"), 3),
    "imagenet256": ({"image": None, "label": 1000}, ("train", "validation", "test"), 3),
    "celebahq256": ({"image": None, "label": 2}, ("train", "validation"), 3),
}


def write(folder, name, n=12):
    """The files of a dataset as `datasets` writes them; (x, {column: labels}) of each split."""
    datasets = pytest.importorskip("datasets", reason="the package that writes the Hub's files")
    columns, splits, channels = SCHEMAS[name]
    written = {}
    for i, split in enumerate(splits):
        x = pictures(n, 16, channels, seed=i)
        labels = {k: [j % classes for j in range(n)] for k, classes in columns.items() if classes}
        if split == "test" and len(splits) == 3:
            labels = {k: [-1] * n for k in labels}  # ImageNet's are secret
        rows = {
            k: [{"bytes": png(a), "path": f"{j}.png"} for j, a in enumerate(x)] for k in columns
        }
        kind = lambda classes: datasets.ClassLabel(classes) if classes else datasets.Image()
        made = datasets.Dataset.from_dict(
            rows | labels, features=datasets.Features({k: kind(v) for k, v in columns.items()})
        )
        (folder / "data").mkdir(parents=True, exist_ok=True)
        for part in range(2):
            some = made.shard(2, part, contiguous=True)
            some.to_parquet(
                folder / f"data/{split}-{part:05d}-of-00002-abc123.parquet", batch_size=4
            )
        written[split] = x, labels
    return written


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_dataset_of_the_hub_is_read_in_its_own_schema(tmp_path, name):
    columns, splits, channels = SCHEMAS[name]
    written = write(tmp_path / name, name)
    data = images.load(name, str(tmp_path), size=16)
    for part, split in zip(("train", "test"), splits, strict=False):
        x, labels = written[split]
        np.testing.assert_array_equal(data[part].x, x.reshape(12, 16, 16, channels))
        assert data[part].label.tolist() == labels.get("label", labels.get("fine_label"))
        assert data[part].num_classes == columns.get("label", columns.get("fine_label"))


def test_columns_and_splits_may_be_given(tmp_path):
    written = write(tmp_path, "cifar100")
    data = images.load(f"parquet:{tmp_path},label=coarse_label,train=test,test=train")
    np.testing.assert_array_equal(data["train"].x, written["test"][0])
    assert data["train"].num_classes == 20
    assert images.load(f"parquet:{tmp_path},label=none")["train"].num_classes == 0


@pytest.mark.parametrize(
    "options, message",
    [
        ("image=pic", "has no column 'pic'; it has img, fine_label, coarse_label"),
        ("label=img", "column 'img' of .* holds struct.*; wanted integers: say which with ,label="),
        ("train=all", "has no split 'all'; it has test, train: say which with ,train=NAME"),
        ("config=big", "has no parquet files of a config 'big'; it has default"),
        ("revision=v1", "has no use for the option 'revision'"),
        ("mode=grey", "mode is 'grey'"),
        ("unreadable=many", "unreadable wants a share"),
    ],
)
def test_what_is_not_in_the_files_is_said_with_what_is(tmp_path, options, message):
    write(tmp_path, "cifar100")
    with pytest.raises(ValueError, match=message):
        images.load(f"parquet:{tmp_path},{options}")


def test_hidden_labels_are_refused_with_the_record_and_a_way_out(tmp_path):
    write(tmp_path, "imagenet256")
    with pytest.raises(
        ValueError, match=r"test-00000-of-\S+ row 0 0.png: its label is -1; .*test=N"
    ):
        images.load(f"parquet:{tmp_path},test=test")


def test_the_layouts_of_repositories_are_understood():
    paths = (
        "data/train-00000-of-00002-2d5a.parquet", "data/train-00001-of-00002.parquet",
        "data/valid-00000-of-00001-70d5.parquet", "small/partial-train/0000.parquet",
        "small/validation/0000.parquet", "big/train_extra-00000-of-00001.parquet",
        "test-5k.parquet",
    )  # fmt: skip
    assert parquet.splits(list(paths)) == {
        "default": {
            "train": list(paths[:2]),
            "valid": [paths[2]],
            "test": [paths[6]],
        },
        "small": {"train": [paths[3]], "validation": [paths[4]]},
        "big": {"train_extra": [paths[5]]},
    }
    chosen = parquet.choose(paths, "here", config="small")
    assert chosen == {"train": [paths[3]], "test": [paths[4]]}
    assert parquet.choose(paths, "here", config="big") == {"train": [paths[5]]}
    with pytest.raises(
        ValueError, match="no parquet files of a config 'default'; it has big, small"
    ):
        parquet.choose(paths[3:6], "here")


def test_without_classes_of_the_schema_the_labels_tell(tmp_path):
    rows = [{"bytes": png(a), "path": None} for a in pictures(20)]
    pq.write_table(pa.table({"pic": rows, "labels": [0, 6] * 10}), tmp_path / "a.parquet")
    data = images.load(f"parquet:{tmp_path / 'a.parquet'}")
    assert data["train"].num_classes == 7
    assert len(data["train"].x) == 18 and len(data["test"].x) == 2, "a tenth is held out"
    streamed = images.load(f"parquet:{tmp_path / 'a.parquet'}", stream=True)
    assert streamed["train"].num_classes == 7 and streamed["train"].n == 18


def test_a_file_that_is_cut_short_is_named(tmp_path):
    write(tmp_path, "mnist")
    path = next(tmp_path.glob("data/train-00001*"))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(
        ValueError, match="train-00001-of-00002-abc123.parquet cannot be read: Arrow"
    ):
        images.load(f"parquet:{tmp_path}")


@pytest.mark.skipif(not DATA, reason="TANDEM_DATA names no folder with cifar10")
def test_real_cifar_is_read_from_its_folder():
    data = images.load("cifar10", DATA)
    file = pq.ParquetFile(next(Path(DATA, "cifar10").glob("test*.parquet")))
    rows = next(file.iter_batches(50)).to_pylist()
    want = [np.asarray(Image.open(io.BytesIO(row["img"]["bytes"]))) for row in rows]
    np.testing.assert_array_equal(data["test"].x[:50], want)
    assert data["test"].label[:50].tolist() == [row["label"] for row in rows]
    assert data["train"].shape == (32, 32, 3) and data["train"].num_classes == 10
