"""Drawing token ids from logits: filters, and an exact categorical draw.

temperature, top_k, top_p     make filters, functions logits -> logits
categorical(u, logits)        ids from one uniform each, by inverse CDF
mean(nats, among)             of each example, over the places that count
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Filter = Callable[[jax.Array], jax.Array]  # logits f32[..., V] -> logits f32[..., V]


def temperature(value: float) -> Filter:
    """Divides the logits; 0 leaves the likeliest alone."""
    return (lambda logits: logits / value) if value > 0 else top_k(1)


def top_k(k: int) -> Filter:
    """Leaves the k likeliest; of equals those with the lower id."""

    def keep(logits):
        if k >= logits.shape[-1]:
            return logits
        values, ids = jax.lax.top_k(logits, k)
        floor = jnp.full(logits.shape, -jnp.inf)
        return jnp.put_along_axis(floor, ids, values, -1, inplace=False)

    return keep


def top_p(p: float) -> Filter:
    """Leaves the fewest likeliest that hold a share p of the probability, at least one."""

    def keep(logits):
        order = jnp.argsort(-logits, axis=-1)
        share = jnp.take_along_axis(jax.nn.softmax(logits), order, -1)
        ahead = jnp.cumsum(share, -1) - share  # what the likelier ones hold
        kept = (ahead < p).at[..., 0].set(True)
        back = jnp.argsort(order, axis=-1)
        return jnp.where(jnp.take_along_axis(kept, back, -1), logits, -jnp.inf)

    return keep


def filtered(logits, filters):
    """The filters one after the other."""
    for f in filters:
        logits = f(logits)
    return logits


def mean(nats, among):
    """Of nats f32[B, L] over the places among bool[B, L] of each example, f32[B]."""
    return jnp.where(among, nats, 0.0).sum(-1) / jnp.maximum(among.sum(-1), 1)


def categorical(u: jax.Array, logits: jax.Array, width: int = 128) -> jax.Array:
    """Ids i32[...] by inverse CDF, from uniforms f32[...] in [0, 1) and logits f32[..., V].

    A large V is gone through in two levels, first the group of `width` ids and then the id, so
    that no running sum is long. An id of no probability is never drawn.
    """
    size = logits.shape[-1]
    mass = jnp.exp(logits - logits.max(-1, keepdims=True))
    if size <= width:
        return first_above(u * mass.sum(-1), mass)[0]
    groups = -(-size // width)
    mass = jnp.pad(mass, [(0, 0)] * u.ndim + [(0, groups * width - size)])
    mass = mass.reshape(*u.shape, groups, width)
    held = mass.sum(-1)
    level = u * held.sum(-1)
    group, before = first_above(level, held)
    inside = jnp.take_along_axis(mass, group[..., None, None], -2)[..., 0, :]
    place, _ = first_above(jnp.maximum(level - before, 0.0), inside)
    return group * width + place


def first_above(level, mass):
    """The first place i32[...] where the running sum of mass f32[..., N] exceeds level f32[...],
    and the sum before it. Where rounding leaves none, the heaviest place."""
    upto = jnp.cumsum(mass, -1)
    fits = (upto > level[..., None]) & (mass > 0)
    place = jnp.where(fits.any(-1), fits.argmax(-1), mass.argmax(-1)).astype(jnp.int32)
    at = lambda v: jnp.take_along_axis(v, place[..., None], -1)[..., 0]
    return place, at(upto) - at(mass)
