"""What x_0 is: pixels, or the latents that an autoencoder makes of them."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import diffusion
from data import latents, pipeline
from models import look_up
from utils import recipe_vae, stable_vae


class Space(NamedTuple):
    """How examples become x_0, and samples become images."""

    shape: tuple[int, int, int]  # of x_0
    image_shape: tuple[int, int, int]  # of what `decode` gives
    read: Callable  # (batch, keys key[B] or None) -> f32[B, *shape]; None: as they are, no chance
    decode: Callable  # f32[..., *shape] -> f32[..., *image_shape], about [-1, 1]
    facts: dict  # what a continued run must agree on
    scale: dict  # what else a run keeps to be able to decode


def pixels(shape, flip: bool) -> Space:
    """u8 pixels in [-1, 1], mirrored for half of the examples if asked."""

    def read(batch, keys):
        x = pipeline.to_unit(batch["x"])
        if not flip or keys is None:
            return x
        mirrored = diffusion.draws.uniform(keys) < 0.5
        return jnp.where(mirrored[:, None, None, None], x[:, :, ::-1], x)

    return Space(tuple(shape), tuple(shape), read, lambda x: x, {}, {})


def autoencoder(config, where=None) -> stable_vae.StableVAE | None:
    """What makes latents of images; None where x_0 is pixels.

    Args:
        where: instead of the config's model.vae.
    """
    return recipe_vae.load(where or config.model.vae) if config.model.use_stable_vae else None


def prepared(config, data: dict, vae) -> tuple[Space, dict]:
    """(The space to train in, the splits as it reads them); latents are made if they are not there.

    Args:
        data: {"train": images, "test": images} from images.load.
        vae: from `autoencoder`.

    Raises:
        ValueError: images that the autoencoder cannot take.
    """
    shape = data["train"].shape
    if vae is None:
        return pixels(shape, config.flip), data
    vae.latent_shape(shape)
    if shape[2] not in (1, 3):
        raise ValueError(
            f"{vae.name} wants grey or coloured images; these have {shape[2]} channels"
        )

    def encode(x):
        return vae.moments(np.broadcast_to(pipeline.to_unit(x), (*x.shape[:3], 3)))

    data = latents.load(config.dataset_name, data, encode, vae.name, config.flip)
    return latent(config, vae, data["train"].shape, data["train"].facts), data


def restored(config, facts: dict, where=None) -> Space:
    """The space of a run, from what its checkpoint keeps.

    Raises:
        ValueError: the autoencoder is not the one that it was trained with.
    """
    vae = autoencoder(config, where)
    if vae is None:
        return pixels(facts["shape"], config.flip)
    if vae.name != facts["vae"]:
        raise ValueError(
            f"this run was trained on latents of {facts['vae']}; {where or config.model.vae} is "
            f"{vae.name}: say with --vae where the other one is"
        )
    return latent(config, vae, facts["shape"], facts)


def latent(config, vae, shape, facts) -> Space:
    """Latents of an autoencoder.

    Args:
        shape: (h, w, C) of an image's.
        facts: of data.latents.Latents; all that is needed of it to decode is kept with the run.
    """
    scale = look_up(config.model.latent_scale or "config", SCALES, "model.latent_scale")
    vae, image_shape = scale(vae, facts), tuple(facts["image_shape"])

    def read(batch, keys):
        mean, logvar = (
            batch[k].astype(jnp.float32) if k in batch else None for k in ("mean", "logvar")
        )
        if keys is None:
            return vae.scaled(mean[:, 0])
        keys_view, keys_z = diffusion.draws.split(keys)
        second = (diffusion.draws.uniform(keys_view) < 0.5)[:, None, None, None]
        view = lambda a: None if a is None else jnp.where(second, a[:, -1], a[:, 0])
        return vae.scaled(stable_vae.draw(view(mean), view(logvar), keys_z))

    def decode(z):
        x = vae.decode(np.reshape(z, (-1, *shape)))
        x = x.mean(-1, keepdims=True) if image_shape[2] == 1 else x
        return x.reshape(*z.shape[:-3], *image_shape)

    kept = {k: facts[k] for k in ("image_shape", "latent_mean", "latent_std")}
    return Space(tuple(shape), image_shape, read, decode, {"vae": vae.name}, kept)


SCALES = {  # model.latent_scale: (autoencoder, facts of its latents) -> autoencoder
    "config": lambda vae, facts: vae,
    "channel": lambda vae, facts: dataclasses.replace(
        vae, mean=np.float32(facts["latent_mean"]), std=np.float32(facts["latent_std"])
    ),
}
