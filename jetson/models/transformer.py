"""models/transformer.py in torch, where it goes over ids and every place sees every other."""

import torch
import torch.nn.functional as F
from torch import nn

from jetson.models import layers


class Block(nn.Module):
    """With a condition adaLN-Zero, else a layer norm before each branch."""

    steps = layers  # whose modulate, residual and both are used: or a kernels.Kernels

    def __init__(self, width, num_heads, d_ff, adaptive, qk_norm):
        super().__init__()
        if adaptive:
            self.modulation = nn.Linear(width, 6 * width)
        else:
            self.norm_a, self.norm_m = layers.LayerNorm(width), layers.LayerNorm(width)
        self.attention = layers.Attention(width, num_heads, qk_norm)
        self.up, self.down = nn.Linear(width, d_ff), nn.Linear(d_ff, width)

    def forward(self, x, six, turn, bias):
        mlp = lambda h: self.down(layers.gelu(self.up(h)))
        if six is None:
            x = x + self.attention(self.norm_a(x), turn, bias)
            return x + mlp(self.norm_m(x))
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = six
        h = self.steps.modulate(x, shift_a, scale_a, self.up.weight.dtype)
        h = self.attention(h, turn, bias)
        x, h = self.steps.both(x, gate_a, h, shift_m, scale_m)
        return self.steps.residual(x, gate_m, mlp(h))


class Transformer(nn.Module):
    """Ids i64[B, L] -> logits [B, L, features]; attributes as in models/transformer.py.

    max_seq_len: L, of every row.
    pad_id: of ids that nobody sees; None: all are seen.
    """

    steps = layers
    inputs = ("x",)

    def __init__(
        self, features, hidden_size, depth, num_heads, d_ff, vocab_size, max_seq_len,
        num_classes=0, conditioning="adaln", time_embedding="sinusoidal", time_width=256,
        time_buckets=128, positions="rope", tied=False, qk_norm=False, pad_id=None,
    ):  # fmt: skip
        super().__init__()
        d, length = hidden_size, max_seq_len
        self.features, self.width, self.depth, self.conditioning, self.pad_id = (
            features, d, depth, conditioning, pad_id,
        )  # fmt: skip
        if conditioning != "none":
            self.condition = layers.Condition(
                d, num_classes, time_width, time_embedding, time_buckets
            )
        self.embed = nn.Embedding(vocab_size, d)
        adaptive = conditioning == "adaln"
        for i in range(depth):
            self.add_module(f"blocks_{i}", Block(d, num_heads, d_ff, adaptive, qk_norm))
        if adaptive:
            self.out_modulation = nn.Linear(d, 2 * d)
        else:
            self.out_norm = layers.LayerNorm(d)
        if not tied:
            self.out_kernel = nn.Parameter(torch.zeros(d, features))
        self.out_bias = nn.Parameter(torch.zeros(features))
        if positions == "learned":
            self.place = nn.Parameter(torch.zeros(length, d))
        self.fixed(positions, length, d, num_heads)

    def fixed(self, positions, length, d, num_heads):
        """What each kind of positions needs, as buffers; None where it is of another kind."""
        self.learned = positions == "learned"
        cos, sin = layers.rotation(length, d // num_heads) if positions == "rope" else (None, None)
        for name, table in (
            ("cos", cos), ("sin", sin),
            ("waves", layers.waves(torch.arange(length), d) if positions == "sincos" else None),
            ("slopes", layers.alibi(length, num_heads) if positions == "alibi" else None),
        ):  # fmt: skip
            self.register_buffer(name, table, persistent=False)

    def blocks(self):
        return [getattr(self, f"blocks_{i}") for i in range(self.depth)]

    def modulators(self):
        if self.conditioning != "adaln":
            return []
        return [*(block.modulation for block in self.blocks()), self.out_modulation]

    def exact(self):
        return [self.condition, *self.modulators()] if self.conditioning != "none" else []

    def modulation(self, t, label=None):
        if self.conditioning == "none":
            return torch.zeros(len(t), 0)
        c = self.condition(t, label)
        if self.conditioning == "add":
            return c
        c = F.silu(c)
        return torch.cat([part(c) for part in self.modulators()], -1)

    def chain(self):
        """[(kernel [in, out], bias [out])] that make the modulation of what `Condition` makes of
        the noise level first, with silu between two of them. Of text without classes."""
        if self.conditioning == "none":
            return []
        if self.conditioning == "add":
            return self.condition.chain()
        kernels, biases = zip(*((p.weight.T, p.bias) for p in self.modulators()), strict=True)
        return [*self.condition.chain(), (torch.cat(kernels, -1), torch.cat(biases))]

    def body(self, x, modulation=None):
        h = self.embed(x).float()
        away = None if self.pad_id is None else x == self.pad_id
        parts = self.parts(modulation)
        return self.head(self.deep(self.placed(h, parts), parts, away), parts)

    def parts(self, modulation):
        """The modulation, a width at a time; [] where the noise level has no effect."""
        if self.conditioning == "none":
            return []
        return modulation.chunk(modulation.shape[-1] // self.width, -1)

    def placed(self, h, parts):
        """h f32[B, L, D], or of slots [B, L, K, D], told where it stands, and the noise level if
        that is added."""
        of_slots = lambda v: v if h.ndim == 3 else v[..., None, :]
        if self.waves is not None:
            h = h + of_slots(self.waves)
        if self.learned:
            h = h + of_slots(self.place)
        if self.conditioning == "add":
            h = h + of_slots(parts[0][:, None])
        return h

    def deep(self, h, parts, away=None, bias=None):
        """The blocks on h f32[B, N, D]. away: bool[B, N], what nobody sees. bias: f32, added to
        the logits of attention [B, heads, N, N]."""
        dtype = self.embed.weight.dtype
        turn = None if self.cos is None else (self.cos, self.sin)
        bias = bias if self.slopes is None else self.slopes.to(dtype)
        if away is not None:
            hidden = away.to(dtype)[:, None, None] * layers.HIDE
            bias = hidden if bias is None else bias + hidden
        adaptive = self.conditioning == "adaln"
        for i, block in enumerate(self.blocks()):
            h = block(h, parts[6 * i : 6 * i + 6] if adaptive else None, turn, bias)
        return h

    def head(self, h, parts):
        """Logits, from the last norm on."""
        if self.conditioning == "adaln":
            shift, scale = parts[6 * self.depth : 6 * self.depth + 2]
            h = self.steps.modulate(h, shift, scale, self.embed.weight.dtype)
        else:
            h = self.out_norm(h)
        tied = not hasattr(self, "out_kernel")
        kernel = self.embed.weight.T[:, : self.features] if tied else self.out_kernel
        return h @ kernel + self.out_bias

    def forward(self, x, t, label=None):
        return self.body(x, self.modulation(t, label))
