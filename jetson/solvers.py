"""Solvers of images in NumPy: one step from level i to i + 1, as diffusion/solvers.py has them.

    ddim, heun, dpm2m      (predict, schedule, keys, x, i, memory) -> (x, memory)

predict: (x, i) -> out f32[B, H, W, C]. schedule has alpha, sigma, dalpha, dsigma f32[S + 1], and
`split`. Sources are named in diffusion/solvers.py. x may be a torch tensor as well, but for
ddim's noise.
"""

from dataclasses import dataclass

import numpy as np

from jetson import threefry

TARGETS = {  # y = a x_0 + b eps, as diffusion/gaussian.py has them
    "x0": lambda l, i: (1.0, 0.0),
    "eps": lambda l, i: (0.0, 1.0),
    "v": lambda l, i: (-l.sigma[i], l.alpha[i]),
    "velocity": lambda l, i: (l.dalpha[i], l.dsigma[i]),
}


@dataclass(frozen=True)
class Schedule:
    """Levels f32[S + 1] from noise to data, and what the network's output means."""

    alpha: np.ndarray
    sigma: np.ndarray
    dalpha: np.ndarray
    dsigma: np.ndarray
    target: str = "x0"

    def split(self, out, x, i):
        """The network's output as (x_0, eps)."""
        a, b = TARGETS[self.target](self, i)
        det = self.alpha[i] * b - self.sigma[i] * a
        return (b * x - self.sigma[i] * out) / det, (self.alpha[i] * out - a * x) / det

    def last(self, i):
        """Whether level i is the end, t = 0."""
        return i == len(self.alpha) - 1


def ddim(predict, l, keys, x, i, memory, eta=0.0, clip=None):
    """DDIM; eta = 1 is DDPM's ancestral step."""
    x0, eps = l.split(predict(x, i), x, i)
    if clip:
        x0 = x0.clip(-clip, clip)
        eps = (x - l.alpha[i] * x0) / l.sigma[i]
    alpha, sigma = l.alpha[i + 1], l.sigma[i + 1]
    if eta == 0.0:
        return alpha * x0 + sigma * eps, memory
    ratio = l.alpha[i] * sigma / (alpha * l.sigma[i])
    fresh = np.float32(eta) * sigma * np.sqrt(np.maximum(1.0 - ratio**2, 0.0))
    kept = np.sqrt(np.maximum(sigma**2 - fresh**2, 0.0))
    return alpha * x0 + kept * eps + fresh * threefry.normal(keys, x.shape[1:]), memory


def heun(predict, l, keys, x, i, memory, times=None):
    """Heun's second-order step; the last one is ddim's. times: f32[S + 1]."""

    def slope(x, i):
        x0, eps = l.split(predict(x, i), x, i)
        return l.dalpha[i] * x0 + l.dsigma[i] * eps, x0, eps

    slope_t, x0, eps = slope(x, i)
    if l.last(i + 1):
        return l.alpha[i + 1] * x0 + l.sigma[i + 1] * eps, memory
    step = times[i + 1] - times[i]
    slope_s, _, _ = slope(x + step * slope_t, i + 1)
    return x + np.float32(0.5) * step * (slope_t + slope_s), memory


def dpm2m(predict, l, keys, x, i, memory, clip=None):
    """DPM-Solver++(2M); memory: x_0 and log(alpha / sigma) of the step before, or None."""
    x0, _ = l.split(predict(x, i), x, i)
    if clip:
        x0 = x0.clip(-clip, clip)
    with np.errstate(divide="ignore"):
        half_log_snr = np.log(l.alpha[i : i + 2] / l.sigma[i : i + 2])
    here, then = half_log_snr
    ahead = x0
    if memory is not None and not l.last(i + 1) and np.isfinite(memory[1]):
        ahead = x0 + 0.5 * (then - here) / (here - memory[1]) * (x0 - memory[0])
    ratio = l.sigma[i + 1] / l.sigma[i]
    return ratio * x + (l.alpha[i + 1] - l.alpha[i] * ratio) * ahead, (x0, here)


SOLVERS = {"ddim": ddim, "heun": heun, "dpm2m": dpm2m}
