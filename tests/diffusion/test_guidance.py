"""Guidance bends predictions, in one network call, without compiling again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import Ddim, Gaussian, autoguided, guided, predictor, sample

X = jax.random.normal(jax.random.key(0), (3, 2, 2, 1))
COND, NULL = {"label": jnp.array([0, 1, 2])}, {"label": jnp.full(3, 4)}
PARAMS = jnp.array([0.5, -1.0, 2.0, 3.0, -0.3])


def apply(params, x, t, cond, keys=None):
    assert keys is None
    per_example = (params[cond["label"]] * t).reshape(-1, 1, 1, 1)
    return jnp.sin(x) + per_example * x


def out(scale, t=0.5, interval=(0.0, 1.0), x=X):
    return guided(apply, PARAMS, COND, NULL, scale, interval)(x, jnp.asarray(t, jnp.float32))


def plain(cond, t=0.5):
    return predictor(apply, PARAMS, cond)(X, jnp.asarray(t, jnp.float32))


def test_scale_one_is_the_conditional_model():
    np.testing.assert_allclose(out(1.0), plain(COND), atol=1e-6)


def test_scale_zero_is_the_unconditional_model():
    np.testing.assert_allclose(out(0.0), plain(NULL), atol=1e-6)


def test_a_larger_scale_goes_further_the_same_way():
    step = plain(COND) - plain(NULL)
    np.testing.assert_allclose(out(3.5), plain(NULL) + 3.5 * step, atol=1e-5)


@pytest.mark.parametrize("t, inside", [(0.1, False), (0.2, True), (0.5, True), (0.71, False)])
def test_nothing_is_guided_outside_the_interval(t, inside):
    found = out(4.0, t, interval=(0.2, 0.7))
    np.testing.assert_allclose(found, out(4.0, t) if inside else plain(COND, t), atol=1e-6)
    assert np.allclose(found, plain(COND, t), atol=1e-3) != inside


def test_one_noise_level_an_example_is_guided_example_by_example():
    """process.Predict allows t f32[B]; the interval then holds for some examples only."""
    t = jnp.array([0.1, 0.5, 0.9])
    found = out(4.0, t, interval=(0.2, 0.7))
    for i, one in enumerate(t):
        np.testing.assert_allclose(found[i], out(4.0, one, interval=(0.2, 0.7))[i], atol=1e-6)


def test_both_halves_are_one_call_of_twice_the_batch():
    seen = []

    def counted(params, x, t, cond, keys=None):
        seen.append((x.shape, t.shape, cond["label"].shape))
        return apply(params, x, t, cond, keys)

    guided(counted, PARAMS, COND, NULL, 2.0)(X, jnp.float32(0.5))
    assert seen == [((6, 2, 2, 1), (6,), (6,))]


def test_another_strength_or_interval_does_not_compile_again():
    traces = []

    @jax.jit
    def draw(key, scale, interval):
        traces.append(scale)
        predict = guided(apply, PARAMS, COND, NULL, scale, interval)
        return sample(Gaussian(), Ddim(), predict, key, jnp.arange(3), X.shape[1:], steps=4)

    one = draw(jax.random.key(0), 1.0, (0.0, 1.0))
    two = draw(jax.random.key(0), 3.0, (0.0, 1.0))
    three = draw(jax.random.key(0), 3.0, (0.3, 0.6))
    assert len(traces) == 1
    assert not np.allclose(one, two, atol=1e-3) and not np.allclose(two, three, atol=1e-3)


def test_autoguidance_of_scale_one_is_the_better_model_alone():
    good, weak = predictor(apply, PARAMS, COND), predictor(apply, 0.3 * PARAMS, COND)
    t = jnp.float32(0.4)
    np.testing.assert_allclose(autoguided(good, weak, 1.0)(X, t), good(X, t), atol=1e-6)
    np.testing.assert_allclose(autoguided(good, weak, 0.0)(X, t), weak(X, t), atol=1e-6)


def test_autoguidance_leads_away_from_the_weaker_model():
    good, weak = predictor(apply, PARAMS, COND), predictor(apply, 0.3 * PARAMS, COND)
    t = jnp.float32(0.4)
    wanted = 2.0 * good(X, t) - weak(X, t)
    np.testing.assert_allclose(autoguided(good, weak, 2.0)(X, t), wanted, atol=1e-5)


def test_guiding_outputs_is_guiding_predictions_of_the_data():
    """The claim that lets guidance ignore targets: split is affine in the output."""
    process, t, scale = Gaussian(target="v"), jnp.float32(0.4), 3.0

    def x0_of(y):
        return process.split(y, X, t)[0]

    mixed = x0_of(plain(NULL, t)) * (1 - scale) + scale * x0_of(plain(COND, t))
    np.testing.assert_allclose(x0_of(out(scale, t)), mixed, atol=1e-5)
