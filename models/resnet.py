"""The ResNets of CIFAR-10 (arXiv:1512.03385, sec. 4.2): three stages of n blocks, depth 6 n + 2.

Names are those of github.com/akamaster/pytorch_resnet_cifar10, whose resnet56-4bfd9763.th is right
about 93.6 % of the test images. Batch norms are folded into the convolutions before them.
"""

import re
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from models import published

SHAPE, WIDTHS, CLASSES, EPSILON = (32, 32, 3), (16, 32, 64), 10, 1e-5
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


class Seen(NamedTuple):
    features: jax.Array  # f32[B, 64], means over the image
    logits: jax.Array  # f32[B, 10]


def apply(params, x) -> Seen:
    """What the network makes of images u8[B, 32, 32, 3].

    Raises:
        ValueError: another shape or dtype; the message tells both.
    """
    if x.shape[1:] != SHAPE or x.dtype != jnp.uint8:
        raise ValueError(
            f"this ResNet wants CIFAR-10's u8[B, 32, 32, 3]; got {x.dtype}{list(x.shape)}"
        )
    x = (x.astype(jnp.float32) / 255 - MEAN.astype(np.float32)) / STD.astype(np.float32)
    with jax.default_matmul_precision("float32"):
        return ResNet(sum(k.startswith("stage_0") for k in params)).apply({"params": params}, x)


class ResNet(nn.Module):
    """f32[B, 32, 32, 3], normalised -> Seen."""

    blocks: int  # of a stage

    @nn.compact
    def __call__(self, x):
        x = nn.relu(convolution(WIDTHS[0], name="stem")(x))
        for stage, width in enumerate(WIDTHS):
            for i in range(self.blocks):
                x = Block(width, 2 if stage and not i else 1, name=f"stage_{stage}_{i}")(x)
        features = x.mean((1, 2))
        return Seen(features, nn.Dense(CLASSES, name="linear")(features))


class Block(nn.Module):
    """f32[B, H, W, C] -> f32[B, H / stride, W / stride, width]."""

    width: int
    stride: int

    @nn.compact
    def __call__(self, x):
        y = nn.relu(convolution(self.width, self.stride, name="conv1")(x))
        y = convolution(self.width, name="conv2")(y)
        x = x[:, :: self.stride, :: self.stride]  # the paper's option A: zeros for new channels
        more = (self.width - x.shape[-1]) // 2
        return nn.relu(y + jnp.pad(x, ((0, 0), (0, 0), (0, 0), (more, more))))


def convolution(features, stride=1, *, name):
    return nn.Conv(features, (3, 3), stride, padding=1, name=name)


def units(blocks) -> dict[str, tuple[str, int, int]]:
    """{name of a convolution: (its norm, channels in, channels out)}."""
    found, channels = {"conv1": ("bn1", 3, WIDTHS[0])}, WIDTHS[0]
    for stage, width in enumerate(WIDTHS, 1):
        for i in range(blocks):
            found[f"layer{stage}.{i}.conv1"] = (f"layer{stage}.{i}.bn1", channels, width)
            found[f"layer{stage}.{i}.conv2"] = (f"layer{stage}.{i}.bn2", width, width)
            channels = width
    return found


def shapes(blocks) -> dict[str, tuple[int, ...]]:
    """{name: shape} of the arrays of a weights file."""
    found = {"linear.weight": (CLASSES, WIDTHS[-1]), "linear.bias": (CLASSES,)}
    for name, (norm, channels, width) in units(blocks).items():
        found[f"{name}.weight"] = (width, channels, 3, 3)
        found |= {f"{norm}.{part}": (width,) for part in published.NORM}
    return found


def depth(named) -> int:
    """6 n + 2 of the arrays of a weights file."""
    numbers = [re.match(r"layer1\.(\d+)\.", name) for name in named]
    return 8 + 6 * max((int(found[1]) for found in numbers if found), default=0)


def convert(named: dict[str, np.ndarray]) -> dict:
    """The arrays of a weights file as parameters for `apply`.

    Raises:
        ValueError: see `published.check`.
    """
    blocks = depth(named) // 6
    published.check(named, shapes(blocks), f"CIFAR-10's ResNet-{depth(named)}")
    fold = lambda name: published.folded(named, name, units(blocks)[name][0], EPSILON)
    params = {"stem": fold("conv1"), "linear": published.dense(named, "linear")}
    for stage in range(len(WIDTHS)):
        for i in range(blocks):
            params[f"stage_{stage}_{i}"] = {
                name: fold(f"layer{stage + 1}.{i}.{name}") for name in ("conv1", "conv2")
            }
    return params
