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

import itertools

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
    spread = spread_of(process)
    if not spread:
        return lambda t: t
    rank = order(keys, shape)
    of = lambda t: t[:, None] if jnp.ndim(t) else t
    return lambda t: own(of(t), rank, spread)


def spread_of(process) -> float:
    spread = getattr(process, "spread", 0.0)
    if not 0.0 <= spread < 1.0:
        raise ValueError(f"spread wants 0 or more, below 1; got {spread}")
    return spread


def order(keys, shape):
    """Ranks f32[B, L] in [0, 1] of the places of each example, at random."""
    drawn = draws.uniform(draws.fold(keys, jnp.int32(1)), shape)
    return drawn.argsort(-1).argsort(-1) / max(shape[0] - 1, 1)


def own(t, rank, spread):
    """At t = 1 all are 1 exactly: rounded, the one that starts first would be a little below, and
    who asks whether it is noise would be told so by some compilations and not by others."""
    return jnp.where(t < 1.0, jnp.clip((t - spread * rank) / (1.0 - spread), 0.0, 1.0), 1.0)


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
        ValueError: rounds of a process with one clock, more rounds than steps, or such a spread.
    """
    number, spread = getattr(solver, "rounds", 1), spread_of(process)
    if not spread and number > 1:
        raise ValueError(f"rounds want a process with spread above 0; got {number} and spread 0")
    steps = shared_out(times, number)
    if not spread:
        return steps, lambda t, s, _: (t, s, None)
    orders = jnp.stack([order(draws.fold(keys, jnp.int32(r)), shape) for r in range(number)])
    never = jnp.zeros(orders.shape[1:], bool) if given is None else given

    def levels(t, s, r):
        t, s = own(t, orders[r], spread), own(s, orders[r], spread)
        still = never | ((r > 0) & (s == 1.0))  # as it stands: its turn is yet to come
        t, s = jnp.where(still, 0.0, t), jnp.where(still, 0.0, s)
        return t, s, (r > 0) & (t == 1.0) if number > 1 else None

    return steps, levels


def shared_out(times, number: int):
    """Steps (t, s, round): `number` rounds, each along `times`, in as many steps together."""
    total = len(times) - 1
    if number > max(total, 1):
        raise ValueError(f"{number} rounds want as many steps; got {total}")
    ends = [round(r * total / number) for r in range(number + 1)]
    along = lambda n: jnp.interp(
        jnp.linspace(0.0, 1.0, n + 1), jnp.linspace(0.0, 1.0, total + 1), times
    )
    parts = [along(b - a) for a, b in itertools.pairwise(ends)] if number > 1 else [times]
    join = lambda some: jnp.concatenate(list(some))
    numbers = (jnp.full(len(p) - 1, r) for r, p in enumerate(parts))
    return join(p[:-1] for p in parts), join(p[1:] for p in parts), join(numbers)


def pace(process, t):
    """dt_l / dt of each place, f32[B, L], where levels t are; 1 of a single clock."""
    if jnp.ndim(t) < 2:
        return 1.0
    return jnp.where((t > 0.0) & (t < 1.0), 1.0 / (1.0 - process.spread), 0.0)


def noisy(real, t):
    """What of real bool[B, L] is not sure yet, at t f32[B] or f32[B, L]."""
    return real & (t > 0.0) if jnp.ndim(t) == 2 else real
