"""Places with clocks of their own: the bounds stay bounds, the samples stay right."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import draws, everywhere
from diffusion.clocks import clock, pace, rounds
from diffusion.embedding import Embedding
from diffusion.given import held
from diffusion.resample import Resample
from diffusion.sample import sample
from diffusion.sparse import Sparse, even
from diffusion.uniform_state import Changed

V, L, SPREAD = 3, 2, 0.7
WORLD = np.array(list(itertools.product(range(V), repeat=L)))
P = np.random.default_rng(5).dirichlet(np.full(V**L, 0.5))
ENTROPY = -(P * np.log(P)).sum() / L  # nats/token
ANGLES = np.radians([0.0, 100.0, 220.0])
TABLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], -1).astype(np.float32)
SLOTS = Sparse(vocab_size=V, candidates=2, spread=SPREAD)
ROWS = Embedding(table=TABLE, form="bound", spread=SPREAD)


def keys(n, seed=0):
    return draws.fold(jax.random.key(seed), jnp.arange(n))


def exact(process):
    """The log posterior of each place given the state of all, f32[B, L, V]."""

    def predict(x, t):
        log_q = process.evidence(x, t)
        joint = jnp.log(jnp.asarray(P, jnp.float32))
        joint = joint + sum(log_q[:, l][:, WORLD[:, l]] for l in range(L))
        each = jnp.where(jax.nn.one_hot(WORLD, V) > 0, 0.0, -jnp.inf)
        return jax.nn.logsumexp(joint[:, :, None, None] + each, 1)

    return predict


def test_every_place_runs_from_data_to_noise_over_its_part_of_the_time():
    level = clock(SLOTS, keys(50), (11,))
    t = jnp.linspace(0.0, 1.0, 501)
    of = np.asarray(jax.vmap(level)(t))  # [501, 50, 11]
    assert (of[0] == 0).all() and (of[-1] == 1).all() and (np.diff(of, axis=0) >= 0).all()
    share = ((of > 0) & (of < 1)).mean(0)
    np.testing.assert_allclose(share, 1 - SPREAD, atol=0.005)
    orders = {tuple(row) for row in np.asarray(of[250]).argsort(-1)}
    assert len(orders) > 40  # of 50
    np.testing.assert_array_equal(level(jnp.full(50, t[100])), of[100])
    slope = np.asarray(jax.vmap(lambda t: pace(SLOTS, level(t)))(t)).mean(0)
    np.testing.assert_allclose(slope, 1.0, atol=0.02)


@pytest.mark.parametrize("spread, length", [(0.95, 64), (0.6, 9), (0.8, 10), (0.3, 7)])
def test_at_the_start_every_place_is_noise_to_the_last_bit(spread, length):
    level = clock(Sparse(vocab_size=V, spread=spread), keys(20), (length,))
    assert (jax.jit(level)(1.0) == 1.0).all() and (jax.jit(level)(0.0) == 0.0).all()


def test_without_spread_there_is_one_clock_and_too_much_of_it_is_refused():
    t = jnp.array([0.2, 0.7])
    assert clock(Sparse(vocab_size=V), keys(2), (L,))(t) is t
    with pytest.raises(ValueError, match="spread wants 0 or more, below 1; got 1.0"):
        clock(Sparse(vocab_size=V, spread=1.0), keys(2), (L,))
    z = jnp.zeros((1, L, 2))
    with pytest.raises(ValueError, match="one clock, spread 0; got 0.7"):
        ROWS.split(jnp.zeros((1, L, V)), z, jnp.ones((1, L)))


@pytest.mark.parametrize("rank", [(0.0, 1.0), (1.0, 0.0)])
def test_the_bound_of_the_exact_posterior_is_the_entropy_in_either_order(rank):
    slots = np.array(list(itertools.product(range(V), repeat=2 * L))).reshape(-1, L, 2)
    x0 = jnp.asarray(np.repeat(WORLD, len(slots), 0))
    ids = jnp.asarray(np.tile(slots, (len(WORLD), 1, 1)))
    nodes, weights = np.polynomial.legendre.leggauss(150)
    inside = 1 / (1 + np.exp(-15 * nodes))  # a place's own time, both ends in detail
    weights = 15 * weights * inside * (1 - inside) * (1 - SPREAD)
    first = (1 - SPREAD) * inside  # of the time of all: one place, then the other
    t = np.concatenate([first, SPREAD + first])

    def at(t):
        own = jnp.clip((t - SPREAD * jnp.array(rank)) / (1 - SPREAD), 0.0, 1.0)
        own = jnp.broadcast_to(own, (len(x0), L))
        alpha = SLOTS.schedule(own)[0][..., None]
        q = jnp.where(ids == x0[..., None], alpha, 0.0) + (1 - alpha) / V
        loss, _ = SLOTS.loss(exact(SLOTS)(even(ids), own), Changed(x0, ids), own)
        return q.prod((-1, -2)) @ (loss * jnp.repeat(jnp.asarray(P, jnp.float32), len(slots)))

    values = np.asarray(jax.jit(lambda t: jax.lax.map(at, t))(jnp.asarray(t, jnp.float32)))
    assert abs(np.tile(weights, 2) @ values.astype(np.float64) - ENTROPY) < 1e-4


@jax.jit
def bounds(seed):
    """One draw each of the bound for vectors, f32[400_000], noise levels stratified."""
    n = 400_000
    keys_x, keys_t, keys_z = draws.split(keys(n, seed), 3)
    row = jnp.searchsorted(jnp.cumsum(jnp.asarray(P, jnp.float32)), draws.uniform(keys_x))
    t = jax.random.permutation(jax.random.key(seed), everywhere(keys_t, jnp.arange(n), n))
    t = clock(ROWS, keys_z, (L,))(t)
    z, target = ROWS.corrupt(keys_z, jnp.asarray(WORLD)[jnp.minimum(row, V**L - 1)], t)
    return ROWS.loss(exact(ROWS)(z, t), target, t)[0]


def test_the_bound_for_vectors_is_the_entropy_as_well():
    drawn = np.asarray(bounds(1), np.float64)
    error = drawn.std() / np.sqrt(len(drawn))
    assert error < 0.01
    assert abs(drawn.mean() - ENTROPY) < 3 * error + 1e-3  # 1e-3: what is known at t = 1


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("process", [SLOTS, ROWS], ids=["sparse", "embedding"])
def test_samples_of_the_exact_posterior_have_the_joint(process, rounds):
    n = 6000
    draw = jax.jit(
        lambda key: sample(
            process, Resample(rounds=rounds), exact(process), key, jnp.arange(n), (L,), steps=200
        )
    )  # fmt: skip
    seen = np.bincount(np.asarray(draw(jax.random.key(3))) @ [3, 1], minlength=V**L)
    assert ((seen - n * P) ** 2 / np.maximum(n * P, 1.0)).sum() < 40  # 8 degrees of freedom


@pytest.mark.parametrize("process", [SLOTS, ROWS], ids=["sparse", "embedding"])
@pytest.mark.parametrize("rounds", [1, 3])
def test_what_follows_a_given_token_has_its_conditional_law(process, rounds):
    n = 4000
    known = jnp.broadcast_to(jnp.array([-1, 2]), (n, L))
    draw = jax.jit(
        lambda key: sample(
            process, Resample(rounds=rounds), exact(process), key, jnp.arange(n), (L,), steps=100,
            clamp=held(process, known), given=known >= 0,
        )
    )  # fmt: skip
    got = np.asarray(draw(jax.random.key(4)))
    assert (got[:, 1] == 2).all()
    law = P.reshape(V, V)[:, 2] / P.reshape(V, V)[:, 2].sum()
    np.testing.assert_allclose(np.bincount(got[:, 0], minlength=V) / n, law, atol=0.03)


def test_every_place_is_written_once_a_round_and_given_ones_never():
    given = jnp.arange(11) == 4
    times = jnp.linspace(1.0, 0.0, 51)
    steps, levels = rounds(SLOTS, Resample(rounds=3), keys(20), (11,), times, given)
    t, s, again = jax.vmap(levels)(*steps)
    assert len(t) == 50 and (s <= t).all()
    free = np.asarray(~given)
    np.testing.assert_array_equal(again.sum(0), 2 * np.broadcast_to(free, (20, 11)))
    done = ((t > 0) & (s == 0)).sum(0)
    np.testing.assert_array_equal(done, 3 * np.broadcast_to(free, (20, 11)))
    follows = np.asarray(t[1:] == s[:-1]) | np.asarray(again[1:])
    assert follows.all(), "noise goes up only where a place begins anew"


def test_rounds_that_cannot_be_are_refused():
    times = jnp.linspace(1.0, 0.0, 3)
    with pytest.raises(ValueError, match="rounds want a process with spread above 0"):
        rounds(Sparse(vocab_size=V), Resample(rounds=2), keys(2), (L,), times)
    with pytest.raises(ValueError, match="3 rounds want as many steps; got 2"):
        rounds(SLOTS, Resample(rounds=3), keys(2), (L,), times)
    with pytest.raises(ValueError, match="rounds wants 1 or more; got 0"):
        Resample(rounds=0)
