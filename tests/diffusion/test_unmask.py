"""Solvers of the masked process, on a joint over 3 places and 3 tokens and on 8192 tokens."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import draws, tokens
from diffusion.masked import Masked
from diffusion.rewrite import Rewrite
from diffusion.sample import sample
from diffusion.unmask import Ancestral, Blocks, FirstHitting, Ordered, Remask

V, L, MASK = 3, 3, 3
WORLD = np.array(list(itertools.product(range(V), repeat=L)))
P = np.random.default_rng(0).dirichlet(np.full(V**L, 0.5))
PROCESS = Masked(mask_id=MASK)
SOLVERS = {
    "ancestral": Ancestral(),
    "random": Ordered(order="random"),
    "confidence": Ordered(order="confidence", noise=0.3),
    "margin": Ordered(order="margin"),
    "entropy": Ordered(order="entropy"),
    "cap": Remask(strategy="cap", amount=0.02),
    "rescale": Remask(strategy="rescale", amount=0.3),
    "loop": Remask(strategy="loop", amount=0.1),
    "first_hitting": FirstHitting(),
    "blocks": Blocks(size=2),
    "blocks of ordered": Blocks(size=2, inner=Ordered()),
    "blocks of remask": Blocks(size=1, inner=Remask(amount=0.2)),
    "rewrite": Rewrite(inner=Ordered(order="random"), again=2),
    "rewrite of blocks": Rewrite(inner=Blocks(size=2), again=1),
}


def table():
    """Log posterior of each place of every text with holes, f32[64, L, V]."""
    holed = np.array(list(itertools.product(range(V + 1), repeat=L)))
    fits = ((holed[:, None] == MASK) | (holed[:, None] == WORLD)).all(-1)
    place = np.einsum("bn,nlv->blv", fits * P, np.eye(V)[WORLD])
    return jnp.asarray(np.log(np.maximum(place, 1e-30)), jnp.float32)


POSTERIOR = table()


def exact(x, t):
    return POSTERIOR[x @ jnp.array([16, 4, 1])]


def keys(n, seed=0):
    return draws.fold(jax.random.key(seed), jnp.arange(n))


def drawn(solver, n, steps, seed=0, length=L, predict=exact, first=0, **more):
    draw = jax.jit(
        lambda key, index: sample(
            PROCESS, solver, predict, key, index, (length,), steps=steps, **more
        )
    )
    return draw(jax.random.key(seed), first + jnp.arange(n))


def free(x, t):
    """A network for any length that only knows unigrams."""
    return jnp.broadcast_to(jnp.array([0.3, 0.0, -0.5]), (*x.shape, V))


# -- from logits to ids


def test_a_draw_by_inverse_cdf_is_exact_in_distribution():
    """A grid of uniforms gives each id its share, up to the grid's spacing."""
    n = 2**14
    u = (jnp.arange(n) + 0.5) / n
    for size in (3, 300):
        logits = jnp.asarray(np.random.default_rng(size).normal(size=size) * 2, jnp.float32)
        ids = tokens.categorical(u, jnp.broadcast_to(logits, (n, size)))
        share = np.bincount(np.asarray(ids), minlength=size) / n
        np.testing.assert_allclose(share, jax.nn.softmax(logits), atol=1.01 / n)


def test_an_id_without_probability_is_never_drawn():
    logits = np.full((1000, 700), -np.inf, np.float32)
    allowed = np.random.default_rng(0).integers(0, 700, (1000, 3))
    np.put_along_axis(logits, allowed, [[0.0, -3.0, 2.0]], -1)
    for u in (0.0, 0.3, 1.0 - 2.0**-24):
        ids = tokens.categorical(jnp.full(1000, u), jnp.asarray(logits))
        assert (np.asarray(ids)[:, None] == allowed).any(-1).all()


def test_temperature_divides_and_zero_is_the_likeliest():
    logits = jnp.array([[1.0, 3.0, 3.0, -1.0]])
    np.testing.assert_allclose(tokens.temperature(2.0)(logits), logits / 2)
    p = jax.nn.softmax(tokens.temperature(0.0)(logits))
    np.testing.assert_array_equal(p, [[0, 1, 0, 0]])


def test_top_k_leaves_k_and_their_proportions():
    logits = jax.random.normal(jax.random.key(0), (5, 40))
    kept = tokens.top_k(7)(logits)
    assert (jnp.isfinite(kept).sum(-1) == 7).all()
    np.testing.assert_array_equal(jnp.where(jnp.isfinite(kept), logits, -jnp.inf), kept)
    assert (jnp.where(jnp.isfinite(kept), jnp.inf, logits).max(-1) > -jnp.inf).all()
    np.testing.assert_allclose(jax.lax.top_k(kept, 7)[0], jax.lax.top_k(logits, 7)[0])
    np.testing.assert_array_equal(tokens.top_k(99)(logits), logits)


def test_top_p_leaves_the_fewest_that_hold_p():
    logits = jnp.log(jnp.array([[0.1, 0.5, 0.15, 0.25]]))
    left = lambda p: np.isfinite(tokens.top_p(p)(logits))[0].tolist()
    assert left(0.4) == [False, True, False, False]
    assert left(0.6) == [False, True, False, True]
    assert left(0.8) == [False, True, True, True]
    assert left(1.0) == [True] * 4
    assert left(0.0) == [False, True, False, False]


# -- two-stage draws at V = 8192, T = 1024


def test_reveals_are_binomial_and_do_not_depend_on_the_vocabulary():
    """A joint draw over (stay, 8192 tokens) in float32 reveals 0.776 of what it should."""
    t, s = jnp.float32(0.75), jnp.float32(0.75 - 1 / 1024)
    rate = (1 / 1024) / 0.75

    def reveals(n, length, size, seed):
        logits = jnp.broadcast_to(-jnp.log(1.0 + jnp.arange(size)), (n, length, size))
        process = Masked(mask_id=size)
        x = jnp.full((n, length), size)
        x, _ = Ancestral().step(process, lambda x, t: logits, keys(n, seed), x, t, s, ())
        return x != size

    small = jax.jit(lambda seed: reveals(200, 500, 3, seed))
    counts = np.concatenate([np.asarray(small(i).sum(-1)) for i in range(16)])
    mean, n = 500 * rate, len(counts)
    assert abs(counts.mean() - mean) < 4 * np.sqrt(mean / n)
    assert abs(counts.var() / (mean * (1 - rate)) - 1) < 4 * np.sqrt(2 / n)
    np.testing.assert_array_equal(reveals(4, 300, 8192, 3), reveals(4, 300, 3, 3))


def test_token_entropy_is_unbiased_at_8192_tokens():
    size, n, length = 8192, 10, 2000
    logits = -jnp.log(1.0 + jnp.arange(size))  # Zipf
    log_p = jax.nn.log_softmax(logits)
    process = Masked(mask_id=size)
    x = jnp.full((n, length), size)

    @jax.jit
    def reveal(keys):
        predict = lambda x, t: jnp.broadcast_to(logits, (*x.shape, size))
        return Ancestral().step(process, predict, keys, x, 1 / 1024, 0.0, ())[0]

    tokens = np.asarray(reveal(keys(n)))
    nats = -np.asarray(log_p)[tokens]
    entropy = -(np.exp(log_p) * log_p).sum()
    assert abs(nats.mean() - entropy) < 4 * nats.std() / np.sqrt(nats.size)
    assert abs((tokens >= 4096).mean() - np.exp(log_p[4096:]).sum()) < 0.01


# -- every solver


@pytest.mark.parametrize("name", SOLVERS)
def test_everything_is_revealed_at_the_end_and_given_tokens_stay(name):
    given = jnp.array([0, MASK, MASK, 2, MASK, MASK, MASK])
    known = lambda x, t: jnp.where(given == MASK, x, given)
    for steps in (1, 4) if name in ("ancestral", "confidence", "cap", "blocks") else (4,):
        x = np.asarray(drawn(SOLVERS[name], 40, steps, length=7, predict=free, clamp=known))
        assert (x < V).all() and (x[:, 0] == 0).all() and (x[:, 3] == 2).all()


@pytest.mark.parametrize(
    "name", ["ancestral", "confidence", "loop", "first_hitting", "blocks", "rewrite"]
)
def test_a_sample_does_not_depend_on_its_batch(name):
    whole = drawn(SOLVERS[name], 6, 3)
    np.testing.assert_array_equal(whole[4:5], drawn(SOLVERS[name], 1, 3, first=4))


EXACT = [  # solver, steps: few enough reveals in one step that their independence hardly shows
    ("ancestral", 250), ("first_hitting", 3), ("random", 3), ("cap", 250), ("rescale", 250),
    ("blocks", 250), ("blocks of remask", 200), ("rewrite", 9),
]  # fmt: skip


@pytest.mark.parametrize("name, steps", EXACT)
def test_samples_with_the_exact_posterior_follow_the_joint(name, steps):
    n = 5000
    x = np.asarray(drawn(SOLVERS[name], n, steps, seed=1))
    seen = np.bincount(x @ [9, 3, 1], minlength=V**L)
    assert ((seen - n * P) ** 2 / np.maximum(n * P, 5.0)).sum() < 60  # 26 degrees of freedom


def test_the_loop_of_remasking_stays_near_the_joint():
    """Each of its steps may reveal two places at once, so its law is the joint's up to that."""
    n = 5000
    solver = Remask(strategy="loop", amount=0.02, level=0.3)
    x = np.asarray(drawn(solver, n, 400, seed=1))
    seen = np.bincount(x @ [9, 3, 1], minlength=V**L) / n
    assert 0.5 * abs(seen - P).sum() < 0.04


@pytest.mark.parametrize("name", ["ancestral", "random", "cap", "rescale", "blocks"])
def test_the_share_of_hidden_tokens_is_the_schedules_at_every_step(name):
    _, path = drawn(SOLVERS[name], 300, 20, length=40, predict=free, trajectory=True)
    share = np.asarray((path == MASK).mean((1, 2)))
    np.testing.assert_allclose(share, np.linspace(1, 0, 21), atol=0.02)


def test_the_loop_stays_at_its_level_while_tokens_change():
    solver = Remask(strategy="loop", amount=0.1, on=0.6, off=0.2, level=0.25)
    _, path = drawn(solver, 300, 20, length=40, predict=free, trajectory=True)
    share = np.asarray((path == MASK).mean((1, 2)))
    np.testing.assert_allclose(share[9:17], 0.25, atol=0.02)
    seen = (path[9] != MASK) & (path[16] != MASK)
    assert ((path[9] != path[16]) & seen).mean() > 0.05


def test_the_surest_places_come_first():
    sure = jnp.array([0.1, 3.0, 1.0, 2.0])

    def predict(x, t):
        return sure[:, None] * jnp.array([1.0, 0.0, 0.0]) + jnp.zeros((*x.shape, 1))

    for order in ("confidence", "margin", "entropy"):
        solver = Ordered(order=order, filters=(tokens.temperature(0.0),))
        _, path = drawn(solver, 3, 4, length=4, predict=predict, trajectory=True)
        hidden = np.asarray(path[:, 0] == MASK)
        assert hidden.tolist() == [
            [True] * 4,
            [True, False, True, True],
            [True, False, True, False],
            [True, False, False, False],
            [False] * 4,
        ], order


def test_first_hitting_reveals_one_token_a_step():
    _, path = drawn(FirstHitting(), 50, 7, length=7, predict=free, trajectory=True)
    counts = (path == MASK).sum(-1)
    np.testing.assert_array_equal(counts, jnp.arange(7, -1, -1)[:, None] * jnp.ones(50, int))


def test_first_hitting_tells_the_network_the_time_of_the_event():
    """The first of n uniform times, from above, is the largest: n / (n + 1) on average."""
    x = jnp.full((4000, 5), MASK)
    told = []

    def predict(x, t):
        told.append(t)
        return free(x, t)

    _, rate = FirstHitting().step(
        PROCESS, predict, keys(4000), x, jnp.float32(1), jnp.float32(0.5), jnp.ones(4000)
    )
    np.testing.assert_allclose(told[0], rate, atol=1e-6)
    assert abs(rate.mean() - 5 / 6) < 0.01


def test_blocks_are_filled_from_left_to_right():
    _, path = drawn(Blocks(size=4), 30, 12, length=12, predict=free, trajectory=True)
    hidden = np.asarray(path == MASK).reshape(13, 30, 3, 4)
    for block in range(3):
        assert hidden[: 4 * block + 1, :, block].all()
        assert not hidden[4 * (block + 1) :, :, block].any()


def distance(x):
    """Total variation between samples i32[N, L] and the joint."""
    return 0.5 * abs(np.bincount(np.asarray(x) @ [9, 3, 1], minlength=V**L) / len(x) - P).sum()


def test_rewriting_brings_a_hasty_first_round_to_the_joint():
    """Everything at once in the first step has only the marginals right; six rounds of one place a
    step, as Gibbs sampling, have the joint."""
    n = 5000
    hasty = np.asarray(drawn(Ancestral(), n, 1))
    healed = np.asarray(drawn(Rewrite(inner=Ancestral(), again=6), n, 21))
    assert distance(hasty) > 0.2 and distance(healed) < 0.05


def test_each_free_place_is_hidden_once_a_round_in_a_new_order():
    given = jnp.array([0, MASK, MASK, 2, MASK, MASK, MASK])
    known = lambda x, t: jnp.where(given == MASK, x, given)
    solver = Rewrite(inner=FirstHitting(), again=3)
    _, path = drawn(solver, 200, 20, length=7, predict=free, clamp=known, trajectory=True)
    hidden = np.asarray(path == MASK)[6:]  # a round is 5 steps, and 5 places are free
    rounds = np.stack([hidden[i : i + 5] for i in (0, 5)])
    np.testing.assert_array_equal(rounds.sum(1)[:, :, [1, 2, 4, 5, 6]], 1)
    assert not rounds[..., [0, 3]].any()
    first, second = (r.argmax(0)[:, [1, 2, 4, 5, 6]] for r in rounds)
    assert (first != second).any(-1).mean() > 0.9
    assert abs((first == 0).mean(0) - 0.2).max() < 0.12


def test_a_power_sharpens_what_is_written_again():
    def share(power):
        solver = Rewrite(inner=Ancestral(), again=1, power=power)
        return (
            np.bincount(np.asarray(drawn(solver, 4000, 18, length=9, predict=free)).ravel()) / 36e3
        )

    p = np.exp([0.3, 0.0, -0.5])
    np.testing.assert_allclose(share(1.0), p / p.sum(), atol=0.02)
    written = 8 / 9 * p**3 / (p**3).sum() + 1 / 9 * p / p.sum()  # the last turn has no step left
    np.testing.assert_allclose(share(3.0), written, atol=0.02)


def test_unknown_words_are_refused_with_those_there_are():
    with pytest.raises(ValueError, match="random, confidence, margin, entropy"):
        Ordered(order="best")
    with pytest.raises(ValueError, match="cap, rescale, loop"):
        Remask(strategy="none")
    with pytest.raises(ValueError, match="on > off"):
        Remask(strategy="loop", on=0.1, off=0.5)
    with pytest.raises(ValueError, match="again wants 1 or more; got 0"):
        Rewrite(inner=Ancestral(), again=0)
