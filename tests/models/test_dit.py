"""DiT: one function, however its layers are run."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import create, dit, layers

X, T = jax.random.normal(jax.random.key(1), (2, 8, 8, 3)), jnp.array([0.2, 0.7])
COND = {"label": jnp.array([0, 3])}
FIELDS = dict(hidden_size=16, depth=2, num_heads=2, patch_size=2, mlp_ratio=2.0, num_classes=4)


def build(**fields):
    return create("dit", **FIELDS | fields)


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
def stacked():
    """Parameters of the scanned form."""
    return filled(build(scan_layers=True), X, T, COND)


@pytest.fixture(scope="module")
def params(stacked):
    """The same numbers, for the unrolled form."""
    return dit.unstack(stacked)


@pytest.fixture(scope="module")
def run(params):
    """(x, t, cond) -> out of the unrolled form."""
    return jax.jit(lambda *inputs: build().apply(params, *inputs))


def value_and_grad(model, params):
    return jax.jit(
        jax.value_and_grad(lambda p: jnp.square(model.apply(p, X, T, COND) - 1.0).mean())
    )(params)


@pytest.fixture(scope="module")
def plain(params):
    """Value and gradient of the unrolled form."""
    return value_and_grad(build(), params)


@pytest.mark.parametrize("scan, remat", [(True, False), (False, True), (True, True)])
def test_scanning_and_recomputing_change_neither_value_nor_gradient(
    scan, remat, stacked, params, plain
):
    model = build(scan_layers=scan, remat=remat)
    value, grad = value_and_grad(model, stacked if scan else params)
    np.testing.assert_allclose(value, plain[0], rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        dit.unstack(grad) if scan else grad,
        plain[1],
    )
    for leaf in jax.tree.leaves(grad):
        assert jnp.abs(leaf).max() > 0


def test_the_output_is_an_image(run):
    out = run(X, T, COND)
    assert out.shape == X.shape and out.std() > 0.05


def test_unstacked_parameters_have_the_unrolled_tree(params):
    shapes = jax.eval_shape(lambda: build().init(jax.random.key(0), X, T, COND))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)


def test_scanned_layers_start_with_numbers_of_their_own():
    fresh = jax.jit(build(scan_layers=True).init)(jax.random.key(0), X, T, COND)
    kernel = fresh["blocks"]["mlp"]["up"]["kernel"]
    assert kernel.shape == (2, 16, 32)
    assert jnp.abs(kernel[0] - kernel[1]).max() > 0.1


@pytest.mark.parametrize("scan", [False, True])
def test_recomputing_keeps_the_parameters_names(scan):
    models = [build(scan_layers=scan, remat=remat) for remat in (False, True)]
    plain, remat = (jax.eval_shape(m.init, jax.random.key(0), X, T, COND) for m in models)
    assert plain == remat


def test_remat_keeps_one_block_and_the_inputs_of_the_others():
    """MiB that the gradient of eight scanned blocks wants on 256 tokens: 118 and 14."""
    x, t = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((4, 32, 32, 4), (4,)))

    def wanted(remat):
        fields = dict(hidden_size=64, depth=8, patch_size=2, num_heads=2, num_classes=0)
        model = build(**fields, scan_layers=True, remat=remat)
        params = jax.eval_shape(lambda x, t: model.init(jax.random.key(0), x, t, {}), x, t)
        loss = lambda params, x, t: jnp.square(model.apply(params, x, t, {})).mean()
        program = jax.jit(jax.grad(loss)).lower(params, x, t).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert wanted(True) < wanted(False) / 5


def test_positions_are_not_parameters(params):
    names = {"patchify", "condition", "head", "blocks_0", "blocks_1"}
    assert set(params) == names


def test_positions_tell_patches_apart(run):
    """Equal patches everywhere: without positions their outputs would be equal too."""
    out = run(jnp.ones_like(X), T, COND)
    assert jnp.abs(out[:, :2, :2] - out[:, 2:4, :2]).max() > 1e-3
    assert jnp.abs(out[:, :2, :2] - out[:, :2, 2:4]).max() > 1e-3


def test_positions_read_the_column_and_then_the_row():
    table = layers.sincos_2d(3, 8).reshape(3, 3, 8)
    np.testing.assert_array_equal(table[0, :, :4], table[2, :, :4])
    np.testing.assert_array_equal(table[:, 0, 4:], table[:, 2, 4:])
    np.testing.assert_allclose(
        table[0, 2, :4], np.r_[np.sin([2, 0.02]), np.cos([2, 0.02])], rtol=1e-5
    )


def test_the_noise_level_is_told_as_a_thousand_steps():
    features = layers.fourier(jnp.array([0.25]), 8)[0]
    angles = 250.0 / 10.0 ** np.arange(4)
    np.testing.assert_allclose(features, np.r_[np.cos(angles), np.sin(angles)], atol=1e-4)


def test_every_patch_sees_every_other(run):
    gap = jnp.abs(run(X.at[:, 0, 0].add(1.0), T, COND) - run(X, T, COND))
    assert gap[:, -1, -1].max() > 1e-5


def test_an_example_does_not_see_its_neighbours(run):
    gap = jnp.abs(run(X.at[0].add(1.0), T, COND) - run(X, T, COND))
    assert gap[0].max() > 0.01 and gap[1].max() < 1e-6


def test_normed_queries_and_keys_forgive_their_scale():
    """Ten times the query weights, and the same output: only the norm can do that."""

    def change(qk_norm):
        model = build(qk_norm=qk_norm, depth=1)
        params = filled(model, X, T, COND)
        run = jax.jit(model.apply)
        before = run(params, X, T, COND)
        attention = params["blocks_0"]["attention"]
        louder = jnp.where(jnp.arange(48) < 16, 10.0, 1.0)  # queries are the first third
        attention["qkv"] = jax.tree.map(lambda p: p * louder, attention["qkv"])
        return jnp.abs(run(params, X, T, COND) - before).max(), set(attention)

    gap, names = change(True)
    assert gap < 1e-4 and names == {"qkv", "out", "q_norm", "k_norm"}
    gap, names = change(False)
    assert gap > 1e-2 and names == {"qkv", "out"}


def test_normed_queries_and_keys_are_scanned_with_their_layers():
    model = build(qk_norm=True, scan_layers=True)
    shapes = jax.eval_shape(model.init, jax.random.key(0), X, T, COND)
    assert shapes["blocks"]["attention"]["q_norm"]["scale"].shape == (2, 8)


def test_attention_is_softmax_attention():
    q, k, v = (
        jax.random.normal(key, (2, 5, 3, 8)) for key in jax.random.split(jax.random.key(0), 3)
    )
    scores = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(8), -1)
    wanted = jnp.einsum("bhqk,bkhd->bqhd", scores, v)
    for implementation in ("auto", "xla"):
        np.testing.assert_allclose(layers.attend(q, k, v, implementation), wanted, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_attention_is_that_of_jax(masked, biased, causal):
    """Masks, with a row that nobody in is there, and biases are taken the same way."""
    keys = jax.random.split(jax.random.key(0), 5)
    q, k, v = (jax.random.normal(key, (2, 5, 3, 8)) for key in keys[:3])
    mask = jax.random.bernoulli(keys[3], 0.6, (2, 5)).at[1].set(False) if masked else None
    bias = jax.random.normal(keys[4], (1, 3, 5, 5)) if biased else None
    found = layers.attend(q, k, v, "xla", mask=mask, bias=bias, causal=causal)
    mask = None if mask is None else mask[:, None, None]
    wanted = jax.nn.dot_product_attention(q, k, v, bias=bias, mask=mask, is_causal=causal)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("h, w, patch", [(8, 6, 2), (9, 9, 2), (8, 8, 3)])
def test_an_image_that_does_not_fall_into_patches_is_refused(h, w, patch):
    said = f"square images with a side divisible by patch_size {patch}; got {h}x{w}"
    with pytest.raises(ValueError, match=said):
        build(patch_size=patch).init(jax.random.key(0), jnp.ones((1, h, w, 3)), jnp.ones(1), {})


@pytest.mark.parametrize("width, heads", [(18, 2), (16, 3)])
def test_a_width_that_does_not_divide_is_refused(width, heads):
    with pytest.raises(
        ValueError, match=f"hidden_size {width} is not a multiple of 4 and of num_heads"
    ):
        build(hidden_size=width, num_heads=heads).init(jax.random.key(0), X, T, {})


@pytest.mark.parametrize("features, dtype", [(3, "float32"), (9, "float32"), (3, "bfloat16")])
def test_a_dense_layer_and_its_gradients_are_flaxs(features, dtype):
    """A kernel that is tall and one that is wide; also under vmap, as with a key an example."""
    x = jax.random.normal(jax.random.key(0), (4, 2, 5, 6), dtype)
    params = nn.Dense(features).init(jax.random.key(1), x)

    def found(cls):
        loss = lambda params, x: jnp.sin(cls(features, dtype=dtype).apply(params, x)).sum()
        whole = jax.value_and_grad(loss, (0, 1))(params, x)
        return whole, jax.vmap(jax.grad(loss, (0, 1)), (None, 0))(params, x)

    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 if dtype == "float32" else 0.1)
    jax.tree.map(
        close,
        *jax.tree.map(lambda a: a.astype(jnp.float32), [found(nn.Dense), found(layers.Dense)]),
    )


def test_a_product_of_halves_may_be_whole_and_its_gradients_are_halves_again():
    x, kernel = (jax.random.normal(jax.random.key(n), (6, 6), jnp.bfloat16) for n in range(2))
    out, back = jax.vjp(lambda x, kernel: layers.product(x, kernel, jnp.float32), x, kernel)
    wanted = jnp.dot(x, kernel, preferred_element_type=jnp.float32)
    assert out.dtype == jnp.float32 and (out == wanted).all()
    assert {a.dtype for a in back(out)} == {jnp.dtype("bfloat16")}
