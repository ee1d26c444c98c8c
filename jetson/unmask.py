"""Solvers of masked text in NumPy: which hidden tokens are revealed on the way from level i to j.

    ancestral       each by chance
    ordered         a fixed share, the surest first, or at random
    remask          by chance, and some that were revealed are hidden again
    blocks          any of these, a block of places after the other
    rewrite         any of these, and then every place once more, or several times

Each is what diffusion/unmask.py and diffusion/rewrite.py have under the same name, where sources
are named, and a function (ask, schedule, keys, x i64[B, L], i, j) -> x, made by a function of its
knobs. Levels are counted from 0 (all hidden) to S (nothing is).

    ask     (keys, x, i, power) -> (tokens i64[B, L], logits f32[N, V] of the N hidden places).
            i None: of the level at which as many are hidden as x hides. The logits are raised to
            `power`, and unfiltered; tokens come from the filtered ones.
"""

import math

import numpy as np

from data.tokenizer import MASK
from jetson import threefry
from jetson.logits import softmax

LATER = -1  # stands for MASK where a block is not open yet
REWRITING = 2.0  # power of what is written again, as utils/recipe_process.py has it


def kept_hidden(l, i, j):
    """P(hidden at level j | hidden at level i)."""
    return np.float32(0.0) if l.last(j) else l.sigma[j] / l.sigma[i]


def ancestral():
    def step(ask, l, keys, x, i, j):
        keys_token, keys_reveal = threefry.split(keys)
        tokens, _ = ask(keys_token, x, i)
        reveal = threefry.uniform(keys_reveal, x.shape[1:]) >= kept_hidden(l, i, j)
        return np.where((x == MASK) & reveal, tokens, x)

    return step


def confidence(logits, tokens, u):
    return np.take_along_axis(softmax(logits), tokens[..., None], -1)[..., 0]


def margin(logits, tokens, u):
    second, first = np.moveaxis(np.partition(softmax(logits), -2, axis=-1)[..., -2:], -1, 0)
    return first - second


def certainty(logits, tokens, u):
    """Minus the entropy, in nats."""
    p = softmax(logits)
    return (p * np.log(np.maximum(p, np.finfo(np.float32).tiny))).sum(-1)


def by_chance(logits, tokens, u):
    return u


def ordered(order):
    """order: of the four functions above: (logits f32[N, V], tokens i64[N], u f32[N]) -> f32[N].
    Shares of a token are rounded by a coin."""

    def step(ask, l, keys, x, i, j):
        keys_token, keys_order, keys_coin = threefry.split(keys, 3)
        tokens, logits = ask(keys_token, x, i)
        hidden = x == MASK
        total = hidden.sum(-1).astype(np.float32)
        stay = np.floor(total * kept_hidden(l, i, j) + threefry.uniform(keys_coin))
        u = threefry.uniform(keys_order, x.shape[1:])
        cost = np.full(x.shape, np.inf, np.float32)
        cost[hidden] = -order(logits, tokens[hidden], u[hidden])
        return np.where(hidden & (ranks(cost) < (total - stay)[:, None]), tokens, x)

    return step


def ranks(cost):
    """Places i64[B, L] that costs would have in order, the least first, of equals the leftmost."""
    order = np.argsort(cost, axis=-1, kind="stable")
    return np.argsort(order, axis=-1, kind="stable")


def remask(again):
    """again: the largest share that may be hidden again f32[] -> the share that is."""

    def step(ask, l, keys, x, i, j):
        keys_token, keys_coin = threefry.split(keys)
        tokens, _ = ask(keys_token, x, i)
        back, reveal = np.float32(0.0), np.float32(1.0)
        if not l.last(j):
            alpha = max(l.alpha[i], np.float32(1e-12))
            back = np.float32(again(min(l.sigma[j] / alpha, np.float32(1.0))))
            reveal = (l.alpha[j] - (np.float32(1.0) - back) * l.alpha[i]) / l.sigma[i]
        u = threefry.uniform(keys_coin, x.shape[1:])
        shown = np.where(u < back, MASK, x)
        return np.where(x == MASK, np.where(u < reveal, tokens, x), shown)

    return step


def blocks(inner, size):
    """`inner` solves blocks of `size` places from left to right, each from level 0 to S in its
    share of the steps."""

    def step(ask, l, keys, x, i, j):
        end, count = len(l.alpha) - 1, -(-x.shape[1] // size)
        number = max(math.ceil(j * count / end - 1e-3) - 1, 0)  # of the last one that is entered
        own = lambda level: min(max(level * count - number * end, 0), end)
        then = own(j) if end - own(j) >= 2e-3 * end else end
        place = np.arange(x.shape[1])
        ahead = place >= (number + 1) * size
        done = (place < number * size) & (x != MASK)

        def seen(keys, view, _, power=1.0):
            """Of all that is hidden; logits are of the places that may be revealed."""
            tokens, logits = ask(keys, np.where(view == LATER, MASK, view), None, power)
            shown = view[(view == MASK) | (view == LATER)]
            return tokens, logits[shown == MASK]

        view = inner(seen, l, keys, np.where((x == MASK) & ahead, LATER, x), own(i), then)
        return np.where(ahead | done, x, view)

    return step


def rewrite(inner, again, times):
    """`inner` writes everything in the first of 1 + `again` equal shares of the steps, and every
    place `again` times after that, a few at a time. It remembers how often a place was hidden
    since level 0, and so is for one batch at a time.

    times: noise levels f32[S + 1].
    """
    turns = None

    def step(ask, l, keys, x, i, j):
        nonlocal turns
        keys_inner, keys_turn = threefry.split(keys)
        if i == 0:
            turns = np.where(x != MASK, np.float32(np.inf), np.float32(0.0))  # inf: it is given
        end = len(l.alpha) - 1
        first = (1 + again) * i < end

        def asked(keys, x, i, power=1.0):
            return ask(keys, x, i, power) if first else ask(keys, x, None, REWRITING * power)

        now = (1 + again) * i if first else end - 1
        x = inner(asked, l, keys_inner, x, now, min((1 + again) * j, end))
        free = np.isfinite(turns).sum(-1)
        number = 0 if l.last(j) else due(times[j], again, free) - due(times[i], again, free)
        u = threefry.uniform(keys_turn, x.shape[1:])
        hide = ranks(turns + u) < np.reshape(number, (-1, 1))
        turns = turns + hide
        return np.where(hide, MASK, x)

    return step


def due(t, again, free):
    """How many of i64[B] free places have had a turn by noise level t."""
    left = np.float32((1 + again) * float(t) - again)  # rounded once: XLA makes one operation of it
    return np.floor(free.astype(np.float32) * max(-left, np.float32(0.0)) + np.float32(0.5))


SOLVERS = {
    "ancestral": ancestral,
    "random": lambda: ordered(by_chance),
    "confidence": lambda: ordered(confidence),
    "margin": lambda: ordered(margin),
    "entropy": lambda: ordered(certainty),
    "remask_cap": lambda: remask(lambda most: min(np.float32(0.02), most)),
    "remask_rescale": lambda: remask(lambda most: np.float32(0.2) * most),
}


def solver(name, times, block_size=0, rounds=1):
    """Of a key of SOLVERS and levels at `times` f32[S + 1], as generate.py builds it of the same
    knobs.

    Raises:
        ValueError: no such solver, or knobs that mean nothing.
    """
    if name not in SOLVERS:
        raise ValueError(
            f"no solver {name!r} on a device; there are {', '.join(SOLVERS)}: --solver takes one"
        )
    found = SOLVERS[name]()
    found = blocks(found, block_size) if block_size else found
    return rewrite(found, rounds - 1, times) if rounds > 1 else found
