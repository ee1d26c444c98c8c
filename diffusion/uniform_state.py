"""Uniform-state diffusion: a token turns into any other, and every token may be wrong.

    q(x_t = b | x) = alpha(t) 1[b = x] + (1 - alpha(t)) / V

The network says p(x | x_t) from the whole x_t, its own noisy token included. Seen as a jump
process, reversal needs ratios of marginals, and those are LINEAR in that posterior: with a
the token at hand and rho = q(x | x) / q(b | x) = 1 + alpha V / (1 - alpha),

    r_b = 1 + (rho - 1) p_b - (1 - 1 / rho) p_a                 for b != a

(write 1[b = x] for p and it is q(b | x) / q(a | x), the true one). The bound is

    -log p(x) <= integral -alpha'/alpha E sum_l 1/V sum_{b != a} D(true_b, r_b) dt,
    D(u, v) = v - u + u log(u / v)

(score entropy, arXiv:2310.16834, eq. 10, in the form of arXiv:2412.10193). To put the
posterior into q(b | x_hat) / q(a | x_hat) instead is not a bound: p has seen a already.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from diffusion import draws, survival
from diffusion.schedules import Schedule, alike, levels


class Changed(NamedTuple):
    """The target: what was there, and what is there now."""

    tokens: jax.Array  # i32[B, L]
    now: jax.Array  # i32[B, L]


@dataclass(frozen=True, kw_only=True, eq=False)
class Uniform:
    """Tokens i32[B, L]. The loss is a bound on -log p(x) in nats per real token.

    Attributes:
        vocab_size: ids 0..vocab_size - 1 are the noise; the network has as many logits.
        pad_id: an id that is neither changed nor scored nor counted; None if there is none.
        schedule: t -> (alpha, 1 - alpha); alpha must end near 0 at t = 1.
    """

    vocab_size: int
    pad_id: int | None = None
    schedule: Schedule = survival.linear

    def corrupt(self, keys, x0, t):
        keys_change, keys_fresh = draws.split(keys)
        change = draws.uniform(keys_change, x0.shape[1:]) < levels(self.schedule, t, like=x0).sigma
        xt = jnp.where(change & self.real(x0), self.prior(keys_fresh, x0.shape[1:]), x0)
        return xt, Changed(x0, xt)

    def loss(self, out, target, t):
        """out: logits f32[B, L, V]. noise_accuracy is over the tokens that were changed: to copy
        the others is no merit."""
        real = self.real(target.tokens)
        l = levels(self.schedule, jnp.minimum(t, 1.0 - 1e-6), like=real)  # at t = 1 it is 0 / 0
        nats = divergence(out, target, l.alpha, l.sigma) * (-l.dalpha / l.alpha)
        total = jnp.maximum(real.sum(-1), 1)
        noise, right = real & (target.now != target.tokens), out.argmax(-1) == target.tokens
        return jnp.where(real, nats, 0.0).sum(-1) / total, {
            "noise_accuracy": (noise & right).sum() / jnp.maximum(noise.sum(), 1),
            "noise_rate": (noise.sum(-1) / total).mean(),
        }

    def prior(self, keys, shape):
        return draw_ids(keys, shape, self.vocab_size)

    def back(self, keys, x, token, t, s):
        """x_s ~ q(x_s | x_t, token), i32[B, L] all; at s = 0 the token."""
        return resampled(self, keys, x, token, t, s)

    def decode(self, x):
        return x

    def evidence(self, x, t):
        """log q(x_t | x) f32[B, L, V] up to a constant: see `evidence`."""
        l = levels(self.schedule, t, like=x[..., None])
        return log_rho(l, self.vocab_size) * jax.nn.one_hot(x, self.vocab_size)

    def real(self, x):
        """What is not padding, bool like x."""
        return jnp.ones(x.shape, bool) if self.pad_id is None else x != self.pad_id

    def speakable(self, logits):
        """Every id may be said."""
        return logits.astype(jnp.float32)


def draw_ids(keys, shape, vocab_size):
    """Uniform ids i32[B, *shape]."""
    ids = (draws.uniform(keys, shape) * vocab_size).astype(jnp.int32)
    return jnp.minimum(ids, vocab_size - 1)


def log_rho(l, size):
    """log q(x | x) / q(b | x), b any other of `size` ids; finite at both ends."""
    return jnp.log1p(l.alpha * size / jnp.maximum(l.sigma, 1e-12))


def divergence(logits, target, alpha, sigma):
    """1/V sum_{b != a} D(true_b, r_b), f32[B, L], from alpha and sigma = 1 - alpha f32[B, L]
    or f32[B, 1].

    The two ratios are close for small alpha and huge for small sigma; so their difference is
    formed from p - 1[x], and D from it by log1p where it is small.
    """
    size = logits.shape[-1]
    alpha, sigma = alpha[..., None], jnp.maximum(sigma[..., None], 1e-12)
    up = alpha * size / sigma  # rho - 1
    down = up / (1.0 + up)  # 1 - 1 / rho
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    at = lambda v, ids: jnp.take_along_axis(v, ids[..., None], -1)
    log_a = at(log_p, target.now)
    one, p = jax.nn.one_hot(target.tokens, size), jnp.exp(log_p)
    one_a = at(one, target.now)
    true = jnp.where(one > 0, 1.0 + up, 1.0 - one_a) + one_a / (1.0 + up)
    guess = up * p - jnp.expm1(log_a) + jnp.exp(log_a) / (1.0 + up)
    off = (up * (p - one) - down * (jnp.exp(log_a) - one_a)) / true
    near = jnp.abs(off) < 0.5
    log_ratio = jnp.where(near, jnp.log1p(jnp.where(near, off, 0.0)), jnp.log(guess / true))
    terms = jnp.where(jnp.arange(size) == target.now[..., None], 0.0, true * (off - log_ratio))
    return terms.sum(-1) / size


def resampled(process, keys, x, guess, t, s):
    """x_s ~ q(x_s | x_t, x = guess), ids like x; guess broadcasts to x. At s = 0 the guess.

    Given the guess, a token stays, becomes the guess, or is drawn afresh from all ids. A place
    whose s is t keeps what it has."""
    keys_choice, keys_fresh = draws.split(keys)
    t, s = alike(t, x), alike(s, x)
    now, then = levels(process.schedule, t), levels(process.schedule, s)
    size = process.vocab_size
    kept = now.alpha / jnp.maximum(then.alpha, 1e-12)  # survival from s to t
    stay = kept * (then.sigma / size + then.alpha * (guess == x))
    move = (1.0 - kept) * then.alpha / size
    fresh = (1.0 - kept) * then.sigma / size
    u = draws.uniform(keys_choice, x.shape[1:]) * (stay + move + fresh)
    other = draw_ids(keys_fresh, x.shape[1:], size)
    new = jnp.where(u < stay, x, jnp.where(u < stay + move, guess, other))
    return jnp.where(s < t, jnp.where(s > 0.0, new, guess), x)
