"""What images are measured by: a small classifier's features, or FID's Inception.

    runs/features/digits.npz                    of train_classifier.py: FD[digits-cnn@09a04162]
    pt_inception-2015-12-05-6726825d.pth, .npz  the published weights: FID[inception@6726825d]

The name is part of every score: numbers of different names do not compare.
"""

import functools
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from data import pipeline, resize
from utils import recipe_inception


class Seen(NamedTuple):
    """What a network makes of B images."""

    pool: Any  # f32[B, D]: the features
    logits: Any  # f32[B, K]: what it takes them for
    spatial: Any = None  # f32[B, 2023] of Inception, for sFID


class Features(NamedTuple):
    """A network that images are measured by, and what it is called in print."""

    name: str  # "digits-cnn@1a2b3c4d": dataset, kind and hash of the weights
    apply: Callable  # u8[B, H, W, C] -> Seen
    resize: str  # how images come to the network's size
    range: str  # what it reads pixels as
    accuracy: float | None = None  # of a classifier, on its dataset's test split

    @property
    def title(self) -> str:
        """Of the distance: FID is what the published Inception says, all else is an FD."""
        return f"{'FID' if self.name.startswith('inception@6726825d') else 'FD'}[{self.name}]"


def classifier(num_classes):
    """(init, apply) of the shipped classifier; apply: (params, u8 images) -> (logits, features)."""
    from models.classifier import Classifier

    module = Classifier(num_classes)
    init = lambda key, x: module.init(key, pipeline.to_unit(x))["params"]
    return init, lambda params, x: module.apply({"params": params}, pipeline.to_unit(x))


def save(path, params, dataset, num_classes, accuracy):
    """Writes classifier weights as a plain npz, names joined by '/'; returns its path."""
    from flax.traverse_util import flatten_dict

    flat = {k: np.asarray(v) for k, v in flatten_dict(params, sep="/").items()}
    path = Path(path).with_suffix(".npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **flat, dataset=dataset, num_classes=num_classes, accuracy=accuracy)
    return path


def default_path(dataset: str) -> str:
    """Where the features of a dataset lie unless told otherwise: runs/features/NAME.npz."""
    return f"runs/features/{re.sub('[^A-Za-z0-9_]+', '-', dataset.removesuffix('.npz'))}.npz"


def load(path, mode: str = "tf1") -> Features:
    """Features from a file of either kind.

    Args:
        mode: how Inception's images are resized, see data/resize.py.

    Raises:
        FileNotFoundError: not there; the message tells the command that makes it.
        ValueError: not such a file, or no such mode.
    """
    path = Path(path)
    if path.suffix == ".pth" or (path.is_file() and "fc.weight" in names(path)):
        return of_inception(path, mode)
    if not path.is_file():
        raise FileNotFoundError(
            f"no features at {path}; make them with: "
            f"python train_classifier.py --dataset_name NAME --out {path}, or give Inception's "
            "weights, --features pt_inception-2015-12-05-6726825d.pth"
        )
    return of_classifier(path)


def names(path) -> set[str]:
    """Of the arrays of an npz; none if it is no npz."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return set(file.files)
    except (ValueError, OSError, AttributeError):
        return set()


def of_inception(path, mode) -> Features:
    if mode not in resize.MODES:
        raise ValueError(f"no --resize {mode!r}; there are {', '.join(resize.MODES)}")
    found = recipe_inception.load(path)
    # pytorch-fid reads a byte as 2 x / 255 - 1, the others as (x - 128) / 128
    scale = 256 / 255 if mode == "pytorch" else 1.0

    @jax.jit
    def apply(x):
        seen = found.apply(resize.resize(x, mode) * scale)
        return Seen(seen.pool3, seen.logits, seen.spatial)

    return Features(
        found.name, apply, mode, "2x/255-1" if mode == "pytorch" else "(x-128)/128"
    )  # fmt: skip


def of_classifier(path) -> Features:
    from flax.traverse_util import unflatten_dict

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {k: file[k] for k in file}
        dataset, classes, accuracy = (
            arrays.pop(k).item() for k in ("dataset", "num_classes", "accuracy")
        )
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(f"{path} is not a features file of train_classifier.py: {error}") from None
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    _, apply = classifier(classes)
    measure = functools.partial(apply, unflatten_dict(arrays, sep="/"))

    @jax.jit
    def seen(x):
        logits, pool = measure(x)
        return Seen(pool, logits)

    name = f"{dataset}-cnn@{digest.hexdigest()[:8]}"
    return Features(name, seen, "none", "2x/255-1", accuracy)
