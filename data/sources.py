"""Readers of image files: a function of a path, or of nothing, gives each split's (x, label).

x is u8[N, H, W, C], u8[N, H, W] or a list of u8[H, W(, C)]; label i32[N] or a list of int.
A new kind of source is one more function in SOURCES.
"""

import gzip
import io
import zipfile

import numpy as np

from data import digits

SPLITS = dict[str, tuple]  # {"train": (x, label), "test": (x, label)}


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


def from_parquet(path):
    """Hugging Face's schema: a column of {"bytes": png} and one of integer labels."""
    if path.is_file():
        return halve(*read_parquet([path]))
    parts = {k: sorted(path.glob(f"{k}*.parquet")) for k in ("train", "test")}
    if not parts["train"]:
        raise FileNotFoundError(f"no train*.parquet in {path}")
    if not parts["test"]:
        return halve(*read_parquet(parts["train"]))
    return {k: read_parquet(files) for k, files in parts.items()}


def read_parquet(files):
    import pyarrow as pa
    import pyarrow.parquet as pq

    images, labels = [], []
    for file in files:
        table = pq.read_table(file)
        image = next(
            (n for n in table.column_names if pa.types.is_struct(table.schema.field(n).type)), None
        )
        if image is None:
            raise ValueError(
                f"{file} has no column of images; its columns are {table.column_names}"
            )
        label = next(
            (n for n in ("label", "fine_label", "labels") if n in table.column_names), None
        )
        images += [pixels(io.BytesIO(r["bytes"])) for r in table[image].to_pylist()]
        labels += table[label].to_pylist() if label else [0] * table.num_rows
    return images, labels


def pixels(file):
    """u8[H, W] of a grey image, u8[H, W, 3] of any other."""
    from PIL import Image

    image = Image.open(file)
    return np.asarray(image if image.mode == "L" else image.convert("RGB"))


def from_folder(path):
    """A folder of images, a subfolder a class if there are any."""
    parts = {k: path / k for k in ("train", "test") if (path / k).is_dir()}
    if len(parts) == 2:
        return {k: read_folder(folder) for k, folder in parts.items()}
    return halve(*read_folder(parts.get("train", path)))


def read_folder(path):
    from PIL import Image

    suffixes = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes)
    classes = sorted({p.parent for p in files})
    mode = "L" if files and all(Image.open(p).mode == "L" for p in files) else "RGB"
    images = [np.asarray(Image.open(p).convert(mode)) for p in files]
    return images, [classes.index(p.parent) for p in files]


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


def halve(x, label, share=0.1):
    """Holds out a seeded tenth where a source has no test split of its own."""
    order = np.random.default_rng(0).permutation(len(x))
    test, train = order[: max(1, int(share * len(x)))], order[max(1, int(share * len(x))) :]
    pick = lambda a, i: a[i] if isinstance(a, np.ndarray) else [a[j] for j in i]
    return split(pick(x, train), pick(label, train), pick(x, test), pick(label, test))


SOURCES = {
    "digits": from_sklearn,
    "mnist": from_idx,
    "fashion_mnist": from_idx,
    "cifar10": from_parquet,
    "cifar100": from_parquet,
    "parquet": from_parquet,
    "folder": from_folder,
    "npz": from_npz,
}
PATHS = {"parquet", "folder", "npz"}  # named with a path: "folder:PATH"
WANTS = {
    from_idx: "idx files (train-images-idx3-ubyte.gz, ...)",
    from_parquet: "parquet files (train*.parquet, test*.parquet)",
    from_folder: "a folder of images",
    from_npz: "an npz file",
}
