"""The same random numbers as jax's, drawn without it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import draws
from jetson import threefry

INDEX = np.array([0, 1, 7, 2**20])


@pytest.fixture(params=[0, 123456789, 2**32 - 1])
def both(request):
    """Keys of some examples of a seed, jax's and ours."""
    theirs = draws.fold(jax.random.key(request.param), jnp.asarray(INDEX))
    return theirs, threefry.fold(threefry.key(request.param), INDEX)


def test_keys_and_uniforms_are_jaxs_bit_for_bit(both):
    theirs, ours = both
    assert (jax.random.key_data(theirs) == ours).all()
    for a, b in zip(draws.split(theirs, 3), threefry.split(ours, 3), strict=True):
        assert (jax.random.key_data(a) == b).all()
    assert (draws.uniform(theirs, (3, 50)) == threefry.uniform(ours, (3, 50))).all()
    assert (draws.uniform(theirs) == threefry.uniform(ours)).all()


def test_normals_are_jaxs_to_the_last_bits(both):
    theirs, ours = both
    a, b = np.asarray(draws.normal(theirs, (40, 500))), threefry.normal(ours, (40, 500))
    assert b.dtype == np.float32 and np.abs(a).max() > 4  # the tails too
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_a_seed_that_is_no_word_is_refused():
    with pytest.raises(ValueError, match="--seed wants 0 to 4294967295; got -1"):
        threefry.key(-1)
