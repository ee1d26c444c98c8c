"""The transformer over tokens, or over vectors: every place sees every other, or those before.

Ids are embedded and vectors projected; the rest is the same. The noise level enters by adaptive
norms ("adaln", arXiv:2212.09748), as a vector added to every place ("add"), or not at all.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from models import layers, places
from models.attention import Memory
from models.block import Block, Midway
from models.later import Unfinished


def size(hidden_size, depth, num_heads, d_ff):
    return dict(hidden_size=hidden_size, depth=depth, num_heads=num_heads, d_ff=d_ff)


PRESETS = {
    "debug": size(64, 2, 2, 128),
    "tiny": size(256, 4, 4, 1024),
    "small": size(384, 6, 6, 1536),
    "medium": size(512, 8, 8, 2048),
    "large": size(640, 10, 10, 2560),
    "xlarge": size(768, 12, 12, 3072),
}
CONDITIONINGS = ("adaln", "add", "none")
TIMES = ("sinusoidal", "mlp", "table")
POSITIONS = ("rope", "sincos", "learned", "alibi")


class Readout(NamedTuple):
    """Logits not yet multiplied out, for a loss that knows which of them it needs."""

    features: jax.Array  # dtype[B, L, D]
    kernel: jax.Array  # f32[D, V]
    bias: jax.Array  # f32[V]

    def logits(self):
        """f32[..., V] of features [..., D]."""
        kernel = self.kernel.astype(self.features.dtype)
        return layers.product(self.features, kernel, jnp.float32) + self.bias


def is_ids(x):
    """Whether ids come in, one or several a place, and not vectors."""
    return hasattr(x, "probs") or jnp.issubdtype(x.dtype, jnp.integer)


class Level(nn.Module):
    """Noise level t f32[B], and a class if there are any, as vectors f32[B, width]. Of levels
    f32[B, L], one a place, it is their mean.

    embedding: "sinusoidal" (time_width waves, then an MLP), "mlp" (of the number t itself) or
    "table" (time_buckets equal parts of [0, 1], a learned vector each).
    """

    width: int
    embedding: str
    time_width: int
    time_buckets: int
    num_classes: int
    dtype: Any

    @nn.compact
    def __call__(self, t, cond):
        t = t if t.ndim == 1 else t.mean(-1)
        dense = lambda name: layers.Dense(
            self.width, kernel_init=layers.small, dtype=self.dtype, name=name
        )
        embed = lambda n, name: nn.Embed(n, self.width, embedding_init=layers.small, name=name)
        if self.embedding == "table":
            bucket = jnp.clip((t * self.time_buckets).astype(jnp.int32), 0, self.time_buckets - 1)
            c = embed(self.time_buckets, "time")(bucket)
        else:
            waves = self.embedding == "sinusoidal"
            c = layers.fourier(t, self.time_width) if waves else t[:, None].astype(jnp.float32)
            c = dense("time_out")(nn.silu(dense("time_in")(c)))
        if self.num_classes:
            label = cond.get("label", jnp.full(t.shape, self.num_classes))
            c = c + embed(self.num_classes + 1, "label")(label)
        return c.astype(self.dtype)


class Transformer(nn.Module):
    """Ids i32[B, L], candidates (`ids` i32[B, L, K] with `probs` f32[B, L, K]) or vectors
    f32[B, L, D] -> logits f32[B, L, features].

    cond may hold
        mask       bool[B, L]: what is not padding; the rest is seen by nobody
        label      i32[B]: a class, num_classes for none
        places     i32[B, M]: logits are wanted at these places of each row, f32[B, M, features]
        readout    anything: a Readout is wanted in place of logits, see diffusion.masked
        later      anything: an Unfinished is wanted. It may come in again in place of x, with
                   `places`, and logits f32[B, M, features] come out, at little cost if M is small
        past       what `past` gives, or what came back for the place before; x i32[B, 1] (or
                   f32[B, 1, D]) is then what stands at `place` i32[], and (logits, past) come
                   back. mask is over all the places that past has room for.

    Attributes:
        features: size of the vocabulary, or of the vectors that come out.
        hidden_size, depth, num_heads, d_ff: the transformer's.
        vocab_size: ids that can come in, <MASK> among them; 0 for vectors.
        num_classes: 0 is unconditional.
        conditioning: a word of CONDITIONINGS; with "none" t has no effect.
        time_embedding: a word of TIMES; see Level.
        time_width, time_buckets: waves of "sinusoidal", rows of "table".
        positions: a word of POSITIONS; "learned" has max_seq_len rows.
        tied: the output is the transposed embedding; else a matrix that starts at zero.
        causal: each place sees itself and those before it.
        qk_norm, attention, scan_layers, remat: as DiT's.
        dropout: on what each branch adds, while there are keys.
        dtype: of activations; parameters, statistics, softmax and logits are float32.

    Raises:
        ValueError: an unknown word, or fields that do not fit each other or x.
    """

    features: int
    hidden_size: int
    depth: int
    num_heads: int
    d_ff: int
    vocab_size: int = 0
    num_classes: int = 0
    conditioning: str = "adaln"
    time_embedding: str = "sinusoidal"
    time_width: int = 256
    time_buckets: int = 128
    positions: str = "rope"
    max_seq_len: int = 256
    tied: bool = False
    causal: bool = False
    qk_norm: bool = False
    attention: str = "auto"
    scan_layers: bool = False
    remat: bool = False
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, t, cond, keys=None):
        if isinstance(x, Unfinished):
            return self.finished(x.at(cond["places"]))
        memory = Memory(*cond["past"], cond["place"]) if "past" in cond else None
        length = memory.length if memory else jax.tree.leaves(x)[0].shape[1]
        self.check(x, length, memory)
        here = memory.here if memory else lambda table: table
        d = self.hidden_size
        c = None
        if self.conditioning != "none":
            c = Level(
                d, self.time_embedding, self.time_width, self.time_buckets, self.num_classes,
                self.dtype, name="condition",
            )(t, cond)  # fmt: skip
        h, table = self.embedded(x, c)
        to_slots = lambda v: v if h.ndim == 3 else v[..., None, :]  # of a place all alike
        if self.positions == "sincos":
            h = h + to_slots(here(places.sincos(length, d)).astype(self.dtype))
        if self.positions == "learned":
            place = self.param("place", layers.small, (self.max_seq_len, d))
            h = h + to_slots(here(place[:length]).astype(self.dtype))
        if self.conditioning == "add":
            h = h + to_slots(c[:, None])
        if "later" in cond:
            return self.unfinished(x, h, c, cond.get("mask"))
        h, memory = self.blocks(x, h, c, cond.get("mask"), memory, keys)
        readout = self.head(h, c, table)
        if "places" in cond:
            features = jnp.take_along_axis(readout.features, cond["places"][..., None], 1)
            readout = readout._replace(features=features)
        out = readout if "readout" in cond else readout.logits()
        return (out, (memory.keys, memory.values)) if memory else out

    def embedded(self, x, c):
        """(a vector of each place dtype[B, L, D], the table of ids or None); of candidates the
        vectors' mean."""
        d = self.hidden_size
        if not is_ids(x):
            dense = layers.Dense(d, kernel_init=layers.xavier, dtype=self.dtype, name="project")
            return dense(x), None
        table = self.table()
        if not hasattr(x, "probs"):
            return table(x).astype(self.dtype), table
        h = (x.probs[..., None] * table(x.ids)).sum(-2)
        return h.astype(self.dtype), table

    def past(self, batch, length):
        """Keys and values of a text of `length` places of which none is written yet."""
        shape = (self.depth, batch, length, self.num_heads, self.hidden_size // self.num_heads)
        return jnp.zeros(shape, self.dtype), jnp.zeros(shape, self.dtype)

    def blocks(self, x, h, c, mask, memory, keys, bias=None):
        if self.positions == "alibi":
            length = memory.length if memory else h.shape[1]
            bias = places.alibi(length, self.num_heads, self.causal)
        if memory:
            bias = None if bias is None else memory.here(bias, 2)
            mask = memory.seen() if mask is None else memory.seen() & mask
        make = self.block(
            nn.remat(Block, prevent_cse=not self.scan_layers) if self.remat else Block
        )
        if not self.scan_layers:
            for i in range(self.depth):
                h, memory = make(f"blocks_{i}")((h, memory), i, c, mask, bias, keys)
            return h, memory
        scan = nn.scan(
            lambda module, state, *rest: (module(state, *rest), None),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(0, nn.broadcast, nn.broadcast, nn.broadcast, nn.broadcast),
            length=self.depth,
        )
        return scan(make("blocks"), (h, memory), jnp.arange(self.depth), c, mask, bias, keys)[0]

    def block(self, cls=Block):
        """A function of names to blocks."""
        return lambda name: cls(
            self.hidden_size, self.num_heads, self.d_ff, self.conditioning == "adaln",
            self.positions == "rope", self.causal, self.qk_norm, self.attention, self.dropout,
            self.dtype, name=name,
        )  # fmt: skip

    def unfinished(self, x, h, c, mask):
        """Everything that the logits of any place take."""
        if self.causal or self.scan_layers or not self.depth:
            return Unfinished(self.blocks(x, h, c, mask, None, None)[0], c, None, None)
        bias = (
            places.alibi(h.shape[1], self.num_heads, False) if self.positions == "alibi" else None
        )
        make, last = self.block(), self.depth - 1
        for i in range(last):
            h, _ = make(f"blocks_{i}")((h, None), i, c, mask, bias, None)
        midway, _ = make(f"blocks_{last}").begin(h, None, last, c)
        return Unfinished(midway, c, mask, bias)

    def finished(self, unfinished):
        """Logits f32[B, M, features] of the places that it was cut to."""
        h, c, mask, bias = unfinished
        last = self.depth - 1
        if isinstance(h, Midway):
            h = self.block()(f"blocks_{last}").end(h, last, mask, bias, alone=True)
        table = self.table() if self.tied else None
        return self.head(h, c, table).logits()

    def table(self):
        return nn.Embed(
            self.vocab_size, self.hidden_size, embedding_init=layers.small, name="embed"
        )

    def head(self, h, c, table):
        """The last norm, and the projection yet to be done."""
        d = self.hidden_size
        if self.conditioning == "adaln":
            dense = layers.Dense(
                2 * d, kernel_init=layers.zeros, dtype=self.dtype, name="out_modulation"
            )
            h = layers.modulate(h, *jnp.split(dense(nn.silu(c)), 2, -1))
        else:
            h = nn.LayerNorm(dtype=self.dtype, name="out_norm")(h)
        bias = self.param("out_bias", layers.zeros, (self.features,))
        if self.tied:
            return Readout(h, table.embedding.T[:, : self.features], bias)
        return Readout(h, self.param("out_kernel", layers.zeros, (d, self.features)), bias)

    def check(self, x, length, memory):
        for field, words in (
            ("conditioning", CONDITIONINGS), ("time_embedding", TIMES), ("positions", POSITIONS),
        ):  # fmt: skip
            if getattr(self, field) not in words:
                raise ValueError(
                    f"no {field} {getattr(self, field)!r}; there are {', '.join(words)}"
                )
        ids, first = is_ids(x), jax.tree.leaves(x)[0]
        if first.ndim != (3 if hasattr(x, "probs") or not ids else 2):
            raise ValueError(
                "want ids i32[B, L], candidates (ids, probs) [B, L, K] or vectors f32[B, L, D]; "
                f"got {first.dtype}{first.shape}"
            )
        if ids and not self.vocab_size:
            raise ValueError("ids came in, but vocab_size is 0")
        if self.tied and (not ids or self.features > self.vocab_size):
            raise ValueError(
                "a tied output wants ids and features <= vocab_size; "
                f"got features {self.features}, vocab_size {self.vocab_size}"
            )
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of 2 num_heads {self.num_heads}"
            )
        if self.positions == "learned" and length > self.max_seq_len:
            raise ValueError(f"length {length} is over max_seq_len {self.max_seq_len}")
        if self.num_classes and self.conditioning == "none":
            raise ValueError("conditioning 'none' has no use for num_classes")
        if memory and not self.causal:
            raise ValueError("a past is for causal networks; in this one every place sees all")
        if memory and x.shape[1] != 1:
            raise ValueError(f"with a past x is the one token at `place`; got {x.dtype}{x.shape}")
