"""Left to right, as a process: nothing is noise, and every token is the next one.

The network must be causal. Its input is the text moved one place to the right behind
`start_id`, so that place l is scored on token l having seen the tokens before it; the loss is
-log p(x) itself, and holds against the bounds of `Masked` and `Uniform` token by token.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from diffusion import draws, tokens
from diffusion.readouts import cross_entropy


@dataclass(frozen=True, kw_only=True, eq=False)
class Autoregressive:
    """Tokens i32[B, L]. The loss is -log p(x) in nats per real token; t has no meaning.

    Attributes:
        start_id: the id that stands before the first token.
        pad_id: an id that is neither scored nor counted; None if there is none.
    """

    start_id: int
    pad_id: int | None = None

    def corrupt(self, keys, x0, t):
        return self.behind_start(x0), x0

    def loss(self, out, target, t):
        """out: logits f32[B, L, V]."""
        real = jnp.ones(target.shape, bool) if self.pad_id is None else target != self.pad_id
        nats, right = cross_entropy(out.astype(jnp.float32), target)
        total = jnp.maximum(real.sum(-1), 1)
        per_token = lambda v: jnp.where(real, v, 0.0).sum(-1) / total
        return per_token(nats), {"accuracy": per_token(right).mean()}

    def prior(self, keys, shape):
        """Nothing is written yet; what stands there is never seen."""
        return jnp.full((len(keys), *shape), self.start_id, jnp.int32)

    def decode(self, x):
        return x

    def speakable(self, logits):
        return logits.astype(jnp.float32)

    def behind_start(self, x):
        """The network's input: start_id, then all but the last token."""
        return jnp.pad(x[:, :-1], ((0, 0), (1, 0)), constant_values=self.start_id)


class Fed(NamedTuple):
    """What a network that remembers is shown: one place of its input, and what it wrote down."""

    token: jax.Array  # i32[B, 1]
    past: Any  # of the places before; the network's own
    place: jax.Array  # i32[]


@functools.cache
def remembering(apply: Callable[..., Any]) -> Callable[..., Any]:
    """The same network, asked by its `past` and `place` when a `Fed` comes in: what comes out is
    then (logits f32[B, 1, V], past). Anything else goes through as it is.

    Cached, so that one apply stays one static argument of jit.
    """

    def asked(params, x, t, cond, keys=None):
        if not isinstance(x, Fed):
            return apply(params, x, t, cond, keys)
        return apply(params, x.token, t, cond | {"past": x.past, "place": x.place}, keys)

    return asked


@dataclass(frozen=True, kw_only=True, eq=False)
class NextToken:
    """Writes the places between levels t and s one by one: L network calls in any number of
    steps. Without a past each is over the whole length; with one it is over one token, and
    `predict` must take a `Fed` (see `remembering`).

    With a clamp that knows tokens take L steps, so that it comes between any two tokens.

    Attributes:
        filters: logits -> logits functions, applied in order; see `unmask`.
        past: (batch, length) -> the memory of a network that has seen nothing; None: it keeps
            none. A models.Model has it.
        level: of noise, what the network is told. Any would do, but one for the whole text: what
            is remembered was computed at it.
    """

    filters: tuple[Callable[[jax.Array], jax.Array], ...] = ()
    past: Callable[[int, int], Any] | None = None
    level: float = 0.5

    def start(self, x):
        """(past, what was fed to make it i32[B, L]: no token yet), or ()."""
        return (self.past(*x.shape), jnp.full_like(x, -1)) if self.past else ()

    def step(self, process, predict, keys, x, t, s, memory):
        length = x.shape[1]
        u = draws.uniform(keys, (length,))
        predict_at = lambda x: predict(x, jnp.full_like(t, self.level))

        def draw(logits, place):
            logits = tokens.filtered(process.speakable(logits), self.filters)
            return tokens.categorical(u[:, place], logits)

        def write(place, x):
            logits = predict_at(process.behind_start(x))[:, place]
            return x.at[:, place].set(draw(logits, place))

        def remember(place, carry):
            x, past, fed = carry
            token = process.behind_start(x)[:, place]
            logits, past = predict_at(Fed(token[:, None], past, place))
            new = jnp.where(place < first, x[:, place], draw(logits[:, 0], place))
            return x.at[:, place].set(new), past, fed.at[:, place].set(token)

        first, last = (jnp.round((1.0 - v) * length).astype(jnp.int32) for v in (t, s))
        if not self.past:
            return jax.lax.fori_loop(first, last, write, x), memory
        past, fed = memory
        # A clamp may have changed what was fed; from there on the past is made again.
        stale = jnp.where(fed != process.behind_start(x), jnp.arange(length), length).min()
        x, *memory = jax.lax.fori_loop(jnp.minimum(stale, first), last, remember, (x, past, fed))
        return x, tuple(memory)
