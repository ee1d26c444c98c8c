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


def rounds(process, solver, keys, shape, times, given=None):
    """(steps, levels) of a whole generation: steps (t, s, round), arrays of one length, go step by
    step into levels -> (t, s, again).

    t and s are as a solver wants them: f32[] where there is one clock, else f32[B, L]. In round 0
    every place goes from noise to data. In each of `solver.rounds` - 1 more, in a new order, every
    place turns to noise once more when its clock starts (again bool[B, L], else None) and is
    written anew, with all others as they stand: what went wrong early is seen from what came late.

    Args:
        times: f32[steps + 1], from 1 down to 0; the rounds share the steps.
        given: bool[B, L], places that show no noise from the start; None: there are none.

    Raises:
        ValueError: rounds of a process with one clock, or more rounds than steps.
    """
    number, spread = getattr(solver, "rounds", 1), getattr(process, "spread", 0.0)
    pairs = times[:-1], times[1:], jnp.zeros(len(times) - 1, jnp.int32)
    if not spread and number > 1:
        raise ValueError(f"rounds want a process with spread above 0; got {number} and spread 0")
    if not spread:
        return pairs, lambda t, s, _: (t, s, None)
    if number > 1:
        if number >= len(times):
            raise ValueError(f"{number} rounds want as many steps; got {len(times) - 1}")
        over = (len(times) - 1) / number  # of the steps of one round
        at = jnp.linspace(0.0, 1.0, len(times))
        part = [jnp.interp(jnp.linspace(0.0, 1.0, round((r + 1) * over) - round(r * over) + 1), at,
                           times) for r in range(number)]  # fmt: skip
        pairs = (
            jnp.concatenate([p[:-1] for p in part]), jnp.concatenate([p[1:] for p in part]),
            jnp.concatenate([jnp.full(len(p) - 1, r) for r, p in enumerate(part)]),
        )  # fmt: skip

    def levels(t, s, r):
        own = clock(process, draws.fold(keys, r), shape)
        t, s = own(t), own(s)
        later, begun = r > 0, s < 1.0
        t, s = (jnp.where(later & ~begun, 0.0, v) for v in (t, s))
        if given is not None:
            t, s = jnp.where(given, 0.0, t), jnp.where(given, 0.0, s)
        return t, s, later & (t >= 1.0) & (s < 1.0) if number > 1 else None

    return pairs, levels


def pace(process, t):
    """dt_l / dt of each place, f32[B, L], where levels t are; 1 of a single clock."""
    if jnp.ndim(t) < 2:
        return 1.0
    return jnp.where((t > 0.0) & (t < 1.0), 1.0 / (1.0 - process.spread), 0.0)


def noisy(real, t):
    """What of real bool[B, L] is not sure yet, at t f32[B] or f32[B, L]."""
    return real & (t > 0.0) if jnp.ndim(t) == 2 else real
