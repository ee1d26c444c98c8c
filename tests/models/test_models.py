"""models.create, and what every network of the package keeps to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import DTYPES, MODULES, create, dit, unet

X, T = jnp.ones((2, 8, 8, 3)), jnp.array([0.2, 0.7])
SMALL = {
    "dit": dict(preset="debug", patch_size=4),
    "unet": dict(preset="debug"),
}
EVERY = pytest.mark.parametrize("name", SMALL)


@pytest.mark.parametrize(
    "call, said",
    [
        (dict(name="dti"), r"no model 'dti'; did you mean 'dit'\?; there are .*dit"),
        (dict(name="gan"), r"no model 'gan'; there are .*dit"),
        (dict(name="dit", preset="huge"), "no dit preset 'huge'; there are debug, big, semilarge"),
        (dict(name="dit", preset="xlrage"), r"did you mean 'xlarge'\?"),
        (
            dict(name="unet", preset="celeba"),
            "no unet preset 'celeba'; there are debug, mnist, cifar",
        ),
        (
            dict(name="dit", preset="debug", patchsize=2),
            r"no dit field 'patchsize'; did you mean 'patch_size'\?; there are hidden_size, depth",
        ),
        (
            dict(name="unet", preset="debug", dtype="float8"),
            r"no dtype 'float8'.*there are float32, bfloat16, float16",
        ),
        (dict(name="dit", preset="debug"), "dit wants patch_size, or a preset: debug, big"),
        (dict(name="dit", depth=2), "dit wants hidden_size, num_heads, patch_size, or a preset"),
        (dict(name="unet"), "unet wants width, multipliers, or a preset: debug, mnist, cifar"),
    ],
)
def test_a_wrong_word_is_answered_with_what_there_is(call, said):
    with pytest.raises(ValueError, match=said):
        create(**call)


def test_flax_own_fields_are_not_ours():
    with pytest.raises(ValueError, match="no dit field 'parent'"):
        create("dit", "debug", patch_size=2, parent="x")


@pytest.mark.parametrize(
    "preset, numbers",
    [
        ("debug", (64, 2, 2, 1.0)),
        ("big", (768, 12, 12, 4.0)),
        ("semilarge", (1024, 22, 16, 4.0)),
        ("large", (1024, 24, 16, 4.0)),
        ("xlarge", (1152, 28, 16, 4.0)),
        # arXiv:2212.09748, table 1
        ("DiT-S", (384, 12, 6, 4.0)),
        ("DiT-B", (768, 12, 12, 4.0)),
        ("DiT-L", (1024, 24, 16, 4.0)),
        ("DiT-XL", (1152, 28, 16, 4.0)),
    ],
)
def test_the_presets_of_dit_are_the_published_table(preset, numbers):
    fields = ("hidden_size", "depth", "num_heads", "mlp_ratio")
    assert dit.PRESETS[preset] == dict(zip(fields, numbers, strict=True))


@pytest.mark.parametrize("name, preset", [(n, p) for n in SMALL for p in MODULES[n][1]])
def test_every_preset_can_be_built(name, preset):
    # scanned: depth costs no time here
    more = dict(patch_size=2, scan_layers=True) if name == "dit" else {}
    model = create(name, preset, **more)
    x = jax.ShapeDtypeStruct((1, 28, 28, 1) if preset == "mnist" else (1, 32, 32, 3), jnp.float32)
    key, t = jax.random.key(0), jax.ShapeDtypeStruct((1,), jnp.float32)
    out, _ = jax.eval_shape(
        lambda x, t: ((p := model.init(key, x, t, {})), model.apply(p, x, t, {}))[::-1], x, t
    )
    assert out.shape == x.shape and out.dtype == jnp.float32


@EVERY
def test_a_field_beats_its_preset_and_none_does_not(name):
    key, field = jax.random.key(0), "hidden_size" if name == "dit" else "width"

    def count(**fields):
        model = create(name, **SMALL[name], **fields)
        shapes = jax.eval_shape(lambda: model.init(key, X, T, {}))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    assert count(**{field: None}) == count()
    assert count(**{field: 32}) != count()


@EVERY
@pytest.mark.parametrize("dtype", DTYPES)
def test_parameters_and_outputs_are_float32_whatever_the_activations_are(name, dtype):
    model = create(name, **SMALL[name], num_classes=4, dtype=dtype)
    cond = {"label": jnp.array([0, 3])}
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), X, T, cond))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    out = jax.eval_shape(lambda p: model.apply(p, X, T, cond), params)
    assert out.dtype == jnp.float32


def filled(model, *inputs):
    """Parameters at random: those that start at zero would hide everything behind them."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        spread = 0.1 if leaf.ndim == 1 else (leaf.size / leaf.shape[-1]) ** -0.5
        around = 1.0 if path[-1].key == "scale" else 0.0
        return jnp.asarray(rng.normal(around, spread, leaf.shape), jnp.float32)

    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs))
    return jax.tree_util.tree_map_with_path(draw, shapes)


@EVERY
def test_a_fresh_network_says_nothing(name):
    model = create(name, **SMALL[name], num_classes=4)
    cond = {"label": jnp.array([0, 3])}
    run = jax.jit(model.apply)
    fresh = jax.jit(model.init)(jax.random.key(0), X, T, cond)
    np.testing.assert_array_equal(run(fresh, X, T, cond), 0.0)
    assert jnp.abs(run(filled(model, X, T, cond), X, T, cond)).max() > 1e-3


@EVERY
def test_narrow_activations_compute_nearly_the_same(name):
    params = filled(create(name, **SMALL[name]), X, T, {})
    exact, narrow = (
        jax.jit(create(name, **SMALL[name], dtype=dtype).apply)(params, X, T, {})
        for dtype in ("float32", "bfloat16")
    )
    gap = jnp.abs(narrow - exact).max() / jnp.abs(exact).max()
    assert 1e-5 < gap < 0.1  # no gap at all would mean that dtype is not used


@EVERY
def test_levels_and_labels_reach_their_own_example(name):
    model = create(name, **SMALL[name], num_classes=4)
    params = filled(model, X, T, {})
    run = jax.jit(lambda t, label: model.apply(params, X, t, {"label": label}))
    label = jnp.array([1, 2])
    out = run(T, label)
    for changed in (run(T.at[1].set(0.9), label), run(T, label.at[1].set(3))):
        np.testing.assert_allclose(changed[0], out[0], atol=1e-6)
        assert jnp.abs(changed[1] - out[1]).max() > 1e-3


@EVERY
def test_the_label_one_past_the_last_class_means_no_label(name):
    model = create(name, **SMALL[name], num_classes=4)
    params = filled(model, X, T, {})
    run = jax.jit(lambda cond: model.apply(params, X, T, cond))
    none = run({})
    np.testing.assert_allclose(none, run({"label": jnp.array([4, 4])}), atol=1e-6)
    assert jnp.abs(none - run({"label": jnp.array([0, 3])})).max() > 1e-3


@EVERY
def test_a_network_without_classes_has_no_table_of_them(name):
    model = create(name, **SMALL[name])
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), X, T, {"label": jnp.ones(2, int)})
    )
    assert set(shapes["condition"]) == {"time_in", "time_out"}


def test_the_cifar_unet_has_the_published_number_of_parameters():
    """35.7 M, arXiv:2006.11239, appendix B; google/ddpm-cifar10-32 holds 35 746 307."""
    model = create("unet", "cifar")
    x = jnp.zeros((1, 32, 32, 3))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, jnp.zeros(1), {}))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 35_746_307
    assert unet.PRESETS["cifar"]["dropout"] == 0.1


@pytest.mark.parametrize(
    "preset, published", [("DiT-S", 33), ("DiT-B", 130), ("DiT-L", 458), ("DiT-XL", 675)]
)
def test_dit_has_the_published_number_of_parameters(preset, published):
    """arXiv:2212.09748, table 4, in millions, on 32 x 32 x 4 latents and 1000 classes.

    Theirs has twice the output channels (a learnt variance), 0.02 M, and counts the fixed
    positions, 0.3 M.
    """
    model = create("dit", preset, patch_size=2, num_classes=1000, scan_layers=True)
    x = jnp.zeros((1, 32, 32, 4))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, jnp.zeros(1), {}))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert abs(count / 1e6 - published) < 1.0
    if preset == "DiT-XL":
        assert count == 674_816_272  # 675_129_632 with the two differences above
