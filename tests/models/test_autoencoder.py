"""Random weights in our autoencoders and in diffusers': the same latents, the same images."""

import json
import re

import numpy as np
import pytest

from utils import recipe_vae

torch = pytest.importorskip("torch", reason="the networks held against are torch's")
diffusers = pytest.importorskip("diffusers", reason="the networks held against are diffusers'")
save_file = pytest.importorskip("safetensors.numpy", reason="it writes the files").save_file

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = dict(block_out_channels=[16, 32, 32], norm_num_groups=8, layers_per_block=1)
FULL = dict(block_out_channels=[128, 256, 512, 512], layers_per_block=2)  # of Stable Diffusion
FLUX = SMALL | dict(
    latent_channels=16, scaling_factor=0.3611, shift_factor=0.1159,
    use_quant_conv=False, use_post_quant_conv=False, mid_block_add_attention=False,
)  # fmt: skip
OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def images(side, n=2):
    return np.random.default_rng(1).uniform(-1, 1, (n, side, side, 3)).astype(np.float32)


def filled(network):
    """Its arrays, all at random: those that start at zero or one would hide what they do."""
    rng, named = np.random.default_rng(0), {}
    for name, old in network.state_dict().items():
        spread = 0.1 if old.ndim == 1 else np.prod(old.shape[1:]) ** -0.5
        around = 1.0 if re.search(r"norm\w*\.weight|pool\.1\.weight", name) else 0.0
        named[name] = rng.normal(around, spread, old.shape).astype(np.float32)
    network.load_state_dict({k: torch.from_numpy(v) for k, v in named.items()})
    return named


def renamed(named, *, matrices):
    """As files of 2022 have it; those before had 1x1 convolutions for matrices."""
    out = {}
    for name, a in named.items():
        for new, old in OLD.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        square = a.ndim == 2 and not matrices
        out[name] = a[:, :, None, None] if square else a
    return out


def run(function, x):
    """A torch function of f32[B, H, W, C] as one of numpy."""
    with torch.no_grad():
        return function(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).movedim(1, -1).numpy()


def assert_close(ours, theirs, within):
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= within * np.abs(theirs).max()


def held_against_diffusers(fields, folder, rename=lambda named: named, side=32):
    levels = len(fields["block_out_channels"])
    kinds = dict(
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
    )
    theirs = diffusers.AutoencoderKL(**fields, **kinds).eval()
    named = filled(theirs)
    (folder / "config.json").write_text(json.dumps(dict(theirs.config), default=str))
    save_file(rename(named), folder / "diffusion_pytorch_model.safetensors")
    vae, x = recipe_vae.load(folder), images(side)
    mean, logvar = vae.moments(x)
    moments = lambda x: theirs.encode(x).latent_dist.parameters
    assert_close(np.concatenate([mean, logvar], -1), run(moments, x), 1e-4)
    scale, shift = theirs.config.scaling_factor, theirs.config.shift_factor or 0.0
    assert_close(vae.encode(x), (mean - shift) * scale, 1e-6)
    z = np.random.default_rng(2).normal(size=mean.shape).astype(np.float32)
    assert_close(vae.decode(z), run(lambda z: theirs.decode(z / scale + shift).sample, z), 1e-4)
    return vae


@pytest.mark.parametrize(
    "rename",
    [
        lambda named: named,
        lambda named: renamed(named, matrices=True),
        lambda named: renamed(named, matrices=False),
    ],
    ids=["new names", "old names", "old convolutions"],
)
def test_autoencoder_kl_is_diffusers(rename, tmp_path):
    vae = held_against_diffusers(SMALL, tmp_path, rename)
    assert vae.name.startswith("kl-f4c4@") and vae.network.norm_num_groups == 8


def test_without_attention_and_outer_convolutions_it_is_diffusers_too(tmp_path):
    vae = held_against_diffusers(FLUX, tmp_path)
    assert vae.name.startswith("kl-f4c16@")


@pytest.mark.slow
def test_at_the_size_of_stable_diffusion_it_is_diffusers(tmp_path):
    vae = held_against_diffusers(FULL, tmp_path, lambda n: renamed(n, matrices=True), side=64)
    assert vae.latent_shape((64, 64, 3)) == (8, 8, 4)


def test_autoencoder_tiny_is_diffusers(tmp_path):
    theirs = diffusers.AutoencoderTiny(
        encoder_block_out_channels=[16] * 3, decoder_block_out_channels=[16] * 3,
        num_encoder_blocks=[1, 2, 2], num_decoder_blocks=[2, 2, 1],
    ).eval()  # fmt: skip
    save_file(filled(theirs), tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(dict(theirs.config), default=str))
    vae, x = recipe_vae.load(tmp_path), images(16)
    assert vae.name.startswith("tiny-f4c4@") and vae.moments(x)[1] is None
    assert_close(vae.encode(x), run(lambda x: theirs.encode(x).latents, x), 1e-4)
    z = 3 * np.random.default_rng(2).normal(size=(2, 4, 4, 4)).astype(np.float32)
    assert_close(vae.decode(z), run(lambda z: theirs.decode(z).sample, z), 1e-4)


@pytest.mark.parametrize(
    "config, message",
    [
        ({}, "no config.json beside it"),
        ({"_class_name": "VQModel"}, "_class_name VQModel; wanted AutoencoderKL"),
        (
            {"down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]},
            "down_block_types .*Attn.*; wanted DownEncoderBlock2D",
        ),
        (
            {"block_out_channels": [16], "norm_num_groups": 8},
            r"decoder.up_blocks.0.upsamplers.0.conv.bias unknown",
        ),
        (SMALL | {"layers_per_block": 2}, "resnets.2.conv1.bias missing"),
        (SMALL | {"latent_channels": 8}, r"conv_out.weight \(8, .*\) instead of \(16, "),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(config, message, tmp_path):
    kinds = dict(
        down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3
    )
    save_file(filled(diffusers.AutoencoderKL(**SMALL, **kinds)), tmp_path / "one.safetensors")
    if config:
        (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message) as refused:
        recipe_vae.load(tmp_path)
    assert "\n" not in str(refused.value) and "one.safetensors" in str(refused.value)
