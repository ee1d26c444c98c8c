"""LeNet-5 for MNIST in today's parts, as github.com/csinva/gan-vae-pretrained-pytorch has it.

Its file lenet_epoch=12_test_acc=0.991.pth is right about 99.07 % of MNIST's test images, if they
reach it as in training: 28 pixels become 32 by Pillow's bilinear, rounded to bytes, then 0..1.
Padded to 32 instead, 98.61 %; other resizing is another number.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from models import published

SHAPE, SIDE = (28, 28, 1), 32
CONVOLUTIONS = {"c1": (6, 1, 5, 5), "c3": (16, 6, 5, 5), "c5": (120, 16, 5, 5)}
DENSE = {"f6": (84, 120), "f7": (10, 84)}


class Seen(NamedTuple):
    features: jax.Array  # f32[B, 84], behind the last ReLU
    logits: jax.Array  # f32[B, 10]


def apply(params, x) -> Seen:
    """What the network makes of images u8[B, 28, 28, 1].

    Raises:
        ValueError: another shape or dtype; the message tells both.
    """
    if x.shape[1:] != SHAPE or x.dtype != jnp.uint8:
        raise ValueError(f"LeNet wants MNIST's u8[B, 28, 28, 1]; got {x.dtype}{list(x.shape)}")
    with jax.default_matmul_precision("float32"):
        return LeNet().apply({"params": params}, resize(x) / 255)


class LeNet(nn.Module):
    """f32[B, 32, 32, 1] in 0..1 -> Seen."""

    @nn.compact
    def __call__(self, x):
        for name, (features, _, *sides) in CONVOLUTIONS.items():
            x = nn.relu(nn.Conv(features, sides, padding="VALID", name=name)(x))
            x = x if name == "c5" else nn.max_pool(x, (2, 2), (2, 2))
        features = nn.relu(nn.Dense(84, name="f6")(x.reshape(len(x), -1)))
        return Seen(features, nn.Dense(10, name="f7")(features))


def resize(x):
    """u8[B, 28, 28, C] -> f32[B, 32, 32, C] in whole grey levels, as Pillow's bilinear has them:
    columns, then rows, each time rounded to bytes."""
    size = x.shape[1]
    places = (np.arange(SIDE) + 0.5) * size / SIDE - 0.5
    matrix = np.maximum(1 - np.abs(places[:, None] - np.arange(size)), 0)
    matrix /= matrix.sum(1, keepdims=True)  # beyond the edge is nothing
    for way in ("jw,bhwc->bhjc", "ih,bhjc->bijc"):
        x = jnp.floor(jnp.einsum(way, matrix, x.astype(jnp.float32), precision="highest") + 0.5)
    return x


def shapes() -> dict[str, tuple[int, ...]]:
    """{name: shape} of the arrays of a weights file."""
    layers = {f"convnet.{k}": v for k, v in CONVOLUTIONS.items()}
    layers |= {f"fc.{k}": v for k, v in DENSE.items()}
    return {f"{k}.weight": v for k, v in layers.items()} | {
        f"{k}.bias": v[:1] for k, v in layers.items()
    }


def convert(named: dict[str, np.ndarray]) -> dict:
    """The arrays of a weights file as parameters for `apply`.

    Raises:
        ValueError: see `published.check`.
    """
    published.check(named, shapes(), "LeNet for MNIST")
    params = {k: published.convolution(named, f"convnet.{k}") for k in CONVOLUTIONS}
    return params | {k: published.dense(named, f"fc.{k}") for k in DENSE}
