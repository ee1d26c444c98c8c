"""Solvers of the Masked process: which hidden tokens are revealed between t and s, and as what.

    Ancestral       each by chance: the reverse process itself
    Ordered         a fixed share, the surest first (or at random, or as orders.py has it)
    Remask          by chance, and some that were revealed are hidden again: errors can heal
    FirstHitting    one by one at the exact times of the reverse process; steps = hidden tokens
    Blocks          any of these, a block of places at a time from left to right

All reveal everything on the step to s = 0, and leave given tokens alone as long as `sample`
has a clamp for them.

Draws are exact in float32. One categorical draw over "stay hidden, or become one of V tokens"
is not: float32 uniforms cut the Gumbel tail at 2^-24, which at V = 8192 and 1024 steps loses a
quarter of the reveals and a nat of the tokens' entropy (arXiv:2409.02908, sec. 4). So first
comes a coin for the reveal, and then a token by inverse CDF from one uniform; and where the coin
says no, no logits are needed (guesses.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from diffusion import draws, survival
from diffusion.guesses import MANY, everywhere, guess
from diffusion.schedules import levels
from diffusion.tokens import Filter


def kept_hidden(process, t, s):
    """P(hidden at s | hidden at t) = (1 - alpha_s) / (1 - alpha_t); 0 at s = 0."""
    now, then = levels(process.schedule, t), levels(process.schedule, s)
    return jnp.where(s > 0, then.sigma / now.sigma, 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Ancestral:
    """Each hidden token is revealed with probability (alpha_s - alpha_t) / (1 - alpha_t)
    (arXiv:2406.04329, eq. 3).

    Attributes:
        filters: logits -> logits functions, applied in order: temperature, top_k, top_p, ...
        language: a constraints.Automaton that every sample satisfies; None: anything goes.
    """

    filters: tuple[Filter, ...] = ()
    language: Any = None

    def start(self, x):
        return ()

    def step(self, process, predict, keys, x, t, s, memory):
        keys_token, keys_reveal = draws.split(keys)
        reveal = draws.uniform(keys_reveal, x.shape[1:]) >= kept_hidden(process, t, s)
        reveal &= x == process.mask_id
        tokens, _ = guess(process, predict, keys_token, x, t, self, reveal)
        return jnp.where(reveal, tokens, x), memory


def entropy(logits):
    """Nats f32[...] of logits f32[..., V]."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.where(log_p > -jnp.inf, jnp.exp(log_p) * log_p, 0.0).sum(-1)


def margin(logits, tokens):
    first, second = jnp.moveaxis(jax.lax.top_k(jax.nn.softmax(logits), 2)[0], -1, 0)
    return first - second


def confidence(logits, tokens):
    return jnp.take_along_axis(jax.nn.softmax(logits), tokens[..., None], -1)[..., 0]


ORDERS = {  # (logits f32[B, L, V], tokens drawn i32[B, L]) -> f32[B, L], the surest highest
    "random": lambda logits, tokens: jnp.zeros(tokens.shape),
    "confidence": confidence,  # of the token drawn (arXiv:2502.09992, sec. 2.4)
    "margin": margin,  # of the likeliest over the second
    "entropy": lambda logits, tokens: -entropy(logits),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Ordered:
    """Reveals a fixed share, (alpha_s - alpha_t) / (1 - alpha_t) of the hidden, surest first.

    Shares of a token are rounded by a coin. "random" keeps the law of the data when one token
    is revealed a step; the other orders sharpen it: they read well and vary little.

    Attributes:
        order: a key of ORDERS, or a function like theirs; orders.py has more.
        noise: Gumbel noise on the scores, as much at t = 1, falling to 0 with t.
        filters, language: see Ancestral.

    Raises:
        ValueError: no such order; the message lists those there are.
    """

    order: str | Callable[[jax.Array, jax.Array], jax.Array] = "confidence"
    noise: float = 0.0
    filters: tuple[Filter, ...] = ()
    language: Any = None

    def __post_init__(self):
        if isinstance(self.order, str) and self.order not in ORDERS:
            raise ValueError(f"no order {self.order!r}; there are {', '.join(ORDERS)}")

    def start(self, x):
        return ()

    def step(self, process, predict, keys, x, t, s, memory):
        keys_token, keys_order, keys_coin = draws.split(keys, 3)
        hidden = x == process.mask_id
        total = hidden.sum(-1)
        stay = jnp.floor(total * kept_hidden(process, t, s) + draws.uniform(keys_coin))
        u = draws.uniform(keys_order, x.shape[1:])

        def first(scores):
            rank = jnp.argsort(jnp.argsort(jnp.where(hidden, -scores, jnp.inf), axis=-1), axis=-1)
            return hidden & (rank < (total - stay)[:, None])

        if self.order == "random":
            reveal = first(u)
            tokens, _ = guess(process, predict, keys_token, x, t, self, reveal)
            return jnp.where(reveal, tokens, x), memory
        if isinstance(self.order, str):
            order = ORDERS[self.order]
        else:  # it may look at all places at once
            order, ask = self.order, predict
            predict = lambda x, t: everywhere(ask(x, t), x.shape)
        tokens, scores = guess(process, predict, keys_token, x, t, self, hidden, order, parts=MANY)
        if self.noise:
            scores = scores - self.noise * t * jnp.log(-jnp.log(jnp.maximum(u, 1e-7)))
        return jnp.where(first(scores), tokens, x), memory


@dataclass(frozen=True, kw_only=True, eq=False)
class Remask:
    """ReMDM (arXiv:2503.00307, eq. 5 to 7): a revealed token is hidden again with probability
    sigma, and more hidden ones are revealed to make up for it: marginals stay the same.

    Attributes:
        strategy: "cap": sigma = min(amount, largest); "rescale": amount * largest; "loop": go
            down to `level`, stay there with "cap" while t is between `on` and `off`, then
            go on down.
        amount: of sigma, in [0, 1].
        on, off, level: of "loop": 1 > on > off > 0.
        filters, language: see Ancestral.

    Raises:
        ValueError: no such strategy, or on and off in the wrong order.
    """

    strategy: str = "cap"
    amount: float = 0.02
    on: float = 0.55
    off: float = 0.05
    level: float = 0.1
    filters: tuple[Filter, ...] = ()
    language: Any = None

    def __post_init__(self):
        if self.strategy not in ("cap", "rescale", "loop"):
            raise ValueError(f"no strategy {self.strategy!r}; there are cap, rescale, loop")
        if not 1.0 > self.on > self.off > 0.0:
            raise ValueError(f"want 1 > on > off > 0; got on = {self.on}, off = {self.off}")

    def start(self, x):
        return ()

    def step(self, process, predict, keys, x, t, s, memory):
        keys_token, keys_coin = draws.split(keys)
        if self.strategy == "loop":
            t, s = self.looped(t), self.looped(s)
        now, then = levels(process.schedule, t), levels(process.schedule, s)
        most = jnp.minimum(then.sigma / jnp.maximum(now.alpha, 1e-12), 1.0)
        sigma = self.amount * most if self.strategy == "rescale" else jnp.minimum(self.amount, most)
        if self.strategy == "loop":
            sigma = jnp.where(t == s, sigma, 0.0)
        sigma = jnp.where(s > 0, sigma, 0.0)
        reveal = (then.alpha - (1.0 - sigma) * now.alpha) / now.sigma
        reveal = jnp.where(s > 0, reveal, 1.0)
        u = draws.uniform(keys_coin, x.shape[1:])
        hidden = x == process.mask_id
        again, reveal = ~hidden & (u < sigma), hidden & (u < reveal)
        tokens, _ = guess(process, predict, keys_token, x, t, self, reveal)
        return jnp.where(reveal, tokens, jnp.where(again, process.mask_id, x)), memory

    def looped(self, t):
        """The level at each moment t: 1 to `level`, `level`, `level` to 0."""
        down = self.level + (1.0 - self.level) * (t - self.on) / (1.0 - self.on)
        return jnp.where(t > self.on, down, self.level * jnp.minimum(t / self.off, 1.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class FirstHitting:
    """One token a step, at the very time when the next one would be revealed
    (arXiv:2409.02908, algorithm 1): with n hidden, 1 - alpha falls by u^(1/n).

    Exact when there are as many steps as hidden tokens; with fewer the last step reveals the
    rest at once. Memory: each example's own 1 - alpha, f32[B].

    Attributes:
        filters, language: see Ancestral.
    """

    filters: tuple[Filter, ...] = ()
    language: Any = None

    def start(self, x):
        return jnp.ones(len(x))

    def step(self, process, predict, keys, x, t, s, memory):
        keys_time, keys_place, keys_token = draws.split(keys, 3)
        hidden = x == process.mask_id
        rate = memory * draws.uniform(keys_time) ** (1.0 / jnp.maximum(hidden.sum(-1), 1))
        time = survival.invert(process.schedule, rate)
        place = jnp.where(hidden, draws.uniform(keys_place, x.shape[1:]), -1.0).argmax(-1)
        reveal = hidden & ((jnp.arange(x.shape[1]) == place[:, None]) | (s <= 0))
        tokens, _ = guess(process, predict, keys_token, x, time, self, reveal)
        return jnp.where(reveal, tokens, x), rate


@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """Semi-autoregressive: `inner` solves one block of places after the other, left to right,
    each from level 1 down to 0 in its share of the steps.

    The network sees all places, and as its level the one at which as many would be hidden.

    Attributes:
        size: places in a block. Steps are best a multiple of the number of blocks.
        inner: a solver of this file, with the filters and the language.
    """

    size: int
    inner: Any = Ancestral()

    def start(self, x):
        return self.inner.start(x)

    def step(self, process, predict, keys, x, t, s, memory):
        blocks = -(-x.shape[1] // self.size)
        # the last block that this step enters; a boundary belongs to the block before it
        number = jnp.maximum(jnp.ceil((1.0 - s) * blocks - 1e-3) - 1.0, 0.0)
        local = lambda level: jnp.clip(1.0 - ((1.0 - level) * blocks - number), 0.0, 1.0)
        t, s = local(t), jnp.where(local(s) < 2e-3, 0.0, local(s))
        place = jnp.arange(x.shape[1])
        open_ = place < (number + 1.0) * self.size
        done = (place < number * self.size) & (x != process.mask_id)
        later = -1  # stands for <MASK> where the inner solver is not to reveal anything

        def seen(x, _):
            x = jnp.where(x == later, process.mask_id, x)
            share = (x == process.mask_id).mean(-1)
            return predict(x, survival.invert(process.schedule, share))

        view = jnp.where((x == process.mask_id) & ~open_, later, x)
        view, memory = self.inner.step(process, seen, keys, view, t, s, memory)
        return jnp.where(open_ & ~done, view, x), memory
