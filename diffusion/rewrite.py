"""Second thoughts of the Masked process: what is written is hidden again, a few places at a time.

Most samples that are wrong are wrong in one place that disagrees with another: both were written
while neither could be seen. A place that is hidden alone and written anew sees all others, as in
Gibbs sampling, and may look as often as there are rounds.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from diffusion import draws, survival
from diffusion.guesses import mapped


@dataclass(frozen=True, kw_only=True, eq=False)
class Rewrite:
    """`inner` writes everything in the first of 1 + `again` equal shares of the steps. In each of
    the others every place is written once more, in a new random order: those whose turn it is are
    hidden at the end of a step and drawn by `inner` in the next.

    One place a step, as many steps a round as places, is Gibbs sampling: it keeps the law that the
    network believes in, and brings samples of a hasty first round nearer to it. Tokens that are
    given keep their places and take no turns. Memory: inner's, and f32[B, L], how often each place
    was hidden (inf: given).

    Attributes:
        inner: a solver of unmask.py, with the filters and the language.
        again: how often each place is written after the first time.
        power: of the network's probabilities when it writes again; above 1 it says likelier things.

    Raises:
        ValueError: fewer than one round more.
    """

    inner: Any
    again: int
    power: float = 1.0

    def __post_init__(self):
        if self.again < 1:
            raise ValueError(f"again wants 1 or more; got {self.again}")

    def start(self, x):
        return self.inner.start(x), jnp.zeros(x.shape)

    def step(self, process, predict, keys, x, t, s, memory):
        inner, turns = memory
        keys_inner, keys_turn = draws.split(keys)
        turns = jnp.where((t >= 1.0) & (x != process.mask_id), jnp.inf, turns)
        left = lambda level: (1.0 + self.again) * level - self.again  # of the first round
        first = left(t) > 1e-4

        def asked(x, level):
            hidden = survival.invert(process.schedule, (x == process.mask_id).mean(-1))
            louder = lambda logits: jnp.where(first, logits, self.power * logits)
            return mapped(predict(x, jnp.where(first, level, hidden)), louder)

        now, then = jnp.where(first, left(t), 1e-3), jnp.where(left(s) > 1e-4, left(s), 0.0)
        x, inner = self.inner.step(process, asked, keys_inner, x, now, then, inner)
        free = jnp.isfinite(turns).sum(-1)
        due = lambda level: jnp.floor(free * jnp.maximum(-left(level), 0.0) + 0.5)
        number = jnp.where(s > 0.0, due(s) - due(t), 0.0)
        rank = jnp.argsort(jnp.argsort(turns + draws.uniform(keys_turn, x.shape[1:]), -1), -1)
        hide = rank < number[:, None]
        return jnp.where(hide, process.mask_id, x), (inner, turns + hide)
