"""AutoencoderKL, the autoencoder of Stable Diffusion (arXiv:2112.10752), by diffusers' names.

Modules are called what diffusers calls them, so its weights files, old and new, are read as they
are, and its config.json says what the network looks like. Images are f32[B, H, W, 3] in [-1, 1].
"""

import re

import flax.linen as nn
import jax.numpy as jnp

from models import layers, torch_names

# What a config.json must say, if anything: other blocks are other networks.
ONLY = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "down_block_types": "DownEncoderBlock2D",
    "up_block_types": "UpDecoderBlock2D",
}
OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
LOGVAR = (-30.0, 20.0)  # beyond, a posterior's log variance is cut off, as diffusers does


class Part(nn.Module):
    """What all parts of the network share."""

    groups: int

    def conv(self, features, name, side=3, **kwargs):
        kwargs = {"padding": side // 2} | kwargs
        return nn.Conv(features, (side, side), name=name, **kwargs)

    def norm(self, name):
        return nn.GroupNorm(self.groups, epsilon=1e-6, name=name)


class Residual(Part):
    """f32[B, H, W, C] -> f32[B, H, W, features]."""

    features: int

    @nn.compact
    def __call__(self, x):
        h = self.conv(self.features, "conv1")(nn.silu(self.norm("norm1")(x)))
        h = self.conv(self.features, "conv2")(nn.silu(self.norm("norm2")(h)))
        if x.shape[-1] != self.features:
            x = self.conv(self.features, "conv_shortcut", side=1)(x)
        return x + h


class SelfAttention(Part):
    """All places see each other, with one head: memory grows with (H W)^2."""

    @nn.compact
    def __call__(self, x):
        b, h, w, c = x.shape
        dense = lambda name: nn.Dense(c, name=name)
        flat = self.norm("group_norm")(x).reshape(b, h * w, c)
        q, k, v = (dense(name)(flat)[:, :, None] for name in ("to_q", "to_k", "to_v"))
        y = layers.attend(q, k, v, "xla").reshape(b, h * w, c)
        return x + dense("to_out.0")(y).reshape(x.shape)


class Network(Part):
    """The encoder or the decoder: levels of residual blocks, and the middle between two ends."""

    widths: tuple[int, ...]
    blocks: int
    attention: bool
    channels: int  # of the output

    def residuals(self, x, features, name, count):
        for j in range(count):
            x = Residual(self.groups, features, name=f"{name}.resnets.{j}")(x)
        return x

    def middle(self, x):
        c = x.shape[-1]
        x = Residual(self.groups, c, name="mid_block.resnets.0")(x)
        if self.attention:
            x = SelfAttention(self.groups, name="mid_block.attentions.0")(x)
        return Residual(self.groups, c, name="mid_block.resnets.1")(x)

    def out(self, x):
        return self.conv(self.channels, "conv_out")(nn.silu(self.norm("conv_norm_out")(x)))


class Encoder(Network):
    @nn.compact
    def __call__(self, x):
        x = self.conv(self.widths[0], "conv_in")(x)
        for i, width in enumerate(self.widths):
            x = self.residuals(x, width, f"down_blocks.{i}", self.blocks)
            if i < len(self.widths) - 1:
                # one row and column of zeros, at the far side only
                name, far = f"down_blocks.{i}.downsamplers.0.conv", ((0, 1), (0, 1))
                x = self.conv(width, name, strides=2, padding=far)(x)
        return self.out(self.middle(x))


class Decoder(Network):
    @nn.compact
    def __call__(self, z):
        x = self.middle(self.conv(self.widths[-1], "conv_in")(z))
        for i, width in enumerate(reversed(self.widths)):
            x = self.residuals(x, width, f"up_blocks.{i}", self.blocks + 1)
            if i < len(self.widths) - 1:
                x = self.conv(width, f"up_blocks.{i}.upsamplers.0.conv")(doubled(x))
        return self.out(x)


def doubled(x):
    """Every place as two by two."""
    return jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)


class AutoencoderKL(nn.Module):
    """Images to a Gaussian over latents, and latents to images; attributes as in a config.json.

    Attributes:
        block_out_channels: channels of each level; the side halves between levels.
        layers_per_block: residual blocks a level on the way down (one more on the way up).
        latent_channels: C of the latents.
        norm_num_groups: of the group norms.
        mid_block_add_attention: the middle attends.
        use_quant_conv, use_post_quant_conv: a 1x1 convolution behind the encoder, before the
            decoder.
    """

    in_channels: int = 3
    out_channels: int = 3
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = 1
    latent_channels: int = 4
    norm_num_groups: int = 32
    mid_block_add_attention: bool = True
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True

    def setup(self):
        network = lambda cls, channels: cls(
            self.norm_num_groups, self.block_out_channels, self.layers_per_block,
            self.mid_block_add_attention, channels,
        )  # fmt: skip
        self.encoder = network(Encoder, 2 * self.latent_channels)
        self.decoder = network(Decoder, self.out_channels)
        if self.use_quant_conv:
            self.quant_conv = nn.Conv(2 * self.latent_channels, (1, 1))
        if self.use_post_quant_conv:
            self.post_quant_conv = nn.Conv(self.latent_channels, (1, 1))

    @property
    def factor(self) -> int:
        """Pixels a latent, along each side."""
        return 2 ** (len(self.block_out_channels) - 1)

    def encode(self, x):
        """(mean, log variance) f32[B, h, w, C] of the posterior of images f32[B, H, W, 3]."""
        moments = self.encoder(x)
        moments = self.quant_conv(moments) if self.use_quant_conv else moments
        mean, logvar = jnp.split(moments, 2, -1)
        return mean, jnp.clip(logvar, *LOGVAR)

    def decode(self, z):
        """f32[B, H, W, 3], about [-1, 1], of latents as `encode` has them."""
        return self.decoder(self.post_quant_conv(z) if self.use_post_quant_conv else z)

    def __call__(self, x):
        return self.decode(self.encode(x)[0])


def from_config(config: dict) -> AutoencoderKL:
    """The network that a config.json of diffusers describes; what it leaves out is the default.

    Raises:
        ValueError: it describes another network; tells in what.
    """
    if not config:
        raise ValueError("has no config.json beside it, which says what network it is")
    for key, wanted in ONLY.items():
        said = config.get(key, wanted)
        if set(said if isinstance(said, list) else [said]) - {wanted}:
            raise ValueError(f"its config.json has {key} {said}; wanted {wanted}")
    fields = set(AutoencoderKL.__dataclass_fields__) - {"parent", "name"}
    plain = lambda value: tuple(value) if isinstance(value, list) else value
    return AutoencoderKL(**{k: plain(config[k]) for k in fields & config.keys()})


def convert(named: dict, module: AutoencoderKL) -> dict:
    """The arrays of diffusers' weights file, of any age, as parameters.

    Raises:
        ValueError: names that are missing, unknown or of another shape; the message tells them.
    """
    old = re.compile(rf"(?<=attentions\.0\.)({'|'.join(OLD)})(?=\.)")
    new = {old.sub(lambda m: OLD[m[0]], name): array for name, array in named.items()}
    for name, array in new.items():
        if ".attentions." in name and array.ndim == 4:  # once these were 1x1 convolutions
            new[name] = array[:, :, 0, 0]
    return torch_names.convert(new, module, jnp.zeros((1, module.factor, module.factor, 3)))
