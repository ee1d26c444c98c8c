"""Noise levels of text in NumPy: schedules at any t, and places that have clocks of their own.

    survival(name, shift)            t -> (alpha, sigma), as diffusion/survival.py has them
    steps(number, rounds)            [(t, s, round)] of a generation
    clocks(spread, ...)              (t, s, round) -> levels of each place

The last two are diffusion/clocks.py's, which tells what they are for. All numbers are float32 and
rounded where XLA rounds them: whether a level is 0 or 1 exactly makes a difference.
"""

import itertools

import numpy as np

from jetson import threefry

ONE = np.float32(1.0)


def polynomial(t):
    sigma = t * t
    return ONE - sigma, sigma


def geometric(t, low=1e-5, high=20.0):
    total = np.float32(low) * np.float32(high / low) ** t
    return np.exp(-total), -np.expm1(-total)


def loglinear(t):
    sigma = np.float32(1.0 - 1e-5) * t
    return ONE - sigma, sigma


def cosine(t):
    quarter, half = np.float32(0.25 * np.pi), np.float32(0.5 * np.pi)
    return np.float32(2.0) * np.sin(quarter * (ONE - t)) ** 2, np.sin(half * t)


SURVIVALS = {
    "linear": lambda t: (ONE - t, t),
    "cosine": cosine,
    "loglinear": loglinear,
    "polynomial": polynomial,
    "geometric": geometric,
}


def survival(name, shift):
    """Shifted as schedules.shifted does it."""
    shift = np.float32(shift)
    return lambda t: SURVIVALS[name](shift * t / (ONE + (shift - ONE) * t))


def steps(number, rounds=1):
    """[(t, s, round)]: `rounds` times from 1 down to 0, in `number` steps together."""
    even = line(1.0, 0.0, number)
    if rounds == 1:
        return [(t, s, 0) for t, s in itertools.pairwise(even)]
    ends = [round(r * number / rounds) for r in range(rounds + 1)]
    out = []
    for r, (first, last) in enumerate(itertools.pairwise(ends)):
        times = between(line(0.0, 1.0, last - first), line(0.0, 1.0, number), even)
        out += [(t, s, r) for t, s in itertools.pairwise(times)]
    return out


def line(start, end, n):
    """jnp.linspace of n + 1 numbers."""
    i = np.arange(n, dtype=np.float32) * (ONE / np.float32(n))
    return np.append(np.float32(start) * (ONE - i) + np.float32(end) * i, np.float32(end))


def between(x, places, values):
    """jnp.interp."""
    i = np.clip(np.searchsorted(places, x, side="right"), 1, len(places) - 1)
    share = (x - places[i - 1]) / (places[i] - places[i - 1])
    return values[i - 1] + share * (values[i] - values[i - 1])


def clocks(spread, rounds, keys, given):
    """A function of (t, s, round) to (t, s, again): levels f32[B, L], or f32[B, 1] of one clock,
    and the places bool[B, L] that turn to noise once more, None where there are none.

    Args:
        keys: u32[B, 2], for the orders. given: bool[B, L], places that show no noise.
    """
    batch, length = given.shape
    if not spread:
        same = lambda level: np.full((batch, 1), level, np.float32)
        return lambda t, s, r: (same(t), same(s), None)
    orders = [order(threefry.fold(keys, r), length) for r in range(rounds)]

    def levels(t, s, r):
        t, s = (own(level, orders[r], spread) for level in (t, s))
        still = given | ((r > 0) & (s == 1.0))  # as it stands: its turn is yet to come
        t, s = np.where(still, np.float32(0.0), t), np.where(still, np.float32(0.0), s)
        return t, s, t == 1.0 if r > 0 else None

    return levels


def order(keys, length):
    """Numbers i64[B, L] of the places, in a random order."""
    drawn = threefry.uniform(threefry.fold(keys, 1), (length,))
    return drawn.argsort(-1, kind="stable").argsort(-1, kind="stable")


def own(t, number, spread):
    """Levels f32[B, L] of places whose clocks start by number; the difference is rounded once."""
    apart = ONE / np.float32(max(number.shape[1] - 1, 1)) * np.float32(spread)
    left = (np.float64(t) - number * np.float64(apart)).astype(np.float32)
    inside = np.clip(left * (ONE / np.float32(1.0 - spread)), np.float32(0.0), ONE)
    return inside if t < 1.0 else np.ones_like(inside)
