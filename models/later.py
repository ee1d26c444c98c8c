"""A network that stops short of its end, and goes there for the places that it is told."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from models.block import Midway


class Later(NamedTuple):
    """Logits not yet computed, for a sampler that knows which of them it needs.

    `begin()` does what is common to all places and returns what does the rest: a function of
    places i32[B, M] of each row, to logits f32[B, M, V].
    """

    begin: Callable[[], Callable[[jax.Array], jax.Array]]


def split(run, x, cond) -> Later:
    """A network's run, (x, cond) -> what it is asked for, as Later."""

    def begin():
        unfinished = run(x, cond)
        return lambda places: run(unfinished, {"places": places})

    return Later(begin)


class Unfinished(NamedTuple):
    """The network up to its last block's second half; or all of its blocks, where they cannot be
    taken apart."""

    h: Any  # Midway, or dtype[B, L, D]
    c: Any
    mask: Any
    bias: Any

    def at(self, places):
        if not isinstance(self.h, Midway):
            return self._replace(h=jnp.take_along_axis(self.h, places[..., None], 1))
        bias = self.bias
        if bias is not None:
            bias = jnp.moveaxis(bias[0][:, places], 0, 1)
        return self._replace(h=self.h.at(places), bias=bias)
