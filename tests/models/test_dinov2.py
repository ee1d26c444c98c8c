"""Random weights in our DINOv2 and in transformers': the same class token."""

import re

import jax
import numpy as np
import pytest

from models import dinov2

WIDTH, DEPTH = 128, 2
X = np.random.default_rng(1).uniform(0, 255, (2, dinov2.SIDE, dinov2.SIDE, 3)).astype(np.float32)
RENAMED = {
    r"^blocks\.": "encoder.layer.", r"^norm\.": "layernorm.", r"ls(\d)\.gamma": r"layer_scale\1.lambda1",
    "^(cls_token|mask_token)": r"embeddings.\1", "^pos_embed": "embeddings.position_embeddings",
    r"^patch_embed\.proj": "embeddings.patch_embeddings.projection",
}  # fmt: skip
ATTENTION = (  # of transformers since 5, and before
    ("q_proj", "k_proj", "v_proj", "o_proj"),
    ("attention.query", "attention.key", "attention.value", "output.dense"),
)


def drawn(grid=dinov2.GRID):
    """A weights file's arrays. No gain or norm is at its neutral value, which would hide it."""
    rng, arrays = np.random.default_rng(0), {}
    for name, shape in dinov2.shapes(WIDTH, DEPTH, grid).items():
        neutral = 1.0 if "gamma" in name or ("norm" in name and "weight" in name) else 0.0
        spread = 0.3 if len(shape) == 1 else np.prod(shape[1:]) ** -0.5
        spread = 0.5 if name == "pos_embed" else spread
        arrays[name] = rng.normal(neutral, spread, shape).astype(np.float32)
    return arrays


@pytest.fixture(scope="module")
def transformers():
    pytest.importorskip("torch", reason="transformers' networks are torch's")
    return pytest.importorskip("transformers", reason="the network held against is its")


def theirs_of(transformers, named, grid=dinov2.GRID):
    """Dinov2Model with these arrays, each of its parameters among them."""
    import torch

    network = transformers.Dinov2Model(config(transformers, WIDTH, DEPTH, grid)).eval()
    there, state = network.state_dict(), {}
    own = next(k for k in ATTENTION if f"encoder.layer.0.attention.{k[0]}.weight" in there)
    for name, array in named.items():
        for ours, theirs in RENAMED.items():
            name = re.sub(ours, theirs, name)
        parts, arrays = (own[:3], np.split(array, 3)) if "qkv" in name else (own[3:], [array])
        for part, a in zip(parts, arrays, strict=True):
            state[re.sub(r"attn\.\w+", f"attention.{part}", name)] = torch.from_numpy(a.copy())
    network.load_state_dict(state)  # strict
    return network


def config(transformers, width, depth, grid=37):
    return transformers.Dinov2Config(
        hidden_size=width, num_hidden_layers=depth, num_attention_heads=width // 64,
        image_size=grid * dinov2.PATCH, patch_size=dinov2.PATCH, mlp_ratio=4,
    )  # fmt: skip


def test_the_class_token_is_that_of_transformers(transformers):
    import torch

    named = drawn()
    ours = jax.jit(dinov2.apply)(dinov2.convert(named), X)
    x = (X / 255 - dinov2.MEAN) / dinov2.STD
    with torch.no_grad():
        out = theirs_of(transformers, named)(torch.from_numpy(x.transpose(0, 3, 1, 2)).float())
    assert ours.shape == (2, WIDTH)
    np.testing.assert_allclose(ours, out.last_hidden_state[:, 0].numpy(), rtol=0, atol=1e-4)
    assert np.abs(ours[0] - ours[1]).max() > 0.05, "two images differ"


def test_positions_of_another_grid_are_those_of_transformers_at_offset_zero(transformers):
    import torch

    named = drawn(grid=37)
    embeddings = theirs_of(transformers, named, grid=37).embeddings
    tokens = torch.zeros(1, 1 + 16 * 16, WIDTH)
    with torch.no_grad():
        want = embeddings.interpolate_pos_encoding(tokens, dinov2.SIDE, dinov2.SIDE)[0].numpy()
    got = dinov2.positions(named["pos_embed"][0], offset=0)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_positions_are_a_tenth_of_a_patch_off_as_in_the_published_code():
    """Which gives torch a factor, (16 + 0.1) / 37, and not a size."""
    torch = pytest.importorskip("torch", reason="the interpolation held against is its")
    table = drawn(grid=37)["pos_embed"][0]
    patches = torch.from_numpy(table[1:]).reshape(1, 37, 37, WIDTH).permute(0, 3, 1, 2)
    factor = ((16 + 0.1) / 37,) * 2
    want = torch.nn.functional.interpolate(patches, scale_factor=factor, mode="bicubic")
    want = want.permute(0, 2, 3, 1).reshape(256, WIDTH).numpy()
    got = dinov2.positions(table)
    np.testing.assert_allclose(got[1:], want, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(got[0], table[0])
    assert np.abs(got - dinov2.positions(table, offset=0)).max() > 0.01


def test_the_published_sizes_have_as_many_numbers_as_in_transformers(transformers):
    import torch

    for width, depth in ((384, 12), (768, 12), (1024, 24)):
        with torch.device("meta"):
            network = transformers.Dinov2Model(config(transformers, width, depth))
        count = sum(int(np.prod(shape)) for shape in dinov2.shapes(width, depth).values())
        assert count == sum(p.numel() for p in network.parameters())


def test_other_kinds_of_weights_and_images_are_refused():
    named = drawn()
    with pytest.raises(ValueError, match="of a DINOv2 of 128 features .*: register_tokens unknown"):
        dinov2.convert(named | {"register_tokens": np.zeros((1, 4, WIDTH))})
    without = {name: a for name, a in named.items() if name != "blocks.1.ls2.gamma"}
    with pytest.raises(ValueError, match=r"and 2 blocks: blocks.1.ls2.gamma missing$"):
        dinov2.convert(without)
    with pytest.raises(ValueError, match=r"want f32\[B, 224, 224, 3\] in 0..255; got"):
        dinov2.apply({}, X[:, :32])
