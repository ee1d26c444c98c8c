"""Constrained draws, on automata small enough that every row can be enumerated."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion.constraints import Automaton, allowed
from diffusion.masked import Masked
from diffusion.sample import sample
from diffusion.tokens import categorical, temperature, top_k
from diffusion.unmask import Ancestral, Blocks, FirstHitting, Ordered, Remask

V, L, S, MASK = 3, 4, 4, 3
ROWS = np.array(list(itertools.product(range(V), repeat=L)))
LOGITS = np.random.default_rng(1).normal(size=(L, V)).astype(np.float32) * 1.5


def machine(seed, states=S, size=V):
    """A random automaton; a quarter of its steps are dead."""
    rng = np.random.default_rng(seed)
    step = rng.integers(0, states, (states, size))
    step = np.where(rng.random(step.shape) < 0.25, states, step)
    return Automaton(step=step.astype(np.int32), final=np.arange(states) % 2 == 1)


def accepts(language, rows):
    """bool[N], one step at a time."""
    step = np.vstack([language.step, np.full(language.step.shape[1], len(language.step))])
    state = np.zeros(len(rows), int)
    for tokens in np.asarray(rows).T:
        state = step[state, tokens]
    return np.append(language.final, False)[state]


def conditional(language, known=None):
    """P of each of ROWS under LOGITS, given that it is accepted and has the known tokens."""
    log_p = np.asarray(jax.nn.log_softmax(LOGITS))[np.arange(L), ROWS]
    fits = accepts(language, ROWS)
    if known is not None:
        fits = fits & ((known == -1) | (known == ROWS)).all(-1)
        log_p = np.where(known == -1, log_p, 0.0)
    p = np.exp(log_p.sum(-1)) * fits
    return p / p.sum()


def follows(rows, p):
    """Whether the counts of the rows are what draws from p give: chi-square, below 6 sigma."""
    seen = np.bincount(np.asarray(rows) @ V ** np.arange(L)[::-1], minlength=len(p))
    assert not seen[p == 0].any()
    n, degrees = len(rows) * p, (p > 0).sum() - 1
    return ((seen - n) ** 2 / np.maximum(n, 5.0)).sum() < degrees + 6 * np.sqrt(2 * degrees)


def uniforms(n, length=L, seed=0):
    return jax.random.uniform(jax.random.key(seed), (n, length))


LANGUAGE = machine(4)
DRAW = jax.jit(lambda u, logits, known: LANGUAGE.draw(u, logits, known))
FREE = np.full((1, L), -1)
LONG = machine(3, states=12, size=40)
LONG.step[:, 0] = 12
DRAW_LONG = jax.jit(lambda u, logits: LONG.draw(u, logits))


# -- one draw


def test_a_draw_follows_the_product_given_that_it_is_accepted():
    n = 20_000
    assert 10 < accepts(LANGUAGE, ROWS).sum() < 60
    logits = jnp.broadcast_to(LOGITS, (n, L, V))
    for known in ([-1, -1, -1, -1], [-1, 1, -1, -1], [-1, -1, 2, 1]):
        known = np.array(known)
        rows = DRAW(uniforms(n), logits, jnp.broadcast_to(known, (n, L)))
        p = conditional(LANGUAGE, known)
        assert (p > 0).sum() > 1
        assert follows(rows, p)
        assert not follows(rows, np.roll(p[p > 0], 1)[np.cumsum(p > 0) - 1] * (p > 0))


def test_an_automaton_that_accepts_everything_changes_nothing():
    anything = Automaton(step=np.zeros((1, 300), np.int32), final=np.ones(1, bool))
    logits = jax.random.normal(jax.random.key(1), (50, 7, 300)) * 3
    u = uniforms(50, 7)
    np.testing.assert_array_equal(anything.draw(u, logits), categorical(u, logits))


def test_what_is_ruled_out_is_drawn_where_nothing_else_fits():
    n = 300
    likeliest = jnp.broadcast_to(LOGITS, (n, L, V))
    for logits in (top_k(1)(likeliest), jnp.full((n, L, V), -jnp.inf), likeliest * 1e9):
        rows = DRAW(uniforms(n), logits, jnp.broadcast_to(FREE, (n, L)))
        assert accepts(LANGUAGE, rows).all()
    greedy = LOGITS.argmax(-1)
    assert not accepts(LANGUAGE, greedy[None])[0], "the filter contradicts the automaton"
    rows = np.asarray(DRAW(uniforms(n), top_k(1)(likeliest), jnp.broadcast_to(FREE, (n, L))))
    possible = ROWS[accepts(LANGUAGE, ROWS)]
    fewest = (possible != greedy).sum(-1).min()
    assert ((rows != greedy).sum(-1) == fewest).all(), "no more of it than has to be"


@pytest.mark.parametrize("lure", [0.0, 4000.0])
def test_256_places_of_sharp_logits_are_drawn_as_in_double_precision(lure):
    """Shares of the first token, by a grid of uniforms, against messages in float64; with a lure
    every place would rather have a token that leads nowhere."""
    length, size, n = 256, 40, 1000
    language = LONG
    logits = np.random.default_rng(0).normal(size=(length, size)) * 8
    logits[0] /= 8  # so that all that comes after is weighed against each other
    logits[:, 0] += lure
    log_p = logits - logits.max(-1, keepdims=True)
    step = np.vstack([language.step, np.full(size, 12)])
    beta = np.where(np.append(language.final, False), 0.0, -np.inf)
    for now in log_p[:0:-1]:
        beta = np.logaddexp.reduce(now + beta[step], -1)
    exact = np.exp(log_p[0] + beta[step[0]] - np.logaddexp.reduce(log_p[0] + beta[step[0]]))
    u = uniforms(n, length).at[:, 0].set((jnp.arange(n) + 0.5) / n)
    rows = DRAW_LONG(u, jnp.broadcast_to(jnp.float32(logits), (n, length, size)))
    share = np.bincount(np.asarray(rows[:, 0]), minlength=size) / n
    np.testing.assert_allclose(share, exact, atol=2e-3)
    assert (share > 0.01).sum() > 5
    assert accepts(language, rows).all()


def test_tokens_that_are_alike_share_one_message():
    step = np.random.default_rng(0).integers(0, 6, (5, 4))[:, np.arange(1000) % 4]
    step = np.where(np.arange(1000) < 100, 5, step).astype(np.int32)
    language = Automaton(step=step, final=np.ones(5, bool))
    members, group, onward = language.groups
    assert members.shape[0] < 12 and members.size < 3000
    np.testing.assert_array_equal(onward[:5][:, group], step)
    for number, some in enumerate(np.asarray(members[:-1])):
        assert (np.asarray(group)[some[some < 1000]] == number).all()


# -- what can be


def test_a_row_is_feasible_where_some_accepted_row_has_its_tokens():
    possible = ROWS[accepts(LANGUAGE, ROWS)]
    known = np.array(list(itertools.product(range(-1, V), repeat=L)))
    fits = ((known[:, None] == -1) | (known[:, None] == possible)).all(-1).any(-1)
    assert 0 < fits.sum() < len(fits)
    np.testing.assert_array_equal(LANGUAGE.feasible(L, known), fits)
    assert LANGUAGE.feasible(L).tolist() == [True]
    mask = np.ones((L, V), bool)
    mask[2, possible[0, 2]] = False
    left = possible[mask[np.arange(L), possible].all(-1)]
    fits = ((known[:, None] == -1) | (known[:, None] == left)).all(-1).any(-1)
    masked = np.asarray(LANGUAGE.feasible(L, known, mask))
    np.testing.assert_array_equal(masked[known[:, 2] == -1], fits[known[:, 2] == -1])


def test_a_language_without_rows_of_a_length_is_not_feasible():
    even = Automaton(step=np.array([[1], [0]]), final=np.array([True, False]))
    assert [bool(even.feasible(n)[0]) for n in (1, 2, 3, 4)] == [False, True, False, True]


def test_what_makes_no_automaton_is_refused():
    with pytest.raises(ValueError, match=r"step \[S, V\] and final \[S\]; got \(2, 3\) and \(3,\)"):
        Automaton(step=np.zeros((2, 3), int), final=np.ones(3, bool))
    with pytest.raises(ValueError, match=r"states 0\.\.7; there are 0\.\.2"):
        Automaton(step=np.array([[0, 7], [1, 1]]), final=np.ones(2, bool))


# -- solvers

SOLVERS = {
    "ancestral": Ancestral(),
    "ordered": Ordered(noise=0.3),
    "remask": Remask(strategy="rescale", amount=0.4),
    "loop": Remask(strategy="loop", amount=0.3, level=0.5),
    "first_hitting": FirstHitting(),
    "blocks": Blocks(size=3, inner=Ancestral()),
    "blocks of remask": Blocks(size=3, inner=Remask(strategy="rescale", amount=0.5)),
    "blocks of first_hitting": Blocks(size=4, inner=FirstHitting()),
}


def limited(solver, **fields):
    """The same solver with a language and filters."""
    values = {k: v for k, v in vars(solver).items() if k != "inner"}
    if isinstance(solver, Blocks):
        return Blocks(**values, inner=limited(solver.inner, **fields))
    return type(solver)(**values | fields)


def drawn(solver, predict, n, length, steps, clamp=None, first=0):
    process = Masked(mask_id=MASK)
    draw = jax.jit(
        lambda index: sample(
            process, solver, predict, jax.random.key(0), index, (length,), steps=steps, clamp=clamp
        )
    )
    return np.asarray(draw(first + jnp.arange(n)))


def moody(x, t):
    """A network that says something else for every row, place and level."""
    spread = jnp.sin(
        12.9 * x[..., None] + 78.2 * jnp.arange(V) + 3.7 * jnp.arange(x.shape[1])[:, None]
    )
    return 4.0 * jnp.sin(40.0 * (spread + x.sum(-1)[:, None, None]))


PROMPT = np.array([-1, 2, -1, -1, -1, 0, -1, -1, -1, 1])


@pytest.mark.parametrize("name", SOLVERS)
def test_every_sample_is_accepted_whatever_network_filters_and_prompt_say(name):
    length, language = len(PROMPT), LANGUAGE
    assert language.feasible(length, PROMPT[None])[0]
    solver = limited(SOLVERS[name], language=language, filters=(temperature(0.5), top_k(1)))
    clamp = lambda x, t: jnp.where(PROMPT < 0, x, PROMPT)
    rows = drawn(solver, moody, 200, length, 7, clamp)
    assert accepts(language, rows).all()
    assert (rows == PROMPT)[:, PROMPT >= 0].all()
    assert len(np.unique(rows, axis=0)) > 20
    if name == "ancestral":
        alone = drawn(solver, moody, 1, length, 7, clamp, first=5)
        np.testing.assert_array_equal(rows[5:6], alone, "it depends on its batch")


@pytest.mark.parametrize("name", ["ancestral", "remask", "first_hitting", "blocks"])
def test_samples_of_independent_guesses_follow_the_product_given_that_it_is_accepted(name):
    predict = lambda x, t: jnp.broadcast_to(LOGITS, (*x.shape, V))
    rows = drawn(limited(SOLVERS[name], language=LANGUAGE), predict, 10_000, L, 4)
    assert follows(rows, conditional(LANGUAGE))


def test_where_filters_leave_nothing_that_fits_the_networks_own_probabilities_decide():
    never_0 = Automaton(step=np.array([[1, 0, 0]]), final=np.ones(1, bool))
    logits = jnp.array([3.0, 1.0, 0.0])
    solver = Ancestral(language=never_0, filters=(top_k(1),))
    rows = drawn(solver, lambda x, t: jnp.broadcast_to(logits, (*x.shape, V)), 4000, L, 1)
    share = np.bincount(rows.ravel(), minlength=V) / rows.size
    np.testing.assert_allclose(share, [0.0, *jax.nn.softmax(logits[1:])], atol=0.015)


def test_each_place_keeps_to_its_mask():
    mask = np.array([[1, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1]], bool)
    rows = drawn(Ancestral(), allowed(moody, mask), 200, L, 3)
    assert mask[np.arange(L), rows].all()
    both = ROWS[accepts(LANGUAGE, ROWS) & mask[np.arange(L), ROWS].all(-1)]
    assert len(both)
    rows = drawn(Ancestral(language=LANGUAGE), allowed(moody, mask), 200, L, 3)
    assert {*map(tuple, rows.tolist())} <= {*map(tuple, both.tolist())}


def test_a_place_without_any_token_is_refused():
    mask = np.ones((4, V), bool)
    mask[2] = False
    with pytest.raises(ValueError, match="no token is allowed at place 2"):
        allowed(moody, mask)
    with pytest.raises(ValueError, match="at place 2"):
        allowed(moody, np.stack([mask | True, mask]))
