"""Directories that TensorFlow Datasets has prepared, read without TensorFlow.

DIR/dataset_info.json tells the splits and how many examples each file holds, DIR/features.json
what they are made of; the files themselves are tfrecord.py's.
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.parquet import HELD_OUT, IMAGES, LABELS, TRAIN
from data.shards import Record, cut, reason
from data.tfrecord import READERS, example

STRETCH = 128  # records that are read at once


class Feature(NamedTuple):
    """What features.json says of one name."""

    kind: str  # Image, ClassLabel, Text, ...
    channels: int | None
    classes: int | None


def prepared(path: Path) -> Path | None:
    """The directory with dataset_info.json: path, path/VERSION or path/CONFIG/VERSION, the newest
    version if there are several."""
    version = lambda p: [int(n) for n in re.findall(r"\d+", p.parent.name)]
    for pattern in ("", "*/", "*/*/"):
        if found := list(path.glob(f"{pattern}dataset_info.json")):
            return max(found, key=version).parent
    return None


def read_info(folder: Path) -> dict:
    """dataset_info.json, its splits by name."""
    info = json.loads((folder / "dataset_info.json").read_text())
    return info | {"splits": {s["name"]: s for s in info["splits"]}}


def read_features(folder: Path) -> dict[str, Feature]:
    """features.json, as it is now and as it was (type, content) before TFDS 4.6."""
    plain = lambda body: json.loads(body) if isinstance(body, str) else body
    tree = json.loads((folder / "features.json").read_text())
    body = plain(tree.get("featuresDict") or tree["content"])
    found = {}
    for name, feature in body.get("features", body).items():
        inner = plain(
            next((feature[k] for k in ("image", "classLabel", "content") if k in feature), {})
        )
        shape = inner.get("shape") or []
        shape = shape.get("dimensions", []) if isinstance(shape, dict) else shape
        classes = inner.get("numClasses") or inner.get("num_classes")
        kind = (feature.get("pythonClassName") or feature.get("type", "")).rsplit(".", 1)[-1]
        channels = int(shape[2]) if len(shape) == 3 and shape[2] else None
        found[name] = Feature(kind, channels, int(classes) if classes else None)
    return found


def choose(folder: Path, train: str | None, test: str | None) -> dict[str, str]:
    """{"train": split, "test": split}; no "test" where nothing is held out."""
    there = read_info(folder)["splits"]
    first = lambda names: next((s for s in names if s in there), None)
    chosen = {"train": train or first(TRAIN), "test": test or first(HELD_OUT)}
    for key, split in chosen.items():
        if split not in there and (key == "train" or split):
            raise ValueError(
                f"{folder} has no split {split or 'train'!r}; it has {', '.join(there)}: say which "
                f"with ,{key}=NAME behind the name"
            )
    return {k: s for k, s in chosen.items() if s}


class Prepared:
    """A split of a prepared directory (data/shards.py).

    Args:
        folder: from `prepared`.
        split: a name of dataset_info.json.
        image, label: names of features; None finds them, label="none" wants no classes.

    Raises:
        ValueError: no such feature, or files of another format.
        FileNotFoundError: files of the split are missing; the message names the first.
    """

    def __init__(self, folder: Path, split: str, image=None, label=None):
        info, features = read_info(folder), read_features(folder)
        kind = info.get("fileFormat") or "tfrecord"
        if kind not in READERS:
            raise ValueError(f"{folder} holds {kind} files; wanted {' or '.join(READERS)}")
        self.read_from, lengths = READERS[kind], info["splits"][split]["shardLengths"]
        self.files = [folder / f for f in file_names(info, split, kind)]
        if missing := [f.name for f in self.files if not f.exists()]:
            raise FileNotFoundError(
                f"{len(missing)} of {len(self.files)} files of {split} are not in {folder}: "
                f"{', '.join(missing[:3])}"
            )
        pieces = [cut(int(n), STRETCH) for n in lengths]
        self.places = [(f, STRETCH * i) for f, p in enumerate(pieces) for i in range(len(p))]
        self.sizes = np.concatenate(pieces)
        whole = sum(f.stat().st_size for f in self.files)
        self.heaviest = STRETCH * whole // max(1, int(self.sizes.sum()))
        self.image = pick(features, image, IMAGES, "Image", folder)
        if self.image is None:
            raise ValueError(f"{folder} has no feature of images; it has {', '.join(features)}")
        self.label = (
            None if label == "none" else pick(features, label, LABELS, "ClassLabel", folder)
        )
        self.mode = {1: "L", 3: "RGB"}.get(features[self.image].channels)
        self.classes = features[self.label].classes if self.label else 1

    def read(self, block: int) -> list[Record]:
        (place, first), n = self.places[block], int(self.sizes[block])
        file = self.files[place]
        try:
            found = [example(data) for data in self.read_from(file, first, n)]
        except Exception as error:
            rows = f"records {first} to {first + n - 1}"
            raise ValueError(f"{rows} of {file.name} cannot be read: {reason(error)}") from error
        one = lambda values, name: (values.get(name) or [None])[0]
        names = [one(v, "file_name") or one(v, "image/filename") or b"" for v in found]
        return [
            Record(
                f"{file.name} record {first + i} {name.decode(errors='replace')}".strip(),
                one(values, self.image),
                one(values, self.label) if self.label else 0,
            )
            for i, (values, name) in enumerate(zip(found, names, strict=True))
        ]

    def labels(self, block: int) -> list[int]:
        return [record.label for record in self.read(block)]


def file_names(info: dict, split: str, kind: str) -> list[str]:
    """Names of a split's files, by TFDS's template."""
    about = info["splits"][split]
    template = about.get("filepathTemplate") or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    n = len(about["shardLengths"])
    return [
        template.format(
            DATASET=info["name"], SPLIT=split, FILEFORMAT=kind, SHARD_INDEX=f"{i:05d}",
            NUM_SHARDS=f"{n:05d}", SHARD_X_OF_Y=f"{i:05d}-of-{n:05d}",
        )
        for i in range(n)
    ]  # fmt: skip


def pick(features, given, usual, kind, folder) -> str | None:
    """A feature: the one given, else a usual name, else the only one of its kind."""
    if given is not None and given not in features:
        raise ValueError(f"{folder} has no feature {given!r}; it has {', '.join(features)}")
    fitting = [name for name, feature in features.items() if feature.kind == kind]
    called = [name for name in usual if name in fitting]
    return given or (called or (fitting if len(fitting) == 1 else [None]))[0]
