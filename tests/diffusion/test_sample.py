"""The one sampling loop: keys, times, what is known, and the way there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import SCHEDULES, SOLVERS, Ddim, Dpm2m, Gaussian, Heun, draws, predictor, sample

PROCESS = Gaussian(schedule=SCHEDULES["cosine"], target="v")
KEY, SHAPE = jax.random.key(0), (3, 2)
EVERY = pytest.mark.parametrize(
    "solver", [Ddim(eta=1.0), *(make() for make in SOLVERS.values())], ids=repr
)

SOME = pytest.mark.parametrize("solver", [Ddim(eta=1.0), Dpm2m()], ids=repr)


def predict(x, t):
    """A smooth, untrained network that mixes an example's own numbers."""
    return jnp.tanh(x + jnp.roll(x, 1, axis=1)) * jnp.cos(3.0 * t)


def draw(solver, index, key=KEY, steps=5, **kw):
    return sample(PROCESS, solver, predict, key, jnp.asarray(index), SHAPE, steps=steps, **kw)


@EVERY
def test_an_example_depends_on_its_key_and_index_alone(solver):
    whole, part = draw(solver, range(8)), draw(solver, [6, 5, 4, 7])
    np.testing.assert_allclose(part, whole[jnp.array([6, 5, 4, 7])], rtol=1e-5, atol=1e-5)


def test_another_index_or_key_draws_another_example():
    x = draw(Ddim(), range(4))
    assert not np.allclose(x[0], x[1], atol=1e-2)
    assert not np.allclose(x, draw(Ddim(), range(4), jax.random.key(1)), atol=1e-2)


def test_a_stochastic_solver_draws_fresh_noise_at_each_step():
    """With nothing predicted but data at zero, each step is its own noise at the next level."""

    # v = alpha eps - sigma x0, with x0 = 0 and eps = x / sigma
    def nothing(x, t):
        return x * PROCESS.schedule(t)[0] / PROCESS.schedule(t)[1]

    _, path = sample(
        PROCESS, Ddim(eta=1.0), nothing, KEY, jnp.arange(500), (8,), steps=4, trajectory=True
    )
    increments = path[1:4] - path[:3]
    assert path.shape == (5, 500, 8)
    for t, states in zip(np.linspace(1.0, 0.0, 5), path, strict=True):
        np.testing.assert_allclose(states.std(), PROCESS.schedule(t)[1], atol=0.03)
    assert not np.allclose(increments[0], increments[1], atol=0.1)


@SOME
def test_the_trajectory_leads_from_the_prior_to_the_sample(solver):
    x, path = draw(solver, range(4), trajectory=True)
    assert path.shape == (6, 4, *SHAPE)
    np.testing.assert_array_equal(path[-1], x)
    np.testing.assert_allclose(x, draw(solver, range(4)), rtol=1e-5, atol=1e-5)
    first = PROCESS.prior(draws.split(draws.fold(KEY, jnp.arange(4)))[0], SHAPE)
    np.testing.assert_allclose(path[0], first, atol=1e-6)


def test_the_prior_does_not_depend_on_solver_or_steps():
    _, one = draw(Ddim(), range(4), steps=3, trajectory=True)
    _, two = draw(Heun(), range(4), steps=7, trajectory=True)
    np.testing.assert_array_equal(one[0], two[0])


def test_every_state_is_one_solver_step_from_the_one_before():
    times = jnp.array([1.0, 0.8, 0.35, 0.0])
    _, path = draw(Ddim(), range(4), steps=3, times=times, trajectory=True)
    for i in range(3):
        wanted, _ = Ddim().step(PROCESS, predict, None, path[i], times[i], times[i + 1], ())
        np.testing.assert_allclose(path[i + 1], wanted, rtol=1e-5, atol=1e-5)


def test_times_are_even_if_none_are_given():
    even = draw(Ddim(), range(4), times=jnp.linspace(1.0, 0.0, 6))
    np.testing.assert_array_equal(draw(Ddim(), range(4)), even)
    bent = draw(Ddim(), range(4), times=jnp.linspace(1.0, 0.0, 6) ** 2)
    assert not np.allclose(even, bent, atol=1e-3)


@SOME
def test_what_is_known_is_there_at_the_end(solver):
    known = jnp.arange(2.0)
    x, path = draw(solver, range(4), clamp=lambda x, t: x.at[:, 0].set(known), trajectory=True)
    np.testing.assert_array_equal(path[:, :, 0], jnp.broadcast_to(known, (6, 4, 2)))
    np.testing.assert_array_equal(x[:, 0], path[-1, :, 0])
    assert not np.allclose(x[:, 1:], draw(solver, range(4))[:, 1:], atol=1e-3)


def test_the_clamp_is_told_the_level_of_its_state():
    _, path = draw(Ddim(), range(4), clamp=lambda x, t: x.at[:, 0, 0].set(t), trajectory=True)
    np.testing.assert_allclose(path[:, 0, 0, 0], np.linspace(1.0, 0.0, 6), atol=1e-6)


def test_the_predictor_hands_over_one_level_an_example_and_no_keys():
    seen = {}

    def apply(params, x, t, cond, keys):
        seen.update(params=params, t=t, cond=cond, keys=keys)
        return x

    predictor(apply, "params", "cond")(jnp.zeros((3, 2)), jnp.float32(0.25))
    np.testing.assert_array_equal(seen.pop("t"), jnp.full(3, 0.25))
    assert seen == {"params": "params", "cond": "cond", "keys": None}
