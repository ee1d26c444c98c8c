"""The cache of latents: what an encoder says, once, in float16, and on from where it was cut off."""

import json

import numpy as np
import pytest

from data import images, latents, store
from data.cache import cache_dir
from tests.pixels import pictures, png


class Encoder:
    """Means are 2 x 2 pixels, one channel's variance is another's mean; counts what it sees."""

    def __init__(self, last=None, variance=True, scale=1.0):
        self.seen, self.last, self.variance, self.scale = 0, last, variance, scale

    def __call__(self, x):
        self.seen += len(x)
        if self.last is not None and self.seen > self.last:
            raise KeyboardInterrupt
        mean = self.scale * x[:, ::2, ::2].astype(np.float32) / 100
        return mean, mean[..., ::-1] - 1 if self.variance else None


@pytest.fixture
def data(tmp_path):
    """40 images to train on, 10 held out, in two classes."""
    x, label = pictures(50), np.arange(50) % 2
    np.savez(tmp_path / "a.npz", x=x[:40], label=label[:40], test_x=x[40:], test_label=label[40:])
    return images.load(f"npz:{tmp_path / 'a.npz'}")


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(latents, "PIECE", 8 * 8 * 8)  # 8 images


def test_means_and_variances_are_kept_of_images_and_of_mirrored_ones(data):
    found = latents.load("a", data, Encoder(), "v@1", flip=True)
    train, x = found["train"], data["train"].x
    for view, pixels in enumerate((x, x[:, :, ::-1])):
        mean, logvar = Encoder()(pixels)
        np.testing.assert_array_equal(train.mean[:, view], mean.astype(np.float16))
        np.testing.assert_array_equal(train.logvar[:, view], logvar.astype(np.float16))
    np.testing.assert_array_equal(train.label, data["train"].label)
    assert train.shape == (4, 4, 3) and train.n == 40 and train.num_classes == 2
    assert found["test"].mean.shape == (10, 1, 4, 4, 3)
    batch = train.batches(6, seed=1)(0)
    assert {k: v.shape[0] for k, v in batch.items()} == dict.fromkeys(
        ("mean", "logvar", "label", "index"), 6
    )


def test_channels_are_measured_over_draws_from_all_posteriors(data):
    facts = latents.load("a", data, Encoder(), "v@1")["train"].facts
    mean, logvar = Encoder()(data["train"].x)
    draws = mean + np.exp(logvar / 2) * np.random.default_rng(0).normal(size=(500, *mean.shape))
    np.testing.assert_allclose(facts["latent_mean"], draws.mean((0, 1, 2, 3)), atol=0.01)
    np.testing.assert_allclose(facts["latent_std"], draws.std((0, 1, 2, 3)), rtol=0.01)


def test_without_a_variance_the_mean_alone_is_kept(data):
    train = latents.load("a", data, Encoder(variance=False), "v@1")["train"]
    assert train.logvar is None and "logvar" not in train.batches(6)(0)
    mean = Encoder()(data["train"].x)[0]
    np.testing.assert_allclose(train.facts["latent_std"], mean.std((0, 1, 2)), rtol=1e-5)


def test_what_was_cut_off_goes_on_and_is_the_same(data):
    with pytest.raises(KeyboardInterrupt):
        latents.load("a", data, Encoder(last=30), "v@1")
    assert not [p for p in cache_dir().glob("latents-*") if p.suffix != ".part"]
    rest = Encoder()
    found = latents.load("a", data, rest, "v@1")["train"]
    assert rest.seen == 50 - 24
    again, unbroken = Encoder(), json.loads((store.place(found.mean) / "manifest.json").read_text())
    latents.load("a", data, again, "v@1")
    assert again.seen == 0
    for file in store.place(found.mean).iterdir():
        file.unlink()
    store.place(found.mean).rmdir()
    latents.load("a", data, Encoder(), "v@1")
    assert json.loads((store.place(found.mean) / "manifest.json").read_text()) == unbroken


@pytest.mark.parametrize("changed", [{"vae": "v@2"}, {"flip": True}, {"side": 4}])
def test_another_autoencoder_or_dataset_has_another_cache(data, changed, tmp_path):
    first = latents.load("a", data, Encoder(), "v@1")["train"]
    if "side" in changed:
        data = images.load(f"npz:{tmp_path / 'a.npz'}", size=changed.pop("side"))
    other = latents.load("a", data, Encoder(), **{"vae": "v@1"} | changed)["train"]
    assert other.hash != first.hash and store.place(other.mean) != store.place(first.mean)


def test_streamed_images_are_encoded_without_a_copy_of_their_pixels(tmp_path):
    for i, a in enumerate(pictures(60)):
        (tmp_path / "x" / f"c{i % 2}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / f"c{i % 2}" / f"{i}.png").write_bytes(png(a))
    name, found = f"folder:{tmp_path / 'x'}", {}
    for stream in (True, False):
        data = images.load(name, stream=stream)
        if stream:
            kept = sum(p.stat().st_size for p in cache_dir().rglob("*.bin"))
        found[stream] = latents.load("x", data, Encoder(), "v@1")["train"]
    assert kept < 60 * 8 * 8 * 3 / 2
    np.testing.assert_array_equal(found[True].mean, found[False].mean)
    np.testing.assert_array_equal(found[True].label, found[False].label)


def test_latents_that_float16_cannot_hold_are_refused(data):
    with pytest.raises(ValueError, match="latents of a do not fit float16: they reach 2.5.e"):
        latents.load("a", data, Encoder(scale=1e5), "v@1")
