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


class Ready(NamedTuple):
    """What attention is made of, heads apart: dtype[B, L, N, D / N] each."""

    q: jax.Array
    k: jax.Array
    v: jax.Array


class Attention(nn.Module):
    """Every place of x sees every other or, if causal, itself and those before it.

    In two halves: `ready` makes queries, keys and values, `look` what comes of them.
    """

    width: int
    num_heads: int
    rope: bool
    causal: bool
    qk_norm: bool
    implementation: str
    dtype: Any

    def setup(self):
        dense = lambda n: layers.Dense(n, kernel_init=layers.xavier, dtype=self.dtype)
        self.qkv, self.out = dense(3 * self.width), dense(self.width)
        if self.qk_norm:
            self.q_norm, self.k_norm = (nn.RMSNorm(dtype=self.dtype) for _ in range(2))

    def ready(self, x, memory, layer):
        """(Ready, memory) of x [B, L, D]. With a memory, x is the one place at memory.place; it is
        written down, and keys and values are those of all places."""
        qkv = self.qkv(x)
        q, k, v = jnp.split(qkv.reshape(*x.shape[:-1], 3 * self.num_heads, -1), 3, axis=-2)
        if self.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.rope:
            waves = places.sincos(memory.length if memory else x.shape[1], q.shape[-1])
            waves = memory.here(waves) if memory else waves
            q, k = places.rotate(q, waves), places.rotate(k, waves)
        if memory:
            memory = memory.write(layer, k, v)
            k, v = memory.keys[layer], memory.values[layer]
        return Ready(q, k, v), memory

    def look(self, ready, mask, bias, alone=False):
        """dtype[B, M, D] of M queries. alone: each of them sees all that the mask lets it."""
        y = layers.attend(
            *ready,
            "xla" if alone else self.implementation,  # no large matrix for a kernel to avoid
            mask=mask,
            bias=bias,
            causal=self.causal and not alone,
        )
        return self.out(y.reshape(*y.shape[:2], self.width))
