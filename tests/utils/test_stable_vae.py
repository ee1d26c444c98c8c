"""The autoencoder at work, on networks whose latents are known, and where its files come from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from utils import recipe_vae, stable_vae
from utils.stable_vae import StableVAE

X = np.random.default_rng(0).uniform(-1, 1, (7, 8, 12, 3)).astype(np.float32)


class Mean:
    """Latents are the means of 2 x 2 pixels, all with one variance; decoding repeats them."""

    factor, latent_channels, logvar = 2, 3, np.log(0.25)

    def apply(self, variables, x, method):
        if method == "decode":
            return jnp.repeat(jnp.repeat(x, 2, 1), 2, 2) * variables["params"]
        b, h, w, c = x.shape
        mean = x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4)) * variables["params"]
        return mean, jnp.full_like(mean, self.logvar)


@pytest.fixture
def vae():
    return StableVAE(
        "mean-f2c3@00000000", Mean(), jnp.ones(()), np.float32([0, 0.5, 1]), np.float32([1, 2, 4])
    )


def test_latents_are_shifted_and_scaled_and_come_back(vae):
    mean = Mean().apply({"params": 1.0}, X, "encode")[0]
    z = vae.encode(X)
    np.testing.assert_allclose(z, (mean - vae.mean) / vae.std, atol=1e-6)
    np.testing.assert_allclose(vae.decode(z)[:, ::2, ::2], mean, atol=1e-6)


def test_batches_of_any_length_and_large_images_give_the_same(vae, monkeypatch):
    whole = vae.encode(X)
    monkeypatch.setattr(stable_vae, "CHUNK", 2 * 8 * 12)
    cut = StableVAE(vae.name, Mean(), vae.params, vae.mean, vae.std, tile=4)
    for some in (vae, cut):
        np.testing.assert_allclose(some.encode(X), whole, atol=1e-6)
        np.testing.assert_allclose(some.decode(whole), vae.decode(whole), atol=1e-6)
        np.testing.assert_allclose(some.encode(X[:1]), whole[:1], atol=1e-6)


def test_a_draw_has_the_posteriors_spread_and_hangs_on_its_own_key_alone(vae):
    keys = jax.random.split(jax.random.key(0), 7)
    one, mean = vae.encode(X, keys), vae.encode(X)
    np.testing.assert_array_equal(vae.encode(X[3:5], keys[3:5]), one[3:5])
    away = (one - mean) * vae.std
    assert 0.4 < away.std() < 0.6 and abs(away.mean()) < 0.1
    assert not np.allclose(away[0], away[1])


def test_sides_that_do_not_divide_are_refused(vae):
    with pytest.raises(
        ValueError, match="sides divisible by 2; got images of 7x12: set --image_size"
    ):
        vae.encode(X[:, :7])


@pytest.mark.parametrize(
    "files, message",
    [
        ([], r"0 weights files in \S+; an autoencoder is a folder"),
        (["a.pth", "b.pth"], "2 weights files in"),
        (["x_encoder.pth"], "no .*x_decoder.pth; an autoencoder is"),
        (["x_encoder.pth", "y_encoder.pth"], "2 weights files in"),
    ],
)
def test_a_folder_without_an_autoencoder_says_what_is_wanted(tmp_path, files, message):
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(FileNotFoundError, match=message):
        recipe_vae.load(tmp_path / files[0] if len(files) == 1 else tmp_path)


def test_files_are_chosen_as_their_names_say(tmp_path):
    for name in ("b_decoder.pth", "a_encoder.pth"):
        (tmp_path / name).touch()
    chosen = lambda path: [p.name for p in recipe_vae.files_of(path)]
    assert chosen(tmp_path) == ["a_encoder.pth", "b_decoder.pth"]
    (tmp_path / "autoencoder.safetensors").touch()
    assert chosen(tmp_path / "autoencoder.safetensors") == ["autoencoder.safetensors"]
    (tmp_path / "vae").mkdir()
    for name in ("config.json", recipe_vae.STANDARD, "diffusion_pytorch_model.fp16.safetensors"):
        (tmp_path / "vae" / name).touch()
    assert chosen(tmp_path) == [recipe_vae.STANDARD]


def test_a_hub_id_fetches_the_config_and_the_weights_alone(hub):
    names = ("config.json", recipe_vae.STANDARD, "diffusion_pytorch_model.bin", "vae/else.json")
    hub.repos["a/b"] = {"main": {name: name.encode() for name in names}}
    files = recipe_vae.files_of(recipe_vae.located("a/b"))
    assert [p.name for p in files] == [recipe_vae.STANDARD]
    assert files[0].read_text() == recipe_vae.STANDARD
    got = {line.split("/")[-1] for line in hub.asked if line.startswith("GET /a/b/resolve")}
    assert got == {"config.json", recipe_vae.STANDARD}


def test_a_hub_id_that_is_not_to_be_had_is_told_at_once_with_what_to_do(hub):
    wanted = "^a/b is no path here and cannot be had from the hub .*; download it where there is a"
    with pytest.raises(FileNotFoundError, match=wanted) as refused:
        recipe_vae.load("a/b")
    assert "\n" not in str(refused.value)
    with pytest.raises(
        FileNotFoundError, match="no autoencoder at /nowhere/a/b; an autoencoder is"
    ):
        recipe_vae.load("/nowhere/a/b")


def test_without_a_network_a_hub_id_is_told_at_once_too():  # HF_HUB_OFFLINE is set in all tests
    pytest.importorskip("huggingface_hub", reason="hub ids are its")
    with pytest.raises(
        FileNotFoundError, match="^a/b is no path here and cannot be had .*; download"
    ):
        recipe_vae.load("a/b")


@pytest.mark.parametrize(
    "config, tiny, mean, std",
    [
        ({}, False, 0.0, 1 / 0.18215),
        ({}, True, 0.0, 1.0),
        ({"scaling_factor": 0.5, "shift_factor": 0.25}, False, 0.25, 2.0),
        (
            {"scaling_factor": 0.5, "latents_mean": [1, 2], "latents_std": [3, 4]},
            False,
            [1, 2],
            [6, 8],
        ),
    ],
)
def test_scale_and_shift_are_those_of_the_config(config, tiny, mean, std):
    for ours, wanted in zip(recipe_vae.scale(config, tiny), (mean, std), strict=True):
        np.testing.assert_allclose(ours, wanted)
