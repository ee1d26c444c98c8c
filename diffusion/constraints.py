"""Samples that keep to a language: every one of them, whatever the network says.

    Automaton                 a deterministic automaton over tokens; draws rows that it accepts
    allowed(predict, mask)    which tokens may stand at each place: predict -> predict

A network of masked diffusion guesses each place on its own. `Automaton.draw`
draws from the product of those guesses CONDITIONED on the automaton accepting the whole row,
exactly: messages run back from the last place,

    beta_l(q) = logsumexp_v [log p_l(v) + beta_{l+1}(step(q, v))],

and tokens are drawn from left to right with weights p_l(v) exp(beta_{l+1}(step(q, v))). A solver
that keeps some tokens of such a row and hides the others leaves a row that can be completed, so
the next draw exists as well, and the last one is the sample.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from diffusion.tokens import categorical

LOWEST = -1e4  # log-probability of what is ruled out: it is taken where nothing else fits


@dataclass(frozen=True, kw_only=True, eq=False)
class Automaton:
    """Rows of tokens that lead from state 0 to a final one.

    It is read while a function is traced, so hand it to a jitted one by closure.

    Attributes:
        step: i32[S, V], the state after token v in state q; S is the dead one.
        final: bool[S], where a row may end.

    Raises:
        ValueError: shapes that do not fit, or a state that is not there.
    """

    step: Any
    final: Any

    def __post_init__(self):
        step, final = jax.device_get((self.step, self.final))
        if step.ndim != 2 or not step.size or final.shape != step.shape[:1]:
            raise ValueError(f"want step [S, V] and final [S]; got {step.shape} and {final.shape}")
        if step.min() < 0 or step.max() > len(step):
            raise ValueError(
                f"step leads to states {step.min()}..{step.max()}; there are 0..{len(step)}"
            )

    def draw(self, u, logits, known=None):
        """Tokens i32[B, L] of rows that are accepted, with the law of the module's first lines.

        Args:
            u: f32[B, L] uniform in [0, 1), one a place.
            logits: f32[B, L, V]. Where all that fits is at -inf, it is drawn all the same.
            known: i32[B, L], tokens that are kept, -1 where there is none. A row that cannot
                be completed is drawn as if there were no automaton: ask `feasible` before.
        """
        known = -jnp.ones(u.shape, jnp.int32) if known is None else jnp.asarray(known, jnp.int32)
        log_p = floored(logits)
        ahead, _ = self.messages(self.held(self.grouped(log_p), known))
        _, group, onward = self.groups

        def place(state, now):
            u, log_p, known, ahead = now
            then = onward[state]  # i32[B, R]
            worth = jnp.take_along_axis(ahead, then, 1)[:, group]
            fits = worth.max(-1, keepdims=True) > -jnp.inf
            token = categorical(u, jnp.where(fits, log_p + worth, log_p))
            token = jnp.where(known < 0, token, known)
            return jnp.take_along_axis(then, group[token][:, None], 1)[:, 0], token

        start = jnp.zeros(len(u), jnp.int32)
        by_place = (u.T, log_p.swapaxes(0, 1), known.T, ahead)
        return jax.lax.scan(place, start, by_place)[1].T

    def feasible(self, length: int, known=None, mask=None):
        """Whether there is a row of this length that is accepted, bool[B].

        Args:
            length: L.
            known: i32[B, L], tokens that it has to have, -1 elsewhere; None: B = 1, and none.
            mask: bool[L, V], see `allowed`; None: anything.
        """
        known = -jnp.ones((1, length), jnp.int32) if known is None else jnp.asarray(known)
        mask = True if mask is None else jnp.asarray(mask)
        shape = length, self.step.shape[1]
        free = self.grouped(jnp.broadcast_to(jnp.where(mask, 0.0, -jnp.inf), shape))
        rows, back = jnp.unique(known, axis=0, return_inverse=True)  # the same prompt many times
        by_row = lambda row: self.messages(self.held(free, row[None]))[1][0, 0] > -jnp.inf
        return jax.lax.map(by_row, rows)[back.ravel()]

    def messages(self, by_group):
        """(beta_{l+1}(q) f32[L, B, S + 1] up to a number a place, beta_0(q) f32[B, S + 1]).

        by_group: f32[B, L, R], see `held`.
        """
        _, _, onward = self.groups

        def back(later, log_p):
            now = jax.nn.logsumexp(log_p[:, None] + later[:, onward], -1)
            top = now.max(-1, keepdims=True)  # else 256 places add up to numbers of few digits
            return now - jnp.where(top > -jnp.inf, top, 0.0), later

        final = jnp.append(jnp.asarray(self.final, bool), False)
        last = jnp.broadcast_to(jnp.where(final, 0.0, -jnp.inf), (len(by_group), len(final)))
        first, ahead = jax.lax.scan(back, last, by_group.swapaxes(0, 1), reverse=True)
        return ahead, first

    def grouped(self, log_p):
        """log sum p of each group of tokens, f32[..., L, R]."""
        members, _, _ = self.groups
        none = jnp.full((*log_p.shape[:-1], 1), -jnp.inf)
        return jax.nn.logsumexp(jnp.concatenate([log_p, none], -1)[..., members], -1)

    def held(self, by_group, known):
        """`grouped` with all of p at the known tokens, f32[B, L, R]."""
        _, group, _ = self.groups
        here = jnp.arange(by_group.shape[-1]) == group[known][..., None]
        sure = jnp.where(here, 0.0, -jnp.inf)
        return jnp.where((known < 0)[..., None], by_group, sure)

    @cached_property
    def groups(self):
        """Tokens that no state tells apart: few where the vocabulary is large.

        Returns:
            members i32[R, W], tokens of each group, filled up with V; group i32[V]; and
            onward i32[S + 1, R], the state after any token of a group. The last group is empty
            and leads nowhere: that of the tokens which are never accepted.
        """
        step = jax.device_get(self.step)
        dead, size = step.shape
        alike = {}
        for v, column in enumerate(step.T.copy()):
            alike.setdefault(column.tobytes() if (column < dead).any() else None, []).append(v)
        alike.pop(None, None)
        width = max(1, size // max(1, len(alike)))
        parts = [v[i : i + width] for v in alike.values() for i in range(0, len(v), width)]
        group = [len(parts)] * size
        for number, part in enumerate(parts):
            for v in part:
                group[v] = number
        members = [part + [size] * (width - len(part)) for part in [*parts, []]]
        with jax.ensure_compile_time_eval():  # a value for all traces, not a part of this one
            onward = jnp.asarray(step[:, [part[0] for part in parts]], jnp.int32)
            onward = jnp.pad(onward, ((0, 1), (0, 1)), constant_values=dead)
            return jnp.array(members), jnp.array(group), onward


def floored(logits):
    """Log-probabilities f32[..., V], nowhere lower than LOWEST."""
    logits = jnp.where(logits.max(-1, keepdims=True) > -jnp.inf, logits, 0.0)
    return jnp.maximum(jax.nn.log_softmax(logits.astype(jnp.float32)), LOWEST)


def allowed(predict, mask):
    """Only tokens of the mask, at each place: predict -> predict.

    Put it around guidance, not into it: differences of -inf are not numbers. Together with an
    `Automaton` it is kept to wherever both can be; `feasible` tells.

    Args:
        predict: (x_t, t) -> logits f32[B, L, V].
        mask: bool[L, V] or bool[B, L, V].

    Raises:
        ValueError: a place where nothing is allowed.
    """
    if not isinstance(mask, jax.core.Tracer):  # a value, whose numbers can be looked at
        empty = jnp.argwhere(~jnp.asarray(mask).any(-1))
        if len(empty):
            raise ValueError(f"no token is allowed at place {empty[0, -1]}; want one at least")
    return lambda x, t: jnp.where(mask, predict(x, t), -jnp.inf)
