"""Training on latents as a user does: noise that is drawn anew, resuming, other autoencoders."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from data import images, store
from tests.autoencoders import kl, tiny
from utils import config as flags
from utils import recipe, recipe_features, recipe_space, sampling

DEFAULT = "configs/flow.py"
SMALL = ["--batch_size", 8, "--log_interval", 1, "--eval_interval", 100_000, "--lr", "1e-3"]
SMALL += ["--sampler.denoise_timesteps", 2, "--ema_decay", 0.9, "--model.use_stable_vae", 1]


@pytest.fixture
def vae(tmp_path):
    return kl(tmp_path / "vae")


@pytest.fixture
def train(script, toy, vae):
    """train(workdir, *flags) -> (refusal, out): on latents 4x4x2 of the toy images."""
    words = ["--dataset_name", toy, "--model.vae", vae, *SMALL]
    return lambda workdir, *more: script("train_flow.py", *words, "--workdir", workdir, *more)


def space_of(toy, vae, *words):
    words = ["--dataset_name", toy, "--model.use_stable_vae", "1", "--model.vae", str(vae), *words]
    config = flags.parse(["train_flow.py", *words], DEFAULT)
    vae = recipe_space.autoencoder(config)
    return vae, *recipe_space.prepared(config, images.load(toy), vae)


def losses(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return {r["step"]: r["loss"] for r in map(json.loads, lines) if "loss" in r}


def test_latents_are_drawn_anew_each_time_from_the_same_posteriors(toy, vae):
    _, space, data = space_of(toy, vae)
    batch, keys = data["train"].batches(8)(0), jax.random.split(jax.random.key(0), 8)
    first, again = space.read(batch, keys), space.read(batch, keys)
    other = space.read(batch, jax.random.split(jax.random.key(1), 8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all(), "another epoch is another draw"
    many = jax.vmap(lambda key: space.read(batch, jax.random.split(key, 8)))
    many = many(jax.random.split(jax.random.key(2), 1000))
    scale = 0.18215
    mean, std = (batch[k][:, 0].astype(np.float32) for k in ("mean", "logvar"))
    np.testing.assert_allclose(many.std(0), scale * np.exp(std / 2), rtol=0.15)
    np.testing.assert_allclose(many.mean(0), space.read(batch, None), atol=0.1 * many.std(0).max())
    np.testing.assert_allclose(space.read(batch, None), scale * mean, rtol=1e-5)


def test_each_epoch_draws_anew_from_the_posteriors(toy, vae):
    _, space, data = space_of(toy, vae)
    seen, train = [], data["train"]

    class Enough(Exception):
        """What the network says of it is no matter."""

    def read(batch, keys):
        x0, rows = space.read(batch, keys), np.lexsort(batch["mean"].reshape(58, -1).T)
        seen.append((batch["mean"][rows], batch["logvar"][rows], x0[rows]))
        raise Enough

    config = flags.parse(["x", "--batch_size", "58", "--model.use_stable_vae", "1"], DEFAULT)
    built = recipe.image(config, train.shape, 2, space._replace(read=read))
    batches = train.batches(58)
    for step in range(2):  # of one epoch each, with the loop's keys
        with pytest.raises(Enough):
            built.loss(None, jax.random.fold_in(jax.random.key(1), step), batches(step))
    (mean, logvar, first), (again, _, second) = seen
    np.testing.assert_array_equal(mean, again)
    apart = (first - second) / (0.18215 * np.exp(logvar[:, 0].astype(np.float32) / 2) * np.sqrt(2))
    assert abs(apart.mean()) < 0.1 and apart.std() == pytest.approx(1, abs=0.1)


def test_mirrored_images_latents_are_taken_for_half(toy, vae):
    _, space, data = space_of(toy, vae, "--flip", "1")
    batch = {"mean": data["train"].mean[:1].repeat(64, 0).astype(np.float32)}
    x = space.read(batch, jax.random.split(jax.random.key(0), 64))
    second = np.isclose(x, 0.18215 * batch["mean"][:, 1], atol=1e-5).all((1, 2, 3))
    plain = np.isclose(x, 0.18215 * batch["mean"][:, 0], atol=1e-5).all((1, 2, 3))
    assert (second ^ plain).all() and 16 < second.sum() < 48


def test_channels_may_be_brought_to_mean_0_and_size_1(toy, vae):
    _, space, data = space_of(toy, vae, "--model.latent_scale", "channel")
    batch = data["train"].batches(58)(0)
    x = np.stack([space.read(batch, jax.random.split(jax.random.key(i), 58)) for i in range(50)])
    np.testing.assert_allclose(x.mean((0, 1, 2, 3)), 0, atol=0.05)
    np.testing.assert_allclose(x.std((0, 1, 2, 3)), 1, atol=0.05)
    plain, space_2, _ = space_of(toy, vae)
    raw = x[0] * data["train"].facts["latent_std"] + np.array(data["train"].facts["latent_mean"])
    np.testing.assert_allclose(space.decode(x[0]), space_2.decode(plain.scaled(raw)), atol=1e-3)
    with pytest.raises(ValueError, match="no model.latent_scale 'chanel'; did you mean 'channel'"):
        space_of(toy, vae, "--model.latent_scale", "chanel")


def test_2_steps_and_2_more_are_4_with_the_same_autoencoder_and_no_other(train, tmp_path, vae):
    assert train(tmp_path / "a", "--max_steps", 2, "--flip", 1)[0] == ""
    vae.rename(tmp_path / "moved")  # where it lies is no matter
    words = ["--max_steps", 4, "--flip", 1, "--model.vae", tmp_path / "moved"]
    refusal, out = train(tmp_path / "a", *words)
    assert refusal == "" and "step 2 of 4" in out
    name = json.loads((tmp_path / "a" / "config.json").read_text())["vae"]
    assert f"58 images 8x8x1, 2 classes, as 4x4x2 latents of {name}; dit" in out
    assert name.startswith("kl-f2c2@")
    assert train(tmp_path / "b", *words)[0] == ""
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    kl(tmp_path / "moved", seed=1)
    refusal, _ = train(tmp_path / "a", *words)
    assert "another config" in refusal and f"vae: '{name}' -> 'kl-f2c2@" in refusal


def test_samples_are_decoded_wherever_they_are_seen(train, script, tmp_path, toy, vae):
    refusal, _ = train(tmp_path / "run", "--max_steps", 3, "--eval_interval", 3)
    assert refusal == "" and (tmp_path / "run" / "samples" / "0000003.png").exists()
    vae.rename(tmp_path / "moved")
    moved, words = tmp_path / "moved", ["--load_dir", tmp_path / "run", "--num_samples", 6]
    refusal, _ = script("generate.py", *words)
    assert "vae is no path here" in refusal or "no autoencoder at" in refusal
    refusal, out = script("generate.py", *words, "--vae", moved)
    assert refusal == "" and "denoising.gif" in out
    with np.load(tmp_path / "run" / "generated" / "samples.npz") as file:
        drawn = file["x"] if "x" in file else file["arr_0"]
    assert drawn.shape == (6, 8, 8, 1)
    run = sampling.restored(tmp_path / "run", vae=moved)
    latent = run._replace(
        recipe=run.recipe._replace(space=run.recipe.space._replace(decode=lambda z: z))
    )
    (z,) = sampling.sampler(latent)(np.arange(6) % 2)
    assert z.shape == (6, 4, 4, 2)
    np.testing.assert_array_equal(sampling.pipeline.to_bytes(run.recipe.space.decode(z)), drawn)
    other = kl(tmp_path / "other", seed=1)
    refusal, _ = script("generate.py", *words, "--vae", other)
    assert "was trained on latents of kl-f2c2@" in refusal and "say with --vae where" in refusal

    init, _ = recipe_features.classifier(2)
    x = images.load(toy)["train"].x[:1]
    features = recipe_features.save(tmp_path / "f", init(jax.random.key(0), x), "toy", 2, 0.5)
    score = ["--features", features, "--vae", moved, "--load_dir", tmp_path / "run"]
    refusal, _ = script("eval_fid.py", *score, "--num_samples", 6)
    assert refusal == "" and json.loads((tmp_path / "run" / "score.json").read_text())["n"] == 6


def test_a_tiny_autoencoder_trains_and_what_is_prepared_is_found(script, train, tmp_path, toy):
    path = tiny(tmp_path / "tiny.safetensors")
    words = ["--dataset_name", toy, "--model.use_stable_vae", 1, "--model.vae", path]
    for said in ("MB made, in", "MB there already, and verified, in"):
        refusal, out = script("prepare_data.py", *words)
        assert refusal == "" and said in out
        assert "58 images to train on, 6 held out, as 4x4x2 latents of tiny-f2c2@" in out
    refusal, out = train(tmp_path / "run", "--model.vae", path, "--max_steps", 2)
    assert refusal == "" and "58 images 8x8x1, 2 classes, as 4x4x2 latents of tiny-f2c2@" in out


def test_latents_of_a_posterior_are_prepared_in_half_precision(
    script, toy, vae, tmp_path, monkeypatch
):
    """By the flag, whatever the config says; the cache is the one that training finds."""
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path / "cache"))
    words, asked = ["--dataset_name", toy, "--model.vae", vae], [["--latents"], ["--latents", 1]]
    for said, flag in zip(("made", "there already, and verified"), asked, strict=True):
        refusal, out = script("prepare_data.py", *flag, *words)
        assert refusal == "" and f"MB {said}, in" in out
        assert "58 images to train on, 6 held out, as 4x4x2 latents of kl-f2c2@" in out
    place = Path(re.search(r"in (\S+/latents-\w+)\n", out)[1])
    _, _, data = space_of(toy, vae)
    assert store.place(data["train"].mean) == place
    arrays, _ = store.read(place)
    assert arrays.keys() == {
        f"{s}_{a}" for s in ("train", "test") for a in ("mean", "logvar", "label")
    }
    x = images.load(toy)["train"].x
    want = recipe_space.recipe_vae.load(vae).moments(np.broadcast_to(x / 127.5 - 1, (58, 8, 8, 3)))
    for name, exact in zip(("mean", "logvar"), want, strict=True):
        assert arrays[f"train_{name}"].dtype == np.float16
        np.testing.assert_allclose(arrays[f"train_{name}"][:, 0], exact, rtol=2e-3, atol=1e-4)
    refusal, out = script("prepare_data.py", "--latents", "0", *words)
    assert refusal == "" and "58 images 8x8x1 to train on" in out


def test_latents_are_of_images_even_where_no_dataset_is_named(script):
    refusal, out = script("prepare_data.py", "--latents", "--dry_run")
    assert refusal == "" and "dataset_name = 'digits'" in out and "use_stable_vae = 1" in out
    refusal, _ = script("prepare_data.py", "--config=configs/text.py", "--latents")
    assert "no flag --model.use_stable_vae" in refusal


@pytest.mark.parametrize(
    "words, message",
    [
        (["--image_size", 7], "wants sides divisible by 2; got images of 7x7: set --image_size"),
        (
            ["--model.vae", "/nowhere"],
            "no autoencoder at /nowhere; an autoencoder is a folder with",
        ),
        (["--model.patch_size", 3], "side divisible by patch_size 3; got 4x4"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(train, tmp_path, words, message):
    refusal, _ = train(tmp_path / "run", *words, "--max_steps", 1)
    assert message in refusal and "\n" not in refusal
