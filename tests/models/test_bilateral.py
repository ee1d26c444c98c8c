"""A set of candidates is a set: neither order nor bookkeeping of shares makes a difference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from diffusion.sparse import Beliefs, even

SIZE = dict(features=9, vocab_size=9, preset="debug", max_seq_len=6)
IDS = jax.random.randint(jax.random.key(0), (2, 6, 4), 0, 9)


def network(name="bilateral", x=None, **fields):
    model = models.create(name, **SIZE, **fields)
    params = model.init(jax.random.key(1), even(IDS) if x is None else x, jnp.ones(2), {})
    shaken = jax.tree.map(
        lambda p: p + 0.2 * jax.random.normal(jax.random.key(p.size), p.shape), params
    )
    return lambda x, **cond: model.apply(shaken, x, jnp.full(2, 0.4), cond)


@pytest.mark.parametrize(
    "fields", [{}, {"full": True, "positions": "learned"}], ids=["read first", "full"]
)
def test_slots_are_a_set_with_shares(fields):
    apply = network(**fields)
    out = apply(even(IDS))
    turned = jax.random.permutation(jax.random.key(2), IDS, -1, independent=True)
    np.testing.assert_allclose(apply(even(turned)), out, atol=2e-4)
    other = IDS.at[:, 2, 1].set((IDS[:, 2, 1] + 1) % 9)
    assert jnp.abs(apply(even(other)) - out).max() > 1e-2
    twice_over = Beliefs(jnp.concatenate([IDS, IDS], -1), jnp.full((2, 6, 8), 0.125))
    np.testing.assert_allclose(apply(twice_over), out, atol=2e-4)
    nobody = Beliefs(
        jnp.pad(IDS, ((0, 0), (0, 0), (0, 1))), jnp.pad(even(IDS).probs, ((0, 0), (0, 0), (0, 1)))
    )
    np.testing.assert_allclose(apply(nobody), out, atol=2e-4)


@pytest.mark.parametrize("full", [False, True])
def test_logits_that_come_later_are_those_of_all(full):
    apply = network(full=full, positions="learned")
    places = jnp.array([[3, 0], [1, 5]])
    some = apply(even(IDS), later=True).begin()(places)
    whole = jnp.take_along_axis(apply(even(IDS)), places[..., None], 1)
    np.testing.assert_allclose(some, whole, atol=1e-5)


@pytest.mark.parametrize("full", [False, True])
def test_padding_is_seen_by_nobody(full):
    apply = network(full=full, positions="learned")
    mask = jnp.arange(6) < 4
    other = even(IDS.at[:, 4:].set(0))
    seen = lambda x: apply(x, mask=jnp.broadcast_to(mask, (2, 6)))[:, :4]
    np.testing.assert_allclose(seen(even(IDS)), seen(other), atol=1e-5)
    assert jnp.abs(apply(even(IDS))[:, :4] - apply(other)[:, :4]).max() > 1e-3


def test_what_it_cannot_take_is_refused():
    with pytest.raises(ValueError, match="wants candidates"):
        network(x=IDS[..., 0])
    with pytest.raises(ValueError, match="positions learned or sincos"):
        network(full=True)
    with pytest.raises(ValueError, match="is not causal"):
        network(causal=True)


def test_a_transformer_takes_the_mean_of_candidates():
    apply = network("transformer")
    single = IDS[..., :1]
    np.testing.assert_allclose(apply(even(single)), apply(single[..., 0]), atol=1e-5)
