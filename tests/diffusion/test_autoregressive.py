"""Next-token prediction as a process, on a joint over 3 places and 3 tokens."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import draws
from diffusion.autoregressive import Autoregressive, NextToken
from diffusion.loss import diffusion_loss
from diffusion.sample import sample
from diffusion.tokens import temperature

V, L, START, PAD = 3, 3, 7, 9
WORLD = np.array(list(itertools.product(range(V), repeat=L)))
P = np.random.default_rng(0).dirichlet(np.full(V**L, 0.5))
ENTROPY = -(P * np.log(P)).sum() / L
PROCESS = Autoregressive(start_id=START)


def exact(x, t):
    """log p(token l | tokens before l), from x = the text behind START; f32[B, L, V]."""
    places = []
    for place in range(L):
        fits = (x[:, None, 1 : place + 1] == WORLD[:, :place]).all(-1) * jnp.asarray(P)
        places.append(fits @ jax.nn.one_hot(WORLD[:, place], V))
    return jnp.log(jnp.stack(places, 1) + 1e-30)


def keys(n):
    return draws.fold(jax.random.key(0), jnp.arange(n))


def test_the_loss_of_the_exact_conditionals_is_minus_log_p():
    x, t = jnp.asarray(WORLD), jnp.zeros(len(WORLD))
    xt, target = PROCESS.corrupt(keys(len(x)), x, t)
    assert (xt[:, 0] == START).all() and (xt[:, 1:] == x[:, :-1]).all()
    loss, _ = PROCESS.loss(exact(xt, t), target, t)
    np.testing.assert_allclose(loss, -np.log(P) / L, rtol=1e-4)
    assert abs(P @ np.asarray(loss) - ENTROPY) < 1e-5


def test_time_has_no_meaning_and_padding_changes_nothing():
    process = Autoregressive(start_id=START, pad_id=PAD)
    x = jnp.asarray(WORLD)
    xt, target = process.corrupt(keys(27), x, jnp.zeros(27))
    loss, metrics = process.loss(exact(xt, 0), target, jnp.zeros(27))
    padded = jnp.pad(x, ((0, 0), (0, 2)), constant_values=PAD)
    _, target = process.corrupt(keys(27), padded, jnp.ones(27))
    out = jnp.pad(exact(xt, 0), ((0, 0), (0, 2), (0, 0)), constant_values=3.0)
    loss_padded, metrics_padded = process.loss(out, target, jnp.ones(27))
    np.testing.assert_allclose(loss_padded, loss, rtol=1e-6)
    np.testing.assert_allclose(metrics_padded["accuracy"], metrics["accuracy"], rtol=1e-6)


def test_the_one_loss_trains_it():
    apply = lambda params, x, t, cond, keys=None: exact(x, t) * params
    batch = {"x": jnp.asarray(WORLD)}
    loss, metrics = diffusion_loss(PROCESS, apply, 1.0, jax.random.key(0), batch)
    np.testing.assert_allclose(loss, -np.log(P).mean() / L, rtol=1e-4)
    assert 0 <= metrics["accuracy"] <= 1


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_samples_follow_the_joint_in_any_number_of_steps(steps):
    n = 6000
    index = jnp.arange(n)
    x = sample(PROCESS, NextToken(), exact, jax.random.key(steps), index, (L,), steps=steps)
    seen = np.bincount(np.asarray(x) @ [9, 3, 1], minlength=V**L)
    assert ((seen - n * P) ** 2 / np.maximum(n * P, 1.0)).sum() < 60  # 26 degrees of freedom


def test_a_prompt_stays_and_is_what_the_rest_follows():
    known = lambda x, t: x.at[:, 0].set(2)
    n = 4000
    x = sample(
        PROCESS, NextToken(), exact, jax.random.key(0), jnp.arange(n), (L,), steps=L, clamp=known
    )
    assert (x[:, 0] == 2).all()
    share = np.bincount(np.asarray(x[:, 1]), minlength=V) / n
    want = np.array([P[(WORLD[:, 0] == 2) & (WORLD[:, 1] == v)].sum() for v in range(V)])
    np.testing.assert_allclose(share, want / want.sum(), atol=4 * 0.5 / np.sqrt(n))


def test_temperature_zero_is_greedy():
    index = jnp.arange(5)
    solver = NextToken(filters=(temperature(0.0),))
    x = sample(PROCESS, solver, exact, jax.random.key(0), index, (L,), steps=L)
    assert (x == x[0]).all()
