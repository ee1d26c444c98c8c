"""Readers of images: a function of a path, or of nothing, gives the splits that are there.

A split is a pair (x, label), where x is u8[N, H, W, C], u8[N, H, W] or a list of u8[H, W(, C)] and
label i32[N] or a list of int; or, of what is too large for that, Shards (shards.py). Where there
is no "test", a tenth is held out. A new kind of source is one more function in SOURCES; further
parameters of it are options that a user may give behind the name (names.py).
"""

import gzip
import zipfile

import numpy as np

from data import digits, hub, names, parquet, tfds
from data.shards import TEST_SHARE, Files, Shards

SPLITS = dict[str, tuple | Shards]  # {"train": ..., "test": ...}
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


def split(x, label, test_x, test_label) -> SPLITS:
    return {"train": (x, label), "test": (test_x, test_label)}


def from_sklearn(path) -> SPLITS:
    """The embedded digits; `path` is not looked at."""
    return split(*digits.load())


def from_idx(path):
    """MNIST's own format: magic, sizes as big-endian i32, then bytes."""

    def read(stem):
        for file in (path / f"{stem}-ubyte.gz", path / f"{stem}-ubyte"):
            if file.exists():
                raw = file.read_bytes()
                raw = gzip.decompress(raw) if file.suffix == ".gz" else raw
                sizes = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
                body = np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3])
                if len(body) != np.prod(sizes):
                    raise ValueError(
                        f"{file} is cut short: {len(body)} bytes, wanted {np.prod(sizes)}"
                    )
                return body.reshape(sizes)
        raise FileNotFoundError(f"no {stem}-ubyte[.gz] in {path}")

    return split(
        read("train-images-idx3"), read("train-labels-idx1"),
        read("t10k-images-idx3"), read("t10k-labels-idx1"),
    )  # fmt: skip


def from_parquet(path, image=None, label=None, train=None, test=None, config=None):
    """Hugging Face's schema: columns of {"bytes": png} and of integer labels."""
    files = hub.local(path)
    if not files:
        raise FileNotFoundError(f"no *.parquet in {path}")
    chosen = parquet.choose(files, str(path), config, train, test)
    return {
        k: parquet.Pictures([files[p] for p in paths], image, label) for k, paths in chosen.items()
    }


def from_tfds(path, image=None, label=None, train=None, test=None):
    """What TensorFlow Datasets has prepared: PATH, or PATH/VERSION."""
    folder = tfds.prepared(path)
    if folder is None:
        raise FileNotFoundError(f"no dataset_info.json in {path}, or in a version below it")
    chosen = tfds.choose(folder, train, test)
    return {k: tfds.Prepared(folder, name, image, label) for k, name in chosen.items()}


def from_folder(path):
    """A folder of images, a subfolder a class if there are any; in train/ and test/, or not."""
    held_out = next((path / n for n in parquet.HELD_OUT if (path / n).is_dir()), None)
    train = path / "train" if (path / "train").is_dir() else path
    roots = (
        {"train": train}
        if held_out is None or train == path
        else {"train": train, "test": held_out}
    )
    files = {
        k: sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
        for k, root in roots.items()
    }
    place = lambda k, file: file.parent.relative_to(roots[k])
    classes = sorted({place("train", file) for file in files["train"]})
    if strange := {place(k, file) for k in files for file in files[k]}.difference(classes):
        raise ValueError(
            f"{held_out} has a folder {str(min(strange))!r}, which {train} has not; "
            "wanted the same classes in both"
        )
    if len(files) == 1:  # in a random order, a tenth of them is held out
        order = np.random.default_rng(0).permutation(len(files["train"]))
        n = max(1, int(TEST_SHARE * len(order)))
        mixed = [files["train"][i] for i in order]
        roots["test"], files = roots["train"], {"train": mixed[n:], "test": mixed[:n]}
    number = {folder: i for i, folder in enumerate(classes)}
    return {
        k: Files(listed, [number[place(k, f)] for f in listed], len(classes), path)
        for k, listed in files.items()
    }


def from_npz(path):
    """Arrays by their usual names; test_x and test_label if they are there."""
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no npz file")
    with np.load(path, allow_pickle=False) as file:
        pick = lambda *names: next((file[n] for n in names if n in file), None)
        x = pick("x", "images", "x_train", "arr_0")
        label = pick("label", "labels", "y", "y_train", "arr_1")
        if x is None:
            raise ValueError(
                f"{path} has no array x, images, x_train or arr_0; it has {file.files}"
            )
        test_x, test_label = pick("test_x", "x_test"), pick("test_label", "y_test")
    label = np.zeros(len(x), np.int32) if label is None else label
    if len(label) != len(x):
        raise ValueError(f"{path} has {len(x)} images and {len(label)} labels; wanted one for each")
    if test_x is None:
        return halve(x, label)
    test_label = np.zeros(len(test_x), np.int32) if test_label is None else test_label
    return split(x, label, test_x, test_label)


def halve(x, label, share=TEST_SHARE):
    """Holds out a seeded tenth where a source has no test split of its own."""
    order = np.random.default_rng(0).permutation(len(x))
    test, train = order[: max(1, int(share * len(x)))], order[max(1, int(share * len(x))) :]
    pick = lambda a, i: a[i] if isinstance(a, np.ndarray) else [a[j] for j in i]
    return split(pick(x, train), pick(label, train), pick(x, test), pick(label, test))


def from_any(path, image=None, label=None, train=None, test=None, config=None):
    """Whatever is at a path: what TFDS prepared, parquet files, idx files, or images."""
    given = dict(image=image, label=label, train=train, test=test, config=config)
    given = {k: v for k, v in given.items() if v is not None}
    if tfds.prepared(path):
        reader = from_tfds
    elif hub.local(path):
        reader = from_parquet
    else:
        reader = from_idx if any(path.glob("train-images-idx3-ubyte*")) else from_folder
    return reader(path, **names.suited(names.taken(reader), given, str(path)))


SOURCES = {
    "digits": from_sklearn,
    "mnist": from_any,
    "fashion_mnist": from_any,
    "cifar10": from_any,
    "cifar100": from_any,
    "tiny-imagenet": from_any,
    "imagenet256": from_any,
    "celebahq256": from_any,
    "hf": from_any,
    "parquet": from_parquet,
    "tfds": from_tfds,
    "folder": from_folder,
    "npz": from_npz,
}
PATHS = {"hf", "parquet", "tfds", "folder", "npz"}  # named with a path: "folder:PATH"
WANTS = {
    from_any: "idx files or parquet files (train*.parquet, test*.parquet), a directory of TFDS, or "
    "images in a folder for each class",
    from_parquet: "parquet files (train*.parquet, test*.parquet)",
    from_tfds: "a directory that TFDS has prepared",
    from_folder: "a folder of images",
    from_npz: "an npz file",
}
