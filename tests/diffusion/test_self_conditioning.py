"""What a network sees of a state, and of its own first answer."""

import jax
import jax.numpy as jnp
import numpy as np

from diffusion import draws
from diffusion.embedding import Embedding
from diffusion.masked import Masked
from diffusion.self_conditioning import believed, candidates, likeliest, once, twice
from diffusion.sparse import Sparse, even
from diffusion.uniform_state import Uniform


def test_a_network_asked_twice_sees_its_own_candidates_at_hidden_places_only():
    process = Masked(mask_id=3)
    x = jnp.array([[0, 3, 2, 3], [3, 3, 1, 5]])
    show = candidates(process, 2)
    out = jax.random.normal(jax.random.key(0), (2, 4, 9)).at[..., 3].set(50.0)
    seen = show(x, None, out)
    hidden = np.asarray(x == 3)
    assert (np.asarray(seen.ids[..., 0]) == np.asarray(x)).all()
    assert (np.asarray(seen.probs[..., 1:].sum(-1)) > 0)[hidden].all()
    assert (np.asarray(seen.probs[..., 1:]) == 0)[~hidden].all()
    assert not (np.asarray(seen.ids[..., 1:]) == 3)[hidden].any(), "<MASK> is no guess"

    told = []

    def apply(params, x, t, cond, keys=None):
        told.append(x)
        return out

    asked = twice(apply, show)
    asked(None, x, jnp.ones(2), {})
    assert (told[0].probs[..., 1:] == 0).all() and (told[1].probs == seen.probs).all()
    told.clear()
    once(apply, show)(None, x, jnp.ones(2), {})
    assert len(told) == 1 and (told[0].probs[..., 1:] == 0).all()
    told.clear()
    keys = jax.random.split(jax.random.key(0), 400)
    many = jnp.broadcast_to(x[:1], (400, 4))
    twice(lambda p, x, *a: told.append(x) or jnp.tile(out[:1], (400, 1, 1)), show)(
        None, many, jnp.ones(400), {}, keys
    )
    share = float((told[1].probs[..., 1:].sum((-1, -2)) > 0).mean())
    assert 0.4 < share < 0.6


def test_slots_that_agree_are_believed_and_noise_is_not():
    process = Sparse(vocab_size=50, candidates=4)
    ids = jnp.array([[[7, 3, 7, 9], [1, 2, 3, 4]]])
    shown = believed(process)(even(ids), jnp.array([0.8]), None)
    assert (shown.ids == ids).all()
    a, b = np.asarray(shown.probs[0])
    assert a[0] == a[2] and a[0] + a[2] > 4 * (a[1] + a[3])
    np.testing.assert_allclose(b, b[0], rtol=1e-5)
    at_noise = believed(process)(even(ids), jnp.array([1.0]), None)
    np.testing.assert_allclose(at_noise.probs[0, 1], 1 / 50, rtol=1e-4)
    assert abs(float(at_noise.probs[0, 0, ::2].sum()) - 1 / 50) < 1e-5, "twice said, counted once"


def test_the_likeliest_are_the_posterior_of_evidence_and_first_answer():
    size, t = 12, jnp.array([0.4, 0.7])
    x0 = jax.random.randint(jax.random.key(0), (2, 5), 0, size)
    keys = draws.fold(jax.random.key(1), jnp.arange(2))
    out = jax.random.normal(jax.random.key(2), (2, 5, size))
    for process in (
        Uniform(vocab_size=size),
        Sparse(vocab_size=size, candidates=3),
        Embedding(table=jnp.eye(size)),
    ):
        x, _ = process.corrupt(keys, x0, t)
        shown = likeliest(process, size)(x, t, out)
        full = jnp.zeros((2, 5, size))
        full = jnp.put_along_axis(full, shown.ids, shown.probs, -1, inplace=False)
        want = jax.nn.softmax(process.evidence(x, t) + out)
        np.testing.assert_allclose(full, want, atol=1e-5)
        alone = likeliest(process, 2)(x, t, None)
        best = jax.lax.top_k(process.evidence(x, t), 2)[1]
        assert (alone.ids == best).all() and (alone.probs.sum(-1) <= 1.0 + 1e-5).all()
