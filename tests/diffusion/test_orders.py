"""Coarse structure first: what is revealed when, seen in the states of a draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion.masked import Masked
from diffusion.orders import Content, Openings, ranked, told
from diffusion.sample import sample
from diffusion.tokens import temperature
from diffusion.unmask import Ancestral, Blocks, Ordered

MASK, STOP = 6, 5
TEXT = np.array([1, 2, STOP, 3, 4, STOP, 1, 3])
L = len(TEXT)
ENDS = np.arange(MASK + 1) == STOP


def predict(x, t, text=TEXT):
    """A model that is sure of one text."""
    return jnp.broadcast_to(9.0 * jax.nn.one_hot(text, MASK + 1), (len(x), L, MASK + 1))


def revealed(order, predict=predict, wrap=lambda solver: solver, steps=L, **more):
    """Places in the order in which they are revealed, one a step."""
    solver = wrap(Ordered(order=order, filters=(temperature(0.0),)))
    _, path = sample(
        Masked(mask_id=MASK), solver, predict, jax.random.key(0), jnp.arange(2), (L,),
        steps=steps, trajectory=True, **more,
    )  # fmt: skip
    when = (np.asarray(path) == MASK).sum(0)  # states in which a place is hidden
    assert (when[0] == when[1]).all(), "the order is a matter of the text alone"
    return np.argsort(when[0], kind="stable").tolist()


def test_a_given_order_of_places_is_kept():
    rank = np.random.default_rng(3).permutation(L)
    assert revealed(ranked(rank)) == np.argsort(rank).tolist()
    assert revealed(ranked(np.arange(L)[::-1])) == list(range(L))[::-1]


def test_rare_tokens_come_before_common_ones():
    p = np.array([1, 0.1, 0.3, 0.05, 0.2, 0.4, 1.0])
    wanted = np.argsort(p[TEXT], kind="stable").tolist()
    assert revealed(Content(np.log(p))) == wanted
    assert wanted != revealed(Content(-np.log(p)))


def test_openings_of_sentences_come_first_and_then_what_is_near_them():
    assert revealed(Openings(ENDS)) == [0, 3, 6, 1, 4, 7, 2, 5]


def test_a_visible_end_of_a_sentence_counts_and_a_wrong_guess_of_it_does_not():
    """No guess ends a sentence; the one that stands at place 3 does."""
    text = np.where(TEXT == STOP, 4, TEXT)
    clamp = lambda x, t: x.at[:, 3].set(STOP)
    order = revealed(Openings(ENDS), lambda x, t: predict(x, t, text), steps=L - 1, clamp=clamp)
    assert [place for place in order if place != 3] == [0, 4, 1, 5, 2, 6, 7]


def test_an_order_works_in_blocks():
    blocks = lambda solver: Blocks(size=4, inner=solver)
    assert revealed(ranked(np.arange(L)[::-1]), wrap=blocks) == [3, 2, 1, 0, 7, 6, 5, 4]
    assert revealed(Openings(ENDS), wrap=blocks) == [0, 3, 1, 2, 6, 4, 7, 5]


def test_an_order_is_told_what_it_asks_for_and_no_more():
    def dear():
        raise AssertionError("nobody asked")

    facts = {"log_unigram": lambda: np.ones(3), "ends": dear}
    solver = told(Blocks(size=2, inner=Ordered(order=Content())), **facts)
    assert (solver.inner.order.log_unigram == 1).all() and solver.size == 2
    for other in (Ancestral(), Ordered(order="margin"), Ordered(order=ranked(np.arange(3)))):
        assert told(other, log_unigram=dear, ends=dear) is other


@pytest.mark.parametrize("order, wants", [(Content(), "log_unigram"), (Openings(), "ends")])
def test_an_order_that_was_told_nothing_says_what_it_wants(order, wants):
    with pytest.raises(ValueError, match=f"wants {wants}"):
        revealed(order)
    with pytest.raises(ValueError, match="no order 'best'; there are random, confidence"):
        Ordered(order="best")
