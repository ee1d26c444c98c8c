"""The furniture of models/layers.py and models/places.py in torch.

Attention is spelt out in matrix products: as one operator it exists in no ONNX that TensorRT 10.3
reads. Shapes are reshaped with -1 for the batch, so that a graph of any batch computes no shapes.
"""

import torch
import torch.nn.functional as F
from torch import nn

HIDE = -1e4  # on attention logits: exp of it is 0 in float32, and float16 holds it
EPS = 1e-6  # Flax's; torch's norms default to 1e-5


def fourier(t, width, max_period=1e4):
    """Cosines and sines of noise level t f32[B] -> f32[B, width].

    (1000 t) f, in this order: 1000 (t f) and (1000 f) t round elsewhere, by 4e-5 of the output.
    """
    freqs = max_period ** (-torch.arange(width // 2) / (width // 2))
    angles = 1000.0 * t[:, None] * freqs
    return torch.cat([angles.cos(), angles.sin()], -1)


def waves(places, width):
    """Sines, then cosines of places [L] -> f32[L, width]; rounded once, as models/places.py's."""
    angles = places[:, None].double() * 1e4 ** (-torch.arange(width // 2).double() / (width // 2))
    return torch.cat([angles.sin(), angles.cos()], -1).float()


def sincos_2d(side, width):
    """f32[side^2, width], row-major: half of the width tells the column, half the row."""
    line = waves(torch.arange(side), width // 2)
    return torch.cat([line.repeat(side, 1), line.repeat_interleave(side, 0)], -1)


class Condition(nn.Module):
    """Noise level f32[B] and class i64[B] as vectors f32[B, width].

    embedding: "sinusoidal", "mlp" or "table", as models/transformer.py has them.
    """

    def __init__(
        self, width, num_classes=0, time_width=256, embedding="sinusoidal", time_buckets=128
    ):
        super().__init__()
        self.time_width, self.embedding, self.time_buckets = time_width, embedding, time_buckets
        if embedding == "table":
            self.time = nn.Embedding(time_buckets, width)
        else:
            self.time_in = nn.Linear(time_width if embedding == "sinusoidal" else 1, width)
            self.time_out = nn.Linear(width, width)
        if num_classes:
            self.label = nn.Embedding(num_classes + 1, width)

    def chain(self):
        """[(kernel [in, out], bias [out])] with silu between, behind waves of t f32[B, time_width],
        t f32[B, 1] itself, or the one-hot number of its bucket; classes are left out."""
        if self.embedding == "table":
            return [(self.time.weight, torch.zeros(self.time.embedding_dim))]
        return [(part.weight.T, part.bias) for part in (self.time_in, self.time_out)]

    def forward(self, t, label=None):
        """No label is the class "none"."""
        if self.embedding == "table":
            c = self.time((t * self.time_buckets).long().clamp(0, self.time_buckets - 1))
        else:
            sinusoidal = self.embedding == "sinusoidal"
            c = fourier(t, self.time_width) if sinusoidal else t[:, None]
            c = self.time_out(F.silu(self.time_in(c)))
        if not hasattr(self, "label"):
            return c
        none = self.label.num_embeddings - 1
        return c + self.label(torch.full(t.shape, none) if label is None else label)


class RMSNorm(nn.Module):
    """torch has one from 2.4 on; JetPack 6 may bring an older torch."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        f = x.float()
        f = f * torch.rsqrt(f.square().mean(-1, keepdim=True) + EPS)
        return (f * self.weight.float()).to(x.dtype)


class Attention(nn.Module):
    """Every place of x [B, L, D] sees every other."""

    def __init__(self, width, num_heads, qk_norm=False):
        super().__init__()
        self.heads, self.size = num_heads, width // num_heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        norm = (lambda: RMSNorm(self.size)) if qk_norm else nn.Identity
        self.q_norm, self.k_norm = norm(), norm()

    def forward(self, x, turn=None, bias=None):
        """turn: (cos, sin), see `rotation`; bias: added to the logits [B, heads, L, L], which are
        of its type then if that is the finer one."""
        length, width = x.shape[1:]
        q, k, v = (p.reshape(-1, length, self.heads, self.size) for p in self.qkv(x).chunk(3, -1))
        q, k = self.q_norm(q).transpose(1, 2), self.k_norm(k).transpose(1, 2)
        if turn is not None:
            q, k = rotate(q, *turn), rotate(k, *turn)
        logits = (q * self.size**-0.5) @ k.transpose(2, 3)
        logits = logits if bias is None else logits + bias
        y = logits.softmax(-1).to(v.dtype) @ v.transpose(1, 2)
        return self.out(y.transpose(1, 2).reshape(-1, length, width))


def rotation(length, size):
    """Cosines and sines f32[length, size / 2] that `rotate` turns heads by."""
    sin, cos = waves(torch.arange(length), size).chunk(2, -1)
    return cos, sin


def rotate(x, cos, sin):
    """RoPE on [B, N, L, D]: pairs (i, i + D/2) turn with the place."""
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def alibi(length, num_heads):
    """-slope |i - j|, f32[1, N, L, L], every other head twice as steep to the right and the rest
    to the left, see models/places.py."""
    number = torch.arange(1, num_heads + 1)[:, None, None]
    ahead = torch.arange(length) - torch.arange(length)[:, None]
    steep = 1.0 + ((ahead > 0) == (number % 2 == 1)).float()
    return (-(2.0 ** (-8.0 * number / num_heads)) * steep * ahead.abs())[None]


class LayerNorm(nn.LayerNorm):
    """Of f32[B, L, D], in the type of its parameters."""

    def __init__(self, width):
        super().__init__(width, eps=EPS)

    def forward(self, x):
        weight, bias = self.weight, self.bias
        out = F.layer_norm(x, x.shape[-1:], weight.float(), bias.float(), self.eps)
        return out.to(weight.dtype)


def modulate(x, shift, scale, dtype=torch.float32):
    """Layer norm of x f32[B, L, D] without parameters, then scale and shift f32[B, D]."""
    normed = F.layer_norm(x, x.shape[-1:], eps=EPS)
    return (normed * (1.0 + scale[:, None]) + shift[:, None]).to(dtype)


def residual(x, gate, h):
    """x + gate h of x f32[B, L, D], gate f32[B, D] and h [B, L, D] of any type."""
    return x + gate[:, None] * h


def both(x, gate, h, shift, scale):
    """(x + gate h, its `modulate` in the type of h)."""
    x = residual(x, gate, h)
    return x, modulate(x, shift, scale, h.dtype)


def gelu(x):
    return F.gelu(x, approximate="tanh")
