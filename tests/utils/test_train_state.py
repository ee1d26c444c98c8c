import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from utils import train_state

KNOBS = {"lr": 1.0, "lr_schedule": "cosine", "warmup": 10, "max_steps": 110}
ADAM = {"optimizer": "adamw", "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0, "clip": 0.0}


def knobs(**changed):
    return ConfigDict(KNOBS | ADAM | changed)


def test_the_rate_rises_to_its_peak_and_falls_to_a_hundredth():
    rate = train_state.learning_rate(knobs())
    assert float(rate(0)) == pytest.approx(0.1)
    assert float(rate(10)) == pytest.approx(1.0)
    assert float(rate(60)) == pytest.approx((1 + 0.01) / 2)
    assert float(rate(110)) == pytest.approx(0.01)


def test_a_constant_rate_stays():
    rate = train_state.learning_rate(knobs(lr_schedule="constant", warmup=0))
    assert float(rate(0)) == float(rate(10_000)) == 1.0


def test_the_average_begins_as_a_plain_mean_and_ends_with_its_decay():
    """decay (1 + n) / (10 + n) forgets the start: after few steps the average is near the values."""
    values = jnp.linspace(0.0, 1.0, 50)
    warm = cold = jnp.float32(100.0)
    for n, v in enumerate(values, 1):
        warm = train_state.averaged(warm, v, jnp.float32(n), decay=0.999, warmup=True)
        cold = train_state.averaged(cold, v, jnp.float32(n), decay=0.999, warmup=False)
    assert abs(float(warm) - float(values[-10:].mean())) < 0.2
    assert float(cold) > 90
    late = train_state.averaged(0.0, 1.0, jnp.float32(1e9), decay=0.999, warmup=True)
    assert float(late) == pytest.approx(0.001, rel=1e-3)


def first_step(params, grads, **changed):
    c = knobs(lr=0.1, lr_schedule="constant", warmup=0, **changed)
    tx = train_state.optimizer(c, train_state.learning_rate(c))
    updates, _ = tx.update(grads, tx.init(params), params)
    return optax.apply_updates(params, updates)


def test_only_matrices_decay():
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}
    zeros = {"w": jnp.zeros((2, 2)), "b": jnp.zeros(2)}
    new = first_step(params, zeros, weight_decay=0.5)
    np.testing.assert_allclose(new["w"], 1 - 0.1 * 0.5)
    np.testing.assert_allclose(new["b"], 1.0)


def test_the_first_adam_step_is_the_rate_whatever_the_gradient_and_clipping_keeps_it_so():
    params = {"w": jnp.zeros((2, 2))}
    for size in (1e-3, 1e3):
        for clip in (0.0, 1.0):
            new = first_step(params, {"w": jnp.full((2, 2), size)}, clip=clip)
            np.testing.assert_allclose(new["w"], -0.1, rtol=1e-3)


def test_muon_moves_matrices_between_layers_by_orthogonal_steps_and_the_rest_as_adam():
    rng = np.random.default_rng(0)
    at = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    params = {
        "blocks_0": {"kernel": at(16, 8), "bias": at(8)},
        "blocks": {"kernel": at(3, 8, 8)},
        "head": {"kernel": at(8, 8)},
        "embed": {"embedding": at(5, 8)},
    }
    grads = jax.tree.map(lambda p: at(*p.shape), params)
    moved = jax.tree.map(jnp.subtract, params, first_step(params, grads, optimizer="muon"))
    tx = optax.adam(0.1, 0.9, 0.99, nesterov=True)
    adam = jax.tree.map(jnp.negative, tx.update(grads, tx.init(params))[0])
    for one in [moved["blocks_0"]["kernel"], *moved["blocks"]["kernel"]]:
        values = np.linalg.svd(one, compute_uv=False) / (0.1 * 0.2 * max(one.shape) ** 0.5)
        assert (values > 0.3).all() and (values < 1.3).all(), "Newton-Schulz stops near 1"
    np.testing.assert_allclose(moved["blocks_0"]["bias"], adam["blocks_0"]["bias"], atol=1e-4)
    np.testing.assert_allclose(moved["head"]["kernel"], adam["head"]["kernel"], atol=1e-4)
    np.testing.assert_allclose(moved["embed"]["embedding"], adam["embed"]["embedding"], atol=1e-4)


def test_an_unknown_optimizer_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="no optimizer 'sgd'; there are adamw, muon"):
        train_state.optimizer(knobs(optimizer="sgd"), lambda step: 1.0)
