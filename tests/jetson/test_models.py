"""Every network in torch gives what it gives in Flax, with no parameter left at its first value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models

torch = pytest.importorskip("torch", reason="the runtime's networks are torch's")

from diffusion.sparse import Beliefs  # noqa: E402
from jetson import convert, levels  # noqa: E402
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


OF_CANDIDATES = {
    "mean": ("transformer", {}),
    "mean, added": ("transformer", dict(positions="alibi", conditioning="add", scan_layers=True)),
    "within, then between": ("bilateral", dict(positions="learned")),
    "bilateral alone": ("bilateral", dict(conditioning="none", tied=True)),
    "all slots": ("bilateral", dict(positions="sincos", full=True)),
    "all slots, added": (
        "bilateral", dict(positions="learned", full=True, conditioning="add", time_embedding="mlp"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name, fields", OF_CANDIDATES.values(), ids=OF_CANDIDATES)
def test_networks_of_candidates_are_flaxs(name, fields):
    """Whole and in half, with places that are padding, ids that come twice, and shares of 0."""
    rng, fields = np.random.default_rng(0), TEXT | fields
    ids, probs = rng.integers(1, V, (3, L, 4)), rng.dirichlet(np.ones(4), (3, L))
    ids[0, L - 3 :], ids[1, 0, 1], ids[:, 2, 0] = PAD, ids[1, 0, 0], PAD
    probs[2, :, 0] = 0.0
    x = Beliefs(jnp.asarray(ids, jnp.int32), jnp.asarray(probs, jnp.float32))
    model, cond = models.create(name, **fields), {"mask": (x.ids != PAD).any(-1)}
    params = filled(model, x, T, cond)
    ours = np.asarray(jax.jit(model.apply)(params, x, T, cond))
    fields.pop("scan_layers", None)
    mine = {"transformer": "candidates"}.get(name, name)
    network = mirror.load(mirror.create(mine, **fields, pad_id=PAD), convert.flat(params))
    given = torch.tensor(ids), torch.tensor(probs).float(), torch.tensor(np.array(T))
    with torch.no_grad():
        theirs, half = network(*given).numpy(), mirror.halved(network)(*given).float().numpy()
    assert ours.std() > 0.05 and np.abs(ours - theirs).max() <= 5e-5
    assert 1e-5 < np.linalg.norm(ours - half) <= 3e-3 * np.linalg.norm(ours)


@pytest.mark.parametrize("embedding", levels.FEATURES)
@pytest.mark.parametrize("conditioning", ["adaln", "add", "none"])
@pytest.mark.parametrize("name", ["candidates", "bilateral"])
def test_what_any_noise_level_says_is_known_without_torch(name, conditioning, embedding):
    torch.manual_seed(0)
    network = mirror.create(name, **TEXT, conditioning=conditioning, time_embedding=embedding)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn(p.shape) * 0.2)
    t = np.linspace(0, 1, 40, dtype=np.float32)
    theirs = network.modulation(torch.tensor(t)).detach().numpy()
    kept = levels.arrays(network.chain())
    ours = levels.said(kept, embedding, t)
    assert ours.shape == theirs.shape == (40, levels.width(kept)) and ours.dtype == np.float32
    assert np.abs(ours - theirs).max(initial=0) <= 5e-5


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
    with pytest.raises(
        ValueError, match="no network 'llama' in torch; there are dit, unet, transf"
    ):
        mirror.create("llama")
    with pytest.raises(ValueError, match="bilateral wants features, .*, full; got causal"):
        mirror.create("bilateral", **TEXT, causal=True)


@pytest.mark.parametrize(
    "name, extra",
    [
        ("dit", DIT),
        ("unet", UNET),
        ("transformer", TEXT),
        ("candidates", TEXT),
        ("bilateral", TEXT),
    ],
)
def test_half_a_network_keeps_the_way_of_the_noise_level_in_full(name, extra):
    fields = extra | ({} if extra is TEXT else dict(shape=(8, 8, 1)))
    network = mirror.create(name, **fields)
    before = network.modulation(torch.tensor([0.3, 0.9]))
    mirror.halved(network)
    assert torch.equal(network.modulation(torch.tensor([0.3, 0.9])), before)
    body = [n for n, p in network.named_parameters() if p.dtype == torch.float16]
    assert any("qkv" in n for n in body) and any("conv_in" in n or "up" in n for n in body)


def test_half_a_network_adds_its_branches_in_full():
    """With closed gates nothing is left but the first layer, the sum, the norm and the last layer:
    none of them rounds, so that small noise in x is not lost."""
    torch.manual_seed(0)
    network = mirror.create("dit", **DIT, shape=(8, 8, 1))
    for p in network.parameters():
        p.data = torch.randn(p.shape) * 0.2
    x, closed = torch.randn(2, 8, 8, 1), torch.zeros(2, 14 * 32)
    with torch.no_grad():
        before = network.body(x, closed)
        after = mirror.halved(network).body(x, closed)
    assert before.std() > 0.1 and torch.equal(after, before)


@pytest.mark.parametrize("conditioning", ["adaln", "none"])
def test_half_a_network_sums_what_half_would_lose(conditioning):
    """Branches that say 1e-4 at each of 2 layers, beside embeddings of 1: half knows 1 and 1.001."""
    network = mirror.create("transformer", **TEXT | dict(conditioning=conditioning))
    for name, p in network.named_parameters():
        p.data.zero_()
        if name.endswith(("attention.out.bias", "down.bias")):
            p.data[: len(p) // 2] = 1e-4
        if name.endswith(("embed.weight", "norm.weight", "out_kernel")):
            p.data.fill_(1.0)
        if name == "out_kernel":
            p.data[len(p) // 2 :] = 0.0
    gates = torch.zeros(1, 14, 32)
    gates[:, [2, 5, 8, 11]] = 1.0
    modulation = gates.flatten(1) if conditioning == "adaln" else None
    x = torch.full((1, L), 3)
    with torch.no_grad():
        before = network.body(x, modulation)
        after = mirror.halved(network).body(x, modulation).float()
    assert before.abs().min() > 1e-3
    assert (after - before).abs().max() <= 2e-3 * before.abs().max()
