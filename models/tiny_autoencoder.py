"""Tiny autoencoders: TAESD and its kin (github.com/madebyollin/taesd), by the names of their files.

    TAESD, TAESDXL, TAESD3, TAEF1    side / 8, 4 or 16 channels; also diffusers' AutoencoderTiny
    TAEF2                            side / 8, 32 channels, pooled blocks
    TAESANA                          side / 32, 32 channels

They are chains of 3x3 convolutions and residual blocks, numbered through; layers without arrays
leave gaps in the numbers. So a file's names and shapes say what the network is, and no table does.
Latents are what they are, without a variance.
"""

import re
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from models import torch_names
from models.autoencoder import doubled

ONLY = {"act_fn": "relu", "upsample_fn": "nearest", "upsampling_scaling_factor": 2}


class Layer(NamedTuple):
    """One numbered layer that has arrays.

    kind: "block", "pooled" (a block that first adds what a norm over all places gives), "conv".
    """

    number: str
    kind: str
    features: int
    bias: bool = True
    relu: bool = False  # behind it
    scale: float = 1.0  # 1/2: strides of two; 2: every place becomes two by two before it


def plan(named: dict, decoder: bool) -> tuple[Layer, ...]:
    """The layers of an encoder's or a decoder's arrays, named "3.conv.0.weight" and so on.

    Raises:
        ValueError: names of another network.
    """
    numbers = sorted({int(name.split(".")[0]) for name in named if name[0].isdigit()})
    found = []
    for n in numbers:
        shape = lambda part, n=n: named[f"{n}.{part}"].shape
        if f"{n}.conv.0.weight" in named:
            kind = "pooled" if f"{n}.pool.0.weight" in named else "block"
            found.append(Layer(f"{n}", kind, shape("conv.0.weight")[0]))
        elif f"{n}.weight" in named:
            bias = f"{n}.bias" in named
            relu = bias and n + 1 not in numbers and n < numbers[-1]
            changes = not bias or (relu and not decoder)  # only TAESANA's encoder has the latter
            scale = (2.0 if decoder else 0.5) if changes else 1.0
            found.append(Layer(f"{n}", "conv", shape("weight")[0], bias, relu, scale))
    if not found or found[0].kind != "conv" or found[-1].kind != "conv":
        raise ValueError(f"has no chain of numbered layers; its names begin {sorted(named)[:3]}")
    return tuple(found)


class Block(nn.Module):
    """f32[B, H, W, C] -> f32[B, H, W, C]."""

    pooled: bool

    @nn.compact
    def __call__(self, x):
        c = x.shape[-1]
        conv = lambda n, side, name, bias=True: nn.Conv(
            n, (side, side), padding=side // 2, use_bias=bias, name=name
        )
        if self.pooled:
            norm = nn.GroupNorm(4, epsilon=1e-5, name="pool.1")
            h = nn.relu(norm(conv(4 * c, 1, "pool.0", bias=False)(x)))
            x = x + conv(c, 1, "pool.3", bias=False)(h)
        h = x
        for name in ("conv.0", "conv.2"):
            h = nn.relu(conv(c, 3, name)(h))
        return nn.relu(x + conv(c, 3, "conv.4")(h))


class Chain(nn.Module):
    """The layers of a plan one after the other."""

    layers: tuple[Layer, ...]

    @nn.compact
    def __call__(self, x):
        for layer in self.layers:
            if layer.kind != "conv":
                x = Block(layer.kind == "pooled", name=layer.number)(x)
                continue
            x = doubled(x) if layer.scale > 1 else x
            x = nn.Conv(
                layer.features, (3, 3), 2 if layer.scale < 1 else 1, padding=1,
                use_bias=layer.bias, name=layer.number,
            )(x)  # fmt: skip
            x = nn.relu(x) if layer.relu else x
        return x


class TinyAutoencoder(nn.Module):
    """Images to latents and back; f32[B, H, W, 3] in [-1, 1] as everywhere.

    Attributes:
        down, up: plans of the encoder and the decoder.
    """

    down: tuple[Layer, ...]
    up: tuple[Layer, ...]

    def setup(self):
        self.encoder, self.decoder = Chain(self.down), Chain(self.up)

    @property
    def factor(self) -> int:
        """Pixels a latent, along each side."""
        return 2 ** sum(layer.scale > 1 for layer in self.up)

    @property
    def latent_channels(self) -> int:
        return self.down[-1].features

    def encode(self, x):
        """(latents f32[B, h, w, C], None): there is no variance."""
        return self.encoder((x + 1) / 2), None

    def decode(self, z):
        """f32[B, H, W, 3], about [-1, 1], of latents as `encode` has them."""
        return 2 * self.decoder(3 * jnp.tanh(z / 3)) - 1

    def __call__(self, x):
        return self.decode(self.encode(x)[0])


def from_names(named: dict, config: dict) -> tuple[TinyAutoencoder, dict]:
    """(Network, parameters) of arrays "encoder.0.weight", "decoder.1.weight" and so on, or
    "encoder.layers.0.weight" as in diffusers, whose config.json is `config`; {} if there is none.

    Raises:
        ValueError: names that are missing, unknown or of another shape, or another kind of layers;
            the message tells them.
    """
    for key, wanted in ONLY.items():
        if config.get(key, wanted) != wanted:
            raise ValueError(f"its config.json has {key} {config[key]}; wanted {wanted}")
    named = {re.sub(r"^(en|de)coder\.layers\.", r"\1coder.", k): a for k, a in named.items()}
    of = lambda part: {k.removeprefix(part): a for k, a in named.items() if k.startswith(part)}
    down, up = plan(of("encoder."), decoder=False), plan(of("decoder."), decoder=True)
    module = TinyAutoencoder(down, up)
    return module, torch_names.convert(named, module, jnp.zeros((1, 64, 64, 3)))
