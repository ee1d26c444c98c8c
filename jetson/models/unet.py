"""models/unet.py in torch: images come and go as [B, H, W, C], and are [B, C, H, W] inside."""

import torch
import torch.nn.functional as F
from torch import nn

from jetson.models import layers


class Norm(nn.Module):
    """Group norm of f32[B, C, H, W], in the type of its parameters."""

    def __init__(self, groups, channels):
        super().__init__()
        self.group = nn.GroupNorm(groups, channels, eps=layers.EPS)

    def forward(self, x):
        g = self.group
        normed = F.group_norm(x, g.num_groups, g.weight.float(), g.bias.float(), g.eps)
        return normed.to(g.weight.dtype)


def conv(inputs, outputs, side=3, stride=1):
    return nn.Conv2d(inputs, outputs, side, stride=stride, padding=side // 2)


def moved(conv, x):
    """A convolution of f32[B, C, H, W] in the type of its parameters, f32 again."""
    return conv(x.to(conv.weight.dtype)).float()


class ResBlock(nn.Module):
    def __init__(self, inputs, outputs, width, groups):
        super().__init__()
        self.norm_in, self.conv_in = Norm(groups, inputs), conv(inputs, outputs)
        self.time = nn.Linear(width, outputs)
        self.norm_out, self.conv_out = Norm(groups, outputs), conv(outputs, outputs)
        self.skip = conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x, time):
        h = self.conv_in(F.silu(self.norm_in(x))) + time[:, :, None, None]
        branch = self.conv_out(F.silu(self.norm_out(h)))
        x = moved(self.skip, x) if isinstance(self.skip, nn.Conv2d) else x
        return x + branch


class SelfAttention(nn.Module):
    def __init__(self, channels, groups):
        super().__init__()
        self.norm, self.attention = Norm(groups, channels), layers.Attention(channels, 1)

    def forward(self, x):
        channels, h, w = x.shape[1:]
        y = self.norm(x).reshape(-1, channels, h * w).transpose(1, 2)
        return x + self.attention(y).transpose(1, 2).reshape(-1, channels, h, w)


class UNet(nn.Module):
    """f32[B, H, W, C] -> f32[B, H, W, C]; attributes as in models/unet.py.

    shape: (H, W, C) of an image.
    """

    inputs = ("x",)

    def __init__(
        self, shape, width, multipliers, num_res_blocks=2, attention_sides=(), groups=32,
        num_classes=0,
    ):  # fmt: skip
        super().__init__()
        channels, self.levels, self.count = shape[-1], len(multipliers), num_res_blocks
        self.attention_sides, self.groups, self.width = attention_sides, groups, width
        self.condition = layers.Condition(4 * width, num_classes, time_width=width)
        self.residuals = []  # names of the residual blocks, in the order in which they run
        h, side = width, shape[0]
        self.conv_in, skips = conv(channels, h), [h]
        for i, m in enumerate(multipliers):
            for j in range(num_res_blocks):
                h = self.add(f"down_{i}_{j}", h, m * width, side)
                skips.append(h)
            if i < self.levels - 1:
                self.add_module(f"down_{i}_halve", conv(h, h, stride=2))
                skips.append(h)
                side //= 2
        self.add("middle_0", h, h, None)
        self.middle_attention = SelfAttention(h, groups)
        self.add("middle_1", h, h, None)
        for i, m in reversed(list(enumerate(multipliers))):
            for j in range(num_res_blocks + 1):
                h = self.add(f"up_{i}_{j}", h + skips.pop(), m * width, side)
            if i > 0:
                self.add_module(f"up_{i}_double", conv(h, h))
                side *= 2
        self.norm_out, self.conv_out = Norm(groups, h), conv(h, channels)

    def add(self, name, inputs, outputs, side):
        """A residual block, and attention behind it where images have that side."""
        self.add_module(name, ResBlock(inputs, outputs, 4 * self.width, self.groups))
        self.residuals.append(name)
        if side in self.attention_sides:
            self.add_module(f"{name}_attention", SelfAttention(outputs, self.groups))
        return outputs

    def modulators(self):
        return [getattr(self, name).time for name in self.residuals]

    def exact(self):
        return [self.condition, *self.modulators(), self.conv_in, self.norm_out, self.conv_out]

    def modulation(self, t, label=None):
        c = F.silu(self.condition(t, label))
        return torch.cat([part(c) for part in self.modulators()], -1)

    def body(self, x, modulation):
        times = iter(modulation.split([part.out_features for part in self.modulators()], -1))

        def res(h, name):
            h = getattr(self, name)(h, next(times))
            return getattr(self, f"{name}_attention", nn.Identity())(h)

        h = self.conv_in(x.permute(0, 3, 1, 2))
        skips = [h]
        for i in range(self.levels):
            for j in range(self.count):
                h = res(h, f"down_{i}_{j}")
                skips.append(h)
            if i < self.levels - 1:
                h = moved(getattr(self, f"down_{i}_halve"), h)
                skips.append(h)
        h = res(self.middle_attention(res(h, "middle_0")), "middle_1")
        for i in reversed(range(self.levels)):
            for j in range(self.count + 1):
                h = res(torch.cat([h, skips.pop()], 1), f"up_{i}_{j}")
            if i > 0:
                h = moved(getattr(self, f"up_{i}_double"), F.interpolate(h, scale_factor=2.0))
        return self.conv_out(F.silu(self.norm_out(h))).permute(0, 2, 3, 1)

    def forward(self, x, t, label=None):
        return self.body(x, self.modulation(t, label))
