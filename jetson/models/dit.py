"""models/dit.py in torch."""

import torch
import torch.nn.functional as F
from torch import nn

from jetson.models import layers


class Mlp(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        return self.down(layers.gelu(self.up(x)))


class Block(nn.Module):
    steps = layers  # whose modulate, residual and both are used: or a kernels.Kernels

    def __init__(self, width, num_heads, mlp_ratio, qk_norm):
        super().__init__()
        self.modulation = nn.Linear(width, 6 * width)
        self.attention = layers.Attention(width, num_heads, qk_norm)
        self.mlp = Mlp(width, int(mlp_ratio * width))

    def forward(self, x, six):
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = six
        dtype = self.mlp.up.weight.dtype
        h = self.attention(self.steps.modulate(x, shift_a, scale_a, dtype))
        x, h = self.steps.both(x, gate_a, h, shift_m, scale_m)
        return self.steps.residual(x, gate_m, self.mlp(h))


class Head(nn.Module):
    steps = layers

    def __init__(self, width, features):
        super().__init__()
        self.modulation, self.out = nn.Linear(width, 2 * width), nn.Linear(width, features)

    def forward(self, x, two):
        return self.out(self.steps.modulate(x, *two, self.out.weight.dtype))


class DiT(nn.Module):
    """f32[B, H, W, C] -> f32[B, H, W, C]; attributes as in models/dit.py.

    shape: (H, W, C) of an image.
    """

    inputs = ("x",)

    def __init__(
        self, shape, hidden_size, depth, num_heads, patch_size, mlp_ratio=4.0, num_classes=0,
        qk_norm=False,
    ):  # fmt: skip
        super().__init__()
        self.shape, self.width, self.patch, self.depth = shape, hidden_size, patch_size, depth
        self.side = shape[0] // patch_size
        features = patch_size**2 * shape[-1]
        self.patchify = nn.Linear(features, hidden_size)
        self.condition = layers.Condition(hidden_size, num_classes)
        for i in range(depth):
            self.add_module(f"blocks_{i}", Block(hidden_size, num_heads, mlp_ratio, qk_norm))
        self.head = Head(hidden_size, features)
        places = layers.sincos_2d(self.side, hidden_size)
        self.register_buffer("places", places, persistent=False)

    def blocks(self):
        return [getattr(self, f"blocks_{i}") for i in range(self.depth)]

    def modulators(self):
        return [part.modulation for part in (*self.blocks(), self.head)]

    def exact(self):
        return [self.condition, *self.modulators(), self.patchify, self.head.out]

    def modulation(self, t, label=None):
        c = F.silu(self.condition(t, label))
        return torch.cat([part(c) for part in self.modulators()], -1)

    def body(self, x, modulation):
        (h, w, channels), side, p = self.shape, self.side, self.patch
        parts = modulation.chunk(6 * self.depth + 2, -1)
        x = x.reshape(-1, side, p, side, p, channels).permute(0, 1, 3, 2, 4, 5)
        x = self.patchify(x.reshape(-1, side * side, p * p * channels)) + self.places
        for i, block in enumerate(self.blocks()):
            x = block(x, parts[6 * i : 6 * i + 6])
        x = self.head(x, parts[-2:])
        x = x.reshape(-1, side, side, p, p, channels).permute(0, 1, 3, 2, 4, 5)
        return x.reshape(-1, h, w, channels)

    def forward(self, x, t, label=None):
        return self.body(x, self.modulation(t, label))
