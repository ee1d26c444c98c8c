"""Survival schedules: the probability alpha(t) that a token is still itself at noise level t.

A schedule is `t -> (alpha, sigma)` with sigma = 1 - alpha, written so that each is exact where
it is small; `schedules.levels` adds the derivatives. Names and formulas are those of
arXiv:2406.04329, table 4, with t = 0 data and t = 1 noise.

The weight of the masked bound is the logarithmic slope of sigma:

    -alpha' / (1 - alpha) = d log sigma / dt

Two schedules stop short of the ends by 1e-5, so their bound misses 1e-5 of a token's nats.
"""

import jax
import jax.numpy as jnp

from diffusion.schedules import Schedule, levels


def linear(t):
    """alpha = 1 - t; weight 1 / t."""
    return 1.0 - t, t


def cosine(t):
    """alpha = 1 - cos(pi / 2 (1 - t)): hides slowly near t = 1; weight pi/2 tan(pi/2 (1 - t))."""
    return 2.0 * jnp.sin(0.25 * jnp.pi * (1.0 - t)) ** 2, jnp.sin(0.5 * jnp.pi * t)


def loglinear(t, eps=1e-5):
    """-log alpha = -log(1 - (1 - eps) t) (arXiv:2406.07524, app. E.1); weight 1 / t."""
    sigma = (1.0 - eps) * t
    return 1.0 - sigma, sigma


def polynomial(t, power=2.0):
    """alpha = 1 - t^power; weight power / t."""
    sigma = t**power
    return 1.0 - sigma, sigma


def geometric(t, low=1e-5, high=20.0):
    """-log alpha is geometric in t, from low to high; weight as `levels` works it out."""
    total = low * (high / low) ** t
    return jnp.exp(-total), -jnp.expm1(-total)


SURVIVALS = {
    "linear": linear,
    "cosine": cosine,
    "loglinear": loglinear,
    "polynomial": polynomial,
    "geometric": geometric,
}


def invert(schedule: Schedule, sigma: jax.Array, rounds: int = 30) -> jax.Array:
    """The t at which a share sigma of the tokens is noise, by bisection; shaped like sigma."""
    sigma = jnp.asarray(sigma, jnp.float32)

    def halve(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        above = levels(schedule, middle).sigma > sigma
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    low, high = jax.lax.fori_loop(0, rounds, halve, (jnp.zeros_like(sigma), jnp.ones_like(sigma)))
    return 0.5 * (low + high)
