"""Where a token stands: fixed waves, rotations of queries and keys, slopes on attention.

Waves are NumPy's, so a program holds their numbers: XLA would compute sines and cosines anew for
each element that they meet, and a rotation took twenty times as long on a CPU.
"""

import jax.numpy as jnp
import numpy as np


def sincos(length, dim):
    """Fixed positions f32[length, dim]: sines, then cosines (arXiv:1706.03762, sec. 3.5)."""
    angles = np.arange(length)[:, None] * 1e4 ** (-np.arange(dim // 2) / (dim // 2))
    return np.concatenate([np.sin(angles), np.cos(angles)], -1).astype(np.float32)


def rotate(x, waves):
    """RoPE (arXiv:2104.09864, eq. 34) on [B, L, N, D]: pairs (i, i + D/2) turn with the place.

    Products in float32; only differences of places reach the attention.

    Args:
        waves: `sincos` of the L places, f32[L, D].
    """
    sin, cos = jnp.split(waves[:, None], 2, -1)
    a, b = jnp.split(x.astype(jnp.float32), 2, -1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1).astype(x.dtype)


def alibi(length, num_heads, causal):
    """-slope |i - j|, f32[1, N, L, L]; slopes 2^(-8 n / N), n = 1..N (arXiv:2108.12409, sec. 3).

    Where both sides are seen, every other head is twice as steep to the right and the rest to
    the left; else a text and its mirror image would look the same.
    """
    number = jnp.arange(1, num_heads + 1)[:, None, None]
    ahead = jnp.arange(length) - jnp.arange(length)[:, None]  # j - i
    steep = 1.0 if causal else jnp.where((ahead > 0) == (number % 2 == 1), 2.0, 1.0)
    return (-(2.0 ** (-8.0 * number / num_heads)) * steep * jnp.abs(ahead))[None]
