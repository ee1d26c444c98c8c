"""A network that is asked only where tokens are wanted: the same samples, for less."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from diffusion import draws, guesses, tokens
from diffusion.constraints import Automaton
from diffusion.masked import Masked
from diffusion.orders import ranked
from diffusion.rewrite import Rewrite
from diffusion.sample import predictor, sample
from diffusion.unmask import Ancestral, Blocks, FirstHitting, Ordered, Remask

V, L, MASK = 40, 20, 7
PROCESS = Masked(mask_id=MASK, pad_id=0)
MODEL = models.create(  # whose places differ: equals among them are ordered by a rounding error
    "transformer", hidden_size=16, depth=1, num_heads=2, d_ff=24, features=V, vocab_size=V,
    positions="learned", max_seq_len=L,
)  # fmt: skip
LANGUAGE = Automaton(step=np.arange(2 * V).reshape(2, V) % 2, final=np.array([True, False]))
HALF = {"filters": (tokens.temperature(0.8), tokens.top_k(9))}
SOLVERS = {
    "ancestral": Ancestral(),
    "random": Ordered(order="random"),
    "confidence": Ordered(order="confidence", noise=0.3, **HALF),
    "entropy": Ordered(order="entropy"),
    "ranked": Ordered(order=ranked(range(L))),
    "remask": Remask(strategy="rescale", amount=0.3),
    "first_hitting": FirstHitting(),
    "blocks": Blocks(size=6, inner=Ordered()),
    "rewrite": Rewrite(inner=Blocks(size=9), again=2, power=2.0),
    "language": Ancestral(language=LANGUAGE),
}


@pytest.fixture(scope="module")
def params():
    """Random ones: initial zeros hide mistakes, and make every token as likely."""
    x = jnp.zeros((1, L), jnp.int32)
    shapes = jax.eval_shape(lambda: MODEL.init(jax.random.key(0), x, jnp.ones(1), {}))
    leaves, tree = jax.tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(
        tree, [0.4 * jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)]
    )


def drawn(apply, params, solver, steps, n):
    known = jnp.full(L, MASK).at[jnp.array([2, 11])].set(3)

    @jax.jit
    def draw(params):
        return sample(
            PROCESS, solver, predictor(apply, params, {}), jax.random.key(5), jnp.arange(n), (L,),
            steps=steps, clamp=lambda x, t: jnp.where(known == MASK, x, known),
        )  # fmt: skip

    return np.asarray(draw(params))


@pytest.mark.parametrize("name", SOLVERS)
def test_tokens_are_those_that_all_logits_at_once_give(params, name):
    """In one step all 18 free places are wanted, two at a time."""
    for steps in (1, 8) if name in ("ancestral", "confidence") else (6,):
        one, two = (
            drawn(apply, params, SOLVERS[name], steps, 100)
            for apply in (MODEL.apply, guesses.later(MODEL.apply))
        )
        assert len({tuple(row) for row in one}) > 1
        np.testing.assert_array_equal(one, two)


class Later(NamedTuple):
    begin: object


def counting(logits, calls):
    """A network of logits f32[V, V] by the token before; tells how often it began and finished."""

    def apply(params, x, t, cond, keys=None):
        def begin():
            jax.debug.callback(lambda: calls.append("began"))
            seen = logits[jnp.roll(x, 1, axis=1)]

            def finish(places):
                jax.debug.callback(lambda: calls.append(places.shape[1]))
                return jnp.take_along_axis(seen, places[..., None], 1)

            return finish

        return Later(begin)

    return apply


def test_nothing_is_computed_where_nothing_is_revealed():
    calls = []
    apply = counting(jax.random.normal(jax.random.key(0), (V, V)), calls)
    x = drawn(apply, None, Ancestral(), 400, 1)
    jax.effects_barrier()
    assert (x != MASK).all()
    assert 15 <= calls.count("began") <= 18 and calls.count(2) <= 18 < 400


def test_pieces_are_as_many_as_the_fullest_row_has():
    calls = []
    apply = counting(jnp.zeros((V, V)), calls)
    x = jnp.full((3, L), MASK)
    wanted = jnp.arange(L) < jnp.array([[0], [5], [1]])
    ask = lambda x, t: apply(None, x, t, {})
    keys = draws.fold(jax.random.key(0), jnp.arange(3))
    found, _ = guesses.guess(PROCESS, ask, keys, x, 1.0, Ancestral(), wanted)
    jax.effects_barrier()
    assert sorted(calls, key=str) == [2, 2, 2, "began"]
    assert (found[wanted] != MASK).all()


def test_the_law_is_the_joints_on_a_world_of_27_texts():
    world = np.array(list(itertools.product(range(3), repeat=3)))
    p = np.random.default_rng(0).dirichlet(np.full(27, 0.5))
    holed = np.array(list(itertools.product(range(4), repeat=3)))
    fits = ((holed[:, None] == 3) | (holed[:, None] == world)).all(-1)
    place = np.einsum("bn,nlv->blv", fits * p, np.eye(3)[world])
    table = jnp.asarray(np.log(np.maximum(place, 1e-30)), jnp.float32)

    def predict(x, t):
        logits = table[x @ jnp.array([16, 4, 1])]
        at = lambda places: jnp.take_along_axis(logits, places[..., None], 1)
        return Later(lambda: at)

    n = 5000
    draw = jax.jit(
        lambda key: sample(
            Masked(mask_id=3), Ancestral(), predict, key, jnp.arange(n), (3,), steps=250
        )
    )
    seen = np.bincount(np.asarray(draw(jax.random.key(2))) @ [9, 3, 1], minlength=27)
    assert ((seen - n * p) ** 2 / np.maximum(n * p, 5.0)).sum() < 60  # 26 degrees of freedom
