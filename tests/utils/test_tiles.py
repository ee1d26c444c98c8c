"""Tiles: exact where a network looks at single places, and nearly so where it looks around."""

import itertools
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

from utils.tiles import ramp, starts, tiled

X = np.random.default_rng(0).uniform(0, 1, (2, 56, 88, 3)).astype(np.float32)


def down(x):
    b, h, w, c = x.shape
    mean = x.reshape(b, h // 8, 8, w // 8, 8, c).mean((2, 4))
    return mean, mean[..., :1] ** 2


def up(x):
    return jnp.repeat(jnp.repeat(x, 8, 1), 8, 2)


@pytest.mark.parametrize(
    "f, cut",
    [
        (jnp.cos, dict(tile=24, overlap=5)),
        (up, dict(tile=16, overlap=4, scale=8)),
        (down, dict(tile=32, overlap=8, unit=8, scale=Fraction(1, 8))),
        (down, dict(tile=64, overlap=32, unit=8, scale=Fraction(1, 8))),  # cut one way only
    ],
    ids=["the same size", "up", "down", "down, one side short"],
)
def test_what_looks_at_single_places_is_exact(f, cut):
    whole, parts = f(X), tiled(f, X, **cut)
    for a, b in zip(*((t if isinstance(t, tuple) else (t,)) for t in (whole, parts)), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_seams_are_blended_away():
    def blur(x):
        wide = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return sum(
            wide[:, i : i + x.shape[1], j : j + x.shape[2]] for i in range(3) for j in range(3)
        )

    error = lambda overlap: np.abs(tiled(blur, X, tile=24, overlap=overlap) - blur(X)).max()
    assert 0 < error(12) < 0.25 * error(0)  # a tile's outermost places weigh 1 in 13


@pytest.mark.parametrize(
    "side, size, overlap, unit", [(88, 32, 8, 8), (1000, 512, 128, 8), (9, 8, 7, 1)]
)
def test_tiles_cover_a_side_and_overlap(side, size, overlap, unit):
    first = starts(side, size, overlap, unit)
    assert first[0] == 0 and first[-1] == side - size and all(i % unit == 0 for i in first)
    assert all(0 < b - a <= size - overlap for a, b in itertools.pairwise(first))


def test_a_weight_is_never_zero():
    assert ramp(6, 2).tolist() == pytest.approx([1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3])
