"""The UNet of DDPM (arXiv:2006.11239, appendix B), class-conditional if asked."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models import layers, winograd

PRESETS = {
    "debug": dict(width=16, multipliers=(1, 2), num_res_blocks=1, attention_sides=(), groups=4),
    "mnist": dict(
        width=24, multipliers=(1, 2, 4), num_res_blocks=1, attention_sides=(7,), groups=8
    ),
    # The published recipe for CIFAR-10: 35.7 M parameters.
    "cifar": dict(
        width=128, multipliers=(1, 2, 2, 2), num_res_blocks=2, attention_sides=(16,), dropout=0.1
    ),
}


class Norm(nn.Module):
    """Group norm, statistics in float32."""

    groups: int

    @nn.compact
    def __call__(self, x):
        return nn.GroupNorm(self.groups, epsilon=1e-6, dtype=x.dtype, name="group")(x)


def pointwise(x, kernel, *_, **__):
    """A convolution whose kernel f32[1, 1, I, O] sees one pixel, as the product that it is."""
    return layers.product(x, kernel[0, 0])


class ResBlock(nn.Module):
    features: int
    groups: int
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(self, x, c, keys):
        conv = lambda name, init, side=3: nn.Conv(
            self.features, (side, side), kernel_init=init, dtype=self.dtype, name=name,
            conv_general_dilated=pointwise if side == 1 else winograd.conv,
        )  # fmt: skip
        h = conv("conv_in", layers.xavier)(nn.silu(Norm(self.groups, name="norm_in")(x)))
        h = (
            h
            + layers.Dense(self.features, kernel_init=layers.xavier, dtype=self.dtype, name="time")(
                nn.silu(c)
            )[:, None, None]
        )
        h = layers.dropout(keys, nn.silu(Norm(self.groups, name="norm_out")(h)), self.dropout)
        h = conv("conv_out", layers.zeros)(h)
        if x.shape[-1] != self.features:
            x = conv("skip", layers.xavier, 1)(x)
        return x + h


class SelfAttention(nn.Module):
    """All pixels see each other; one head."""

    groups: int
    dtype: Any

    @nn.compact
    def __call__(self, x):
        b, h, w, d = x.shape
        flat = Norm(self.groups, name="norm")(x).reshape(b, h * w, d)
        return x + layers.Attention(1, dtype=self.dtype, name="attention")(flat).reshape(x.shape)


class UNet(nn.Module):
    """f32[B, H, W, C] -> f32[B, H, W, C].

    Attributes:
        width: channels of the first level.
        multipliers: channels of each level, in widths; the side halves between levels.
        num_res_blocks: residual blocks a level on the way down (one more on the way up).
        attention_sides: sides (in pixels) of the levels that also attend.
        groups: of the group norms; divides width.
        dropout: share zeroed in each residual block while training.
        num_classes: 0 is unconditional.
        dtype: of activations; parameters, norms and the output are float32.

    Raises:
        ValueError: a side that cannot be halved len(multipliers) - 1 times.
    """

    width: int
    multipliers: tuple[int, ...]
    num_res_blocks: int = 2
    attention_sides: tuple[int, ...] = ()
    groups: int = 32
    dropout: float = 0.0
    num_classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, t, cond, keys=None):
        channels, halvings = x.shape[-1], len(self.multipliers) - 1
        if any(side % 2**halvings for side in x.shape[1:3]):
            raise ValueError(
                f"this UNet halves its input {halvings} times, so sides must be divisible by "
                f"{2**halvings}; got {x.shape[1]}x{x.shape[2]}"
            )
        c = layers.Condition(
            4 * self.width,
            self.num_classes,
            time_width=self.width,
            label_scale=1.0,  # as in arXiv:2105.05233: a class is heard from the first step on
            dtype=self.dtype,
            name="condition",
        )(t, cond)
        count = iter(range(10**6))  # numbers the blocks, for their dropout

        def res(x, features, name):
            own = (
                None if keys is None else jax.vmap(jax.random.fold_in, (0, None))(keys, next(count))
            )
            block = ResBlock(features, self.groups, self.dropout, self.dtype, name=name)
            return block(x, c, own)

        def attend(x, name):
            if name != "middle_attention" and x.shape[1] not in self.attention_sides:
                return x
            return SelfAttention(self.groups, self.dtype, name=name)(x)

        def conv(features, name, **kw):
            return nn.Conv(
                features,
                (3, 3),
                padding=1,
                kernel_init=layers.xavier,
                dtype=self.dtype,
                name=name,
                **kw,
            )

        h = conv(self.width, "conv_in")(x)
        skips = [h]
        for i, m in enumerate(self.multipliers):
            for j in range(self.num_res_blocks):
                h = attend(res(h, m * self.width, f"down_{i}_{j}"), f"down_{i}_{j}_attention")
                skips.append(h)
            if i < halvings:
                h = conv(h.shape[-1], f"down_{i}_halve", strides=2)(h)
                skips.append(h)
        h = res(h, h.shape[-1], "middle_0")
        h = res(attend(h, "middle_attention"), h.shape[-1], "middle_1")
        for i, m in reversed(list(enumerate(self.multipliers))):
            for j in range(self.num_res_blocks + 1):
                h = res(jnp.concatenate([h, skips.pop()], -1), m * self.width, f"up_{i}_{j}")
                h = attend(h, f"up_{i}_{j}_attention")
            if i > 0:
                h = jnp.repeat(jnp.repeat(h, 2, 1), 2, 2)
                h = conv(h.shape[-1], f"up_{i}_double", conv_general_dilated=winograd.conv)(h)
        h = nn.silu(Norm(self.groups, name="norm_out")(h)).astype(jnp.float32)
        return nn.Conv(channels, (3, 3), kernel_init=layers.zeros, name="conv_out")(h)
