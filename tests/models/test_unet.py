"""The UNet: sides, dropout by example, and who attends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import create
from models.layers import dropout

X, T = jax.random.normal(jax.random.key(1), (3, 8, 8, 3)), jnp.array([0.2, 0.7, 0.4])
KEYS = jax.random.split(jax.random.key(2), 3)


def build(**fields):
    return create("unet", "debug", **fields)


def filled(model, *inputs):
    """Parameters at random: those that start at zero would hide everything behind them."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        spread = 0.1 if leaf.ndim == 1 else (leaf.size / leaf.shape[-1]) ** -0.5
        around = 1.0 if path[-1].key == "scale" else 0.0
        return jnp.asarray(rng.normal(around, spread, leaf.shape), jnp.float32)

    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs))
    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.fixture(scope="module")
def params():
    return filled(build(), X, T, {})


@pytest.fixture(scope="module")
def run(params):
    """(x, t, keys) -> out of a UNet that drops half of its features."""
    model = build(dropout=0.5)
    return jax.jit(lambda x, t, keys: model.apply(params, x, t, {}, keys))


def test_the_output_is_an_image(run):
    out = run(X, T, None)
    assert out.shape == X.shape and out.std() > 0.01


def test_dropout_follows_its_key_and_not_the_place_in_the_batch(run):
    back = jnp.array([2, 0, 1])
    one, two = run(X, T, KEYS), run(X[back], T[back], KEYS[back])
    np.testing.assert_allclose(one[back], two, rtol=1e-4, atol=1e-5)


def test_another_key_drops_other_features(run):
    one, two = run(X, T, KEYS), run(X, T, KEYS.at[1].set(jax.random.key(9)))
    np.testing.assert_allclose(one[0], two[0], atol=1e-6)
    assert jnp.abs(one[1] - two[1]).max() > 1e-3


def test_dropout_is_off_without_keys(run, params):
    plain = jax.jit(lambda: build().apply(params, X, T, {}, KEYS))()
    np.testing.assert_allclose(run(X, T, None), plain, atol=1e-5)
    assert jnp.abs(run(X, T, KEYS) - plain).max() > 1e-3


def test_every_residual_block_drops_features_of_its_own(params, monkeypatch):
    """Two blocks of one key would drop features in step."""
    used = []
    monkeypatch.setattr("models.layers.dropout", lambda keys, x, rate: used.append(keys) or x)

    @jax.jit
    def run():
        build(dropout=0.5).apply(params, X, T, {}, KEYS)
        return [jax.random.key_data(keys) for keys in used]

    keys = np.concatenate(run())
    assert len(np.unique(keys, axis=0)) == len(keys) == 3 * 8  # two down, two between, four up


def test_dropout_keeps_the_mean_and_its_share():
    keys = jax.random.split(jax.random.key(0), 4)
    x = dropout(keys, jnp.ones((4, 50, 50)), 0.2)
    np.testing.assert_allclose((x == 0).mean(), 0.2, atol=0.02)
    np.testing.assert_allclose(x[x != 0], 1.25, rtol=1e-6)
    assert dropout(keys, x, 0.0) is x and dropout(None, x, 0.5) is x


def test_attention_is_where_it_is_asked_for_and_in_the_middle():
    def attending(sides):
        model = build(attention_sides=sides)
        shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), X, T, {}))
        return {name for name in shapes if name.endswith("attention")}

    assert attending(()) == {"middle_attention"}
    deep = {"down_1_0_attention", "up_1_0_attention", "up_1_1_attention"}
    assert attending((4,)) == {"middle_attention"} | deep


def test_another_side_serves_the_same_parameters(params):
    out = jax.eval_shape(build().apply, params, jnp.ones((1, 12, 16, 3)), T[:1], {})
    assert out.shape == (1, 12, 16, 3)


@pytest.mark.parametrize("h, w", [(7, 8), (8, 7)])
def test_a_side_that_cannot_be_halved_is_refused(h, w):
    said = f"halves its input 1 times, so sides must be divisible by 2; got {h}x{w}"
    with pytest.raises(ValueError, match=said):
        build().init(jax.random.key(0), jnp.ones((1, h, w, 3)), jnp.ones(1), {})
