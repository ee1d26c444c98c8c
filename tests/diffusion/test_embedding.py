"""Embedding diffusion against a joint over 2 places and 3 tokens, whose posterior is a sum."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.embeddings import random_table
from diffusion import Churn, Ddim, Dpm2m, Heun, draws, everywhere, sample, top_k
from diffusion.embedding import Embedding, Rows, rounding, straight_gamma, warped
from diffusion.resample import Resample
from diffusion.schedules import levels

V, L, PAD = 3, 2, 0
WORLD = np.array(list(itertools.product(range(V), repeat=L)))
P = np.random.default_rng(2).dirichlet(np.full(V**L, 0.7))
ENTROPY = -(P * np.log(P)).sum() / L  # nats/token
ANGLES = np.radians([0.0, 100.0, 220.0])
TABLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], -1).astype(np.float32)
TOY = Embedding(table=TABLE, form="bound")
WARPED = Embedding(table=TABLE, form="bound", schedule=warped(mean=-1.0, scale=1.2))
MANY = Embedding(table=random_table(40, 12, 0), pad_id=PAD)  # 39 ids that can be said


def keys(n, seed=0):
    return draws.fold(jax.random.key(seed), jnp.arange(n))


@functools.partial(jax.jit, static_argnums=0)
def corrupt(process, keys, x, t):
    return process.corrupt(keys, x, t)


@functools.partial(jax.jit, static_argnums=0)
def loss_of(process, out, target, t):
    return process.loss(out, target, t)


def exact(process, z, t):
    """The log posterior of each place given the whole noisy text, f32[B, L, V]."""
    each = process.evidence(z, t)
    log_joint = jnp.log(jnp.asarray(P, jnp.float32)) + sum(
        each[:, l][:, WORLD[:, l]] for l in range(L)
    )
    is_token = jnp.where(jax.nn.one_hot(WORLD, V) > 0, 0.0, -jnp.inf)  # [clean, L, V]
    return jax.nn.logsumexp(log_joint[..., None, None] + is_token, 1)


def apart(process, z, t):
    """The posterior of somebody who knows how often a token is, and sees one place alone."""
    share = np.einsum("w,wlv->lv", P, np.eye(V)[WORLD])
    return process.evidence(z, t) + jnp.log(jnp.asarray(share, jnp.float32))


@functools.partial(jax.jit, static_argnames=("process", "posteriors", "n"))
def bounds(process, posteriors, n, seed):
    """One draw of the bound per text and posterior, f32[n] each, noise levels stratified."""
    keys_x, keys_t, keys_z = draws.split(keys(n, seed), 3)
    row = jnp.searchsorted(jnp.cumsum(jnp.asarray(P, jnp.float32)), draws.uniform(keys_x))
    t = jax.random.permutation(jax.random.key(seed), everywhere(keys_t, jnp.arange(n), n))
    z, target = process.corrupt(keys_z, jnp.asarray(WORLD)[jnp.minimum(row, V**L - 1)], t)
    return [process.loss(f(process, z, t), target, t)[0] for f in posteriors]


@pytest.mark.parametrize("process", [TOY, WARPED], ids=["straight", "warped"])
def test_the_bound_of_the_exact_posterior_is_the_entropy(process):
    n = 400_000
    best, worse = (np.asarray(b, np.float64) for b in bounds(process, (exact, apart), n, 1))
    error = best.std() / np.sqrt(n)
    assert error < 0.006
    assert abs(best.mean() - ENTROPY) < 3 * error + 1e-3  # 1e-3: what is known at t = 1
    lost = worse - best
    assert lost.mean() > 10 * lost.std() / np.sqrt(n)


def integral(process, nodes=400):
    """The bound of texts with the same noise at every level, f32[50], by quadrature over t."""
    x = jnp.asarray(WORLD)[jnp.arange(50) % len(WORLD)]
    t, weights = np.polynomial.legendre.leggauss(nodes)

    def at(t):
        z, target = process.corrupt(keys(50), x, jnp.full(50, t))
        return process.bound(exact(process, z, t), target, jnp.full(50, t))

    values = jax.jit(lambda t: jax.lax.map(at, t))(jnp.asarray((t + 1) / 2, jnp.float32))
    return np.asarray(weights / 2 @ np.asarray(values, np.float64))


def test_the_bound_does_not_depend_on_the_warp_but_on_the_ends():
    straight = integral(TOY)
    np.testing.assert_allclose(integral(WARPED), straight, rtol=1e-3, atol=1e-4)
    narrow = Embedding(table=TABLE, schedule=functools.partial(straight_gamma, high=0.0))
    assert np.abs(integral(narrow) - straight).max() > 0.05


@pytest.mark.parametrize("mean, scale", [(0.0, 1.0), (-2.5, 0.7), (3.0, 50.0)])
def test_a_warp_keeps_its_ends_and_looks_longest_at_its_mean(mean, scale):
    gamma = lambda t: -2.0 * jnp.log(jnp.divide(*warped(mean=mean, scale=scale)(t)))
    t = jnp.linspace(0.0, 1.0, 1001)
    now = np.asarray(gamma(t))
    np.testing.assert_allclose(now[[0, -1]], [-6.0, 6.0], atol=1e-4)
    assert (np.diff(now) > 0).all()
    if scale < 10:
        assert abs(now[np.diff(now).argmin()] - mean) < 0.2
    else:
        np.testing.assert_allclose(now, -6.0 + 12.0 * np.asarray(t), atol=0.05)


def test_schedules_preserve_variance_and_what_cannot_be_is_refused():
    for schedule in (straight_gamma, warped(mean=-1.0)):
        l = levels(schedule, jnp.linspace(0.0, 1.0, 50))
        np.testing.assert_allclose(l.alpha**2 + l.sigma**2, 1.0, atol=1e-6)
        assert jnp.isfinite(jnp.stack(l)).all()
    with pytest.raises(ValueError, match="low < high"):
        warped(low=2.0, high=2.0)
    with pytest.raises(ValueError, match="scale 0.1 is too small"):
        warped(scale=0.1)
    with pytest.raises(ValueError, match="no form 'mse' of the loss; there are cross_entropy"):
        Embedding(table=TABLE, form="mse")


def test_evidence_is_the_log_density_of_the_noisy_row_up_to_a_constant():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(7, 4)).astype(np.float32)  # of any length
    process = Embedding(table=table)
    z = rng.normal(size=(5, 3, 4)).astype(np.float32)
    t = jnp.array([0.0, 0.2, 0.5, 0.8, 1.0])
    got = np.asarray(process.evidence(jnp.asarray(z), t), np.float64)
    alpha, sigma = (np.asarray(v, np.float64)[:, None, None] for v in straight_gamma(t))
    gap = z[:, :, None].astype(np.float64) - alpha[..., None] * table
    true = -np.square(gap).sum(-1) / (2 * sigma**2)
    off = got - true
    np.testing.assert_allclose(off - off.mean(-1, keepdims=True), 0.0, atol=2e-3)
    one = process.evidence(jnp.asarray(z), t[2])
    np.testing.assert_allclose(one[2], got[2], rtol=1e-5, atol=1e-5)


def test_evidence_says_next_to_nothing_at_one_and_nearly_all_at_zero():
    x = jnp.tile(jnp.arange(1, 40), (200, 1))
    for t, low, high in ((1.0, np.log(39) - 0.01, np.log(39) + 0.01), (0.0, 0.0, 0.02)):
        z, target = corrupt(MANY, keys(200), x, jnp.full(200, t))
        nats, _ = loss_of(MANY, MANY.evidence(z, t), target, jnp.full(200, t))
        assert low <= nats.mean() <= high


@pytest.mark.parametrize("low", [-6.0, 1.0])  # the reading of z_0: sure, and most of the bound
def test_knowing_the_evidence_alone_costs_log_v_for_independent_tokens(low):
    n, length = 20000, 8
    process = Embedding(
        table=MANY.table, pad_id=PAD, form="bound", schedule=warped(low, mean=min(low + 4, 0.0))
    )
    x = jax.random.randint(jax.random.key(3), (n, length), 1, 40)
    t = everywhere(keys(n, 4), jnp.arange(n), n)

    @jax.jit
    def nats_of(keys):
        z, target = process.corrupt(keys, x, t)
        return process.loss(process.evidence(z, t), target, t)[0]

    nats = np.asarray(nats_of(keys(n, 5)), np.float64)
    error = nats.std() / np.sqrt(n)
    assert error < 0.05 and abs(nats.mean() - np.log(39)) < 3 * error + 2e-3


def test_a_sure_guess_costs_what_is_left_of_a_row_in_the_prior():
    process = Embedding(
        table=MANY.table * 1.5, schedule=functools.partial(straight_gamma, high=1.0)
    )
    x = jnp.array([[3, 4], [9, 5]])
    z_0 = 1.5 * jnp.asarray(MANY.table)[x]
    sure = 1e3 * jax.nn.one_hot(x, 40)
    got = process.bound(sure, Rows(x, z_0), jnp.array([0.2, 0.9]))
    signal = 1 / (1 + np.exp(1.0))
    variance = 1 - signal
    np.testing.assert_allclose(
        got, 0.5 * (signal * 1.5**2 + 12 * (variance - 1 - np.log(variance))), rtol=1e-4
    )


def test_decoding_is_the_likeliest_id_at_every_level():
    z = jax.random.normal(jax.random.key(0), (20, 30, 12))
    for t in (0.0, 0.4, 1.0):
        best = MANY.speakable(MANY.evidence(z, t)).argmax(-1)
        np.testing.assert_array_equal(MANY.decode(z), best)
    longer = Embedding(table=MANY.table * np.linspace(0.5, 2.0, 40)[:, None], pad_id=PAD)
    np.testing.assert_array_equal(longer.decode(z), MANY.decode(z))


def test_clean_text_comes_back_through_the_noise_that_is_left_at_zero():
    x = jax.random.randint(jax.random.key(1), (50, 20), 1, 40).at[:, 15:].set(PAD)
    z, _ = corrupt(MANY, keys(50), x, jnp.zeros(50))
    np.testing.assert_array_equal(MANY.decode(z), x)


def test_padding_leaves_corruption_loss_and_denominators():
    x = jax.random.randint(jax.random.key(1), (6, 9), 1, 40).at[:, 5:].set(PAD)
    t = jnp.linspace(0.0, 1.0, 6)
    z, target = corrupt(MANY, keys(6), x, t)
    assert (z[:, 5:] == 0.0).all() and (z[:, :5] != 0.0).all()
    assert (target.z_0[:, 5:] == 0.0).all()
    out = jax.random.normal(jax.random.key(2), (6, 9, 40))
    short = Rows(x[:, :5], target.z_0[:, :5])
    loud = out.at[..., PAD].set(99.0)  # no logit of padding counts, nor any logit at padding
    for process in (MANY, Embedding(table=MANY.table, pad_id=PAD, form="bound")):
        loss, metrics = loss_of(process, loud, target, t)
        alone, metrics_alone = loss_of(process, out[:, :5], short, t)
        np.testing.assert_allclose(loss, alone, rtol=1e-5)
        np.testing.assert_allclose(metrics["noise_accuracy"], metrics_alone["noise_accuracy"])
        empty, _ = loss_of(process, loud, Rows(jnp.full_like(x, PAD), 0.0 * target.z_0), t)
        assert (empty == 0.0).all()


def test_the_noisy_row_has_its_mean_and_deviation_and_is_its_own_examples():
    x, t = jnp.ones((2000, 4), jnp.int32), jnp.full(2000, 0.4)
    z, target = corrupt(TOY, keys(2000), x, t)
    for rows, level in ((z, 0.4), (target.z_0, 0.0)):
        alpha, sigma = straight_gamma(level)
        np.testing.assert_allclose(rows.mean((0, 1)), alpha * TABLE[1], atol=4 * sigma / 89)
        np.testing.assert_allclose(rows.std((0, 1)), sigma, rtol=4 / np.sqrt(2 * 8000))
    together = np.corrcoef(z[..., 0].ravel(), target.z_0[..., 0].ravel())[0, 1]
    assert abs(together) < 4 / np.sqrt(8000)  # z_0 is fresh
    some, _ = corrupt(TOY, keys(2000)[7:9], x[7:9], t[7:9])
    np.testing.assert_array_equal(some, z[7:9])


def test_a_uniform_guess_costs_log_v():
    x = jnp.array([[1, 2, 3, PAD]])
    _, target = corrupt(MANY, keys(1), x, jnp.array([0.5]))
    loss, metrics = loss_of(
        MANY, jnp.zeros((1, 4, 40)).at[0, 1, 2].set(1e-6), target, jnp.array([0.5])
    )
    np.testing.assert_allclose(loss, np.log(39), rtol=1e-5)
    np.testing.assert_allclose(metrics["noise_accuracy"], 1 / 3)  # a tie is no guess


@pytest.mark.parametrize("form", ["cross_entropy", "bound"])
def test_a_large_vocabulary_stays_finite_at_both_ends(form):
    size = 8192
    table = random_table(size, 16, 0)
    t = jnp.array([0.0, 1e-6, 0.5, 1 - 1e-6, 1.0])
    x = jnp.full((5, 2), 7)

    def total(table, bias):
        process = Embedding(table=table, pad_id=PAD, form=form, schedule=warped(scale=0.6))
        z, target = process.corrupt(keys(5), x, t)
        loss, _ = process.loss(process.evidence(z, t) + bias, target, t)
        return loss.sum(), loss

    both = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))
    for bias in (0.0, 1e3 * jax.nn.one_hot(x, size), 1e3 * jax.nn.one_hot(x + 1, size)):
        (_, loss), slopes = both(table, jnp.broadcast_to(bias, (5, 2, size)))
        assert jnp.isfinite(loss).all() and (loss > -1e-3).all()
        assert all(jnp.isfinite(s).all() for s in slopes)
    assert loss[2] > 1.0  # the last one was sure of another id


def test_split_is_the_mean_row_and_the_noise_that_explains_the_state():
    process = Embedding(table=MANY.table, pad_id=PAD, filters=(top_k(1),))
    z = jax.random.normal(jax.random.key(0), (3, 4, 12))
    out = jax.random.normal(jax.random.key(1), (3, 4, 40)).at[..., PAD].set(9.0)
    t = jnp.array([0.1, 0.5, 1.0])
    alpha, sigma = (v[:, None, None] for v in straight_gamma(t))
    p = np.exp(np.asarray(out[..., 1:], np.float64))
    mean = p / p.sum(-1, keepdims=True) @ MANY.table[1:]
    x0, eps = MANY.split(out, z, t)
    np.testing.assert_allclose(x0, mean, atol=1e-5)
    np.testing.assert_allclose(alpha * x0 + sigma * eps, z, atol=1e-5)
    np.testing.assert_allclose(process.split(out, z, t)[0], MANY.table[1:][p.argmax(-1)], atol=1e-6)


def drawn(solver, steps, n=4000):
    predict = lambda z, t: exact(TOY, z, t)
    draw = jax.jit(lambda key: sample(TOY, solver, predict, key, jnp.arange(n), (L,), steps=steps))
    x = np.asarray(draw(jax.random.key(5)))
    assert x.shape == (n, L) and x.min() >= 0 and x.max() < V
    seen = np.bincount(x @ [V, 1], minlength=V**L)
    return ((seen - n * P) ** 2 / (n * P)).sum()


@pytest.mark.parametrize(
    "solver, steps",
    [(Resample(), 200), (Ddim(), 200), (Ddim(eta=1.0), 200), (Heun(), 40), (Dpm2m(), 40), (Churn(), 60)],
    ids=["settle", "ddim", "ddpm", "heun", "dpm2m", "churn"],
)  # fmt: skip
def test_solvers_with_the_exact_posterior_draw_the_joint(solver, steps):
    assert drawn(solver, steps) < 40  # 8 degrees of freedom


def test_one_step_forgets_the_joint():
    assert drawn(Resample(), 1) > 100  # so the test above can fail


def test_settle_draws_from_the_gaussian_posterior_and_lands_on_rows():
    n, t, s = 20000, jnp.float32(0.6), jnp.float32(0.45)
    sure = lambda z, t: jnp.broadcast_to(50.0 * jax.nn.one_hot(2, V), (*z.shape[:2], V))
    now, later = levels(straight_gamma, t), levels(straight_gamma, s)
    z = jnp.broadcast_to(jnp.array([0.3, -1.1]), (n, 1, 2))
    new, _ = Resample().step(TOY, sure, keys(n), z, t, s, ())
    # textbook form: precision of q(z_s | e) plus that of q(z_t | z_s)
    a = now.alpha / later.alpha
    between = now.sigma**2 - (a * later.sigma) ** 2
    variance = 1.0 / (1.0 / later.sigma**2 + a**2 / between)
    mean = variance * (later.alpha * TABLE[2] / later.sigma**2 + a * z[0, 0] / between)
    np.testing.assert_allclose(new.mean((0, 1)), mean, atol=4 * np.sqrt(variance / n))
    np.testing.assert_allclose(new.var((0, 1)), variance, rtol=4 * np.sqrt(2 / n))
    last, _ = Resample().step(TOY, sure, keys(n), z, t, jnp.float32(0.0), ())
    assert (last == TABLE[2]).all()


def test_settle_obeys_its_filters_and_never_says_padding():
    flat = lambda z, t: jnp.zeros((*z.shape[:2], 40)).at[..., PAD].set(30.0).at[..., 5].set(1.0)
    draw = lambda solver: sample(
        MANY, solver, flat, jax.random.key(0), jnp.arange(50), (30,), steps=3
    )
    assert (draw(Resample(filters=(top_k(1),))) == 5).all()
    free = draw(Resample())
    assert (free != PAD).all() and len(np.unique(free)) == 39


def test_rounding_pushes_the_rows_of_a_learned_table_apart():
    table = TABLE.copy()
    table[1] = [np.cos(0.1), np.sin(0.1)]  # close to row 0
    x = jnp.tile(jnp.array([0, 1]), (200, 1))
    pay = lambda table: rounding(Embedding(table=table), x, keys(200)).mean()
    cost, slope = jax.jit(jax.value_and_grad(pay))(jnp.asarray(table))
    apart = lambda table: jnp.linalg.norm(table[0] - table[1])
    assert 0.1 < cost < 1.0 and pay(jnp.asarray(TABLE)) < 1e-3
    assert apart(table - 1e-3 * slope) > apart(table)
