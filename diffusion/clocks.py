"""Clocks: places that turn to noise one after the other instead of all at once.

A place's own noise level t_l runs from 0 to 1 over a part 1 - spread of the whole time, and
every example draws a new order in which they start:

    t_l = clip((t - spread rank_l) / (1 - spread), 0, 1),    rank_l in [0, 1], of a random order

At any time most places are then sure or know nothing, and few lie in between. Where all are half
known at once, what a text is has to be inferred from weak hints at every place, which is hard to
learn; a sure neighbour is easy to read (EXPERIMENTS.md). The order does not depend on the data, so
each is a forward process like any other (rates that differ by place: arXiv:2312.13236; noise
levels by token: arXiv:2407.01392), and a bound holds for each: where the integrand of a place
has dt in it, dt_l = `pace` dt.

Spread 0 is one clock for all; towards 1 it is one place after the other, in any order.
"""

import jax.numpy as jnp

from diffusion import draws


def clock(process, keys, shape):
    """t f32[B] or f32[] -> noise levels f32[B, L] of a process with `spread`; else t as it is.

    Args:
        keys: key[B] of the examples, for the order.
        shape: (L,), of one example.

    Raises:
        ValueError: spread is not in [0, 1).
    """
    spread = getattr(process, "spread", 0.0)
    if not 0.0 <= spread < 1.0:
        raise ValueError(f"spread wants 0 or more, below 1; got {spread}")
    if not spread:
        return lambda t: t
    order = draws.uniform(draws.fold(keys, jnp.int32(1)), shape)
    rank = order.argsort(-1).argsort(-1) / max(shape[0] - 1, 1)
    of = lambda t: t[:, None] if jnp.ndim(t) else t
    return lambda t: jnp.clip((of(t) - spread * rank) / (1.0 - spread), 0.0, 1.0)


def pace(process, t):
    """dt_l / dt of each place, f32[B, L], where levels t are; 1 of a single clock."""
    if jnp.ndim(t) < 2:
        return 1.0
    return jnp.where((t > 0.0) & (t < 1.0), 1.0 / (1.0 - process.spread), 0.0)


def noisy(real, t):
    """What of real bool[B, L] is not sure yet, at t f32[B] or f32[B, L]."""
    return real & (t > 0.0) if jnp.ndim(t) == 2 else real
