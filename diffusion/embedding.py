"""Embedding diffusion: a token is a row of a table, and rows turn to Gaussian noise.

    z_t = alpha(t) e_x + sigma(t) eps,    alpha^2 + sigma^2 = 1,    gamma(t) = log sigma^2 / alpha^2

The network says p(x | z_t) of each place from the whole of z_t, and with it a mean of rows,
x_hat = sum_v p_v e_v. In nats (arXiv:2107.00630; for text arXiv:2305.18619):

    -log p(x) <= KL(q(z_1 | x) || N(0, I)) + E[-log p(x | z_0)]
                 - 1/2 integral SNR'(t) E |e_x - x_hat(z_t, t)|^2 dt

p(x | z_0), the reading of the nearly clean z_0, is Bayes' rule over the rows and asks no
network. The bound depends on gamma through its ends alone; where rows have unit length,
gamma from -6 to 6 goes from no doubt about a row to no trace of it, whatever its width.

Products with the table ask for float32: a bfloat16 one would be off by nats at gamma = -6.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from diffusion import draws, tokens
from diffusion.clocks import noisy, pace
from diffusion.readouts import cross_entropy
from diffusion.schedules import Schedule, alike, levels

FORMS = ("cross_entropy", "bound")


def at_gamma(gamma):
    """(alpha, sigma), variance preserving, at a log noise-to-signal ratio of any shape."""
    half_log = lambda v: jnp.exp(0.5 * jax.nn.log_sigmoid(v))
    return half_log(-gamma), half_log(gamma)


def straight_gamma(t, low=-6.0, high=6.0):
    """gamma goes straight from low to high: each factor of SNR gets an equal share of time."""
    return at_gamma(low + (high - low) * t)


def warped(low: float = -6.0, high: float = 6.0, mean: float = 0.0, scale: float = 1.0) -> Schedule:
    """gamma has the same ends, and between them the density of a logistic law.

    It goes slowly where gamma is near `mean`, so training looks at that more often.

    Args:
        mean: gamma of most interest: where the cross-entropy falls fastest.
        scale: of the logistic law, in gamma; a large one makes gamma straight.

    Raises:
        ValueError: low is not below high, or scale is so small that float32 times miss the ends.
    """
    if not low < high:
        raise ValueError(f"gamma wants low < high; got {low} and {high}")
    if not scale > max(abs(low - mean), abs(high - mean)) / 14.0:
        raise ValueError(f"scale {scale} is too small for gamma from {low} to {high} around {mean}")
    below = lambda gamma: 1.0 / (1.0 + math.exp((mean - gamma) / scale))
    above = lambda gamma: 1.0 / (1.0 + math.exp((gamma - mean) / scale))

    def schedule(t):
        # both tails are sums of positive numbers, so that neither end is lost to rounding
        lower = below(low) * (1.0 - t) + below(high) * t
        upper = above(low) * (1.0 - t) + above(high) * t
        return at_gamma(mean + scale * (jnp.log(lower) - jnp.log(upper)))

    return schedule


def product(spec: str, *arrays: jax.Array) -> jax.Array:
    """einsum in full float32, on every device."""
    return jnp.einsum(spec, *arrays, precision=jax.lax.Precision.HIGHEST)


class Rows(NamedTuple):
    """The target: the tokens, and a fresh z_0 of them, so that a loss is one network call."""

    tokens: jax.Array  # i32[B, L]
    z_0: jax.Array  # f32[B, L, D]


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedding:
    """Tokens i32[B, L], diffused as rows f32[B, L, D] of a table. Padding is the zero vector.

    Attributes:
        table: f32[V, D], rows of unit length; a tracer where it is learned, see `rounding`.
        pad_id: an id that is neither diffused nor said, scored or counted; None if there is none.
        schedule: t -> (alpha, sigma), variance preserving, sigma > 0 at both ends.
        form: "cross_entropy" of the guess, equal at all levels, over the places that are not
            sure yet: the same best network, less variance, no bound; or "bound", on -log p(x).
            Both in nats per real token. noise_rate is sigma^2, the share of noise in the power
            of z.
        spread: how far the clocks of places lie apart, see `clocks`.
        filters: logits -> logits functions, applied in order, of the Gaussian solvers' x_hat.

    Raises:
        ValueError: no such form; the message lists those there are.
    """

    table: jax.Array
    pad_id: int | None = None
    schedule: Schedule = straight_gamma
    form: str = "cross_entropy"
    spread: float = 0.0
    filters: tuple[Callable[[jax.Array], jax.Array], ...] = ()

    def __post_init__(self):
        if self.form not in FORMS:
            raise ValueError(f"no form {self.form!r} of the loss; there are {', '.join(FORMS)}")

    def corrupt(self, keys, x0, t):
        keys_t, keys_0 = draws.split(keys)
        return self.diffused(keys_t, x0, t), Rows(x0, self.diffused(keys_0, x0, jnp.zeros_like(t)))

    def diffused(self, keys, x, t):
        """z_t f32[B, L, D] of tokens i32[B, L]."""
        e = self.row(x)
        l = levels(self.schedule, t, like=e)
        z = l.alpha * e + l.sigma * draws.normal(keys, e.shape[1:])
        return jnp.where(self.real(x)[..., None], z, 0.0)

    def loss(self, out, target, t):
        """out: logits f32[B, L, V]. noise_accuracy is over all real tokens, at all levels."""
        said, real = self.speakable(out), self.real(target.tokens)
        nats, right = cross_entropy(said, target.tokens)
        mean = tokens.mean(nats, noisy(real, t))
        return self.bound(out, target, t) if self.form == "bound" else mean, {
            "noise_accuracy": (right & real).sum() / jnp.maximum(real.sum(), 1),
            "noise_rate": jnp.square(levels(self.schedule, t).sigma).mean(),
        }

    def bound(self, out, target, t):
        """One draw of the bound, f32[B] in nats per real token: its mean over t uniform in
        (0, 1] is the bound, whatever the form of the loss."""
        l = levels(self.schedule, t, like=target.tokens)
        rate = l.alpha * (l.alpha * l.dsigma - l.dalpha * l.sigma) / l.sigma**3  # -SNR' / 2
        size = self.table.shape[0]
        # the difference of probabilities first: rows then add no rounding of their own
        off = jax.nn.softmax(self.speakable(out)) - jax.nn.one_hot(target.tokens, size)
        error = jnp.square(product("blv,vd->bld", off, self.table)).sum(-1)
        nats = rate * pace(self, t) * error
        nats = nats + self.prior_nats(target.tokens) + self.reading_nats(target)
        return tokens.mean(nats, self.real(target.tokens))

    def prior_nats(self, x):
        """KL(q(z_1 | x) || N(0, I)) of each place, f32[B, L]."""
        signal = levels(self.schedule, 1.0).alpha ** 2
        spread = -signal - jnp.log1p(-signal)  # sigma^2 - 1 - log sigma^2
        return 0.5 * (signal * jnp.square(self.row(x)).sum(-1) + self.table.shape[1] * spread)

    def reading_nats(self, target):
        """-log p(x | z_0) of each place, f32[B, L], with all ids equally likely beforehand."""
        return cross_entropy(
            self.speakable(self.evidence(target.z_0, jnp.float32(0.0))), target.tokens
        )[0]

    def evidence(self, x, t):
        """log q(x_t | x) f32[B, L, V] up to a constant a place; t is f32[B] or f32[]."""
        l = levels(self.schedule, t, like=x)
        norms = jnp.square(self.table).sum(-1)
        return (l.alpha / l.sigma**2) * (
            product("bld,vd->blv", x, self.table) - 0.5 * l.alpha * norms
        )

    def prior(self, keys, shape):
        return draws.normal(keys, (*shape, self.table.shape[1]))

    def back(self, keys, x, token, t, s):
        """z_s ~ q(z_s | z_t, e_token), the tokens i32[B, L]; at s = 0 their rows,
        at s = t what they are."""
        row, t, s = self.row(token), alike(t, x), alike(s, x)
        now, then = levels(self.schedule, t), levels(self.schedule, s)
        kept = now.alpha * then.sigma / (then.alpha * now.sigma)  # of the noise, at scale sigma_s
        fresh = jnp.sqrt(jnp.maximum(1.0 - kept**2, 0.0))
        noise = kept * noise_in(self, x, row, t) + fresh * draws.normal(keys, x.shape[1:])
        new = jnp.where(s > 0, then.alpha * row + then.sigma * noise, row)
        return jnp.where(s < t, new, x)

    def decode(self, x):
        """Ids of the rows in the most similar direction: with rows of unit length the likeliest,
        at any level. So the noise that is left at t = 0, sigma = 0.05, does no harm."""
        norms = jnp.sqrt(jnp.square(self.table).sum(-1))
        near = product("bld,vd->blv", x, self.table) / jnp.maximum(norms, 1e-12)
        ids = self.speakable(near).argmax(-1)
        if self.pad_id is None:
            return ids
        return jnp.where((x == 0.0).all(-1), self.pad_id, ids)

    def split(self, out, x, t):
        """(x_0, eps) f32[B, L, D] for the solvers of Gaussian, x_0 the mean of filtered guesses.

        Raises:
            ValueError: places have clocks of their own, and those solvers know one.
        """
        if self.spread:
            raise ValueError(f"Gaussian's solvers want one clock, spread 0; got {self.spread}")
        p = jax.nn.softmax(tokens.filtered(self.speakable(out), self.filters))
        x0 = product("blv,vd->bld", p, self.table)
        return x0, noise_in(self, x, x0, t)

    def row(self, x):
        """The table's rows, f32[*x.shape, D]."""
        return jnp.asarray(self.table, jnp.float32)[x]

    def real(self, x):
        """What is not padding, bool like x."""
        return jnp.ones(x.shape, bool) if self.pad_id is None else x != self.pad_id

    def speakable(self, logits):
        """Logits f32 that never say padding."""
        logits = logits.astype(jnp.float32)
        if self.pad_id is None:
            return logits
        return jnp.where(jnp.arange(logits.shape[-1]) == self.pad_id, -jnp.inf, logits)


def noise_in(process, x, x0, t):
    """The eps for which x = alpha x_0 + sigma eps."""
    l = levels(process.schedule, t, like=x)
    return (x - l.alpha * x0) / l.sigma


def rounding(process, x, keys):
    """What a learned table pays for rows that are hard to tell apart, f32[B] in nats per real
    token: -log p(x | z_0) of a fresh z_0 (arXiv:2205.14217, sec. 4.1).

    A squared error alone is least where all rows are one; this pushes them apart, with no
    network in between. The bound has it in it; to the cross-entropy it is to be added.
    """
    target = Rows(x, process.diffused(keys, x, jnp.zeros(len(x))))
    return tokens.mean(process.reading_nats(target), process.real(x))
