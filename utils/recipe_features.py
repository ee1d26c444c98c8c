"""What images are measured by: a small classifier's features, or a published network's.

    runs/features/digits.npz                    of train_classifier.py: FD[digits-cnn@09a04162]
    pt_inception-2015-12-05-6726825d.pth        FID's Inception: FID[inception@6726825d]
    lenet_epoch=12_test_acc=0.991.pth           for MNIST: FD[lenet-mnist@7b3591ba]
    resnet56-4bfd9763.th                        for CIFAR-10: FD[resnet56-cifar10@4bfd9763]
    dinov2_vitl14_pretrain.pth                  FD[dinov2-vitl14@...], of FD-DINOv2

The name is part of every score: numbers of different names do not compare. Which network a file
is for is told by the names of its arrays, not by its own.
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
from models import dinov2, inception, lenet, resnet
from utils import devices, files, weights_file

# On a CPU XLA hands convolutions to YNNPACK unless told; Eigen's take a sixth less time here.
EIGEN = {"xla_cpu_experimental_ynn_fusion_type": ""}


class Seen(NamedTuple):
    """What a network makes of B images."""

    pool: Any  # f32[B, D]: the features
    logits: Any = None  # f32[B, K]: what it takes them for, if it tells classes apart
    spatial: Any = None  # f32[B, 2023] of Inception, for sFID


class Features(NamedTuple):
    """A network that images are measured by, and what it is called in print."""

    name: str  # "digits-cnn@1a2b3c4d": dataset, kind and hash of the weights
    apply: Callable  # u8[B, H, W, C] -> Seen; B is a multiple of this process's devices
    resize: str  # how images come to the network's size
    range: str  # what it reads pixels as
    classes: int = 0  # of such images, that it was trained to tell apart; 0: of others
    accuracy: float | None = None  # at that, on the test split, as its file tells

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
    path = f"{str(path).removesuffix('.npz')}.npz"
    with files.written(path) as here:
        here.parent.mkdir(parents=True, exist_ok=True)
        np.savez(here, **flat, dataset=dataset, num_classes=num_classes, accuracy=accuracy)
    return path


def default_path(dataset: str) -> str:
    """Where the features of a dataset lie unless told otherwise: runs/features/NAME.npz."""
    return f"runs/features/{re.sub('[^A-Za-z0-9_]+', '-', dataset.removesuffix('.npz'))}.npz"


def load(path, mode: str = "tf1") -> Features:
    """Features from a file of any kind above.

    Args:
        mode: how Inception's images are resized, see data/resize.py.

    Raises:
        FileNotFoundError: not there; the message tells the command that makes it.
        ValueError: not such a file, or no such mode.
    """
    if mode not in resize.MODES:
        raise ValueError(f"no --resize {mode!r}; there are {', '.join(resize.MODES)}")
    path = Path(files.fetched(path))
    if not path.is_file():
        places = ", ".join(f"{p.what}'s ({p.source})" for p in PUBLISHED.values())
        raise FileNotFoundError(
            f"no features at {path}; make them with: python train_classifier.py --dataset_name "
            f"NAME --out {path}, or give the weights of a published network, {places}"
        )
    if "dataset" in names(path):
        return of_classifier(path)
    weights = weights_file.read(path)
    known = next((p for mark, p in PUBLISHED.items() if mark in weights.named), None)
    if known is None:
        there = ", ".join(p.what for p in PUBLISHED.values())
        raise ValueError(
            f"{path} is not a features file: it has no weights of {there}, nor of a classifier of "
            "train_classifier.py"
        )
    try:
        found = known.build(weights.named, mode)
    except ValueError as error:
        raise ValueError(f"{path} has {error}; wanted those of {known.source}") from None
    return found._replace(name=f"{found.name}@{weights.sha256[:8]}")


def names(path) -> set[str]:
    """Of the arrays of an npz; none if it is no npz."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return set(file.files)
    except (ValueError, OSError, EOFError, AttributeError):
        return set()


def jitted(function) -> Callable:
    """A network of many convolutions, compiled to be fast."""
    return jax.jit(function, compiler_options=EIGEN if has_eigen() else None)


@functools.cache
def has_eigen() -> bool:
    """Whether there is the choice: on a CPU, and as long as XLA knows the option, an experimental
    one."""
    if jax.default_backend() != "cpu":
        return False
    try:
        jax.jit(lambda: 0, compiler_options=EIGEN).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def by_all(function, params, jit=jax.jit) -> Callable:
    """x -> function(params, x), each device of this process on its share of the rows."""
    return functools.partial(jit(devices.rowwise(function)), devices.everywhere(params))


def of_inception(named, mode) -> Features:
    # pytorch-fid reads a byte as 2 x / 255 - 1, the others as (x - 128) / 128
    scale = 256 / 255 if mode == "pytorch" else 1.0

    def see(params, x):
        seen = inception.apply(params, resize.resize(x, mode) * scale)
        return Seen(seen.pool3, seen.logits, seen.spatial)

    reads = "2x/255-1" if mode == "pytorch" else "(x-128)/128"
    return Features("inception", by_all(see, inception.convert(named), jitted), mode, reads)


def of_lenet(named, _) -> Features:
    apply = by_all(lenet.apply, lenet.convert(named))
    return Features("lenet-mnist", lambda x: Seen(*apply(x)), "pillow-bilinear-32", "x/255", 10)


def of_resnet(named, _) -> Features:
    apply = by_all(resnet.apply, resnet.convert(named))
    name = f"resnet{resnet.depth(named)}-cifar10"
    return Features(name, lambda x: Seen(*apply(x)), "none", "(x/255-mean)/std", 10)


def of_dinov2(named, _) -> Features:
    params, side = dinov2.convert(named), dinov2.SIDE
    see = lambda params, x: Seen(dinov2.apply(params, resize.bicubic(x, side)))
    width = len(params["class"])
    size = {384: "vits14", 768: "vitb14", 1024: "vitl14"}.get(width, width)
    apply = by_all(see, params)
    return Features(f"dinov2-{size}", apply, f"torch-bicubic-{side}", "(x/255-mean)/std")


class Published(NamedTuple):
    """A network whose weights were published; `build`: (arrays, mode) -> Features."""

    what: str
    source: str
    build: Callable


PUBLISHED = {  # an array that only its files have: what it is
    "Conv2d_1a_3x3.conv.weight": Published(
        "Inception", "github.com/mseitzer/pytorch-fid/releases, tag fid_weights", of_inception
    ),
    "convnet.c1.weight": Published(
        "LeNet", "github.com/csinva/gan-vae-pretrained-pytorch", of_lenet
    ),
    "layer1.0.conv1.weight": Published(
        "ResNet", "github.com/akamaster/pytorch_resnet_cifar10", of_resnet
    ),
    "pos_embed": Published(
        "DINOv2", "github.com/facebookresearch/dinov2, without registers", of_dinov2
    ),
}


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

    def see(params, x):
        logits, pool = apply(params, x)
        return Seen(pool, logits)

    name, params = f"{dataset}-cnn@{digest.hexdigest()[:8]}", unflatten_dict(arrays, sep="/")
    return Features(name, by_all(see, params), "none", "2x/255-1", classes, accuracy)
