"""A network that is asked twice: the second time it sees what it said the first.

The first answer comes from x_t alone and carries no gradient (arXiv:2208.04202, sec. 2.2), so
the two together are a network of x_t like any other, and every bound holds for it. What is
shown of an answer depends on the state: `candidates` for tokens, `mean` for vectors.
"""

import jax
import jax.numpy as jnp

from diffusion import draws
from diffusion.schedules import levels
from diffusion.sparse import Beliefs


def once(apply, show):
    """The network, shown x_t through `show` and no answer."""

    def asked(params, x, t, cond, keys=None):
        return apply(params, show(x, t, None), t, cond, keys)

    return asked


def twice(apply, show, share=0.5):
    """The network, shown its own first answer; while it trains (keys are given) to a `share` of
    the examples, so that it knows how to begin.

    Args:
        apply: (params, input, t, cond, keys) -> out, a models.Model's.
        show: (x_t, t, out or None) -> the network's input.
    """

    def asked(params, x, t, cond, keys=None):
        plain = {k: v for k, v in cond.items() if k not in ("readout", "places")}
        alone, keys_coin = show(x, t, None), None
        if keys is not None:
            keys, keys_coin = draws.split(keys)
        said = jax.lax.stop_gradient(apply(params, alone, t, plain, keys))
        seen = show(x, t, said)
        if keys is not None:
            heads = draws.uniform(keys_coin) < share
            pick = lambda a, b: jnp.where(heads.reshape(-1, *(1,) * (a.ndim - 1)), a, b)
            seen = jax.tree.map(pick, seen, alone)
        return apply(params, seen, t, cond, keys)

    return asked


def candidates(process, k):
    """Of masked tokens: <MASK> and the k likeliest ids with their probabilities; a token that
    can be seen is its own one candidate. Beliefs of 1 + k, whose sum of embeddings is that of
    <MASK> plus that of the guess."""

    def show(x, t, out):
        none = jnp.zeros((*x.shape, k))
        ids, probs = jnp.broadcast_to(x[..., None], none.shape), none
        if out is not None:
            likely, ids = jax.lax.top_k(jax.nn.softmax(process.speakable(out)), k)
            probs = jnp.where((x == process.mask_id)[..., None], likely, 0.0)
        joined = lambda a, b: jnp.concatenate([a, b], -1)
        return Beliefs(joined(x[..., None], ids), joined(jnp.ones((*x.shape, 1)), probs))

    return show


def mean(process, dim):
    """Of vectors: x_t at unit scale, and beside it the mean of what is guessed, 0 if nothing."""

    def show(x, t, out):
        l = levels(process.schedule, t, like=x)
        x_unit = x * jax.lax.rsqrt(l.alpha**2 / dim + l.sigma**2)
        guess = jnp.zeros_like(x)
        if out is not None:
            guess, _ = process.split(out + process.evidence(x, t), x, t)
        return jnp.concatenate([x_unit, guess * dim**0.5], -1)

    return show
