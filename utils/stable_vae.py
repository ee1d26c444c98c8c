"""An autoencoder at work: images to latents that a diffusion model can be trained on, and back.

    vae = recipe_vae.load("stabilityai/sd-vae-ft-mse")    # or a folder, or taef2_encoder.pth
    z = vae.encode(x)                                     # f32[B, H / 8, W / 8, C] of size one
    x = vae.decode(z)                                     # f32[B, H, W, 3], about [-1, 1]

A network's own latents are shifted and scaled: z = (latent - mean) / std, numbers or one a channel.
Calls are jitted, go through batches of any length in chunks that fit memory and are shared out over
devices, and through large images in tiles.
"""

import functools
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from utils import devices, tiles

CHUNK = 2**18  # pixels that a device sees at once: 64 images of 64, one of 512
TILE = 512  # pixels: images beyond are cut into tiles of this side
OVERLAP = 128  # pixels that neighbouring tiles share


@dataclass(frozen=True, eq=False)
class StableVAE:
    """A network with its weights.

    Attributes:
        name: "kl-f8c4@1a2b3c4d": kind, factor, channels, and the beginning of the file's sha256.
        network: a module with encode, decode, factor and latent_channels.
        params: its weights.
        mean, std: of latents, f32[] or f32[C]; see above.
        tile: side in pixels above which images are cut.
    """

    name: str
    network: Any
    params: Any
    mean: Any = 0.0
    std: Any = 1.0
    tile: int = TILE

    def latent_shape(self, image_shape) -> tuple[int, int, int]:
        """(h, w, C) of the latents of images (H, W, ...).

        Raises:
            ValueError: sides that the factor does not divide.
        """
        height, width = image_shape[:2]
        factor = self.network.factor
        if height % factor or width % factor:
            raise ValueError(
                f"{self.name} wants sides divisible by {factor}; got images of {height}x{width}: "
                "set --image_size"
            )
        return height // factor, width // factor, self.network.latent_channels

    def moments(self, x):
        """(mean, log variance) f32[B, h, w, C] of the posterior of images f32[B, H, W, 3] in
        [-1, 1], as the network has them; the latter None where it knows no variance."""
        self.latent_shape(x.shape[1:])
        return self._in_chunks(self._encode, x, pixels=x.shape[1] * x.shape[2])

    def encode(self, x, keys=None):
        """Latents f32[B, h, w, C]: the posterior's mean, or draws from it, one of keys key[B]."""
        return self.scaled(draw(*self.moments(x), keys))

    def decode(self, z):
        """Images f32[B, H, W, 3], about [-1, 1], of latents f32[B, h, w, C]."""
        pixels = z.shape[1] * z.shape[2] * self.network.factor**2
        return self._in_chunks(self._decode, self.unscaled(z), pixels=pixels)

    def scaled(self, latent):
        """The network's latents as z."""
        return (latent - self.mean) / self.std

    def unscaled(self, z):
        """The inverse."""
        return z * self.std + self.mean

    @functools.cached_property
    def _encode(self):
        return self._jitted("encode", self.network.factor, Fraction(1, self.network.factor))

    @functools.cached_property
    def _decode(self):
        return self._jitted("decode", 1, Fraction(self.network.factor))

    def _jitted(self, method, unit, scale):
        """The network's method, in tiles; `unit`: places of its input that a latent has."""
        cut = {"tile": self.tile, "overlap": min(OVERLAP, self.tile // 4)}
        cut = {k: v * unit // self.network.factor for k, v in cut.items()}

        @jax.jit
        def run(params, x):
            f = lambda part: self.network.apply({"params": params}, part, method=method)
            return tiles.tiled(f, x, unit=unit, scale=scale, **cut)

        return functools.partial(run, devices.everywhere(self.params))

    def _in_chunks(self, run, x, pixels):
        """run(x) of all rows as numpy, so many at once as `pixels` each allow; the last chunk is
        filled up and cut again, so that one length is compiled."""
        n = jax.local_device_count()  # hosts have work of their own here
        size = n * min(max(1, CHUNK // min(pixels, self.tile**2)), -(-len(x) // n))
        done = []
        for start in range(0, len(x), size):
            some = np.asarray(x[start : start + size], np.float32)
            full = np.resize(some, (size, *some.shape[1:]))
            done.append(jax.device_get(run(devices.spread(full))))
        return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(x)], *done)


def draw(mean, logvar, keys):
    """Draws from posteriors f32[B, h, w, C], example i from keys[i] alone; their means where keys
    or logvar is None."""
    if keys is None or logvar is None:
        return mean
    eps = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:]))(keys)
    return mean + jnp.exp(0.5 * logvar) * eps
