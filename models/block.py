"""A block of the transformer, in two halves: only in the first do places look at each other."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from models import layers
from models.attention import Attention, Ready


class Midway(NamedTuple):
    """A block in whose second half no place has a part in another's."""

    x: jax.Array  # dtype[B, L, D], as it came in
    ready: Ready
    gates: Any  # of the adaptive norms, dtype[B, D] each, or None

    def at(self, places):
        """The same at i32[B, M], places of each row; keys and values stay those of all."""
        q = jnp.take_along_axis(self.ready.q, places[..., None, None], 1)
        x = jnp.take_along_axis(self.x, places[..., None], 1)
        return self._replace(x=x, ready=self.ready._replace(q=q))


class Block(nn.Module):
    """Pre-norm; with a condition adaLN-Zero, which starts as the identity.

    It hands on (x, memory); the memory may be None. Its halves are `begin` and `end`.
    """

    width: int
    num_heads: int
    d_ff: int
    adaptive: bool
    rope: bool
    causal: bool
    qk_norm: bool
    implementation: str
    dropout: float
    dtype: Any

    def setup(self):
        dense = lambda n: layers.Dense(n, kernel_init=layers.xavier, dtype=self.dtype)
        self.attention = Attention(
            self.width, self.num_heads, self.rope, self.causal, self.qk_norm, self.implementation,
            self.dtype,
        )  # fmt: skip
        self.up, self.down = dense(self.d_ff), dense(self.width)
        if self.adaptive:
            self.modulation = layers.Dense(
                6 * self.width, kernel_init=layers.zeros, dtype=self.dtype
            )
        else:
            self.norm_a, self.norm_m = (nn.LayerNorm(dtype=self.dtype) for _ in range(2))

    def __call__(self, state, number, c, mask, bias, keys):
        x, memory = state
        alone = memory is not None
        midway, memory = self.begin(x, memory, number, c)
        return self.end(midway, number, mask, bias, keys, alone), memory

    def begin(self, x, memory, number, c):
        gates = None
        if self.adaptive:
            shift, scale, *gates = jnp.split(self.modulation(nn.silu(c)), 6, -1)
        h = layers.modulate(x, shift, scale) if self.adaptive else self.norm_a(x)
        ready, memory = self.attention.ready(h, memory, number)
        return Midway(x, ready, gates), memory

    def end(self, midway, number, mask, bias, keys=None, alone=False):
        x, ready, gates = midway
        keys_a = keys_m = None
        if keys is not None:
            keys_a, keys_m = (
                jax.vmap(lambda k, n=n: jax.random.fold_in(k, 2 * number + n))(keys) for n in (0, 1)
            )
        gate_a, shift, scale, gate_m = gates if gates else (None,) * 4
        gated = lambda h, gate: h if gate is None else gate[:, None] * h
        h = self.attention.look(ready, mask, bias, alone)
        x = x + gated(layers.dropout(keys_a, h, self.dropout), gate_a)
        h = layers.modulate(x, shift, scale) if gates else self.norm_m(x)
        h = self.down(nn.gelu(self.up(h)))
        return x + gated(layers.dropout(keys_m, h, self.dropout), gate_m)
