"""Two experts on one text: a diffusion model, and an autoregressive one that reads along.

    log p = (1 - alpha) log p_AR + alpha (log p_diffusion - log p_unigram)

inside every step of the reverse process, up to a constant a place. The diffusion model sees
both sides of a gap; the other knows what follows what. How common a token is both of them know,
and it should count once: so the unigram goes off the diffusion's share.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from diffusion.autoregressive import Fed


class Expert(NamedTuple):
    """An autoregressive network that remembers, with its parameters bound."""

    predict: Callable  # (Fed, t) -> (logits f32[B, 1, V], past); see `remembering`
    past: Callable[[int, int], Any]  # (batch, length) -> the memory of one that has seen nothing
    start_id: int  # what stands before the first token
    level: float = 0.5  # of noise, what it is told; see `NextToken`


def blended(process, predict, expert: Expert, seen, alpha, log_unigram):
    """Both experts' opinion of every place: (x_t, t) -> logits f32[B, L, V].

    The expert goes from left to right, L calls over one token each. What it is fed is the token
    that can be seen and, where none can, the likeliest of both. So alpha = 0 is its own greedy
    text, given what is visible, for any solver at temperature 0. At alpha = 1 there is no second
    expert and nothing counts twice: the diffusion's logits come back as they are. What those rule
    out (-inf: <MASK>, padding, what `allowed` forbids) stays out at any alpha.

    Args:
        process: of `predict`; a Masked, a Uniform, an Embedding, ...
        predict: (x_t, t) -> logits f32[B, L, V], with all other guidance in it.
        seen: x_t -> i32[B, L], the tokens that are known to stand, -1 where unknown.
        alpha: f32[] in [0, 1]; traced, another value does not recompile.
        log_unigram: f32[V], see `unigram`.
    """

    def blend(x, t):
        logits = process.speakable(predict(x, t))
        log_p, given = jax.nn.log_softmax(logits), seen(x)
        level = jnp.float32(expert.level)

        def place(carry, now):
            fed, past = carry
            number, log_p, given = now
            out, past = expert.predict(Fed(fed[:, None], past, number), level)
            log_next = jax.nn.log_softmax(out[:, 0].astype(jnp.float32))
            both = (1.0 - alpha) * log_next + alpha * (log_p - log_unigram)
            both = jnp.where(log_p > -jnp.inf, both, -jnp.inf)  # 0 * -inf is not a number
            token = jnp.where(given < 0, both.argmax(-1), given)
            return (token.astype(jnp.int32), past), both

        batch, length = given.shape
        first = jnp.full(batch, expert.start_id, jnp.int32), expert.past(batch, length)
        inputs = jnp.arange(length), jnp.moveaxis(log_p, 1, 0), given.T
        _, both = jax.lax.scan(place, first, inputs)
        return jnp.where(alpha < 1.0, jnp.moveaxis(both, 0, 1), logits)

    return blend


def unigram(process, predict, keys, shape):
    """log p of each token, f32[V], as a diffusion model has it that sees nothing: the mean over
    rows and places of what it says of pure noise. No corpus is needed.

    Args:
        keys: key[N], one a row; fixed ones, so that a sample does not depend on its batch.
        shape: of one row, (L,).
    """
    logits = process.speakable(predict(process.prior(keys, shape), jnp.float32(1.0)))
    log_p = jax.nn.log_softmax(logits).reshape(-1, logits.shape[-1])
    return jax.nn.logsumexp(log_p, 0) - jnp.log(len(log_p))
