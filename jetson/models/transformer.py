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
            self.norm_a = nn.LayerNorm(width, eps=layers.EPS)
            self.norm_m = nn.LayerNorm(width, eps=layers.EPS)
        self.attention = layers.Attention(width, num_heads, qk_norm)
        self.up, self.down = nn.Linear(width, d_ff), nn.Linear(d_ff, width)

    def forward(self, x, six, turn, bias):
        mlp = lambda h: self.down(layers.gelu(self.up(h)))
        if six is None:
            x = x + self.attention(self.norm_a(x), turn, bias)
            return x + mlp(self.norm_m(x))
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = six
        h = self.attention(self.steps.modulate(x, shift_a, scale_a), turn, bias)
        x, h = self.steps.both(x, gate_a, h, shift_m, scale_m)
        return self.steps.residual(x, gate_m, mlp(h))


class Transformer(nn.Module):
    """Ids i64[B, L] -> logits [B, L, features]; attributes as in models/transformer.py.

    max_seq_len: L, of every row.
    pad_id: of ids that nobody sees; None: all are seen.
    """

    steps = layers

    def __init__(
        self, features, hidden_size, depth, num_heads, d_ff, vocab_size, max_seq_len,
        num_classes=0, conditioning="adaln", time_embedding="sinusoidal", time_width=256,
        time_buckets=128, positions="rope", tied=False, qk_norm=False, pad_id=None,
    ):  # fmt: skip
        super().__init__()
        d, length = hidden_size, max_seq_len
        self.features, self.depth, self.conditioning, self.pad_id = (
            features, depth, conditioning, pad_id,
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
            self.out_norm = nn.LayerNorm(d, eps=layers.EPS)
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

    def body(self, x, modulation=None):
        h = self.embed(x)
        dtype = h.dtype
        if self.waves is not None:
            h = h + self.waves.to(dtype)
        if self.learned:
            h = h + self.place
        if self.conditioning == "add":
            h = h + modulation.to(dtype)[:, None]
        turn = None if self.cos is None else (self.cos, self.sin)
        bias = None if self.slopes is None else self.slopes.to(dtype)
        if self.pad_id is not None:
            away = (x == self.pad_id).to(dtype)[:, None, None] * layers.HIDE
            bias = away if bias is None else bias + away
        adaptive = self.conditioning == "adaln"
        parts = modulation.to(dtype).chunk(6 * self.depth + 2, -1) if adaptive else []
        for i, block in enumerate(self.blocks()):
            h = block(h, parts[6 * i : 6 * i + 6] if adaptive else None, turn, bias)
        h = self.steps.modulate(h, *parts[-2:]) if adaptive else self.out_norm(h)
        tied = not hasattr(self, "out_kernel")
        kernel = self.embed.weight.T[:, : self.features] if tied else self.out_kernel
        return h @ kernel + self.out_bias

    def forward(self, x, t, label=None):
        return self.body(x, self.modulation(t, label))
