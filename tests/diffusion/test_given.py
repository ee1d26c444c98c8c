"""What is given stands in every kind of state, and can be read out again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import draws
from diffusion.embedding import Embedding
from diffusion.given import held, visible
from diffusion.masked import Masked
from diffusion.schedules import levels
from diffusion.sparse import Sparse
from diffusion.uniform_state import Uniform

V, L, PAD = 6, 5, 0
ROWS = jnp.asarray(np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0][:V], jnp.float32)
PROCESSES = {
    "masked": Masked(mask_id=V, pad_id=PAD),
    "uniform": Uniform(vocab_size=V, pad_id=PAD),
    "sparse": Sparse(vocab_size=V, candidates=4, pad_id=PAD),
    "embedding": Embedding(table=ROWS, pad_id=PAD),
}
KNOWN = jnp.array([[-1, 3, -1, 2, PAD], [5, -1, -1, -1, PAD]])


def states(name):
    """(the process, a state of noise, the same with KNOWN put back at t = 0.6)."""
    process = PROCESSES[name]
    x = process.prior(draws.fold(jax.random.key(0), jnp.arange(2)), (L,))
    return process, x, held(process, KNOWN)(x, jnp.float32(0.6))


@pytest.mark.parametrize("name", PROCESSES)
def test_given_tokens_are_read_out_again_and_the_rest_is_as_it_was(name):
    process, before, after = states(name)
    read = np.asarray(process.decode(after))
    np.testing.assert_array_equal(read[KNOWN >= 0], KNOWN[KNOWN >= 0])
    pairs = list(zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True))
    for old, new in pairs:
        np.testing.assert_array_equal(new[KNOWN < 0], old[KNOWN < 0])
    assert any((np.asarray(new) != np.asarray(old)).any() for old, new in pairs)


def test_a_given_token_is_the_only_candidate():
    _, _, after = states("sparse")
    assert (after.ids[0, 1] == 3).all() and (after.ids[:, 4] == PAD).all()
    np.testing.assert_allclose(after.probs.sum(-1), 1.0)


def test_a_given_vector_stands_at_the_mean_of_its_noise_and_padding_at_zero():
    process, _, after = states("embedding")
    alpha = levels(process.schedule, jnp.float32(0.6)).alpha
    np.testing.assert_allclose(after[0, 3], alpha * ROWS[2], rtol=1e-6)
    assert (after[:, 4] == 0).all() and (jnp.abs(after[:, :4]).sum(-1) > 0).all()


def test_what_noise_leaves_is_sure_only_where_noise_hides():
    x = jnp.array([[V, 3, 1, 2, PAD], [5, V, V, 4, PAD]])
    np.testing.assert_array_equal(
        visible(PROCESSES["masked"], KNOWN, x), [[-1, 3, 1, 2, PAD], [5, -1, -1, 4, PAD]]
    )
    for name in ("uniform", "sparse", "embedding"):
        np.testing.assert_array_equal(visible(PROCESSES[name], KNOWN, x), KNOWN)
