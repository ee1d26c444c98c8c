"""Gaussian diffusion: DDPM, score models and flow matching are one process.

    x_t = alpha(t) x_0 + sigma(t) eps,     eps ~ N(0, I)

Every regression target in use is a pair (a, b) with  y = a x_0 + b eps.  With x_t that
makes two linear equations in two unknowns, so one solve (`split`) turns any prediction
into (x_0, eps), and no table of conversions is needed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from diffusion import draws, schedules
from diffusion.schedules import Levels, Schedule, levels

TARGETS: dict[str, Callable[[Levels], tuple]] = {
    "x0": lambda l: (1.0, 0.0),
    "eps": lambda l: (0.0, 1.0),  # DDPM, arXiv:2006.11239
    "v": lambda l: (-l.sigma, l.alpha),  # progressive distillation, arXiv:2202.00512
    "velocity": lambda l: (l.dalpha, l.dsigma),  # flow matching, arXiv:2210.02747
}


def flat(l: Levels, det: jax.Array) -> jax.Array:
    """No weighting: the plain squared error of the target."""
    return jnp.ones_like(l.alpha)


def min_snr(l: Levels, det: jax.Array, gamma: float = 5.0) -> jax.Array:
    """min(SNR, gamma) on the error of x_0 (arXiv:2303.09556, eq. 8), whatever the target."""
    return jnp.minimum(l.snr, gamma) * (l.sigma / det) ** 2


def sigmoid(l: Levels, det: jax.Array, bias: float = -1.0) -> jax.Array:
    """sigmoid(bias - log SNR) on the bound's own weight of eps (arXiv:2410.19324, sec. 3.1).

    The evidence bound weighs the error of eps by -d log SNR / dt at uniform t
    (arXiv:2303.00848, eq. 4); the sigmoid turns its details down.
    """
    slope = 2.0 * (l.alpha * l.dsigma / l.sigma - l.dalpha)  # times alpha, which may be 0 at t = 1
    return jax.nn.sigmoid(bias - jnp.log(l.snr)) * slope * l.alpha / det**2


WEIGHTS = {"flat": flat, "min_snr": min_snr, "sigmoid": sigmoid}


@dataclass(frozen=True, kw_only=True, eq=False)
class Gaussian:
    """Pixels, latents or embeddings: f32[B, ...].

    `Gaussian(schedule=linear, target="velocity")` is flow matching,
    `Gaussian(schedule=ddpm, target="eps")` is DDPM.

    Attributes:
        schedule: t -> (alpha, sigma).
        target: what the network is asked for, a key of TARGETS.
        weight: (Levels, det) -> f32[B, 1...], multiplies the squared error of the target.

    Raises:
        ValueError: the target cannot be turned into x_0 at t = 1 of this schedule.
    """

    schedule: Schedule = schedules.linear
    target: str = "velocity"
    weight: Callable[[Levels, jax.Array], jax.Array] = flat

    def __post_init__(self):
        with jax.ensure_compile_time_eval():
            l = levels(self.schedule, 1.0)
            if abs(float(self.determinant(l))) < 1e-6:
                raise ValueError(
                    f"target {self.target!r} says nothing of x_0 at t = 1, where this schedule has "
                    f"alpha = {float(l.alpha):.3g}, sigma = {float(l.sigma):.3g}; "
                    f"take another of {', '.join(TARGETS)}, or another schedule"
                )

    def corrupt(self, keys, x0, t):
        l = levels(self.schedule, t, like=x0)
        a, b = TARGETS[self.target](l)
        eps = draws.normal(keys, x0.shape[1:], x0.dtype)
        return l.alpha * x0 + l.sigma * eps, a * x0 + b * eps

    def loss(self, out, target, t):
        l = levels(self.schedule, t, like=out)
        error = self.weight(l, self.determinant(l)) * jnp.square(out.astype(jnp.float32) - target)
        return error.mean(axis=range(1, error.ndim)), {
            "out_power": power(out),
            "target_power": power(target),
        }

    def prior(self, keys, shape):
        """x_1 with the data's own share, alpha(1), left out."""
        return levels(self.schedule, 1.0).sigma * draws.normal(keys, shape)

    def decode(self, x):
        return x

    def determinant(self, l: Levels) -> jax.Array:
        """Of the system  x = alpha x_0 + sigma eps,  out = a x_0 + b eps."""
        a, b = TARGETS[self.target](l)
        return l.alpha * b - l.sigma * a

    def split(self, out, x, t):
        """Reads the network's output as (x_0, eps), each shaped like x."""
        l = levels(self.schedule, t, like=x)
        a, b = TARGETS[self.target](l)
        det = self.determinant(l)
        return (b * x - l.sigma * out) / det, (l.alpha * out - a * x) / det

    def join(self, x0, eps, t):
        """The inverse of `split`: what a network that means (x_0, eps) would have put out."""
        a, b = TARGETS[self.target](levels(self.schedule, t, like=x0))
        return a * x0 + b * eps


def power(x: jax.Array) -> jax.Array:
    """Mean square, f32[]; of devices' shares the mean is that of the whole."""
    return jnp.mean(jnp.square(x.astype(jnp.float32)))
