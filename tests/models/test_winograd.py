"""Against XLA's own convolution, in float64 where rounding is what is looked at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import winograd

usual = lambda x, kernel: jax.lax.conv_general_dilated(
    x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
)


@pytest.mark.parametrize("height, width", [(8, 8), (7, 6), (1, 5), (2, 1)])
def test_it_is_the_convolution_and_so_are_its_gradients(height, width):
    keys = jax.random.split(jax.random.key(0), 3)
    with jax.enable_x64(True):
        x = jax.random.normal(keys[0], (2, height, width, 5), jnp.float64)
        kernel = jax.random.normal(keys[1], (3, 3, 5, 4), jnp.float64)
        out, back = jax.vjp(winograd.convolve, x, kernel)
        want, wanted = jax.vjp(usual, x, kernel)
        g = jax.random.normal(keys[2], want.shape, jnp.float64)
        np.testing.assert_allclose(out, want, atol=1e-12)
        for found, true in zip(back(g), wanted(g), strict=True):
            np.testing.assert_allclose(found, true, atol=1e-12)


def test_in_float32_it_rounds_to_a_few_millionths():
    x = jax.random.normal(jax.random.key(0), (2, 16, 16, 128))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 128, 128)) / 34.0
    out = winograd.conv(x, kernel, (1, 1), "SAME")
    assert jnp.abs(out - usual(x, kernel)).max() < 1e-5 * out.std()
    assert not np.array_equal(out, usual(x, kernel))  # it is what a CPU does with 128 channels


def test_few_channels_are_left_to_xla():
    x, kernel = jnp.ones((1, 4, 4, 8)), jnp.ones((3, 3, 8, 8))
    asked = dict(dimension_numbers=("NHWC", "HWIO", "NHWC"))
    text = str(jax.make_jaxpr(lambda x, k: winograd.conv(x, k, (1, 1), "SAME", **asked))(x, kernel))
    assert "conv_general_dilated" in text
