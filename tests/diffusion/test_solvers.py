"""Solvers on data N(MEAN, STD^2), where the best network and the reverse ODE are known exactly."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import SCHEDULES, Churn, Ddim, Dpm2m, Gaussian, Heun, draws, sample
from diffusion.schedules import levels

MEAN, STD = 0.8, 0.3
PAIRS = [
    ("linear", "velocity"),
    ("cosine", "eps"),
    ("ddpm", "eps"),
    ("cosine", "v"),
    ("cosine", "x0"),
    ("geometric", "v"),
]
# Order and accuracy are the schedule's affair: `split` undoes the target.
SMOOTH = [("linear", "velocity"), ("cosine", "x0"), ("ddpm", "eps"), ("geometric", "v")]
DDIM, HEUN, DPM2M = ODE = [Ddim(), Heun(), Dpm2m()]  # one of each: identity is what jit knows
SDE = [Ddim(eta=1.0), Churn(amount=0.5)]


def named(value):
    return str(value).replace(", clip=None", "").replace("clip=None", "")


@functools.cache
def gaussian(schedule, target):
    return Gaussian(schedule=SCHEDULES[schedule], target=target)


def exact(process):
    """What a perfect network puts out, (x_t, t) -> out: E[x_0 | x_t] and E[eps | x_t] joined."""

    def predict(x, t):
        now = levels(process.schedule, t, like=x)
        score = (now.alpha * MEAN - x) / (now.alpha**2 * STD**2 + now.sigma**2)
        return process.join(MEAN - now.alpha * STD**2 * score, -now.sigma * score, t)

    return predict


def spread(process, t):
    """(mean, standard deviation) of x_t."""
    now = levels(process.schedule, t)
    return now.alpha * MEAN, jnp.sqrt(now.alpha**2 * STD**2 + now.sigma**2)


def flow(process, x, t, s):
    """The reverse ODE solved from t to s: it keeps each point's distance in deviations."""
    (mean_t, std_t), (mean_s, std_s) = spread(process, t), spread(process, s)
    return mean_s + std_s / std_t * (x - mean_t)


@functools.partial(jax.jit, static_argnums=(0, 1))
def walk(process, solver, x, steps, start, end):
    """`solver` in even steps, without the prior; one compilation for all numbers of steps."""
    keys = jax.random.split(jax.random.key(0), len(x))

    def time(i):
        return start + (end - start) * (i / steps)

    def step(i, carry):
        return solver.step(process, exact(process), keys, carry[0], time(i), time(i + 1), carry[1])

    return jax.lax.fori_loop(0, steps, step, (x, solver.start(x)))[0]


def error(process, solver, steps, start, end):
    """Largest distance from the exact flow, of points up to two deviations out."""
    mean, std = spread(process, start)
    x = mean + std * jnp.linspace(-2.0, 2.0, 5)[:, None]
    landed = walk(process, solver, x, steps, start, end)
    return float(jnp.abs(landed - flow(process, x, start, end)).max())


def one_step(process, solver, predict, x, t, s, seed=0):
    """(x_s, the noise that a solver would draw)."""
    keys = jax.random.split(jax.random.key(seed), len(x))
    t, s = jnp.float32(t), jnp.float32(s)
    landed, _ = solver.step(process, predict, keys, x, t, s, solver.start(x))
    return landed, draws.normal(keys, x.shape[1:])


@pytest.mark.parametrize("target", ["velocity", "x0", "v"])
def test_ddim_on_the_linear_schedule_is_euler(target):
    process = gaussian("linear", target)
    x, velocity = (jax.random.normal(jax.random.key(i), (4, 3)) for i in range(2))
    t, s = 0.7, 0.45
    x0, eps = x - t * velocity, x + (1 - t) * velocity
    landed, _ = one_step(process, Ddim(), lambda x, t: process.join(x0, eps, t), x, t, s)
    np.testing.assert_allclose(landed, x + (s - t) * velocity, atol=2e-6)


@pytest.mark.parametrize("schedule, target", PAIRS)
def test_ddim_with_eta_one_draws_the_posterior(schedule, target):
    """q(x_s | x_t, x_0), arXiv:2006.11239, eq. 7, for any alpha and sigma."""
    process = gaussian(schedule, target)
    x, x0 = (jax.random.normal(jax.random.key(i), (4, 50)) for i in range(2))
    t, s = 0.7, 0.6
    now, then = levels(process.schedule, t), levels(process.schedule, s)
    eps = (x - now.alpha * x0) / now.sigma
    landed, noise = one_step(process, Ddim(eta=1.0), lambda x, t: process.join(x0, eps, t), x, t, s)
    decay = now.alpha / then.alpha
    added = now.sigma**2 - decay**2 * then.sigma**2  # x_t = decay x_s + sqrt(added) noise
    variance = added * then.sigma**2 / now.sigma**2
    mean = then.alpha * added / now.sigma**2 * x0 + decay * then.sigma**2 / now.sigma**2 * x
    np.testing.assert_allclose(landed, mean + jnp.sqrt(variance) * noise, atol=2e-5)


def test_ddims_fresh_noise_grows_with_eta():
    process, x = gaussian("cosine", "v"), jnp.ones((64, 16))
    spreads = [
        one_step(process, Ddim(eta=e), exact(process), x, 0.7, 0.5)[0].std() for e in (0, 0.5, 1)
    ]
    assert spreads[0] < 1e-4 and spreads[2] > 0.3
    np.testing.assert_allclose(spreads[1] / spreads[2], 0.5, rtol=1e-4)


@pytest.mark.parametrize(
    "solver", [Ddim(clip=1.0), Ddim(eta=1.0, clip=1.0), Dpm2m(clip=1.0)], ids=named
)
def test_a_clipped_prediction_lands_inside_the_bound(solver):
    process, x = gaussian("cosine", "eps"), 3.0 * jax.random.normal(jax.random.key(0), (8, 4))
    landed, _ = one_step(process, solver, lambda x, t: 0.1 * x, x, 0.5, 0.0)
    assert jnp.abs(landed).max() <= 1.0 + 1e-5


@pytest.mark.parametrize("solver", [Ddim(clip=9.0), Dpm2m(clip=9.0)], ids=named)
def test_a_bound_out_of_reach_changes_nothing(solver):
    process, x = gaussian("cosine", "v"), jax.random.normal(jax.random.key(0), (8, 4))
    free = type(solver)()
    one, two = (one_step(process, s, exact(process), x, 0.6, 0.3)[0] for s in (solver, free))
    np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("schedule, target", SMOOTH)
@pytest.mark.parametrize("solver, order", [(DDIM, 1), (HEUN, 2), (DPM2M, 2)], ids=named)
def test_a_solver_converges_at_its_order(schedule, target, solver, order):
    """The slope of log error over log steps, where everything is smooth."""
    process, steps = gaussian(schedule, target), [16, 32, 64, 128]
    errors = [error(process, solver, n, 0.8, 0.2) for n in steps]
    assert errors[-1] > 5e-6, "too close to float32's own noise to tell an order"
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(slope - order) < 0.25, (slope, errors)


@pytest.mark.parametrize("schedule, target", SMOOTH)
@pytest.mark.parametrize("solver", ODE, ids=named)
def test_more_steps_from_noise_to_data_are_better(schedule, target, solver):
    """The whole way, with its singular ends."""
    few, many = (error(gaussian(schedule, target), solver, n, 1.0, 0.0) for n in (10, 40))
    assert many < few / 2 and many < 0.1, (few, many)


@pytest.mark.parametrize("schedule, target", SMOOTH)
def test_dpm2m_needs_fewer_steps_than_ddim(schedule, target):
    process = gaussian(schedule, target)
    assert error(process, DPM2M, 20, 0.8, 0.2) < error(process, DDIM, 60, 0.8, 0.2)


@pytest.mark.parametrize("schedule, target", SMOOTH)
def test_dpm2m_arrives_at_data_no_worse_than_ddim(schedule, target):
    """The last step must not extrapolate over the log ratio ahead of it, infinite or nearly so."""
    process = gaussian(schedule, target)
    assert error(process, DPM2M, 20, 1.0, 0.0) < error(process, DDIM, 20, 1.0, 0.0)


@pytest.mark.parametrize("schedule, target", SMOOTH)
def test_churn_without_churn_is_heun(schedule, target):
    process, x = gaussian(schedule, target), jnp.linspace(-2.0, 2.0, 8)[:, None]
    churn, heun = (walk(process, solver, x, 5, 0.8, 0.0) for solver in (Churn(amount=0.0), HEUN))
    np.testing.assert_allclose(churn, heun, atol=1e-5)


def test_heun_calls_the_network_twice_and_the_others_once():
    process = gaussian("cosine", "v")

    def calls(solver):
        seen = []
        one_step(process, solver, lambda x, t: seen.append(t) or x, jnp.ones((2, 3)), 0.6, 0.3)
        return len(seen)

    assert [calls(s) for s in (Ddim(), Dpm2m(), Heun(), Churn())] == [1, 1, 2, 2]


@pytest.mark.parametrize("schedule, target", PAIRS)
@pytest.mark.parametrize("solver", ODE + SDE, ids=named)
def test_samples_of_the_exact_network_have_the_datas_moments(schedule, target, solver):
    process, n, steps = gaussian(schedule, target), 1000, 100
    key, index = jax.random.key(0), jnp.arange(n)
    x = sample(process, solver, exact(process), key, index, (4,), steps=steps)
    # 4000 draws: five standard errors, and what a first-order method of 100 steps is off by
    assert abs(x.mean() - MEAN) < 5 * STD / np.sqrt(4 * n) + 0.01 * MEAN
    assert abs(x.std() / STD - 1) < 5 / np.sqrt(2 * 4 * n) + 0.03
