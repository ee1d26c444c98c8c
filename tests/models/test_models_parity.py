"""Our parameters, all of them at random, in the networks of diffusers: the same numbers out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import create

torch = pytest.importorskip("torch", reason="the networks held against are torch's")
diffusers = pytest.importorskip("diffusers", reason="the networks held against are diffusers'")

T = jnp.array([0.01, 0.4, 0.95])
LABELS = jnp.array([0, 4, 10])  # 10 is "no class"


def filled(model, *inputs):
    """Parameters at random: those that start at zero would hide everything behind them."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        spread = 0.1 if leaf.ndim == 1 else (leaf.size / leaf.shape[-1]) ** -0.5
        around = 1.0 if path[-1].key == "scale" else 0.0
        return jnp.asarray(rng.normal(around, spread, leaf.shape), jnp.float32)

    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs))
    return jax.tree_util.tree_map_with_path(draw, shapes)


def layer(theirs, params):
    """{their name: array} of a dense layer, a convolution, a norm or a table."""
    weight = params.get("kernel", params.get("scale", params.get("embedding")))
    if "kernel" in params:  # [..., in, out] here, [out, in, ...] there
        axes = (-1, -2, *range(weight.ndim - 2))
        weight = weight.transpose([a % weight.ndim for a in axes])
    bias = {f"{theirs}.bias": params["bias"]} if "bias" in params else {}
    return {f"{theirs}.weight": weight} | bias


def attention(theirs, params):
    parts = jax.tree.map(lambda p: jnp.split(p, 3, -1), params["qkv"])
    named = {}
    for i, name in enumerate(("to_q", "to_k", "to_v")):
        named |= layer(f"{theirs}.{name}", {k: part[i] for k, part in parts.items()})
    return named | layer(f"{theirs}.to_out.0", params["out"])


def dit_names(p, patch, channels):
    """Our parameters under the names of DiTTransformer2DModel."""
    kernel = p["patchify"]["kernel"].reshape(patch, patch, channels, -1)
    named = layer("pos_embed.proj", p["patchify"] | {"kernel": kernel})
    named |= layer("proj_out_1", p["head"]["modulation"]) | layer("proj_out_2", p["head"]["out"])
    for i in range(sum(name.startswith("blocks_") for name in p)):
        block, theirs = p[f"blocks_{i}"], f"transformer_blocks.{i}"
        # they keep the embeddings of time and class once a block, we once
        time, label = f"{theirs}.norm1.emb.timestep_embedder", f"{theirs}.norm1.emb.class_embedder"
        named |= layer(f"{time}.linear_1", p["condition"]["time_in"])
        named |= layer(f"{time}.linear_2", p["condition"]["time_out"])
        named |= layer(f"{label}.embedding_table", p["condition"]["label"])
        named |= layer(f"{theirs}.norm1.linear", block["modulation"])
        named |= attention(f"{theirs}.attn1", block["attention"])
        named |= layer(f"{theirs}.ff.net.0.proj", block["mlp"]["up"])
        named |= layer(f"{theirs}.ff.net.2", block["mlp"]["down"])
    return named


def unet_names(p, levels):
    """Our parameters under the names of UNet2DModel."""
    named = layer("conv_in", p["conv_in"]) | layer("conv_out", p["conv_out"])
    named |= layer("conv_norm_out", p["norm_out"]["group"])
    named |= layer("time_embedding.linear_1", p["condition"]["time_in"])
    named |= layer("time_embedding.linear_2", p["condition"]["time_out"])
    if "label" in p["condition"]:
        named |= layer("class_embedding", p["condition"]["label"])
    block = {"middle": lambda i: "mid_block", "down": lambda i: f"down_blocks.{i}"}
    block["up"] = lambda i: f"up_blocks.{levels - 1 - int(i)}"
    for name, params in p.items():
        where, *number = name.split("_")
        if where not in block:
            continue
        theirs = block[where](number[0])
        if name == "middle_attention" or name.endswith("_attention"):
            theirs += f".attentions.{0 if where == 'middle' else number[1]}"
            named |= layer(f"{theirs}.group_norm", params["norm"]["group"])
            named |= attention(theirs, params["attention"])
        elif name.endswith("_halve"):
            named |= layer(f"{theirs}.downsamplers.0.conv", params)
        elif name.endswith("_double"):
            named |= layer(f"{theirs}.upsamplers.0.conv", params)
        else:
            theirs += f".resnets.{number[-1]}"
            inner = {"conv_in": "conv1", "conv_out": "conv2", "time": "time_emb_proj"}
            inner |= {"skip": "conv_shortcut"}
            for ours, their in inner.items():
                named |= layer(f"{theirs}.{their}", params[ours]) if ours in params else {}
            named |= layer(f"{theirs}.norm1", params["norm_in"]["group"])
            named |= layer(f"{theirs}.norm2", params["norm_out"]["group"])
    return named


def load(network, named):
    """Every parameter of theirs is set, and every one of ours is used."""
    state = {name: torch.tensor(np.asarray(p)) for name, p in named.items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"pos_embed.pos_embed"}
    return network.eval()


def theirs_of(network, x, labels):
    """Their output on our image layout and our noise levels."""
    with torch.no_grad():
        out = network(
            torch.tensor(np.asarray(x)).permute(0, 3, 1, 2),
            torch.tensor(1000.0 * np.asarray(T)),
            class_labels=None if labels is None else torch.tensor(np.asarray(labels)),
        ).sample
    return out.permute(0, 2, 3, 1).numpy()


def agree(ours, theirs):
    ours = np.asarray(ours)
    assert ours.std() > 0.05 and ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("patch, channels", [(2, 3), (4, 1)])
def test_dit_is_theirs(patch, channels):
    model = create("dit", hidden_size=32, depth=2, num_heads=2, patch_size=patch, num_classes=10)
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, channels))
    cond = {"label": LABELS}
    params = filled(model, x, T, cond)
    network = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=channels, out_channels=channels,
        num_layers=2, sample_size=8, patch_size=patch, num_embeds_ada_norm=10, norm_eps=1e-6,
    )  # fmt: skip
    load(network, dit_names(params, patch, channels))
    for block in network.transformer_blocks:
        # theirs divides frequencies by one number less than the paper's code does
        block.norm1.emb.time_proj.downscale_freq_shift = 0
    agree(jax.jit(model.apply)(params, x, T, cond), theirs_of(network, x, LABELS))


@pytest.mark.parametrize(
    "multipliers, depth, sides, classes",
    [((1, 2), 2, (4,), 0), ((1, 2, 2), 1, (8, 2), 10)],
)
def test_unet_is_theirs(multipliers, depth, sides, classes):
    """google/ddpm-cifar10-32 in small, with padding on both sides of the halving convolutions."""
    width = 8
    model = create(
        "unet", width=width, multipliers=multipliers, num_res_blocks=depth, attention_sides=sides,
        groups=4, num_classes=classes,
    )  # fmt: skip
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, 3))
    cond = {"label": LABELS} if classes else {}
    params = filled(model, x, T, cond)
    kinds = ["Attn" if side in sides else "" for side in (8, 4, 2)[: len(multipliers)]]
    network = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=[width * m for m in multipliers], layers_per_block=depth,
        down_block_types=[f"{kind}DownBlock2D" for kind in kinds],
        up_block_types=[f"{kind}UpBlock2D" for kind in reversed(kinds)],
        downsample_padding=1, norm_eps=1e-6, norm_num_groups=4, attention_head_dim=None,
        flip_sin_to_cos=True, freq_shift=0, num_class_embeds=classes + 1 if classes else None,
    )  # fmt: skip
    load(network, unet_names(params, len(multipliers)))
    ours = jax.jit(model.apply)(params, x, T, cond)
    agree(ours, theirs_of(network, x, LABELS if classes else None))
