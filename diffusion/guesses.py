"""A token for each place that is to be revealed, and nothing computed for the others.

Which places a step reveals is mostly known before the network says anything: `Ancestral` and
`Remask` toss a coin for each, "random" draws them, `Rewrite` has hidden a few on purpose. So the
network can be asked `later`: it does what all places have in common, then its last layers and
the product with the vocabulary for the places wanted, a share of a row at a time until all have
been served; and none of it where no place of the batch is wanted. No count of them is too large,
and every place has its own uniform: tokens are those that all logits at once would have given.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from diffusion import draws
from diffusion.tokens import categorical, filtered

FEW, MANY = 16, 4  # parts of a row that are asked at a time, where few places are wanted, or many
SPARE = 1e3  # nats that a token costs more than any other once the filters have ruled it out


@functools.cache
def later(apply: Callable[..., Any]) -> Callable[..., Any]:
    """The same network, asked later: it hands over a NamedTuple of one function, `begin`. That
    computes what places have in common, and gives a function of places i32[B, M] of each row to
    logits f32[B, M, V].

    Cached, so that one apply stays one static argument of jit.
    """

    def asked(params, x, t, cond, keys=None):
        return apply(params, x, t, cond | {"later": True}, keys)

    return asked


def mapped(out, f):
    """f of logits, or of those that come later."""
    if not hasattr(out, "begin"):
        return f(out)

    def begin():
        finish = out.begin()
        return lambda places: f(finish(places))

    return out._replace(begin=begin)


def everywhere(out, shape):
    """Logits f32[B, L, V] at once, of shape (B, L)."""
    if not hasattr(out, "begin"):
        return out
    return out.begin()(jnp.broadcast_to(jnp.arange(shape[1]), shape))


def guess(process, predict, keys, x, t, solver, wanted, score=None, *, parts=FEW):
    """(tokens i32[B, L], scores f32[B, L]), right at the places wanted bool[B, L].

    Args:
        solver: has filters and a language.
        score: (logits, tokens) -> scores, of single places; None: there are none.
        parts: of a row, of which one is asked at a time.
    """
    score = score or (lambda logits, tokens: jnp.zeros(tokens.shape))
    u = draws.uniform(keys, x.shape[1:])
    out = predict(x, t)
    if solver.language is not None or not hasattr(out, "begin"):
        logits = process.speakable(everywhere(out, x.shape))
        tokens = draw_all(process, u, logits, x, solver)
        return tokens, score(logits, jnp.where(wanted, tokens, x))

    def draw(finish, places):
        logits = process.speakable(finish(places))
        u_here = jnp.take_along_axis(u, places, 1)
        tokens = categorical(u_here, filtered(logits, solver.filters))
        return tokens, score(logits, tokens)

    nothing = x, jnp.zeros(x.shape)
    served = lambda: in_pieces(out.begin(), draw, wanted, nothing, -(-x.shape[1] // parts))
    return jax.lax.cond(wanted.any(), served, lambda: nothing)


def draw_all(process, u, logits, x, solver):
    """Tokens of all places at once, from logits f32[B, L, V].

    With a language they fit together with those that show, in one row that it accepts. Filters
    are wishes then: where they leave nothing that fits, the network's own probabilities decide.
    """
    kept = filtered(logits, solver.filters)
    if solver.language is None:
        return categorical(u, kept)
    log_p, left = jax.nn.log_softmax(logits), jax.nn.log_softmax(kept)
    known = jnp.where(x == process.mask_id, -1, x)
    return solver.language.draw(u, jnp.where(left > -jnp.inf, left, log_p - SPARE), known)


def in_pieces(finish, draw, wanted, answers, size: int):
    """Answers, arrays [B, L], with those of the places wanted bool[B, L] put in.

    finish, draw: (finish, places i32[B, size]) -> what is to be put in there, [B, size] each.
    """
    order = jnp.argsort(~wanted, axis=-1)  # those wanted come first
    most = wanted.sum(-1).max()

    def piece(carry):
        first, answers = carry
        places = jax.lax.dynamic_slice_in_dim(order, first, size, 1)  # the last is moved inside
        put = lambda old, new: jnp.put_along_axis(old, places, new, 1, inplace=False)
        return first + size, jax.tree.map(put, answers, draw(finish, places))

    _, answers = jax.lax.while_loop(lambda carry: carry[0] < most, piece, (0, answers))
    return answers
