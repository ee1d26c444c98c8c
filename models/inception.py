"""Inception-v3 as FID has it: the graph of 2015-12-05, with its weights under PyTorch's names.

It is not the network of arXiv:1512.00567 in four ways, each of which moves a score: 1008 classes,
average pools that do not count their padding, a max pool in the last block where the one before it
averages, and batch norms with epsilon 1e-3. Names are those of pytorch-fid's weights file
pt_inception-2015-12-05-6726825d.pth, which torch-fidelity reads too.

The arithmetic is that network's, its order is ours: batch norms are folded into convolutions, the
1x1 convolutions of one input are one, and an average pool, which commutes with the one behind it,
comes after it, where there are fewer channels to average.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from models import published

SIDE, WIDTH, CLASSES, EPSILON = 299, 2048, 1008, 1e-3
# mixed_6/conv of the graph, which counts mixed, mixed_1, .. mixed_10: the branch1x1 of this block,
# and so the first channels that it puts out
SPATIAL, SPATIAL_CHANNELS = "Mixed_6d", 7


class Branch(NamedTuple):
    """One way through a block; what it has happens in this order."""

    pool: str = ""  # "average" or "max", of 3x3
    head: int = 0  # features of a 1x1 convolution
    convs: tuple = ()  # of (features, height, width[, stride]), or of pairs that share an input


FORK = ((384, 1, 3), (384, 3, 1))


def block_35(pooled):
    """At 35x35; `pooled`: features of the branch that averages."""
    return {
        "branch1x1": Branch(head=64),
        "branch5x5": Branch(head=48, convs=((64, 5, 5),)),
        "branch3x3dbl": Branch(head=64, convs=((96, 3, 3), (96, 3, 3))),
        "branch_pool": Branch("average", head=pooled),
    }


def block_17(n):
    """At 17x17; `n`: features inside the branches."""
    return {
        "branch1x1": Branch(head=192),
        "branch7x7": Branch(head=n, convs=((n, 1, 7), (192, 7, 1))),
        "branch7x7dbl": Branch(head=n, convs=((n, 7, 1), (n, 1, 7), (n, 7, 1), (192, 1, 7))),
        "branch_pool": Branch("average", head=192),
    }


def block_8(pool):
    return {
        "branch1x1": Branch(head=320),
        "branch3x3": Branch(head=384, convs=(FORK,)),
        "branch3x3dbl": Branch(head=448, convs=((384, 3, 3), FORK)),
        "branch_pool": Branch(pool, head=192),
    }


STEM = {  # name: (features, height, width, stride, padding)
    "Conv2d_1a_3x3": (32, 3, 3, 2, "VALID"),
    "Conv2d_2a_3x3": (32, 3, 3, 1, "VALID"),
    "Conv2d_2b_3x3": (64, 3, 3, 1, "SAME"),
    "Conv2d_3b_1x1": (80, 1, 1, 1, "VALID"),
    "Conv2d_4a_3x3": (192, 3, 3, 1, "VALID"),
}
HALVED_AFTER = {"Conv2d_2b_3x3", "Conv2d_4a_3x3"}  # by a max pool
BLOCKS = {
    "Mixed_5b": block_35(32),
    "Mixed_5c": block_35(64),
    "Mixed_5d": block_35(64),
    "Mixed_6a": {
        "branch3x3": Branch(convs=((384, 3, 3, 2),)),
        "branch3x3dbl": Branch(head=64, convs=((96, 3, 3), (96, 3, 3, 2))),
        "branch_pool": Branch("max"),
    },
    "Mixed_6b": block_17(128),
    "Mixed_6c": block_17(160),
    "Mixed_6d": block_17(160),
    "Mixed_6e": block_17(192),
    "Mixed_7a": {
        "branch3x3": Branch(head=192, convs=((320, 3, 3, 2),)),
        "branch7x7x3": Branch(head=192, convs=((192, 1, 7), (192, 7, 1), (192, 3, 3, 2))),
        "branch_pool": Branch("max"),
    },
    "Mixed_7b": block_8("average"),
    "Mixed_7c": block_8("max"),
}


class Features(NamedTuple):
    """What one pass over B images gives."""

    pool3: jax.Array  # f32[B, 2048], of FID, KID, precision and recall
    spatial: jax.Array  # f32[B, 2023], of ADM's sFID: 17 x 17 x 7 in the order H, W, C
    logits: jax.Array  # f32[B, 1008], without bias, of the Inception score


def apply(params, x) -> Features:
    """The features of images f32[B, 299, 299, 3] in 0..255.

    Raises:
        ValueError: another shape or dtype; the message tells both.
    """
    if x.ndim != 4 or x.shape[1:] != (SIDE, SIDE, 3) or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"want f32[B, {SIDE}, {SIDE}, 3] in 0..255; got {x.dtype}{list(x.shape)}")
    network = lambda x: Inception().apply({"params": params}, x)
    # One image's activations stay in a CPU's caches, a batch's do not.
    singly = lambda x: jax.tree.map(
        lambda a: a[:, 0], jax.lax.map(lambda image: network(image[None]), x)
    )
    # TPUs and GPUs round factors by default; a score says the same on all of them.
    with jax.default_matmul_precision("float32"):
        return jax.lax.platform_dependent(x, cpu=singly, default=network)


class Inception(nn.Module):
    """f32[B, 299, 299, 3] in 0..255 -> Features."""

    @nn.compact
    def __call__(self, x):
        x = (x - 128) / 128
        for name, sizes in STEM.items():
            x = nn.relu(convolution(*sizes, name=name)(x))
            x = max_pool(x, 2) if name in HALVED_AFTER else x
        for name, branches in BLOCKS.items():
            x = Block(branches, name=name)(x)
            if name == SPATIAL:
                spatial = spatial_features(x)
        pool3 = x.mean((1, 2))
        return Features(pool3, spatial, nn.Dense(CLASSES, use_bias=False, name="fc")(pool3))


def spatial_features(x):
    """f32[B, 2023] of a block's f32[B, 17, 17, C]: in the order H, W, C, for another order is
    another number (openai/guided-diffusion#159)."""
    return x[..., :SPATIAL_CHANNELS].reshape(len(x), -1)


class Block(nn.Module):
    """f32[B, H, W, C] -> its branches side by side, f32[B, H', W', D]."""

    branches: dict[str, Branch]

    @nn.compact
    def __call__(self, x):
        widths = {name: self.branches[name].head for name in shared(self.branches)}
        if widths:
            heads = convolution(sum(widths.values()), 1, 1, name="heads")(x)
            heads = jnp.split(heads, np.cumsum([*widths.values()])[:-1], -1)
            heads = dict(zip(widths, heads, strict=True))
        out = []
        for name, branch in self.branches.items():
            names, (pool, head, convs) = unit_names(name, branch), branch
            if name in widths:
                y = nn.relu(average_pool(heads[name]) if pool else heads[name])
            else:
                y = max_pool(x, 1 if head else 2) if pool else x
                y = nn.relu(convolution(head, 1, 1, name=names[0][0])(y)) if head else y
            for conv, unit in zip(convs, names[bool(head) :], strict=True):
                pair = conv if len(unit) == 2 else (conv,)
                ways = [convolution(*c, name=n)(y) for c, n in zip(pair, unit, strict=True)]
                y = nn.relu(jnp.concatenate(ways, -1))
            out.append(y)
        return jnp.concatenate(out, -1)


def convolution(features, height, width, stride=1, padding="", *, name):
    """Unless told, stride 1 keeps the side and stride 2 drops what does not fill a window."""
    padding = padding or ("SAME" if stride == 1 else "VALID")
    return nn.Conv(features, (height, width), stride, padding, name=name)


def max_pool(x, stride):
    """3x3; stride 1 keeps the side."""
    return nn.max_pool(x, (3, 3), (stride, stride), "SAME" if stride == 1 else "VALID")


def average_pool(x):
    """3x3, keeps the side: of the places that are in the image."""
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


def shared(branches) -> list[str]:
    """The branches whose first convolutions are one, all being 1x1 of the block's input."""
    return [name for name, branch in branches.items() if branch.head and branch.pool != "max"]


def unit_names(name, branch) -> list[tuple[str, ...]]:
    """PyTorch's names for the convolutions of a branch in their order, two where it forks."""
    units = ([()] if branch.head else []) + list(branch.convs)
    numbered = [name] if len(units) == 1 else [f"{name}_{i}" for i in range(1, len(units) + 1)]
    forks = [bool(unit) and isinstance(unit[0], tuple) for unit in units]
    return [(f"{n}a", f"{n}b") if fork else (n,) for n, fork in zip(numbered, forks, strict=True)]


def kernels() -> dict[str, tuple[int, int, int, int]]:
    """{PyTorch's name of a convolution: (out, in, height, width)}."""
    found, channels = {}, 3
    for name, (features, *sides, _, _) in STEM.items():
        found[name], channels = (features, channels, *sides), features
    for block, branches in BLOCKS.items():
        total = 0
        for name, branch in branches.items():
            width = channels
            units = ([(branch.head, 1, 1)] if branch.head else []) + list(branch.convs)
            for unit, names in zip(units, unit_names(name, branch), strict=True):
                ways = unit if len(names) == 2 else (unit,)
                for way, (features, *sides) in zip(names, ways, strict=True):
                    found[f"{block}.{way}"] = (features, width, *sides[:2])
                width = sum(way[0] for way in ways)
            total += width
        channels = total
    return found


def shapes() -> dict[str, tuple[int, ...]]:
    """{name: shape} of the arrays of a weights file."""
    found = {}
    for name, shape in kernels().items():
        found[f"{name}.conv.weight"] = shape
        found |= {f"{name}.bn.{part}": shape[:1] for part in published.NORM}
    return found | {"fc.weight": (CLASSES, WIDTH), "fc.bias": (CLASSES,)}


def convert(named: dict[str, np.ndarray]) -> dict:
    """The arrays of a weights file as our parameters, for `apply`.

    Raises:
        ValueError: names that are missing, unknown or of another shape; the message tells them.
    """
    published.check(named, shapes(), "FID's Inception")
    fold = lambda name: published.folded(named, f"{name}.conv", f"{name}.bn", EPSILON)
    folded = {name: fold(name) for name in kernels()}
    params = {name: folded[name] for name in STEM}
    for block, branches in BLOCKS.items():
        params[block] = {
            name.removeprefix(f"{block}."): unit
            for name, unit in folded.items()
            if name.startswith(f"{block}.")
        }
        first = [unit_names(name, branches[name])[0][0] for name in shared(branches)]
        if first:
            heads = [params[block].pop(name) for name in first]
            params[block]["heads"] = jax.tree.map(lambda *a: jnp.concatenate(a, -1), *heads)
    params["fc"] = {"kernel": jnp.asarray(named["fc.weight"].T, jnp.float32)}
    return params
