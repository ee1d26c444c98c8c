"""Sparse-distribution diffusion: a place is undecided between K candidates at once.

K slots hold the same token, and each turns to noise by itself, as in `uniform_state`:

    q(c_1..c_K | x) = prod_j ( alpha(t) 1[c_j = x] + (1 - alpha(t)) / V )

No slot is the true one and none says where the truth is; how often an id occurs is all there
is to know. K = 1 is uniform-state diffusion, K -> infinity is Gaussian (arXiv:2512.15923).
A slot is a jump process like any other, so the bound is the sum of K of `uniform_state`'s,
all with the posterior p(x | all slots of all places).

What a text is becomes clear where about one slot in K is right, at alpha near 1 / K; so
shift the schedule by K (`schedules.shifted`): logit(alpha) is then spread around -log K.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from diffusion import draws, survival
from diffusion.clocks import noisy, pace
from diffusion.readouts import cross_entropy
from diffusion.schedules import Schedule, levels
from diffusion.tokens import mean
from diffusion.uniform_state import Changed, divergence, draw_ids, log_rho, resampled

FORMS = ("bound", "cross_entropy")


class Beliefs(NamedTuple):
    """A sparse distribution at each place. An id may come twice: its shares add up."""

    ids: jax.Array  # i32[B, L, K]
    probs: jax.Array  # f32[B, L, K], sums to 1 or less: the rest is any id's


def even(ids) -> Beliefs:
    """Slots i32[B, L, K] that count alike."""
    return Beliefs(ids, jnp.full(ids.shape, 1.0 / ids.shape[-1]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Sparse:
    """Tokens i32[B, L], diffused as Beliefs of `candidates` slots of equal share.

    Attributes:
        vocab_size: ids 0..vocab_size - 1 are the noise; the network has as many logits.
        candidates: K.
        pad_id: an id that is neither changed nor scored nor counted; None if there is none.
        schedule: t -> (alpha, 1 - alpha); alpha must end near 0 at t = 1.
        form: "bound" is a bound on -log p(x) in nats per real token; "cross_entropy" that of
            the guess at the same levels, over the places that are not sure yet: the same best
            network, less variance, no bound.
        spread: how far the clocks of places lie apart, see `clocks`.

    Raises:
        ValueError: no such form, or fewer than one candidate.
    """

    vocab_size: int
    candidates: int = 8
    pad_id: int | None = None
    schedule: Schedule = survival.linear
    form: str = "bound"
    spread: float = 0.0

    def __post_init__(self):
        if self.form not in FORMS:
            raise ValueError(f"no form {self.form!r} of the loss; there are {', '.join(FORMS)}")
        if self.candidates < 1:
            raise ValueError(f"candidates wants 1 or more; got {self.candidates}")

    def corrupt(self, keys, x0, t):
        keys_change, keys_fresh = draws.split(keys)
        shape = (*x0.shape[1:], self.candidates)
        l = levels(self.schedule, t, like=x0[..., None])
        change = draws.uniform(keys_change, shape) < l.sigma
        change &= self.real(x0)[..., None]
        ids = jnp.where(change, self.noise(keys_fresh, x0.shape[1:]), x0[..., None])
        return even(ids), Changed(x0, ids)

    def loss(self, out, target, t):
        """out: logits f32[B, L, V]. noise_accuracy is over the places where no slot is right."""
        x, ids = target
        real = self.real(x)
        total = jnp.maximum(real.sum(-1), 1)
        right = (ids == x[..., None]) & real[..., None]
        lost = real & ~right.any(-1)
        loss = self.bound if self.form == "bound" else self.guess
        return loss(out, target, t), {
            "noise_accuracy": (lost & (out.argmax(-1) == x)).sum() / jnp.maximum(lost.sum(), 1),
            "noise_rate": 1.0 - (right.sum((-1, -2)) / (self.candidates * total)).mean(),
        }

    def bound(self, out, target, t):
        """The integrand of the bound, f32[B]: a slot after the other, for memory's sake."""
        x = target.tokens
        l = levels(self.schedule, jnp.minimum(t, 1.0 - 1e-6), like=x)  # at t = 1 it is 0 / 0

        @jax.checkpoint
        def add(sum_, slot):
            return sum_ + divergence(out, Changed(target.tokens, slot), l.alpha, l.sigma), None

        slots = jnp.moveaxis(target.now, -1, 0)
        sum_, _ = jax.lax.scan(add, jnp.zeros(x.shape), slots)
        return mean(sum_ * (-l.dalpha / l.alpha) * pace(self, t), self.real(x))

    def guess(self, out, target, t):
        """The cross-entropy of the places that are not sure yet, f32[B]."""
        x = target.tokens
        nats = cross_entropy(out.astype(jnp.float32), x)[0]
        return mean(nats, noisy(self.real(x), t))

    def evidence(self, x, t):
        """log q(slots | x) f32[B, L, V] up to a constant: log rho for every slot that says x."""
        size = self.vocab_size
        l = levels(self.schedule, t, like=x.probs)
        each = self.candidates * x.probs * log_rho(l, size)
        row = lambda ids, each: jnp.zeros(size).at[ids].add(each)
        return jax.vmap(jax.vmap(row))(x.ids, each)

    def prior(self, keys, shape):
        return even(self.noise(keys, shape))

    def noise(self, keys, shape):
        return draw_ids(keys, (*shape, self.candidates), self.vocab_size)

    def back(self, keys, x, token, t, s):
        """Slots ~ q(c_s | c_t, token) for i32[B, L]; at s = 0 all are the token."""
        return even(resampled(self, keys, x.ids, token[..., None], t, s))

    def decode(self, x):
        """The id that most is believed of, i32[B, L]."""
        same = x.ids[..., :, None] == x.ids[..., None, :]
        share = jnp.where(same, x.probs[..., None, :], 0.0).sum(-1)
        return jnp.take_along_axis(x.ids, share.argmax(-1)[..., None], -1)[..., 0]

    def real(self, x):
        """What is not padding, bool like x."""
        return jnp.ones(x.shape, bool) if self.pad_id is None else x != self.pad_id

    def speakable(self, logits):
        """Every id may be said."""
        return logits.astype(jnp.float32)
