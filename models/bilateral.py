"""The bilateral transformer: candidates of a place look at each other, then places do.

Slots carry no number, and a share p_j counts as p_j slots would (log p_j is added to what is
paid to slot j): neither the order of slots makes a difference, nor whether an id comes twice or
once with twice the share.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models import layers
from models.later import Unfinished
from models.transformer import Transformer


class Bilateral(Transformer):
    """Candidates, `ids` i32[B, L, K] with `probs` f32[B, L, K] -> logits f32[B, L, features].

    All else is the Transformer's; there is no causal one.

    Attributes:
        full: every slot sees every slot of every place, (L K)^2, and a place is read out of its
            slots last; else it is read out first, and attention between places is L^2.

    Raises:
        ValueError: no candidates came in, or fields that do not fit each other.
    """

    full: bool = False

    def embedded(self, x, c):
        d = self.hidden_size
        table = self.table()
        h = table(x.ids).astype(self.dtype)
        if c is not None:
            h = (
                h
                + layers.Dense(d, kernel_init=layers.small, dtype=self.dtype, name="slot_level")(
                    nn.silu(c)
                )[:, None, None]
            )
        h = h + Among(self.num_heads, d, self.dtype, name="slots")(h, h, x.probs)
        return (h if self.full else self.read(h, x.probs)), table

    def blocks(self, x, h, c, mask, memory, keys):
        if not self.full:
            return super().blocks(x, h, c, mask, memory, keys)
        slots = x.ids.shape[-1]
        paid = log_share(x.probs).reshape(len(h), 1, 1, -1)
        mask = None if mask is None else jnp.repeat(mask, slots, axis=1)
        flat = h.reshape(len(h), -1, h.shape[-1])
        flat, memory = super().blocks(x, flat, c, mask, memory, keys, bias=paid)
        return self.read(flat.reshape(h.shape), x.probs), memory

    def unfinished(self, x, h, c, mask):
        if not self.full:
            return super().unfinished(x, h, c, mask)
        return Unfinished(self.blocks(x, h, c, mask, None, None)[0], c, None, None)

    def read(self, h, probs):
        """One vector a place, of its slots: their mean, and what a learned query finds."""
        query = self.param("query", layers.small, (1, self.hidden_size)).astype(self.dtype)
        query = jnp.broadcast_to(query, (*h.shape[:2], *query.shape))
        found = Among(self.num_heads, self.hidden_size, self.dtype, name="read")(query, h, probs)
        return (probs[..., None].astype(self.dtype) * h).sum(-2) + found[..., 0, :]

    def check(self, x, length, memory):
        super().check(x, length, memory)
        if not hasattr(x, "probs"):
            raise ValueError("a bilateral transformer wants candidates (ids, probs) [B, L, K]")
        if self.causal:
            raise ValueError("a bilateral transformer is not causal")
        if self.full and self.positions not in ("learned", "sincos"):
            raise ValueError(
                "full attention between slots wants positions learned or sincos, which slots of "
                f"one place share; got {self.positions}"
            )


class Among(nn.Module):
    """Attention among the slots of a place, half as wide as they are: queries [B, L, Q, D] to
    slots [B, L, K, D] of shares f32[B, L, K]. Returns [B, L, Q, D]."""

    num_heads: int
    width: int
    dtype: Any

    @nn.compact
    def __call__(self, queries, slots, probs):
        half = self.width // 2
        dense = lambda n, name: layers.Dense(
            n, kernel_init=layers.xavier, dtype=self.dtype, name=name
        )
        norm = lambda h, name: nn.LayerNorm(dtype=self.dtype, name=name)(h)
        seen = norm(slots, "norm")
        heads = lambda h: h.reshape(*h.shape[:-1], self.num_heads, -1)
        q = heads(dense(half, "q")(norm(queries, "norm_q")))
        k, v = (heads(dense(half, name)(seen)) for name in ("k", "v"))
        scores = jnp.einsum("blqnd,blknd->blnqk", q, k).astype(jnp.float32) * q.shape[-1] ** -0.5
        weights = jax.nn.softmax(scores + log_share(probs)[:, :, None, None, :], -1)
        y = jnp.einsum("blnqk,blknd->blqnd", weights.astype(self.dtype), v)
        return dense(self.width, "out")(y.reshape(*y.shape[:-2], half))


def log_share(probs):
    """log p_j, very small where p_j = 0."""
    return jnp.log(jnp.maximum(probs, 1e-30))
