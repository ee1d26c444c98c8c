"""What a network is shown of x_t, and of its own first answer if it is asked twice.

The first answer comes from x_t alone and carries no gradient (arXiv:2208.04202, sec. 2.2), so
the two together are a network of x_t like any other, and every bound holds for it.

A `show` is (x_t, t, first answer or None) -> the network's input. Where noise leaves every place
half known, what to show is what each place by itself makes of its noise, as candidates with
probabilities: raw slots or vectors are mostly noise, and a network that has to clean them up
before it can read does not learn to read (EXPERIMENTS.md). The first answer adds the prior.
"""

import jax
import jax.numpy as jnp

from diffusion import draws
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
        plain = {k: v for k, v in cond.items() if k not in ("readout", "later", "places")}
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


def believed(process):
    """Of slots: the same ids, with what each place by itself would make of them: the share
    p(id | slots) of an id under a flat prior, spread over its slots. Where noise is all there
    is shares are 1 / V, and next to nothing comes in; two slots that agree outweigh the rest."""

    def show(x, t, out):
        alone = jax.nn.softmax(process.evidence(x, t))
        share = jnp.take_along_axis(alone, x.ids, -1)
        same = (x.ids[..., :, None] == x.ids[..., None, :]).sum(-1)
        return Beliefs(x.ids, share / same)

    return show


def likeliest(process, k):
    """Of any state that has `evidence`: the k ids, with their probabilities, that are likeliest
    given what is known: at first what each place by itself says, then the first answer too."""

    def show(x, t, out):
        known = process.evidence(x, t) if out is None else out + process.evidence(x, t)
        probs, ids = jax.lax.top_k(jax.nn.softmax(process.speakable(known)), k)
        return Beliefs(ids, probs)

    return show
