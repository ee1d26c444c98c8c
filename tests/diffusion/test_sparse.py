"""Sparse-distribution diffusion against a joint over 2 places and 3 tokens, slot by slot."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import draws, shifted, survival
from diffusion.evidence import informed
from diffusion.resample import Resample
from diffusion.sample import sample
from diffusion.sparse import Beliefs, Sparse, even
from diffusion.uniform_state import Changed, Uniform

V, L, PAD = 3, 2, 9
WORLD = np.array(list(itertools.product(range(V), repeat=L)))
P = np.random.default_rng(0).dirichlet(np.full(V**L, 0.5))
ENTROPY = -(P * np.log(P)).sum() / L  # nats/token
LOG_P = jnp.log(jnp.asarray(P, jnp.float32))


def exact(process):
    """The log posterior of each place given all slots, f32[B, L, V]."""

    def predict(x, t):
        log_q = process.evidence(x, t)  # [B, L, V]
        joint = LOG_P + sum(log_q[:, l][:, WORLD[:, l]] for l in range(L))  # [B, 9]
        each = jnp.where(jax.nn.one_hot(WORLD, V) > 0, 0.0, -jnp.inf)  # [9, L, V]
        return jax.nn.logsumexp(joint[:, :, None, None] + each, 1)

    return predict


def keys(n, seed=0):
    return draws.fold(jax.random.key(seed), jnp.arange(n))


@pytest.mark.parametrize("shift", [1.0, 2.0])
@pytest.mark.parametrize("k", [1, 2])
def test_the_bound_of_the_exact_posterior_is_the_entropy(k, shift):
    process = Sparse(vocab_size=V, candidates=k, schedule=shifted(survival.linear, shift))
    slots = np.array(list(itertools.product(range(V), repeat=k * L))).reshape(-1, L, k)
    x0 = jnp.asarray(np.repeat(WORLD, len(slots), 0))
    ids = jnp.asarray(np.tile(slots, (len(WORLD), 1, 1)))
    nodes, weights = np.polynomial.legendre.leggauss(200)
    t = 1 / (1 + np.exp(-15 * nodes))  # both ends in detail
    weights = 15 * weights * t * (1 - t)

    def at(t):
        t = jnp.full(len(x0), t)
        alpha, sigma = process.schedule(t[:1])
        q = jnp.where(ids == x0[..., None], alpha, 0.0) + sigma / V
        loss, _ = process.loss(exact(process)(even(ids), t), Changed(x0, ids), t)
        return q.prod((-1, -2)) @ (loss * jnp.repeat(jnp.asarray(P, jnp.float32), len(slots)))

    values = np.asarray(jax.jit(lambda t: jax.lax.map(at, t))(jnp.asarray(t, jnp.float32)))
    assert abs(weights @ values.astype(np.float64) - ENTROPY) < 1e-4


def test_one_candidate_is_the_uniform_state_bound():
    x = jax.random.randint(jax.random.key(0), (5, 7), 0, 11)
    now = jax.random.randint(jax.random.key(1), (5, 7), 0, 11)
    out, t = jax.random.normal(jax.random.key(2), (5, 7, 11)), jnp.linspace(0.1, 0.9, 5)
    one = Sparse(vocab_size=11, candidates=1)
    uniform = Uniform(vocab_size=11)
    got, _ = one.loss(out, Changed(x, now[..., None]), t)
    want, _ = uniform.loss(out, Changed(x, now), t)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(one.evidence(even(now[..., None]), t), uniform.evidence(now, t))


def test_the_order_of_slots_makes_no_difference_to_loss_evidence_and_decode():
    process = Sparse(vocab_size=11, candidates=4)
    x = jax.random.randint(jax.random.key(0), (3, 5), 0, 11)
    t = jnp.array([0.2, 0.6, 0.9])
    xt, target = process.corrupt(keys(3), x, t)
    out = jax.random.normal(jax.random.key(1), (3, 5, 11))
    turned = target._replace(now=target.now[..., ::-1])
    np.testing.assert_allclose(
        process.loss(out, target, t)[0], process.loss(out, turned, t)[0], rtol=1e-5
    )
    back = Beliefs(xt.ids[..., ::-1], xt.probs[..., ::-1])
    np.testing.assert_allclose(process.evidence(xt, t), process.evidence(back, t), rtol=1e-5)


def test_with_no_signal_nothing_leaks():
    """At alpha = 0 the evidence is flat: the guess costs what it costs without the state."""
    process = Sparse(vocab_size=V, candidates=3, form="cross_entropy")
    prior = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    network = informed(process, lambda p, x, t, cond, keys: jnp.broadcast_to(prior, (90, 8, V)))
    x = jnp.asarray(np.random.default_rng(0).choice(V, (90, 8), p=[0.5, 0.3, 0.2]))
    t = jnp.ones(90)
    xt, target = process.corrupt(keys(90), x, t)
    loss, _ = process.loss(network(None, xt, t, {}), target, t)
    np.testing.assert_allclose(loss, -prior[x].mean(-1), rtol=1e-5)
    t = jnp.full(90, 0.5)  # and with signal the state does tell
    xt, target = process.corrupt(keys(90), x, t)
    assert process.loss(network(None, xt, t, {}), target, t)[0].mean() < 0.8 * loss.mean()


def test_corruption_ends_in_the_prior_and_leaves_padding():
    process = Sparse(vocab_size=V, candidates=4, pad_id=PAD)
    x = jnp.where(jnp.arange(40) < 30, 1, PAD) * jnp.ones((100, 1), jnp.int32)
    share = lambda ids: np.bincount(np.asarray(ids).ravel(), minlength=V) / ids.size
    xt, _ = process.corrupt(keys(100), x, jnp.ones(100))
    np.testing.assert_allclose(share(xt.ids[:, :30]), 1 / V, atol=0.02)
    np.testing.assert_allclose(share(process.prior(keys(100), (30,)).ids), 1 / V, atol=0.02)
    assert (xt.ids[:, 30:] == PAD).all()
    xt, target = process.corrupt(keys(100), x, jnp.full(100, 0.6))
    np.testing.assert_allclose(share(xt.ids[:, :30]), [0.2, 0.6, 0.2], atol=0.02)
    out = jax.random.normal(jax.random.key(1), (100, 40, V))
    t = jnp.full(100, 0.6)
    short = Changed(*(v[:, :30] for v in target))
    np.testing.assert_allclose(
        process.loss(out, target, t)[0], process.loss(out[:, :30], short, t)[0], rtol=1e-5
    )


def test_ancestral_steps_with_the_exact_posterior_draw_the_joint():
    process, n = Sparse(vocab_size=V, candidates=2), 6000
    draw = jax.jit(
        lambda key: sample(
            process,
            Resample(likeliest_last=True),
            exact(process),
            key,
            jnp.arange(n),
            (L,),
            steps=200,
        )
    )
    seen = np.bincount(np.asarray(draw(jax.random.key(3))) @ [3, 1], minlength=V**L)
    assert ((seen - n * P) ** 2 / np.maximum(n * P, 1.0)).sum() < 40  # 8 degrees of freedom


def test_the_most_believed_candidate_is_said_even_in_two_slots():
    x = Beliefs(jnp.array([[[4, 7, 7]]]), jnp.array([[[0.4, 0.3, 0.3]]]))
    assert Sparse(vocab_size=9, candidates=3).decode(x)[0, 0] == 7


def test_a_large_vocabulary_stays_finite_at_both_ends():
    process = Sparse(vocab_size=8192, candidates=2)
    t = jnp.array([0.0, 1e-3, 0.5, 1 - 1e-6, 1.0])
    xt, target = process.corrupt(keys(5), jnp.zeros((5, 2), jnp.int32), t)
    total = lambda f: process.loss(process.evidence(xt, t) + f, target, t)[0].sum()
    value, slope = jax.value_and_grad(total)(jnp.zeros((5, 2, 8192)))
    assert jnp.isfinite(value) and value > -1e-3 and jnp.isfinite(slope).all()


def test_unknown_forms_and_no_candidates_are_refused():
    with pytest.raises(ValueError, match="there are bound, cross_entropy"):
        Sparse(vocab_size=3, form="elbo")
    with pytest.raises(ValueError, match="candidates wants 1 or more; got 0"):
        Sparse(vocab_size=3, candidates=0)
