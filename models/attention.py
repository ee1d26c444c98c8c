"""The transformer's attention, and what it remembers while a text is written token by token.

In a causal network the keys and values of a place depend on the places up to it alone. Once
computed they hold, and the next token costs the work of one place instead of the whole length.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from models import layers, places


class Memory(NamedTuple):
    """Keys and values of every layer, right up to `place`, the one that x stands at."""

    keys: jax.Array  # dtype[depth, B, L, N, D / N]
    values: jax.Array  # dtype[depth, B, L, N, D / N]
    place: jax.Array  # i32[]

    @property
    def length(self):
        return self.keys.shape[2]

    def here(self, table, axis=0):
        """The one row of a table of L rows that belongs to `place`; the axis stays."""
        return jax.lax.dynamic_slice_in_dim(table, self.place, 1, axis)

    def seen(self):
        """bool[1, L]: `place` and those before it."""
        return (jnp.arange(self.length) <= self.place)[None]

    def write(self, layer, k, v):
        """With k and v dtype[B, 1, N, D / N] at `place` of one layer."""
        put = lambda whole, one: jax.lax.dynamic_update_slice(
            whole, one[None].astype(whole.dtype), (layer, 0, self.place, 0, 0)
        )
        return self._replace(keys=put(self.keys, k), values=put(self.values, v))


class Attention(nn.Module):
    """Every place of x sees every other or, if causal, itself and those before it.

    With a memory, x is the one place at memory.place; it is written down and sees what is there.
    Returns (y like x, memory).
    """

    num_heads: int
    rope: bool
    causal: bool
    qk_norm: bool
    implementation: str
    dtype: Any

    @nn.compact
    def __call__(self, x, mask, bias, memory, layer):
        dense = lambda n, name: nn.Dense(n, kernel_init=layers.xavier, dtype=self.dtype, name=name)
        qkv = dense(3 * x.shape[-1], "qkv")(x)
        q, k, v = jnp.split(qkv.reshape(*x.shape[:-1], 3 * self.num_heads, -1), 3, axis=-2)
        if self.qk_norm:
            q = nn.RMSNorm(dtype=self.dtype, name="q_norm")(q)
            k = nn.RMSNorm(dtype=self.dtype, name="k_norm")(k)
        if self.rope:
            start = memory.place if memory else 0
            q, k = places.rotate(q, start), places.rotate(k, start)
        causal, implementation = self.causal, self.implementation
        if memory:
            memory = memory.write(layer, k, v)
            k, v = memory.keys[layer], memory.values[layer]
            causal = False  # the mask says which places have been seen
            implementation = "xla"  # one query: there is no large matrix for a kernel to avoid
        y = layers.attend(q, k, v, implementation, mask=mask, bias=bias, causal=causal)
        return dense(x.shape[-1], "out")(y.reshape(x.shape)), memory
