"""The transformer's promises: sizes, symmetries, what may see what, and what is computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import dit, places, transformer
from models.transformer import PRESETS, Transformer

V, B, L = 13, 2, 9
T = jnp.array([0.2, 0.9])
IDS = jax.random.randint(jax.random.key(7), (B, L), 0, V)
COND: dict = {}
SMALL = dict(hidden_size=16, depth=1, num_heads=2, d_ff=24, features=V, vocab_size=V)


def build(x=IDS, cond=COND, **fields):
    """A small network with random parameters (initial zeros hide mistakes): (params, apply)."""
    module = Transformer(**SMALL | fields)
    shapes, tree = jax.tree.flatten(jax.eval_shape(module.init, jax.random.key(0), x, T, cond))
    keys = jax.random.split(jax.random.key(1), len(shapes))
    params = [0.2 * jax.random.normal(k, a.shape) for a, k in zip(shapes, keys, strict=True)]
    params = jax.tree.unflatten(tree, params)["params"]
    return params, lambda p, x, t, c, k=None: module.apply({"params": p}, x, t, c, k)


def millions(preset, **fields):
    module = Transformer(**PRESETS[preset], features=8192, vocab_size=8192, **fields)
    shapes = jax.eval_shape(module.init, jax.random.key(0), IDS, T, COND)
    return sum(a.size for a in jax.tree.leaves(shapes)) / 1e6


@pytest.mark.parametrize(
    "preset, added, adaptive",
    [
        ("tiny", 7.6, 9.2),
        ("small", 17.3, 22.8),
        ("medium", 34.3, 47.2),
        ("large", 60.7, 85.7),
        ("xlarge", 99.0, 142.1),
    ],
)
def test_presets_have_the_published_sizes_with_8192_tokens(preset, added, adaptive):
    """The first column has learned positions and as many time waves as the width; the second is
    the default: no position table, 256 waves. Both project out by a matrix of their own."""
    width = PRESETS[preset]["hidden_size"]
    got = millions(preset, conditioning="add", positions="learned", time_width=width)
    assert abs(got - added) < 0.05
    assert abs(millions(preset) / adaptive - 1) < 2e-3


def test_a_tied_output_saves_its_matrix():
    assert abs(millions("tiny") - millions("tiny", tied=True) - 8192 * 256 / 1e6) < 1e-9


@pytest.mark.parametrize(
    "conditioning, time_embedding",
    [
        (c, t)
        for c in transformer.CONDITIONINGS
        for t in transformer.TIMES
        if "adaln" in c or t == "mlp"
    ],
)
def test_time_has_an_effect_unless_there_is_no_conditioning(conditioning, time_embedding):
    params, apply = build(conditioning=conditioning, time_embedding=time_embedding)
    out = apply(params, IDS, T, COND)
    assert out.shape == (B, L, V) and out.dtype == jnp.float32 and jnp.isfinite(out).all()
    change = jnp.abs(apply(params, IDS, T - 0.15, COND) - out).max((1, 2))
    assert (change == 0).all() if conditioning == "none" else (change > 1e-3).all()


@pytest.mark.parametrize("positions", transformer.POSITIONS)
def test_every_kind_of_position_tells_places_apart(positions):
    params, apply = build(positions=positions)
    out = apply(params, IDS, T, COND)
    assert jnp.isfinite(out).all()
    for order in (jnp.arange(L)[::-1], jnp.roll(jnp.arange(L), 1)):
        moved = apply(params, IDS[:, order], T, COND)
        assert jnp.abs(out[:, order] - moved).max() > 1e-3


def test_the_first_output_of_an_untied_network_is_zero():
    module = Transformer(hidden_size=16, depth=1, num_heads=2, d_ff=16, features=V, vocab_size=V)
    params = module.init(jax.random.key(0), IDS, T, COND)
    np.testing.assert_array_equal(module.apply(params, IDS, T, COND), 0.0)


def test_rotary_attention_only_knows_differences_of_places():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 6, 2, 8))
    rotate = lambda x, start=0: places.rotate(x, places.sincos(start + 6, 8)[start:])
    products = lambda start: jnp.einsum("blnd,bmnd->bnlm", rotate(q, start), rotate(k, start))
    np.testing.assert_allclose(products(0), products(37), atol=1e-5)
    np.testing.assert_allclose(rotate(q)[:, 0], q[:, 0])
    np.testing.assert_allclose((rotate(q) ** 2).sum(-1), (q**2).sum(-1), rtol=1e-5)


@pytest.mark.parametrize("positions", ["rope", "alibi"])
def test_a_text_behind_padding_is_the_text_alone(positions):
    params, apply = build(positions=positions)
    alone = apply(params, IDS, T, COND)
    mask = jnp.arange(L + 4) >= 4
    padded = jnp.pad(IDS, ((0, 0), (4, 0)))
    out = apply(params, padded, T, {"mask": jnp.broadcast_to(mask, padded.shape)})
    np.testing.assert_allclose(out[:, 4:], alone, atol=2e-4)


@pytest.mark.parametrize(
    "positions, causal", [(p, False) for p in transformer.POSITIONS] + [("rope", True)]
)
def test_what_is_in_padded_places_has_no_effect(positions, causal):
    params, apply = build(positions=positions, causal=causal)
    mask = jnp.array([[1] * 6 + [0] * 3, [1, 1, 0, 1, 1, 1, 1, 0, 1]], bool)
    out = apply(params, IDS, T, {"mask": mask})
    other = apply(params, jnp.where(mask, IDS, (IDS + 5) % V), T, {"mask": mask})
    np.testing.assert_allclose(jnp.where(mask[..., None], out - other, 0), 0, atol=1e-6)
    assert jnp.abs(apply(params, IDS, T, COND) - out)[mask].max() > 1e-4
    nobody = apply(params, IDS, T, {"mask": jnp.zeros((B, L), bool)})
    assert jnp.isfinite(nobody).all()


@pytest.mark.parametrize("positions", transformer.POSITIONS)
def test_a_causal_network_does_not_see_the_future(positions):
    params, apply = build(positions=positions, causal=True)
    out = apply(params, IDS, T, COND)
    later = apply(params, IDS.at[:, 5].add(1) % V, T, COND)
    np.testing.assert_allclose(later[:, :5], out[:, :5], atol=1e-6)
    assert (jnp.abs(later[:, 5:] - out[:, 5:]).max(-1) > 0).all()
    params, apply = build(positions=positions)
    change = apply(params, IDS.at[:, 5].add(1) % V, T, COND) - apply(params, IDS, T, COND)
    assert (jnp.abs(change[:, :5]).max((1, 2)) > 1e-4).all()


def place_by_place(x=IDS, mask=None, length=L, **fields):
    """f32[B, L, V] twice: of whole rows, and of one place after the other with a past."""
    fields = dict(causal=True, depth=2) | fields
    params, apply = build(x, **fields)
    known = {} if mask is None else {"mask": mask}
    past, out = Transformer(**SMALL | fields).past(B, length), []
    step = jax.jit(apply)
    for place in range(L):
        beyond = {k: jnp.pad(m, ((0, 0), (0, length - L))) for k, m in known.items()}
        cond = beyond | {"past": past, "place": jnp.int32(place)}
        logits, past = step(params, x[:, place : place + 1], T, cond)
        out.append(logits)
    return step(params, x, T, known), jnp.concatenate(out, 1)


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize("positions", transformer.POSITIONS)
def test_with_a_past_one_token_at_a_time_is_the_whole_row(positions, scan_layers):
    want, got = place_by_place(positions=positions, scan_layers=scan_layers)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        dict(conditioning="add", time_embedding="table", tied=True),
        dict(conditioning="none", qk_norm=True, remat=True),
        dict(length=L + 3, positions="alibi"),
        dict(mask=jnp.array([[1] * 6 + [0] * 3, [0, 0, 1, 1, 1, 1, 1, 0, 1]], bool)),
        dict(x=jax.random.normal(jax.random.key(0), (B, L, 5)), features=5, vocab_size=0),
    ],
    ids=["added", "unconditional", "room to spare", "padded", "vectors"],
)
def test_the_past_of_every_kind_of_network_holds(fields):
    want, got = place_by_place(**fields)
    real = fields.get("mask", jnp.ones((B, L), bool))[..., None]
    np.testing.assert_allclose(jnp.where(real, got - want, 0), 0, atol=1e-5)


def test_a_past_in_bfloat16_takes_half_the_room():
    want, got = place_by_place(dtype=jnp.bfloat16)
    assert jnp.abs(got - want).max() < 0.05 * jnp.abs(want).max()
    keys, values = Transformer(**SMALL, dtype=jnp.bfloat16).past(B, L)
    assert keys.dtype == values.dtype == jnp.bfloat16 and keys.shape == (1, B, L, 2, 8)


@pytest.mark.parametrize(
    "fields, x, message",
    [
        (dict(causal=False), IDS[:, :1], "every place sees all"),
        (dict(causal=True), IDS[:, :2], r"the one token at `place`; got int32\(2, 2\)"),
        (
            dict(causal=True, positions="learned", max_seq_len=4),
            IDS[:, :1],
            "length 9 is over max_seq_len 4",
        ),
    ],
)
def test_a_past_that_does_not_fit_is_refused(fields, x, message):
    past = Transformer(**SMALL | fields).past(B, L)
    with pytest.raises(ValueError, match=message):
        build(x, {"past": past, "place": jnp.int32(0)}, **fields)


@pytest.mark.parametrize("tied", [False, True])
def test_logits_at_some_places_are_those_of_all(tied):
    params, apply = build(tied=tied)
    out = apply(params, IDS, T, COND)
    places = jnp.array([[3, 0, 8], [1, 1, 7]])
    some = apply(params, IDS, T, {"places": places})
    np.testing.assert_allclose(some, jnp.take_along_axis(out, places[..., None], 1), atol=1e-5)
    readout = apply(params, IDS, T, {"readout": True})
    np.testing.assert_allclose(readout.logits(), out, atol=1e-5)
    rows = readout._replace(features=readout.features.reshape(-1, readout.features.shape[-1]))
    flat = jnp.array([0, 17, 4, 4])
    rows = rows._replace(features=rows.features[flat])
    np.testing.assert_allclose(rows.logits(), out.reshape(-1, V)[flat], atol=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        dict(depth=2),
        dict(depth=2, tied=True, conditioning="add", positions="alibi", qk_norm=True),
        dict(conditioning="none", positions="learned"),
        dict(depth=2, scan_layers=True),
        dict(causal=True),
    ],
)
def test_logits_that_come_later_are_those_of_all(fields):
    params, apply = build(**fields)
    cond = {"mask": jnp.arange(L) < jnp.array([[L], [6]])}
    out = apply(params, IDS, T, cond)
    begun = apply(params, IDS, T, cond | {"later": True})
    for asked in (jnp.array([[3, 0, 8], [1, 1, 4]]), jnp.array([[2], [5]])):
        some = apply(params, begun, T, {"places": asked})
        np.testing.assert_allclose(some, jnp.take_along_axis(out, asked[..., None], 1), atol=1e-5)


def test_vectors_go_in_and_come_out():
    x = jax.random.normal(jax.random.key(0), (B, L, 5))
    params, apply = build(x, features=5, vocab_size=0)
    assert apply(params, x, T, COND).shape == (B, L, 5)
    assert "project" in params and "embed" not in params


def test_classes_have_an_effect_and_no_label_is_the_last_one():
    params, apply = build(num_classes=3)
    none = apply(params, IDS, T, COND)
    np.testing.assert_array_equal(none, apply(params, IDS, T, {"label": jnp.array([3, 3])}))
    assert jnp.abs(none - apply(params, IDS, T, {"label": jnp.array([0, 1])})).max() > 1e-3


@pytest.mark.parametrize("conditioning", ["adaln", "none"])
def test_scanned_layers_compute_what_unrolled_ones_do(conditioning):
    params, scanned = build(conditioning=conditioning, depth=2, scan_layers=True, dropout=0.5)
    _, apply = build(conditioning=conditioning, depth=2, dropout=0.5, remat=True)
    keys = jax.random.split(jax.random.key(3), B)
    mask = {"mask": jnp.arange(L) < jnp.array([[L], [6]])}
    one = scanned(params, IDS, T, mask, keys)
    np.testing.assert_allclose(one, apply(dit.unstack(params), IDS, T, mask, keys), atol=1e-4)


def test_dropout_is_drawn_per_example_and_only_with_keys():
    params, apply = build(dropout=0.5)
    keys = jax.random.split(jax.random.key(3), B)
    out = apply(params, IDS, T, COND, keys)
    assert jnp.abs(out - apply(params, IDS, T, COND)).max() > 1e-3
    np.testing.assert_allclose(apply(params, IDS[1:], T[1:], COND, keys[1:]), out[1:], atol=1e-4)


def test_bfloat16_keeps_parameters_and_logits_in_float32():
    params, apply = build(dtype=jnp.bfloat16, qk_norm=True)
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(params))
    _, full = build(qk_norm=True)
    out, want = apply(params, IDS, T, COND), full(params, IDS, T, COND)
    assert out.dtype == jnp.float32
    assert jnp.abs(out - want).max() < 0.1 * jnp.abs(want).max()


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(conditioning="film"), "adaln, add, none"),
        (dict(positions="rotary"), "rope, sincos, learned, alibi"),
        (dict(time_embedding="fourier"), "sinusoidal, mlp, table"),
        (dict(vocab_size=0), "vocab_size is 0"),
        (dict(tied=True, features=V + 1), "features 14, vocab_size 13"),
        (dict(num_heads=3), "num_heads 3"),
        (dict(positions="learned", max_seq_len=4), "length 9 is over max_seq_len 4"),
        (dict(conditioning="none", num_classes=2), "num_classes"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        build(**fields)


def test_input_of_the_wrong_rank_is_refused():
    with pytest.raises(ValueError, match="want ids"):
        build(IDS[..., None])
