"""What recipe_text.drawer binds together, seen on networks that are tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.tokenizer import BOS, MASK, PAD
from diffusion import Autoregressive, Masked
from diffusion.tokens import temperature
from models import Model
from utils import recipe_process, recipe_text

V, L = 12, 6
TEXT = np.array([6, 9, 5, 11, 8, 7])
COLD = {"filters": (temperature(0.0),)}


def sure(params, x, t, cond, keys=None):
    """Sure of one text once anything is seen; of noise it says how common tokens are."""
    common = jnp.broadcast_to(params, (*x.shape, V))
    text = jnp.where(jax.nn.one_hot(TEXT, V) > 0, 20.0, -20.0)
    return jnp.where(t[:, None, None] < 1.0, text, common)


def next_id(params, x, t, cond, keys=None):
    """Sure that the next token is the next id."""
    out = 9.0 * jax.nn.one_hot(jnp.maximum(x + 1, 5), V)
    return (out, cond["past"]) if "past" in cond else out


def recipe(name, ends=None):
    process = Masked(mask_id=MASK, pad_id=PAD)
    solver = recipe_process.SOLVERS[name](**COLD)
    return recipe_text.Recipe(process, solver, None, sure, sure, (L,), None, ends=ends)


def when(name, params, ends=None):
    """The places of a row behind a BOS, in the order in which they are revealed."""
    known = np.full((1, L), -1).astype(np.int32)
    known[0, 0] = BOS
    draw = recipe_text.drawer(recipe(name, ends), L - 1, trajectory=True)
    _, path = draw(params, jax.random.key(0), jnp.arange(1), known)
    hidden = (np.asarray(path[:, 0]) == MASK).sum(0)
    return np.argsort(hidden, kind="stable")[1:].tolist()


@pytest.mark.parametrize("seed", range(3))
def test_content_is_told_the_unigram_that_the_model_has_at_its_noisiest(seed):
    """The first step is at t = 1 as well: all its guesses are the likeliest token, and of equals
    the first place is revealed."""
    params = jnp.asarray(np.random.default_rng(seed).normal(size=V), jnp.float32)
    order = when("content", params)
    assert order[0] == 1 and order[1:] == sorted(order[1:], key=lambda i: params[TEXT[i]])


def test_openings_are_told_what_ends_a_sentence():
    ends = np.isin(np.arange(V), [TEXT[3], BOS])
    params = 9.0 * jax.nn.one_hot(6, V)  # said at place 1, and ends nothing
    assert when("openings", params, ends) == [1, 4, 2, 5, 3]
    assert when("openings", params, np.arange(V) == BOS) == [1, 2, 3, 4, 5]


def test_a_second_recipe_and_alpha_come_in_at_the_call():
    past = lambda batch, length: jnp.zeros((batch, length))
    other = recipe_text.Recipe(
        Autoregressive(start_id=BOS), None, Model(None, next_id, past), next_id, next_id, (L,), None
    )
    draw = recipe_text.drawer(recipe("confidence"), 3, expert=other)
    known = np.full((1, L), -1).astype(np.int32)
    known[0, 2] = 8
    params, key, index = jnp.zeros(V), jax.random.key(0), jnp.arange(1)
    texts = [draw(params, key, index, known, 1.0, None, {}, alpha)[0] for alpha in (0.0, 1.0)]
    np.testing.assert_array_equal(texts[0], [5, 6, 8, 9, 10, 11])
    np.testing.assert_array_equal(texts[1][3:], TEXT[3:])
