"""The masked bound against a joint over 3 places and 3 tokens, where everything is enumerable."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import draws, masked, readouts, survival
from diffusion.loss import diffusion_loss
from diffusion.masked import FORMS, Hidden, Masked
from diffusion.schedules import levels

V, L, MASK, PAD = 3, 3, 3, 9
WORLD = np.array(list(itertools.product(range(V), repeat=L)))  # [27, L]
P = np.random.default_rng(0).dirichlet(np.full(V**L, 0.5))
ENTROPY = -(P * np.log(P)).sum() / L  # nats/token


def table():
    """Log posterior of each place of every text with holes, f32[64, L, V + 1]. The last column,
    the mask's, holds what a network that was never told might say."""
    holed = np.array(list(itertools.product(range(V + 1), repeat=L)))
    fits = ((holed[:, None] == MASK) | (holed[:, None] == WORLD)).all(-1)
    place = np.einsum("bn,nlv->blv", fits * P, np.eye(V)[WORLD])
    logits = np.log(np.maximum(place, 1e-30))
    return jnp.asarray(np.pad(logits, ((0, 0), (0, 0), (0, 1)), constant_values=5.0), jnp.float32)


POSTERIOR = table()


def exact(x):
    """The exact network, f32[B, L, V + 1]."""
    return POSTERIOR[x @ jnp.array([16, 4, 1])]


def every_mask():
    """All (text, hidden) pairs: i32[216, L], bool[216, L], P of the text f64[216]."""
    masks = np.array(list(itertools.product([False, True], repeat=L)))
    x = np.repeat(WORLD, len(masks), 0)
    return jnp.asarray(x), jnp.asarray(np.tile(masks, (len(WORLD), 1))), np.repeat(P, len(masks))


def gauss(n, low=0.0, high=1.0):
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (high - low) / 2 * nodes + (low + high) / 2, (high - low) / 2 * weights


def keys(n, seed=0):
    return draws.fold(jax.random.key(seed), jnp.arange(n))


def losses_at(process, x, hidden, t):
    """f64[nodes, rows]."""
    logits = exact(jnp.where(hidden, MASK, x))
    rows = jnp.ones(len(x))
    one = lambda t: process.loss(logits, Hidden(x, hidden), t * rows)[0]
    return np.asarray(jax.lax.map(one, jnp.asarray(t, jnp.float32)), np.float64)


@pytest.mark.parametrize("form", ["weight", "mean"])
@pytest.mark.parametrize("schedule", survival.SURVIVALS)
def test_the_bound_of_the_exact_posterior_is_the_entropy(schedule, form):
    process = Masked(mask_id=MASK, schedule=survival.SURVIVALS[schedule], form=form)
    x, hidden, p = every_mask()
    t, w = gauss(160)
    loss = losses_at(process, x, hidden, t)
    rate = np.asarray(levels(process.schedule, t).sigma, np.float64)[:, None]
    count = np.asarray(hidden.sum(-1))
    p = p * rate**count * (1 - rate) ** (L - count)
    assert abs(w @ (p * loss).sum(-1) - ENTROPY) < 1e-4


@pytest.mark.parametrize("schedule", survival.SURVIVALS)
def test_the_exact_count_form_has_the_same_bound(schedule):
    process = Masked(mask_id=MASK, schedule=survival.SURVIVALS[schedule], form="count")
    x, hidden, p = every_mask()
    edges = np.asarray(survival.invert(process.schedule, jnp.arange(L + 1) / L))
    t, w = np.concatenate([gauss(40, *edges[k : k + 2]) for k in range(L)], -1)
    k = np.repeat([1, 2, 3], 40)[:, None]  # so many are hidden at t, each choice as likely
    likely = p * (np.asarray(hidden.sum(-1)) == k) / np.where(k == L, 1, L)
    assert abs(w @ (likely * losses_at(process, x, hidden, t)).sum(-1) - ENTROPY) < 1e-4


def test_draws_of_all_forms_agree_and_exact_counts_vary_least():
    n = 10000
    x = jnp.asarray(WORLD)[jax.random.choice(jax.random.key(1), len(P), (n,), p=jnp.asarray(P))]
    spread = {}
    for form in FORMS:
        process = Masked(mask_id=MASK, form=form)
        t = masked.everywhere(keys(n, 2), jnp.arange(n), n)
        xt, target = process.corrupt(keys(n, 3), x, t)
        loss = np.asarray(process.loss(exact(xt), target, t)[0], np.float64)
        assert abs(loss.mean() - ENTROPY) < 4 * loss.std() / np.sqrt(n), form
        spread[form] = loss.std()
    assert spread["count"] < spread["mean"] and spread["count"] < spread["weight"]


def test_score_entropy_with_the_concrete_score_is_the_same_loss():
    """arXiv:2310.16834, eq. 5 for the absorbing graph, with s_y = mu_y alpha / (1 - alpha)."""
    process = Masked(mask_id=MASK, schedule=survival.cosine)
    x, hidden, _ = every_mask()
    t = jnp.full(len(x), 0.37)
    logits = exact(jnp.where(hidden, MASK, x))
    loss = process.loss(logits, Hidden(x, hidden), t)[0]
    l = levels(process.schedule, t)
    ratio = (l.alpha / l.sigma)[:, None]
    mu = jax.nn.softmax(logits[..., :V])
    score = mu * ratio[..., None]
    true = jnp.take_along_axis(score, x[..., None], -1)[..., 0]
    entropy = score.sum(-1) - ratio * jnp.log(true) + ratio * (jnp.log(ratio) - 1.0)
    rate = (-l.dalpha / l.alpha)[:, None]
    np.testing.assert_allclose(loss, jnp.where(hidden, rate * entropy, 0).sum(-1) / L, atol=2e-5)


@pytest.mark.parametrize("mask_id, size", [(5, 8), (8, 8)])
def test_a_uniform_guess_costs_log_v_without_the_mask(mask_id, size):
    process = Masked(mask_id=mask_id, form="count")
    x = jnp.zeros((4, 10), jnp.int32)
    t = jnp.array([0.05, 0.3, 0.7, 1.0])
    _, target = process.corrupt(keys(4), x, t)
    loss, _ = process.loss(jnp.zeros((4, 10, size)), target, t)
    np.testing.assert_allclose(loss, np.log(size - (mask_id < size)), rtol=1e-6)


def test_a_schedules_weight_is_the_papers_formula():
    t = jnp.linspace(0.02, 0.98, 49)
    total = 1e-5 * 2e6**t
    formulas = {  # arXiv:2406.04329, table 4
        "linear": 1 / t,
        "cosine": jnp.pi / 2 * jnp.tan(jnp.pi / 2 * (1 - t)),
        "loglinear": 1 / t,
        "polynomial": 2 / t,
        "geometric": jnp.exp(-total) / -jnp.expm1(-total) * total * jnp.log(2e6),
    }
    one = jnp.ones_like(t)
    for name, formula in formulas.items():
        l = levels(survival.SURVIVALS[name], t)
        np.testing.assert_allclose(masked.scheduled(l, one, one), formula, rtol=2e-4, err_msg=name)
        np.testing.assert_allclose(-l.dalpha / (1 - l.alpha), formula, rtol=2e-2, err_msg=name)


@pytest.mark.parametrize("schedule", survival.SURVIVALS.values())
def test_schedules_run_from_data_to_noise_and_can_be_inverted(schedule):
    t = jnp.linspace(0.0, 1.0, 101)
    alpha, sigma = schedule(t)
    np.testing.assert_allclose(alpha + sigma, 1.0, atol=1e-6)
    assert alpha[0] > 1 - 2e-5 and alpha[-1] < 2e-5
    steps = jnp.diff(sigma)  # the last may be nothing: float32 rounds both to 1
    assert (steps >= 0).all() and (steps[:-1] > 0).all()
    back = survival.invert(schedule, sigma)
    np.testing.assert_allclose(schedule(back)[1], sigma, atol=2e-6)


@pytest.mark.parametrize("form", FORMS)
def test_padding_changes_nothing(form):
    process = Masked(mask_id=MASK, pad_id=PAD, form=form)
    x, t = jnp.asarray(WORLD), jnp.linspace(0.1, 1.0, len(WORLD))
    xt, target = process.corrupt(keys(len(x)), x, t)
    loss, metrics = process.loss(exact(xt), target, t)
    padded = jnp.pad(x, ((0, 0), (0, 4)), constant_values=PAD)
    xt_padded, target_padded = process.corrupt(keys(len(x)), padded, t)
    assert (xt_padded[:, L:] == PAD).all() and not target_padded.hidden[:, L:].any()
    np.testing.assert_array_equal(xt_padded[:, :L], xt)
    out = jnp.pad(exact(xt), ((0, 0), (0, 4), (0, 0)), constant_values=7.0)
    loss_padded, metrics_padded = process.loss(out, target_padded, t)
    np.testing.assert_allclose(loss_padded, loss, rtol=1e-6)
    for name, value in metrics.items():
        np.testing.assert_allclose(metrics_padded[name], value, rtol=1e-6)
    nothing = jnp.full((2, L), PAD)
    _, target = process.corrupt(keys(2), nothing, t[:2])
    np.testing.assert_array_equal(process.loss(jnp.zeros((2, L, V)), target, t[:2])[0], 0.0)


def test_tokens_survive_with_probability_alpha_and_an_example_keeps_its_noise():
    process = Masked(mask_id=MASK, schedule=survival.cosine)
    x, t = jnp.zeros((100, 500), jnp.int32), jnp.full(100, 0.3)
    xt, target = process.corrupt(keys(100), x, t)
    np.testing.assert_array_equal(xt == MASK, target.hidden)
    rate = np.sin(0.15 * np.pi)
    assert abs(target.hidden.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / 5e4)
    alone, _ = process.corrupt(keys(100)[7:9], x[7:9], t[7:9])
    np.testing.assert_array_equal(alone, xt[7:9])


def test_exact_counts_hide_so_many_at_every_level():
    process = Masked(mask_id=MASK, pad_id=PAD, form="count")
    x = jnp.where(jnp.arange(10) < 8, 0, PAD) * jnp.ones((64, 1), jnp.int32)
    t = jnp.linspace(0.0, 1.0, 64)
    _, target = process.corrupt(keys(64), x, t)
    np.testing.assert_array_equal(target.hidden.sum(-1), np.clip(np.ceil(t * 8), 1, 8))


class Factors(NamedTuple):
    """A readout like the transformer's."""

    features: jax.Array
    kernel: jax.Array

    def logits(self):
        return self.features @ self.kernel


def test_scoring_hidden_tokens_in_pieces_is_scoring_them_all():
    b, length, d, size = 3, 37, 8, 19
    process = Masked(mask_id=4, pad_id=0, pieces=8)
    x = jax.random.randint(jax.random.key(0), (b, length), 0, size)
    x = jnp.where(x == 4, 5, x)
    features = jax.random.normal(jax.random.key(1), (b, length, d))
    kernel = jax.random.normal(jax.random.key(2), (d, size))

    def full(features, kernel, target):
        loss, metrics = process.loss(features @ kernel, target, jnp.full(b, 0.5))
        return loss.mean(), (loss, metrics)

    def pieces(features, kernel, target):
        loss, metrics = process.loss(Factors(features, kernel), target, jnp.full(b, 0.5))
        return loss.mean(), (loss, metrics)

    one, two = (jax.jit(jax.value_and_grad(f, (0, 1), has_aux=True)) for f in (full, pieces))
    for rate in (0.0, 0.02, 0.5, 1.1):
        hidden = (jax.random.uniform(jax.random.key(3), x.shape) < rate) & process.real(x)
        both = [f(features, kernel, Hidden(x, hidden)) for f in (one, two)]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), *both)


def test_rows_that_count_unequally_get_gradients_of_their_own():
    b, length, d, size = 4, 9, 8, 19
    process = Masked(mask_id=4, pieces=3)
    x = jax.random.randint(jax.random.key(0), (b, length), 5, size)
    features = jax.random.normal(jax.random.key(1), (b, length, d))
    kernel = jax.random.normal(jax.random.key(2), (d, size))
    target = Hidden(x, jax.random.uniform(jax.random.key(3), x.shape) < 0.5)

    def summed(out, features, kernel, rate):
        return (rate * process.loss(out(features, kernel), target, jnp.full(b, 0.5))[0]).sum()

    for rate in (jnp.array([0.5, 2.0, 0.0, -1.0]), jnp.full(b, 3.0)):
        full, pieces = (
            jax.grad(summed, (1, 2))(out, features, kernel, rate) for out in (jnp.matmul, Factors)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), full, pieces)


def test_a_tie_is_no_right_guess():
    logits = jnp.array([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    right = readouts.cross_entropy(logits, jnp.zeros(3, jnp.int32))[1]
    np.testing.assert_array_equal(right, [False, True, False])


def test_a_network_asked_for_a_readout_is_trained_by_the_same_loss():
    features = jax.random.normal(jax.random.key(0), (8, L, 5))

    def apply(kernel, x, t, cond, keys=None):
        out = Factors(features, kernel)
        return out if "readout" in cond else features @ kernel

    kernel = jax.random.normal(jax.random.key(1), (5, V))
    process = Masked(mask_id=MASK)
    batch = {"x": jnp.asarray(WORLD[:8])}
    asked = masked.unprojected(apply)
    assert asked is masked.unprojected(apply)
    one, two = (
        diffusion_loss(process, f, kernel, jax.random.key(2), batch)[0] for f in (apply, asked)
    )
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_levels_for_reporting_reach_every_stratum_and_never_zero():
    t = np.sort(masked.everywhere(keys(50), jnp.arange(50), 50))
    assert t[0] > 0 and t[-1] <= 1
    np.testing.assert_array_equal(np.ceil(t * 50 - 1e-4), np.arange(1, 51))


def test_an_unknown_form_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="weight, mean, count"):
        Masked(mask_id=0, form="sum")


def test_neither_the_mask_nor_padding_is_ever_said():
    process = Masked(mask_id=MASK, pad_id=1)
    said = process.speakable(jnp.zeros((1, V + 1)))
    assert np.isfinite(said[0]).tolist() == [True, False, True, False]
