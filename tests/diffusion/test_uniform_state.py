"""The uniform-state bound against a joint over 3 places and 3 tokens."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import draws, survival
from diffusion.resample import Resample
from diffusion.sample import sample
from diffusion.uniform_state import Changed, Uniform, divergence

V, L, PAD = 3, 3, 9
WORLD = np.array(list(itertools.product(range(V), repeat=L)))
P = np.random.default_rng(0).dirichlet(np.full(V**L, 0.5))
ENTROPY = -(P * np.log(P)).sum() / L  # nats/token
LOG_P = jnp.log(jnp.asarray(P, jnp.float32))
PROCESS = Uniform(vocab_size=V)


def exact(x, t, schedule=survival.linear):
    """The log posterior of each place given the whole noisy text, f32[B, L, V], at one t.

    A noisy text is one of 27 as well, so this is a table over them.
    """
    alpha, sigma = schedule(jnp.ravel(t)[0])
    same = jnp.asarray(WORLD)[:, None] == WORLD  # [noisy, clean, L]
    log_joint = LOG_P[:, None] + jnp.log(same * alpha + sigma / V).sum(-1).T  # [clean, noisy]
    each = jnp.where(jax.nn.one_hot(WORLD, V) > 0, 0.0, -jnp.inf)  # [clean, L, V]
    table = jax.nn.logsumexp(log_joint[..., None, None] + each[:, None], 0)  # [noisy, L, V]
    return table[x @ jnp.array([9, 3, 1])]


def keys(n, seed=0):
    return draws.fold(jax.random.key(seed), jnp.arange(n))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_bound_of_the_exact_posterior_is_the_entropy(schedule):
    process = Uniform(vocab_size=V, schedule=survival.SURVIVALS[schedule])
    x0 = jnp.asarray(np.repeat(WORLD, len(WORLD), 0))
    xt = jnp.asarray(np.tile(WORLD, (len(WORLD), 1)))
    nodes, weights = np.polynomial.legendre.leggauss(160)
    t = 1 / (1 + np.exp(-12 * nodes))  # both ends in detail
    weights = 12 * weights * t * (1 - t)

    def at(t):
        t = jnp.full(len(x0), t)
        alpha, sigma = process.schedule(t)
        q = jnp.where(x0 == xt, alpha[:, None], 0.0) + sigma[:, None] / V
        loss, _ = process.loss(exact(xt, t, process.schedule), Changed(x0, xt), t)
        return q.prod(-1) @ (loss * jnp.repeat(jnp.asarray(P, jnp.float32), len(WORLD)))

    values = np.asarray(jax.jit(lambda t: jax.lax.map(at, t))(jnp.asarray(t, jnp.float32)))
    assert abs(weights @ values.astype(np.float64) - ENTROPY) < 1e-4


@pytest.mark.parametrize("alpha", [0.9, 0.4, 0.02])
def test_the_divergence_is_its_definition_in_float64(alpha):
    rng = np.random.default_rng(1)
    size, n = 11, 40
    logits = rng.normal(size=(n, 1, size)) * 2
    x, a = rng.integers(0, size, (2, n, 1))
    x[:20] = a[:20]
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    q = alpha * np.eye(size) + (1 - alpha) / size
    rho, want = 1 + alpha * size / (1 - alpha), np.zeros((n, 1))
    for i in range(n):
        for b in set(range(size)) - {a[i, 0]}:
            true = q[b, x[i, 0]] / q[a[i, 0], x[i, 0]]
            # the posterior mean of the true ratio: linear, and without a table
            r = p[i, 0] @ (q[b] / q[a[i, 0]])
            assert abs(r - 1 - p[i, 0, b] * (rho - 1) - p[i, 0, a[i, 0]] * (1 / rho - 1)) < 1e-9
            want[i] += (r - true + true * np.log(true / r)) / size
    target = Changed(jnp.asarray(x), jnp.asarray(a))
    full = lambda v: jnp.full((n, 1), v, jnp.float32)
    got = divergence(jnp.asarray(logits, jnp.float32), target, full(alpha), full(1 - alpha))
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-6)


def test_a_large_vocabulary_stays_finite_at_both_ends():
    process = Uniform(vocab_size=8192)
    t = jnp.array([0.0, 1e-6, 1e-3, 0.5, 0.999, 1 - 1e-6])
    x = jnp.zeros((6, 2), jnp.int32)
    now = x.at[:, 1].set(5)
    sure = 40.0 * jax.nn.one_hot(x, 8192)
    wrong = 40.0 * jax.nn.one_hot(now, 8192)

    def total(logits):
        loss, _ = process.loss(logits, Changed(x, now), t)
        return loss.sum(), loss

    both = jax.jit(jax.value_and_grad(total, has_aux=True))
    for logits in (sure, wrong, jnp.zeros_like(sure)):
        (_, loss), slope = both(logits)
        assert jnp.isfinite(loss).all() and (loss > -1e-3).all() and jnp.isfinite(slope).all()


def test_knowing_only_the_noise_costs_nothing_extra_per_place():
    """Independent uniform tokens: p(x | x_t) = q(x_t | x), and the bound is log V."""
    nodes, weights = np.polynomial.legendre.leggauss(80)
    t = 1 / (1 + np.exp(-12 * nodes))
    weights = 12 * weights * t * (1 - t)
    alpha, sigma = survival.linear(jnp.asarray(t, jnp.float32))
    total = 0.0
    for same, number in ((True, 1), (False, V - 1)):
        now = jnp.zeros((len(t), 1), jnp.int32)
        x = now if same else now + 1
        logits = jnp.log(alpha[:, None, None] * jax.nn.one_hot(now, V) + sigma[:, None, None] / V)
        loss, _ = PROCESS.loss(logits, Changed(x, now), jnp.asarray(t, jnp.float32))
        q = number * (alpha * same + sigma / V)
        total += weights @ np.asarray(q * loss, np.float64)
    assert abs(total - np.log(V)) < 1e-4


def test_corruption_follows_its_law_and_leaves_padding():
    process = Uniform(vocab_size=V, pad_id=PAD)
    x = jnp.where(jnp.arange(250) < 200, 1, PAD) * jnp.ones((80, 1), jnp.int32)
    t = jnp.full(80, 0.6)
    xt, target = process.corrupt(keys(80), x, t)
    assert (xt[:, 200:] == PAD).all()
    share = np.bincount(np.asarray(xt[:, :200]).ravel(), minlength=V) / 16000
    np.testing.assert_allclose(share, [0.2, 0.6, 0.2], atol=4 * 0.5 / np.sqrt(16000))
    logits = jax.random.normal(jax.random.key(1), (80, 250, V))
    loss, metrics = process.loss(logits, target, t)
    short = Changed(x[:, :200], xt[:, :200])
    alone, metrics_alone = process.loss(logits[:, :200], short, t)
    np.testing.assert_allclose(loss, alone, rtol=1e-5)
    for name, value in metrics.items():
        np.testing.assert_allclose(metrics_alone[name], value, rtol=1e-5)


def test_the_prior_is_what_corruption_ends_in():
    first = PROCESS.prior(keys(1000), (30,))
    share = np.bincount(np.asarray(first).ravel(), minlength=V) / 30000
    np.testing.assert_allclose(share, 1 / V, atol=4 * 0.5 / np.sqrt(30000))


def test_ancestral_steps_with_the_exact_posterior_draw_the_joint():
    n = 8000
    draw = jax.jit(
        lambda key: sample(PROCESS, Resample(), exact, key, jnp.arange(n), (L,), steps=300)
    )
    x = np.asarray(draw(jax.random.key(5)))
    seen = np.bincount(x @ [9, 3, 1], minlength=V**L)
    assert ((seen - n * P) ** 2 / np.maximum(n * P, 1.0)).sum() < 60  # 26 degrees of freedom


def test_clamped_tokens_stay():
    known = lambda x, t: x.at[:, 1].set(2)
    x = sample(
        PROCESS, Resample(), exact, jax.random.key(0), jnp.arange(50), (L,), steps=5, clamp=known
    )
    assert (x[:, 1] == 2).all() and (x < V).all()
