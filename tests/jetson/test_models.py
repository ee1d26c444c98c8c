"""Every network in torch gives what it gives in Flax, with no parameter left at its first value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models

torch = pytest.importorskip("torch", reason="the runtime's networks are torch's")

from jetson import convert  # noqa: E402
from jetson import models as mirror  # noqa: E402

T = jnp.array([0.003, 0.4, 1.0])
V, L, PAD = 13, 10, 0
DIT = dict(hidden_size=32, depth=2, num_heads=2, patch_size=2)
UNET = dict(width=8, multipliers=(1, 2), num_res_blocks=1, groups=4)
TEXT = dict(features=V, vocab_size=V, hidden_size=32, depth=2, num_heads=2, d_ff=48, max_seq_len=L)


def filled(model, *inputs):
    """Parameters at random: those that start at zero would hide everything behind them."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        spread = 0.1 if leaf.ndim == 1 else (leaf.size / leaf.shape[-1]) ** -0.5
        around = 1.0 if path[-1].key == "scale" else 0.0
        return jnp.asarray(rng.normal(around, spread, leaf.shape), jnp.float32)

    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs))
    return jax.tree_util.tree_map_with_path(draw, shapes)


def compare(name, fields, x, cond, extra, only_flax=()):
    """Both networks on one input; returns the one of torch and Flax's parameters."""
    model = models.create(name, **fields)
    params = filled(model, x, T, cond)
    ours = np.asarray(jax.jit(model.apply)(params, x, T, cond))
    fields = {k: v for k, v in fields.items() if k not in only_flax}
    network = mirror.load(mirror.create(name, **fields, **extra), convert.flat(params))
    ids = np.issubdtype(x.dtype, np.integer)
    state = torch.from_numpy(np.array(x)).long() if ids else torch.from_numpy(np.array(x))
    label = torch.tensor(np.array(cond["label"])).long() if "label" in cond else None
    with torch.no_grad():
        theirs = network(state, torch.tensor(np.array(T)), label).numpy()
    assert ours.std() > 0.05 and ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 5e-5
    return network, params


@pytest.mark.parametrize(
    "shape, fields, labels",
    [
        ((8, 8, 3), DIT, None),
        (
            (8, 8, 1),
            DIT | dict(num_classes=5, qk_norm=True, patch_size=4, mlp_ratio=1.5),
            [0, 4, 5],
        ),
        ((8, 8, 1), DIT | dict(num_classes=5, scan_layers=True), None),
    ],
)
def test_dit_is_flaxs(shape, fields, labels):
    x = jax.random.normal(jax.random.key(1), (3, *shape))
    cond = {} if labels is None else {"label": jnp.array(labels)}
    compare("dit", fields, x, cond, dict(shape=shape), only_flax=("scan_layers",))


def test_unet_is_flaxs():
    """With attention on one of its sides on the way down and up, and on the innermost."""
    fields = UNET | dict(attention_sides=(8,), num_classes=5)
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
    compare("unet", fields, x, {"label": jnp.array([0, 4, 5])}, dict(shape=(8, 8, 1)))


@pytest.mark.parametrize(
    "fields",
    [
        dict(),
        dict(positions="sincos", tied=True, time_embedding="mlp", scan_layers=True),
        dict(positions="learned", conditioning="add", time_embedding="table", qk_norm=True),
        dict(positions="alibi", conditioning="none", features=V - 2, tied=True),
    ],
    ids=["rope adaln", "sincos tied mlp scanned", "learned add table", "alibi none"],
)
def test_transformer_is_flaxs(fields):
    x = jax.random.randint(jax.random.key(1), (3, L), 1, V)
    compare("transformer", TEXT | fields, x, {}, {}, only_flax=("scan_layers",))


@pytest.mark.parametrize("positions", ["rope", "alibi"])
def test_padding_is_seen_by_nobody(positions):
    x = jax.random.randint(jax.random.key(1), (3, L), 1, V).at[:, L - 3 :].set(PAD)
    fields = TEXT | dict(positions=positions)
    compare("transformer", fields, x, {"mask": x != PAD}, dict(pad_id=PAD))


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("name, fields", [("dit", DIT), ("transformer", TEXT)])
def test_parameters_come_back_as_they_went(name, fields, stacked):
    x = jnp.zeros((3, 8, 8, 1)) if name == "dit" else jnp.ones((3, L), jnp.int32)
    extra = dict(shape=(8, 8, 1)) if name == "dit" else {}
    params = convert.flat(filled(models.create(name, **fields, scan_layers=stacked), x, T, {}))
    network = mirror.load(mirror.create(name, **fields, **extra), params)
    back = convert.to_flax(network, stacked)
    assert back.keys() == params.keys()
    assert all((back[k] == params[k]).all() for k in params)


def test_convolutions_and_group_norms_come_back_as_they_went():
    x = jnp.zeros((3, 8, 8, 1))
    params = convert.flat(filled(models.create("unet", **UNET), x, T, {}))
    network = mirror.load(mirror.create("unet", **UNET, shape=(8, 8, 1)), params)
    back = convert.to_flax(network)
    assert back.keys() == params.keys()
    assert all((back[k] == params[k]).all() for k in params)


def test_a_field_that_torch_does_not_know_is_named():
    with pytest.raises(ValueError, match=r"dit wants shape, .*; got colour"):
        mirror.create("dit", **DIT, shape=(8, 8, 1), colour="red")
    with pytest.raises(ValueError, match="got all but shape"):
        mirror.create("dit", **DIT)
    with pytest.raises(ValueError, match="no network 'bilateral' in torch; there are dit, unet"):
        mirror.create("bilateral")


@pytest.mark.parametrize("name, extra", [("dit", DIT), ("unet", UNET), ("transformer", TEXT)])
def test_half_a_network_keeps_the_way_of_the_noise_level_in_full(name, extra):
    fields = extra | ({} if name == "transformer" else dict(shape=(8, 8, 1)))
    network = mirror.create(name, **fields)
    before = network.modulation(torch.tensor([0.3, 0.9]))
    mirror.halved(network)
    assert torch.equal(network.modulation(torch.tensor([0.3, 0.9])), before)
    body = [n for n, p in network.named_parameters() if p.dtype == torch.float16]
    assert any("qkv" in n for n in body) and any("conv_in" in n or "up" in n for n in body)
