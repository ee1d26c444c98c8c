"""Cross-entropy of a few places of many, and logits for no others.

A readout is a network's end before it is multiplied out: a NamedTuple with `features`
dtype[B, L, D], fields that all places share (a kernel, a bias), and `logits()`: f32[..., V] of
features [..., D]. Scored places of the whole batch come first and are taken a piece at a time; a
piece without any costs nothing, so no count of them is too large. Gradients are taken while a
piece's logits are there: they are computed once, and never more of them than a piece has.
"""

import functools

import jax
import jax.numpy as jnp


def cross_entropy(logits, tokens):
    """(nats f32[...], whether no other is as likely bool[...]) of logits f32[..., V].

    Counted, since an argmax over a large vocabulary takes a CPU as long as a third of its product.
    """
    said = jnp.take_along_axis(logits, tokens[..., None], -1)
    right = (logits >= said).sum(-1) == 1
    return jax.nn.logsumexp(logits, -1) - said[..., 0], right


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def score(speakable, pieces, readout, target, weight):
    """(weight times the nats of a row's hidden tokens f32[B], which of them are right bool[B, L]).

    Args:
        speakable: logits -> logits f32.
        pieces: how many to cut the places into.
        target: tokens i32[B, L], of which those that are hidden bool[B, L] are scored.
        weight: f32[B]; no gradient flows to it.
    """

    def work(_, rows, tokens, weight):
        nats, right = cross_entropy(speakable(rows.logits()), tokens)
        return None, (weight * nats, right)

    return answers(target, in_pieces(work, None, pieces, readout, target, weight)[1])


def forwards(speakable, pieces, readout, target, weight):
    found, told = with_gradient(speakable, pieces, readout, target, weight)
    return told, (found, readout, target, weight)


def backwards(speakable, pieces, kept, errors):
    """Where all rows count alike, as in a mean, what was found is scaled; else it is found anew."""
    found, readout, target, weight = kept
    rate = errors[0]

    @jax.jit  # by its name FLOPs are not counted, see utils/flops.py
    def uneven():
        return with_gradient(speakable, pieces, readout, target, weight * rate)[0]

    alike = lambda: jax.tree.map(lambda g: (rate[0] * g).astype(g.dtype), found)
    return jax.lax.cond((rate == rate[0]).all(), alike, uneven), None, None


score.defvjp(forwards, backwards)


def with_gradient(speakable, pieces, readout, target, weight):
    """(the gradient of all losses' sum, as a readout; what `score` tells)."""

    def work(sums, rows, tokens, weight):
        logits, pull = jax.vjp(lambda rows: speakable(rows.logits()), rows)
        nats, right = cross_entropy(logits, tokens)
        error = jax.nn.softmax(logits) - jax.nn.one_hot(tokens, logits.shape[-1])
        (found,) = pull(weight[:, None] * error)
        sums = jax.tree.map(jnp.add, sums, found._replace(features=sums.features))
        return sums, (weight * nats, right, found.features)

    shape = readout.features.shape
    nothing = jax.tree.map(jnp.zeros_like, readout._replace(features=jnp.zeros(())))
    sums, (*told, features) = in_pieces(work, nothing, pieces, readout, target, weight)
    return sums._replace(features=features.reshape(shape)), answers(target, told)


def answers(target, told):
    nats, right = (a.reshape(target.hidden.shape) for a in told)
    return nats.sum(-1), right


def in_pieces(work, sums, pieces, readout, target, weight):
    """(sums, answers [B * L, ...]), work done for all hidden places; answers elsewhere are zeros.

    work: (sums, a readout of N rows, tokens i32[N], weight f32[N]) -> (sums, answers [N, ...]).
    """
    hidden, tokens = target.hidden.ravel(), target.tokens.ravel()
    size = -(-hidden.size // pieces)
    order = jnp.pad(hidden_first(hidden), (0, size * pieces - hidden.size))
    scored = jnp.arange(order.size) < hidden.sum()
    weight = jnp.where(scored, weight[order // target.hidden.shape[1]], 0.0)
    flat = readout.features.reshape(hidden.size, -1)

    def piece(sums, now):
        places, scored, weight = now
        rows = readout._replace(features=flat[places])
        run = lambda sums: work(sums, rows, tokens[places], weight)
        nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(run, sums)[1])
        return jax.lax.cond(scored[0], run, lambda sums: (sums, nothing), sums)

    cut = (a.reshape(pieces, size) for a in (order, scored, weight))
    sums, told = jax.lax.scan(piece, sums, tuple(cut))

    def back(a):
        a = a.reshape(order.size, *a.shape[2:])[: hidden.size]
        a = jnp.zeros_like(a).at[order[: hidden.size]].set(a, unique_indices=True)
        return jnp.where(hidden.reshape(-1, *[1] * (a.ndim - 1)), a, 0)

    return sums, jax.tree.map(back, told)


def hidden_first(hidden):
    """Places 0..N-1 of bool[N], the True ones first, both kinds in order: i32[N], in O(N)."""
    ahead = jnp.cumsum(hidden) - 1
    behind = hidden.sum() + jnp.cumsum(~hidden) - 1
    places = jnp.arange(hidden.size, dtype=jnp.int32)
    return jnp.zeros_like(places).at[jnp.where(hidden, ahead, behind)].set(places)
