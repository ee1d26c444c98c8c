"""DiT, the diffusion transformer (arXiv:2212.09748), on images or latents."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models import layers


def size(hidden_size, depth, num_heads, mlp_ratio=4.0):
    return dict(hidden_size=hidden_size, depth=depth, num_heads=num_heads, mlp_ratio=mlp_ratio)


PRESETS = {
    "debug": size(64, 2, 2, 1.0),
    "big": size(768, 12, 12),
    "semilarge": size(1024, 22, 16),
    "large": size(1024, 24, 16),
    "xlarge": size(1152, 28, 16),
    "DiT-S": size(384, 12, 6),
    "DiT-B": size(768, 12, 12),
    "DiT-L": size(1024, 24, 16),
    "DiT-XL": size(1152, 28, 16),
}


class DiT(nn.Module):
    """f32[B, H, W, C] -> f32[B, H, W, C].

    Attributes:
        hidden_size, depth, num_heads, mlp_ratio: the transformer's.
        patch_size: side of a patch in pixels; divides H = W.
        num_classes: 0 is unconditional.
        qk_norm: RMS norm of queries and keys.
        attention: "auto", "xla" or "cudnn"; see layers.attend.
        scan_layers: one compiled block for all depths; compiles faster, and parameters are
            stacked [depth, ...] under "blocks" instead of "blocks_0", "blocks_1", ...
        remat: recompute each block in the backward pass: memory of one block instead of all.
        dtype: of activations; parameters, norms, softmax and the output are float32.

    Raises:
        ValueError: the image is not square, or patch_size does not divide its side.
    """

    hidden_size: int
    depth: int
    num_heads: int
    patch_size: int
    mlp_ratio: float = 4.0
    num_classes: int = 0
    qk_norm: bool = False
    attention: str = "auto"
    scan_layers: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, t, cond, keys=None):
        b, h, w, channels = x.shape
        p, d = self.patch_size, self.hidden_size
        if h != w or h % p:
            raise ValueError(
                f"DiT wants square images with a side divisible by patch_size {p}; got {h}x{w}"
            )
        if d % self.num_heads or d % 4:
            raise ValueError(
                f"hidden_size {d} is not a multiple of 4 and of num_heads {self.num_heads}"
            )
        side = h // p
        # patches as one matrix product, so that fans and initial scale are a linear layer's
        x = (
            x.reshape(b, side, p, side, p, channels)
            .transpose(0, 1, 3, 2, 4, 5)
            .reshape(b, side * side, -1)
        )
        x = layers.Dense(d, kernel_init=layers.xavier, dtype=self.dtype, name="patchify")(x)
        x = x + layers.sincos_2d(side, d).astype(self.dtype)
        c = layers.Condition(d, self.num_classes, dtype=self.dtype, name="condition")(t, cond)
        x = self.blocks(x, c)
        x = layers.Head(p * p * channels, name="head")(x, c)
        x = x.reshape(b, side, side, p, p, channels).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(b, h, w, channels)

    def blocks(self, x, c):
        block = (
            nn.remat(layers.Block, prevent_cse=not self.scan_layers) if self.remat else layers.Block
        )
        make = lambda name: block(
            self.num_heads, self.mlp_ratio, self.qk_norm, self.attention, self.dtype, name=name
        )
        if not self.scan_layers:
            for i in range(self.depth):
                x = make(f"blocks_{i}")(x, c)
            return x
        scan = nn.scan(
            lambda module, x, c: (module(x, c), None),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=self.depth,
        )
        return scan(make("blocks"), x, c)[0]


def unstack(params: dict) -> dict:
    """Parameters of a scanned DiT as those of an unrolled one (same numbers, other tree)."""
    stacked = dict(params)
    blocks = stacked.pop("blocks")
    depth = len(jax.tree.leaves(blocks)[0])
    return stacked | {
        f"blocks_{i}": jax.tree.map(lambda a, i=i: a[i], blocks) for i in range(depth)
    }
