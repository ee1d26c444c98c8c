"""Noise schedules: how much data and how much noise there is at noise level t.

A schedule is a plain function `t -> (alpha, sigma)` with t in [0, 1]; t = 0 is data,
t = 1 is noise. Continuous processes read x_t = alpha x_0 + sigma eps; discrete processes
read alpha alone, as the probability that a token survives. Derivatives come from
`levels`, so a new schedule is two lines of algebra.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Schedule = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


class Levels(NamedTuple):
    """A schedule and its time derivative at one t, all of one shape."""

    alpha: jax.Array
    sigma: jax.Array
    dalpha: jax.Array
    dsigma: jax.Array

    @property
    def snr(self) -> jax.Array:
        """Signal-to-noise ratio alpha^2 / sigma^2; infinite where sigma = 0."""
        return (self.alpha / self.sigma) ** 2


def levels(schedule: Schedule, t: jax.Array, like: jax.Array | None = None) -> Levels:
    """Evaluates `schedule` and d/dt of it, broadcast to the rank of `like`.

    Args:
        schedule: any function of this module.
        t: f32[B] or f32[], noise level in [0, 1]; or f32[B, L], one a place.
        like: an array f32[B, ...]; the result gets trailing axes to match it.
    """
    t = jnp.asarray(t, jnp.float32) if like is None else alike(t, like)
    (alpha, sigma), (dalpha, dsigma) = jax.jvp(schedule, (t,), (jnp.ones_like(t),))
    return Levels(alpha, sigma, dalpha, dsigma)


def alike(t: jax.Array, x: jax.Array) -> jax.Array:
    """Noise levels with trailing axes, to match x f32[B, ...]."""
    t = jnp.asarray(t, jnp.float32)
    return t.reshape(t.shape + (1,) * (x.ndim - t.ndim))


def linear(t):
    """Straight lines from data to noise: rectified flow (arXiv:2209.03003)."""
    return 1.0 - t, t


def cosine(t):
    """Variance preserving, smooth at both ends (arXiv:2102.09672).

    The angle stops at 0.9999 of a right angle, or eps could not be turned into x_0 at t = 1.
    """
    angle = 0.5 * jnp.pi * 0.9999 * t
    return jnp.cos(angle), jnp.sin(angle)


def ddpm(t, beta_min=0.1, beta_max=20.0):
    """The continuous form of DDPM's 1000 linear betas (arXiv:2011.13456, eq. 33)."""
    log_alpha = -0.5 * (beta_min * t + 0.5 * (beta_max - beta_min) * t**2)
    return jnp.exp(log_alpha), jnp.sqrt(-jnp.expm1(2.0 * log_alpha) + 1e-12)


def ve(t, sigma_min=0.01, sigma_max=50.0):
    """Variance exploding: alpha = 1, sigma geometric in t (arXiv:2011.13456, eq. 31)."""
    return jnp.ones_like(t), sigma_min * (sigma_max / sigma_min) ** t


def preserving(schedule: Schedule) -> Schedule:
    """The same process in coordinates x / sqrt(alpha^2 + sigma^2), so inputs have unit scale."""

    def preserved(t):
        alpha, sigma = schedule(t)
        scale = jax.lax.rsqrt(alpha**2 + sigma**2)
        return alpha * scale, sigma * scale

    return preserved


def shifted(schedule: Schedule, shift: float) -> Schedule:
    """Spends more of [0, 1] at high noise when shift > 1 (arXiv:2403.03206, eq. 23).

    The signal-to-noise ratio of larger images is higher at the same t; shift =
    sqrt(pixels / reference pixels) makes up for it. shift = 1 changes nothing.
    """
    return lambda t: schedule(shift * t / (1.0 + (shift - 1.0) * t))


geometric = preserving(ve)

SCHEDULES = {"linear": linear, "cosine": cosine, "ddpm": ddpm, "geometric": geometric}
