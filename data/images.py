"""Image datasets by name, each as one u8 array: decoded once, memory-mapped ever after.

    digits                     scikit-learn's, embedded
    mnist, fashion_mnist       idx files (.gz or not) in DATA_DIR/NAME
    cifar10, cifar100          parquet files train*.parquet, test*.parquet in DATA_DIR/NAME
    parquet:PATH               a file, or a folder with train*/test* files
    folder:PATH                PATH/[train|test/]CLASS/*.png, or PATH/*.png without classes
    npz:PATH                   arrays x (or images, arr_0) and label (or labels, y, arr_1)

The readers are in sources.py.
"""

import difflib
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.cache import cache_dir
from data.sources import PATHS, SOURCES, WANTS

VERSION = 1  # of what readers make of files: raise it when they change, and caches are made anew


class Images(NamedTuple):
    """One split of a dataset."""

    x: np.ndarray  # u8[N, H, W, C], 0..255
    label: np.ndarray  # i32[N], 0 for all where there are no classes
    num_classes: int  # 0: no classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one image."""
        return self.x.shape[1:]


def load(name: str, data_dir: str = "datasets", size: int | None = None) -> dict[str, Images]:
    """{"train": Images, "test": Images} of a dataset.

    Args:
        name: see the module's first lines.
        data_dir: where named datasets live.
        size: side that images are cropped to a square and resized to; None leaves them.

    Raises:
        ValueError: no such dataset, no images, or images of several sizes and no `size`.
        FileNotFoundError: the files are not there; the message says which were looked for.
    """
    kind, _, path = name.partition(":")
    if kind not in SOURCES or bool(path) != (kind in PATHS):
        names = [k + ":PATH" if k in PATHS else k for k in SOURCES]
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"no dataset {name!r}{hint}; there are {', '.join(names)}")
    path = Path(path) if path else Path(data_dir) / kind
    if kind != "digits" and not path.exists():
        raise FileNotFoundError(
            f"dataset {name!r} wants {WANTS[SOURCES[kind]]} at {path}, which is not there; "
            "put it there, or say where with --data_dir"
        )
    arrays = cached(kind, path, size)
    classes = 1 + max(int(label.max()) for _, label in arrays.values())
    classes = classes if classes > 1 else 0  # one class says nothing
    return {k: Images(x, label, classes) for k, (x, label) in arrays.items()}


def cached(kind, path, size):
    """Runs the source once; later calls map its arrays from the cache."""
    files = sorted(p for p in [path, *path.rglob("*")] if p.is_file())
    stamp = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    digest = hashlib.sha256(json.dumps([VERSION, kind, size, stamp]).encode()).hexdigest()[:16]
    folder = cache_dir() / f"{kind}-{digest}"
    if not folder.exists():
        arrays = {k: (stack(x, size, path), y) for k, (x, y) in SOURCES[kind](path).items()}
        check(arrays, path)
        cache_dir().mkdir(parents=True, exist_ok=True)
        halfway = Path(tempfile.mkdtemp(dir=cache_dir(), prefix=f"{folder.name}."))
        for key, (x, label) in arrays.items():
            np.save(halfway / f"{key}_x.npy", x)
            np.save(halfway / f"{key}_label.npy", np.asarray(label, np.int32))
        try:
            halfway.rename(folder)  # atomic: a folder that is there is whole
        except OSError:  # another process was faster
            shutil.rmtree(halfway)
    keys = sorted(p.name.removesuffix("_x.npy") for p in folder.glob("*_x.npy"))
    read = lambda name: np.load(folder / name, mmap_mode="r")
    return {k: (read(f"{k}_x.npy"), np.asarray(read(f"{k}_label.npy"))) for k in keys}


def check(arrays, path):
    """Raises ValueError if labels do not fit images, or the splits do not fit each other."""
    sides = {x.shape[1:] for x, _ in arrays.values()}
    if len(sides) > 1:
        raise ValueError(f"images of several sizes in {path} ({sides}); set --image_size")
    for key, (x, label) in arrays.items():
        label = np.asarray(label)
        if x.ndim != 4 or not min(x.shape[1:]):
            raise ValueError(f"{key} images in {path} are {x.shape}; wanted [N, H, W, C]")
        if label.shape != (len(x),) or label.dtype.kind not in "iu" or (label < 0).any():
            raise ValueError(
                f"{key} labels in {path} are {label.dtype}{list(label.shape)}; "
                f"wanted {len(x)} integers from 0 on"
            )


def stack(images, size, path) -> np.ndarray:
    """u8[N, H, W, C] of arrays [H, W], [H, W, C], or one array of all."""
    if len(images) == 0:
        raise ValueError(f"no images in {path}")
    if size is not None:
        images = [square(image, size) for image in images]
    sizes = {np.shape(image) for image in images}
    if len(sizes) > 1:
        some = ", ".join("x".join(map(str, s)) for s in sorted(sizes)[:4])
        raise ValueError(f"images of several sizes in {path} ({some}); set --image_size")
    x = np.asarray(images)
    if x.dtype != np.uint8:
        raise ValueError(f"images in {path} are {x.dtype}; wanted uint8 in 0..255")
    return x if x.ndim == 4 else x[..., None]


def square(image, size):
    """Centre crop to a square, then an antialiased resize to size x size."""
    from PIL import Image

    image = Image.fromarray(np.squeeze(image))
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box))
