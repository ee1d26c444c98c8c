"""Masked diffusion: tokens vanish behind <MASK> and are guessed back.

A token survives to level t with probability alpha(t) (`survival`), else it is hidden. With
x_hat the network's guess from everything that is still to be seen,

    -log p(x) <= integral_0^1  d log(1 - alpha)/dt  E[ sum_{l hidden} -log x_hat_l(x_l) ]  dt

(arXiv:2406.04329, eq. 5; arXiv:2406.07524, eq. 10). The bound depends on the schedule only
through its variance. Of two things the network is relieved ("SUBS"): it never says <MASK>,
and a token that can be seen stays.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from diffusion import draws, readouts, survival
from diffusion.readouts import cross_entropy
from diffusion.schedules import Levels, Schedule, levels


class Hidden(NamedTuple):
    """The target: what was there, and where it is to be guessed."""

    tokens: jax.Array  # i32[B, L]
    hidden: jax.Array  # bool[B, L]


class Form(NamedTuple):
    """One way to estimate the bound.

    hide:   (u f32[B, L] uniform, rate f32[B, 1], real bool[B, L]) -> hidden bool[B, L]
    weight: (Levels f32[B], hidden f32[B], real f32[B]) -> f32[B]; multiplies the sum of nats
            over the hidden tokens, and makes it nats per real token. The last two are counts.
    """

    hide: Callable[..., jax.Array]
    weight: Callable[..., jax.Array]


def by_chance(u, rate, real):
    """Each real token on its own, with probability `rate`."""
    return (u < rate) & real


def by_count(u, rate, real):
    """ceil(rate * real tokens) of them, at least one: every count is as likely as any other."""
    total = real.sum(-1, keepdims=True)
    rank = jnp.argsort(jnp.argsort(jnp.where(real, u, 2.0), axis=-1), axis=-1)
    return (rank < jnp.clip(jnp.ceil(rate * total), 1, total)) & real


def scheduled(l: Levels, hidden, real):
    """d log(1 - alpha) / dt: 1 / t for the linear schedule.

    From alpha's slope, which is the more exact of the two where alpha is small.
    """
    return -l.dalpha / jnp.maximum(l.sigma, 1e-12) / jnp.maximum(real, 1.0)


def averaged(l: Levels, hidden, real):
    """The mean over what happens to be hidden.

    When the rate is uniform the count is uniform on 0..L, so the mean given that anything is
    hidden is the bound as it stands; (L + 1) / L pays for the draws that hide nothing.
    """
    return -l.dalpha * (real + 1.0) / jnp.maximum(real, 1.0) / jnp.maximum(hidden, 1.0)


def counted(l: Levels, hidden, real):
    """The mean over exactly k hidden tokens (arXiv:2502.09992, eq. 6): the least variance."""
    return -l.dalpha / jnp.maximum(hidden, 1.0)


FORMS = {
    "weight": Form(by_chance, scheduled),
    "mean": Form(by_chance, averaged),
    "count": Form(by_count, counted),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Masked:
    """Tokens i32[B, L]. The loss is a bound on -log p(x) in nats per real token.

    Its mean over examples is the mean of per-example averages. For the perplexity of a corpus
    of unequal lengths weigh each example by its real tokens.

    Attributes:
        mask_id: the id that hides a token. The network never predicts it; it may lie outside
            the network's output.
        pad_id: an id that is neither hidden nor said, scored or counted; None if there is none.
        schedule: t -> (alpha, 1 - alpha); alpha is the survival probability.
        form: a key of FORMS: "weight" (the papers'), "mean" or "count". All have the same
            expectation; "count" has the least variance and no weight that grows as t -> 0.
        pieces: a network that hands over a readout instead of logits (see `unprojected`) is
            scored in this many pieces, those without a hidden token at no cost.

    Raises:
        ValueError: no such form; the message lists those there are.
    """

    mask_id: int
    pad_id: int | None = None
    schedule: Schedule = survival.linear
    form: str = "weight"
    pieces: int = 8

    def __post_init__(self):
        if self.form not in FORMS:
            raise ValueError(f"no form {self.form!r} of the bound; there are {', '.join(FORMS)}")

    def corrupt(self, keys, x0, t):
        u = draws.uniform(keys, x0.shape[1:])
        rate = levels(self.schedule, t, like=x0).sigma
        hidden = FORMS[self.form].hide(u, rate, self.real(x0))
        return jnp.where(hidden, self.mask_id, x0), Hidden(x0, hidden)

    def loss(self, out, target, t):
        """out: logits f32[B, L, V], or a readout of them.

        masked_accuracy is over all hidden tokens of the batch.
        """
        hidden, real = (
            m.sum(-1).astype(jnp.float32) for m in (target.hidden, self.real(target.tokens))
        )
        weight = FORMS[self.form].weight(levels(self.schedule, t), hidden, real)
        losses, right = self.score(out, target, weight)
        return losses, {
            "masked_accuracy": right.sum() / jnp.maximum(hidden.sum(), 1.0),
            "mask_rate": (hidden / jnp.maximum(real, 1.0)).mean(),
        }

    def prior(self, keys, shape):
        return jnp.full((len(keys), *shape), self.mask_id, jnp.int32)

    def decode(self, x):
        return x

    def real(self, x):
        """What is not padding, bool like x."""
        return jnp.ones(x.shape, bool) if self.pad_id is None else x != self.pad_id

    def speakable(self, logits):
        """Logits f32 that never say <MASK>, nor padding."""
        ids = jnp.arange(logits.shape[-1])
        silent = (ids == self.mask_id) | (ids == (-1 if self.pad_id is None else self.pad_id))
        return jnp.where(silent, -jnp.inf, logits.astype(jnp.float32))

    def score(self, out, target, weight):
        """(weight f32[B] times nats of hidden tokens f32[B], which are right bool[B, L])."""
        if hasattr(out, "logits"):
            return readouts.score(self.speakable, self.pieces, out, target, weight)
        nats, right = cross_entropy(self.speakable(out), target.tokens)
        return weight * jnp.where(target.hidden, nats, 0.0).sum(-1), right & target.hidden


@functools.cache
def unprojected(apply: Callable[..., Any]) -> Callable[..., Any]:
    """The same network, asked for a readout, see readouts.py. Hand it to `diffusion_loss`, and
    the product with the vocabulary is only paid for where something is hidden.

    Cached, so that one apply stays one static argument of jit.
    """

    def asked(params, x, t, cond, keys=None):
        return apply(params, x, t, cond | {"readout": True}, keys)

    return asked


def everywhere(keys, index, total):
    """Stratified noise levels f32[B] on all of (0, 1], for reporting: `loss.stratified` stops
    at T_MIN, which leaves out up to T_MIN of the bound."""
    return 1.0 - (index + draws.uniform(keys)) / total
