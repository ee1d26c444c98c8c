"""Coarse structure first: orders for `unmask.Ordered` that look at more than how sure a guess is.

    ranked(rank)      a given order of places
    Content           tokens that say much before tokens that are everywhere
    Openings          how each sentence begins, then outward from there

An order is (logits f32[B, L, V], tokens i32[B, L]) -> f32[B, L], the first to be revealed
highest; of equals the leftmost. `tokens` are those that can be seen and, elsewhere, guesses.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp


def ranked(rank):
    """Places by rank f32[L], the lowest first."""
    return lambda logits, tokens: jnp.broadcast_to(-jnp.asarray(rank, jnp.float32), tokens.shape)


@dataclass(frozen=True, eq=False)
class Content:
    """By information content, -log p in nats of the token guessed: names and nouns come before
    "the" and "and".

    Attributes:
        log_unigram: f32[V], see `blend.unigram`; None until it is `told`.
    """

    log_unigram: Any = None

    def __call__(self, logits, tokens):
        if self.log_unigram is None:
            raise ValueError("the order Content wants log_unigram f32[V]; `told` hands it over")
        return -jnp.asarray(self.log_unigram)[tokens]


@dataclass(frozen=True, eq=False)
class Openings:
    """By the distance to the opening of their sentence: the first place, or the one behind a
    token that ends a sentence, whether that can be seen or is a guess.

    Attributes:
        ends: bool[V], tokens behind which a sentence begins; None until it is `told`.
    """

    ends: Any = None

    def __call__(self, logits, tokens):
        if self.ends is None:
            raise ValueError("the order Openings wants ends bool[V]; `told` hands it over")
        ended = jnp.asarray(self.ends)[tokens]
        opens = jnp.pad(ended[:, :-1], ((0, 0), (1, 0)), constant_values=True)
        place = jnp.arange(tokens.shape[1])
        opening = jax.lax.cummax(jnp.where(opens, place, 0), axis=1)
        return (opening - place).astype(jnp.float32)


def told(solver, **facts):
    """The same solver, its order told what it asks for.

    facts: functions of nothing by name, log_unigram and ends; only what is asked for is called.
    """
    if hasattr(solver, "inner"):
        return replace(solver, inner=told(solver.inner, **facts))
    order = getattr(solver, "order", None)
    if not isinstance(order, Content | Openings):
        return solver
    asked = {f.name: facts[f.name]() for f in fields(order) if f.name in facts}
    return replace(solver, order=replace(order, **asked))
