"""Left to right, as a process: nothing is noise, and every token is the next one.

The network must be causal. Its input is the text moved one place to the right behind
`start_id`, so that place l is scored on token l having seen the tokens before it; the loss is
-log p(x) itself, and holds against the bounds of `Masked` and `Uniform` token by token.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from diffusion import draws, tokens
from diffusion.masked import cross_entropy


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


@dataclass(frozen=True, kw_only=True, eq=False)
class NextToken:
    """Writes the places between levels t and s one by one: L network calls in any number of
    steps, each over the whole length (a network with a cache of keys and values is faster).

    With a clamp that knows tokens take L steps, so that it comes between any two tokens.

    Attributes:
        filters: logits -> logits functions, applied in order; see `unmask`.
    """

    filters: tuple[Callable[[jax.Array], jax.Array], ...] = ()

    def start(self, x):
        return ()

    def step(self, process, predict, keys, x, t, s, memory):
        length = x.shape[1]
        u = draws.uniform(keys, (length,))

        def write(place, x):
            logits = process.speakable(predict(process.behind_start(x), t)[:, place])
            token = tokens.categorical(u[:, place], tokens.filtered(logits, self.filters))
            return x.at[:, place].set(token)

        place = lambda level: jnp.round((1.0 - level) * length).astype(jnp.int32)
        return jax.lax.fori_loop(place(t), place(s), write, x), memory
