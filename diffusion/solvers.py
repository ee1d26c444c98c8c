"""Solvers of the Gaussian process: one step of the reverse ODE or SDE, from t down to s.

    Ddim    1 network call a step, order 1; eta = 0 is the ODE, eta = 1 is DDPM
    Heun    2 calls, order 2
    Dpm2m   1 call, order 2 (multistep): the default choice below 50 steps
    Churn   2 calls, order 2, with fresh noise: EDM's stochastic sampler

All keep `start` and `step` of process.Solver.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from diffusion import draws
from diffusion.schedules import levels


@dataclass(frozen=True, kw_only=True, eq=False)
class Ddim:
    """DDIM (arXiv:2010.02502, eq. 12); eta = 1 is DDPM's ancestral step.

    On the linear schedule eta = 0 is exactly the Euler step of flow matching.

    Attributes:
        eta: share of the posterior's standard deviation that is drawn afresh.
        clip: bound on |x_0| after each prediction; None leaves it free.
    """

    eta: float = 0.0
    clip: float | None = None

    def start(self, x):
        return ()

    def step(self, process, predict, keys, x, t, s, memory):
        x0, eps = process.split(predict(x, t), x, t)
        now, then = levels(process.schedule, t), levels(process.schedule, s)
        if self.clip is not None:
            x0 = jnp.clip(x0, -self.clip, self.clip)
            eps = (x - now.alpha * x0) / now.sigma
        if self.eta == 0.0:
            return then.alpha * x0 + then.sigma * eps, memory
        ratio = now.alpha * then.sigma / (then.alpha * now.sigma)
        fresh = self.eta * then.sigma * jnp.sqrt(jnp.maximum(1.0 - ratio**2, 0.0))
        kept = jnp.sqrt(jnp.maximum(then.sigma**2 - fresh**2, 0.0))
        noise = draws.normal(keys, x.shape[1:])
        return then.alpha * x0 + kept * eps + fresh * noise, memory


@dataclass(frozen=True, kw_only=True, eq=False)
class Heun:
    """Second-order solver of the probability-flow ODE (arXiv:2206.00364, algorithm 1)."""

    def start(self, x):
        return ()

    def step(self, process, predict, keys, x, t, s, memory):
        def slope(x, t):
            """dx/dt = alpha' x_0 + sigma' eps, and the pair."""
            x0, eps = process.split(predict(x, t), x, t)
            l = levels(process.schedule, t)
            return l.dalpha * x0 + l.dsigma * eps, x0, eps

        slope_t, x0, eps = slope(x, t)
        # At s = 0 a second slope has no meaning (sigma = 0): there Ddim's step, which lands on x_0.
        slope_s, _, _ = slope(x + (s - t) * slope_t, jnp.where(s > 0, s, t))
        then = levels(process.schedule, s)
        landed = then.alpha * x0 + then.sigma * eps
        return jnp.where(s > 0, x + 0.5 * (s - t) * (slope_t + slope_s), landed), memory


class Past(NamedTuple):
    """What DPM-Solver++(2M) remembers of the step before."""

    x0: jax.Array  # its prediction, like x
    half_log_snr: jax.Array  # log(alpha / sigma) at its t, f32[]; -inf before the first step


@dataclass(frozen=True, kw_only=True, eq=False)
class Dpm2m:
    """DPM-Solver++(2M) (arXiv:2211.01095, algorithm 2): one call a step, second order.

    Attributes:
        clip: bound on |x_0| after each prediction; None leaves it free.
    """

    clip: float | None = None

    def start(self, x):
        return Past(jnp.zeros_like(x), jnp.float32(-jnp.inf))

    def step(self, process, predict, keys, x, t, s, memory):
        x0, _ = process.split(predict(x, t), x, t)
        if self.clip is not None:
            x0 = jnp.clip(x0, -self.clip, self.clip)
        now, then = levels(process.schedule, t), levels(process.schedule, s)
        here = jnp.log(now.alpha / now.sigma)
        step, last = jnp.log(then.alpha / then.sigma) - here, here - memory.half_log_snr
        # First order where a neighbour is infinitely far: the first step, and the one to s = 0
        # (merely very far, where a schedule stops short of sigma = 0).
        ahead = 0.5 * step / last
        ahead = jnp.where(jnp.isfinite(ahead) & (s > 0), ahead, 0.0)
        x0_ahead = x0 + ahead * (x0 - memory.x0)
        ratio = then.sigma / now.sigma
        return ratio * x + (then.alpha - now.alpha * ratio) * x0_ahead, Past(x0, here)


@dataclass(frozen=True, kw_only=True, eq=False)
class Churn:
    """Heun with fresh noise before each step (arXiv:2206.00364, algorithm 2): an SDE solver.

    The state is first raised from t to t_hat = t + amount (t - s), at most 1.

    Attributes:
        amount: how much noise comes back, in steps; 0 is Heun.
    """

    amount: float = 0.5

    def start(self, x):
        return ()

    def step(self, process, predict, keys, x, t, s, memory):
        t_hat = jnp.minimum(t + self.amount * (t - s), 1.0)
        now, up = levels(process.schedule, t), levels(process.schedule, t_hat)
        kept = up.alpha / now.alpha
        kept = jnp.where(t_hat > t, kept, 1.0)  # at t = 1 alpha may be 0, and nothing is raised
        fresh = jnp.sqrt(jnp.maximum(up.sigma**2 - (kept * now.sigma) ** 2, 0.0))
        fresh = jnp.where(t_hat > t, fresh, 0.0)  # the root makes 1e-4 of a rounding error
        x_hat = kept * x + fresh * draws.normal(keys, x.shape[1:])
        return Heun().step(process, predict, keys, x_hat, t_hat, s, memory)


SOLVERS = {"ddim": Ddim, "heun": Heun, "dpm2m": Dpm2m, "churn": Churn}
