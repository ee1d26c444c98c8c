"""Next-token prediction as a process, on a joint over 3 places and 3 tokens."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from diffusion import draws
from diffusion.autoregressive import Autoregressive, NextToken, remembering
from diffusion.loss import diffusion_loss
from diffusion.sample import predictor, sample
from diffusion.tokens import temperature, top_k

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


@pytest.fixture(scope="module")
def network():
    """A causal network with random parameters (initial zeros hide mistakes): (model, params)."""
    model = models.create(
        "transformer", hidden_size=16, depth=2, num_heads=2, d_ff=24, features=11, vocab_size=11,
        causal=True,
    )  # fmt: skip
    x = jnp.zeros((1, 12), jnp.int32)
    shapes, tree = jax.tree.flatten(
        jax.eval_shape(lambda: model.init(jax.random.key(0), x, jnp.zeros(1), {}))
    )
    keys = jax.random.split(jax.random.key(1), len(shapes))
    params = [0.25 * jax.random.normal(k, a.shape) for k, a in zip(keys, shapes, strict=True)]
    return model, jax.tree.unflatten(tree, params)


def drawn(network, steps, past=True, clamp=None, filters=(), times=None, length=12):
    model, params = network
    solver = NextToken(filters=filters, past=model.past if past else None)
    predict = predictor(remembering(model.apply), params, {})
    key, index = jax.random.key(5), jnp.arange(64)
    return sample(
        PROCESS, solver, predict, key, index, (length,), steps=steps, clamp=clamp, times=times
    )


PROMPT = jnp.array([4, -1, 1, 9, -1, -1, -1, 0, 3, -1, -1, 2])
CLAMPS = {
    "free": None,
    "prompt": lambda x, t: jnp.where((PROMPT < 0) | (jnp.arange(12) > 3), x, PROMPT),
    "scattered": lambda x, t: jnp.where(PROMPT < 0, x, PROMPT),
    "late": lambda x, t: jnp.where(t < 0.5, x.at[::2, 1].set(8), x),  # takes back what was said
}


@pytest.mark.parametrize("steps", [1, 5, 12, 30])
@pytest.mark.parametrize("clamp", CLAMPS)
def test_a_network_that_remembers_says_the_same_tokens(network, clamp, steps):
    want, got = (drawn(network, steps, past, CLAMPS[clamp]) for past in (False, True))
    np.testing.assert_array_equal(got, want)
    assert len(np.unique(got, axis=0)) > 32, "rows differ, so there was something to get wrong"


@pytest.mark.parametrize(
    "filters", [(top_k(3),), (temperature(0.0),), (temperature(2.0), top_k(5))]
)
def test_filters_reach_a_network_that_remembers(network, filters):
    want, got = (drawn(network, 12, past, filters=filters) for past in (False, True))
    np.testing.assert_array_equal(got, want)
    assert (got != drawn(network, 12)).any()


def test_what_was_there_before_the_first_step_is_remembered_too(network):
    times, clamp = jnp.linspace(0.5, 0.0, 4), CLAMPS["prompt"]
    want, got = (drawn(network, 3, past, clamp, times=times) for past in (False, True))
    np.testing.assert_array_equal(got, want)


def test_a_network_that_remembers_is_shown_each_token_once(network):
    model, params = network
    shown = []

    def counted(params, x, t, cond, keys=None):
        jax.debug.callback(lambda place: shown.append((int(place), *x.shape)), cond["place"])
        return model.apply(params, x, t, cond, keys)

    drawn((model._replace(apply=counted), params), 5)
    jax.effects_barrier()
    assert sorted(shown) == [(place, 64, 1) for place in range(12)]
