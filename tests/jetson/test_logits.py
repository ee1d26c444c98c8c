"""Filters leave what JAX's leave, ties and all."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import tokens
from jetson import logits


@pytest.mark.parametrize("size", [17, 700])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_filters_are_jaxs(size, spread):
    """Of a flat distribution and a steep one, quantised so that many are equal."""
    rng = np.random.default_rng(0)
    x = (np.round(rng.standard_normal((5, size)) * 8) / 8 * spread).astype(np.float32)
    x[:, 3] = -np.inf
    for ours, theirs in (
        (logits.top_k(1), tokens.top_k(1)),
        (logits.top_k(9), tokens.top_k(9)),
        (logits.top_k(size), tokens.top_k(size)),
        (logits.temperature(0.0), tokens.temperature(0.0)),
        (logits.temperature(0.7), tokens.temperature(0.7)),
    ):
        np.testing.assert_allclose(ours(x), theirs(jnp.asarray(x)), rtol=1e-6)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.97])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_top_p_is_jaxs_whether_few_or_many_are_sorted(p, spread):
    x = np.random.default_rng(1).standard_normal((5, 700))
    x = (np.round(x * 32) / 32 * spread).astype(np.float32)  # many are equal
    theirs = np.asarray(tokens.top_p(p)(jnp.asarray(x)))
    assert np.isfinite(theirs).sum(-1).min() >= 1
    for first in (8, 256, 700):
        assert (logits.top_p(p, first)(x) == theirs).all()
