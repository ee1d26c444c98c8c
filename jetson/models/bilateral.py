"""models/bilateral.py in torch, and models/transformer.py where candidates come in.

A share's logarithm and what is paid by it stay float32 in a half network, as all softmaxes do.
"""

import torch
import torch.nn.functional as F
from torch import nn

from jetson.models import layers
from jetson.models.transformer import Transformer


class Candidates(Transformer):
    """Ids i64[B, L, K] of shares probs f32[B, L, K] -> logits [B, L, features]: a place is the
    mean of its candidates. Where all of them are pad_id nobody sees it."""

    inputs = ("ids", "probs")

    def body(self, ids, probs, modulation=None):
        parts = self.parts(modulation)
        away = None if self.pad_id is None else (ids == self.pad_id).float().amin(-1)
        h = self.placed(self.embedded(ids, probs, parts), parts)
        return self.head(self.through(h, probs, parts, away), parts)

    def embedded(self, ids, probs, parts):
        """[B, L, D]; or [B, L, K, D], of slots."""
        return mean(self.embed(ids).float(), probs)

    def through(self, h, probs, parts, away):
        """What comes out of the blocks, [B, L, D]."""
        return self.deep(h, parts, away)

    def forward(self, ids, probs, t):
        return self.body(ids, probs, self.modulation(t))


class Bilateral(Candidates):
    """Candidates see each other before places do; attributes as in models/bilateral.py."""

    def __init__(self, *, num_heads, full=False, **fields):
        super().__init__(num_heads=num_heads, **fields)
        self.full, d = full, self.width
        if self.conditioning != "none":
            self.slot_level = nn.Linear(d, d)
        self.slots, self.read = Among(d, num_heads), Among(d, num_heads)
        self.query = nn.Parameter(torch.zeros(1, d))

    def modulators(self):
        return [*super().modulators(), *([self.slot_level] if self.conditioning == "adaln" else [])]

    def exact(self):
        """With all that makes the one query: a number of the graph, which float32 can tell."""
        return [*super().exact(), self.read.norm_q, self.read.q, nn.ParameterList([self.query])]

    def embedded(self, ids, probs, parts):
        h = self.embed(ids).float()
        if self.conditioning != "none":
            h = h + self.level(parts)[:, None, None]
        h = h + self.slots(h, h, probs)
        return h if self.full else self.out_of(h, probs)

    def level(self, parts):
        """What the noise level says to slots, [B, D]."""
        if self.conditioning == "adaln":
            return parts[-1]
        return self.slot_level(F.silu(parts[0]).to(self.slot_level.weight.dtype))

    def through(self, h, probs, parts, away):
        if not self.full:
            return self.deep(h, parts, away)
        length, slots, width = h.shape[1:]
        flat = h.reshape(-1, length * slots, width)
        paid = log_share(probs).reshape(-1, 1, 1, length * slots)
        away = None if away is None else away.repeat_interleave(slots, 1)
        flat = self.deep(flat, parts, away, paid)
        return self.out_of(flat.reshape(-1, length, slots, width), probs)

    def out_of(self, h, probs):
        """One vector a place, of its slots: their mean, and what the query finds."""
        return mean(h, probs) + self.read(self.query[None, None], h, probs)[..., 0, :]


class Among(nn.Module):
    """Attention among the slots of a place: queries [B, L, Q, D], or one for all, to slots
    [B, L, K, D] of shares f32[B, L, K]. Returns [B, L, Q, D]."""

    def __init__(self, width, num_heads):
        super().__init__()
        half = width // 2
        self.heads, self.size = num_heads, half // num_heads
        self.norm, self.norm_q = (layers.LayerNorm(width) for _ in range(2))
        self.q, self.k, self.v = (nn.Linear(width, half) for _ in range(3))
        self.out = nn.Linear(half, width)

    def forward(self, queries, slots, probs):
        heads = lambda h: h.reshape(-1, h.shape[-2], self.heads, self.size).transpose(1, 2)
        seen = self.norm(slots)
        q, k, v = heads(self.q(self.norm_q(queries))), heads(self.k(seen)), heads(self.v(seen))
        q = (q * self.size**-0.5).to(k.dtype)
        paid = log_share(probs).reshape(-1, 1, 1, slots.shape[2])
        logits = (q @ k.transpose(2, 3)).float() + paid
        y = (logits.softmax(-1).to(v.dtype) @ v).transpose(1, 2)
        return self.out(y.reshape(-1, slots.shape[1], queries.shape[2], self.heads * self.size))


def mean(slots, probs):
    """f32[B, L, D] of slots f32[B, L, K, D], by their shares."""
    return (probs[..., None] * slots).sum(-2)


def log_share(probs):
    """log p_j, very small where p_j = 0."""
    return probs.clamp(min=1e-30).log()
