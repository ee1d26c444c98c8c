"""DINOv2's vision transformers (arXiv:2304.07193): the class token as features, f32[B, D].

Names are those of github.com/facebookresearch/dinov2, whose dinov2_vits14_pretrain.pth has D = 384,
vitb14 768, vitl14 1024. The last is what FD-DINOv2 is made of (arXiv:2306.04675, and EDM2's
calculate_metrics.py, arXiv:2312.02696).
"""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from models import layers, published

SIDE, PATCH, HEAD_WIDTH = 224, 14, 64
GRID = SIDE // PATCH  # patches a side
OFFSET = 0.1  # of the published code, against rounding; it moves every place, see `positions`
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def apply(params, x):
    """The features f32[B, D] of images f32[B, 224, 224, 3] in 0..255.

    Raises:
        ValueError: another shape; the message tells it.
    """
    if x.shape[1:] != (SIDE, SIDE, 3):
        raise ValueError(f"want f32[B, {SIDE}, {SIDE}, 3] in 0..255; got {x.dtype}{list(x.shape)}")
    x = (x / 255 - MEAN.astype(np.float32)) / STD.astype(np.float32)
    depth = sum(name.startswith("block_") for name in params)
    with jax.default_matmul_precision("float32"):
        return DinoV2(params["class"].shape[0], depth).apply({"params": params}, x)


class DinoV2(nn.Module):
    """f32[B, 224, 224, 3], normalised -> f32[B, D]."""

    hidden_size: int  # D
    depth: int

    @nn.compact
    def __call__(self, x):
        d = self.hidden_size
        x = nn.Conv(d, (PATCH, PATCH), PATCH, "VALID", name="patches")(x).reshape(len(x), -1, d)
        first = self.param("class", layers.small, (d,))
        x = jnp.concatenate([jnp.broadcast_to(first, (len(x), 1, d)), x], 1)
        x = x + self.param("positions", layers.small, (1 + GRID**2, d))
        for i in range(self.depth):
            x = Block(name=f"block_{i}")(x)
        return norm("norm")(x[:, 0])


class Block(nn.Module):
    """Pre-norm transformer block on [B, L, D], whose branches have a gain a channel."""

    @nn.compact
    def __call__(self, x):
        d = x.shape[-1]
        gain = lambda name: self.param(name, nn.initializers.ones, (d,))
        attention = layers.Attention(d // HEAD_WIDTH, name="attention")
        x = x + gain("gain_a") * attention(norm("norm_a")(x))
        h = nn.gelu(nn.Dense(4 * d, name="up")(norm("norm_m")(x)), approximate=False)
        return x + gain("gain_m") * nn.Dense(d, name="down")(h)


def norm(name):
    return nn.LayerNorm(epsilon=1e-6, name=name)


def shapes(hidden_size: int, depth: int, grid: int = 37) -> dict[str, tuple[int, ...]]:
    """{name: shape} of the arrays of a weights file, trained on grid x grid patches."""
    d = hidden_size
    found = {
        "cls_token": (1, 1, d), "pos_embed": (1, 1 + grid**2, d), "mask_token": (1, d),
        "patch_embed.proj.weight": (d, 3, PATCH, PATCH), "patch_embed.proj.bias": (d,),
        "norm.weight": (d,), "norm.bias": (d,),
    }  # fmt: skip
    layer = {
        "norm1": (d,), "attn.qkv": (3 * d, d), "attn.proj": (d, d),
        "norm2": (d,), "mlp.fc1": (4 * d, d), "mlp.fc2": (d, 4 * d),
    }  # fmt: skip
    for i in range(depth):
        for name, shape in layer.items():
            found |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[:1]}
        found |= {f"blocks.{i}.ls{k}.gamma": (d,) for k in (1, 2)}
    return found


def convert(named: dict[str, np.ndarray]) -> dict:
    """The arrays of a weights file as parameters for `apply`.

    Raises:
        ValueError: see `published.check`; registers and gated MLPs (ViT-g) are unknown here.
    """
    _, places, d = named["pos_embed"].shape
    numbers = [int(k[1]) for name in named if (k := re.match(r"blocks\.(\d+)\.", name))]
    depth = 1 + max(numbers, default=-1)
    wanted = shapes(d, depth, round((places - 1) ** 0.5))
    published.check(named, wanted, f"a DINOv2 of {d} features and {depth} blocks")
    scale = lambda name: {"scale": named[f"{name}.weight"], "bias": named[f"{name}.bias"]}
    params = {
        "patches": published.convolution(named, "patch_embed.proj"),
        "class": named["cls_token"][0, 0],
        "positions": positions(named["pos_embed"][0]),
        "norm": scale("norm"),
    }
    for i in range(depth):
        dense = lambda name, i=i: published.dense(named, f"blocks.{i}.{name}")
        params[f"block_{i}"] = {
            "norm_a": scale(f"blocks.{i}.norm1"), "norm_m": scale(f"blocks.{i}.norm2"),
            "gain_a": named[f"blocks.{i}.ls1.gamma"], "gain_m": named[f"blocks.{i}.ls2.gamma"],
            "attention": {"qkv": dense("attn.qkv"), "out": dense("attn.proj")},
            "up": dense("mlp.fc1"), "down": dense("mlp.fc2"),
        }  # fmt: skip
    return jax.tree.map(published.f32, params)


def positions(table, grid: int = GRID, offset: float = OFFSET) -> np.ndarray:
    """The class's row and n x n rows of patches f32[1 + n^2, D] for grid x grid patches.

    Bicubic with a = -3/4, not antialiased. The published code asks for a grid by the factor
    (grid + 0.1) / n, and places are n / (grid + 0.1) apart; transformers has offset 0.
    """
    n = round((len(table) - 1) ** 0.5)
    if n == grid:
        return table
    places = (np.arange(grid) + 0.5) * n / (grid + offset) - 0.5
    matrix, low = np.zeros((grid, n)), np.floor(places).astype(int)
    for k in range(-1, 3):
        column = np.clip(low + k, 0, n - 1)  # past the edge is the edge
        np.add.at(matrix, (np.arange(grid), column), cubic(places - low - k))
    patches = np.einsum("ih,jw,hwd->ijd", matrix, matrix, table[1:].reshape(n, n, -1))
    return np.concatenate([table[:1], patches.reshape(grid**2, -1)]).astype(np.float32)


def cubic(x, a=-0.75):
    """Keys' kernel (1981)."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    return np.where(x < 1, near, np.where(x < 2, a * (((x - 5) * x + 8) * x - 4), 0.0))
