import numpy as np
import pytest
import scipy.linalg

from utils import fid


def features(n, d, seed=0, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) * scale + shift


def test_moments_are_those_of_numpy():
    x = features(50, 7)
    m = fid.Moments.of(x)
    np.testing.assert_allclose(m.mean, x.mean(0), atol=1e-12)
    np.testing.assert_allclose(m.covariance, np.cov(x.T), atol=1e-12)


def test_moments_do_not_depend_on_batches_or_their_order():
    x = features(60, 5)
    whole = fid.Moments.of(x)
    parts = fid.Moments.of(x[40:]) + fid.Moments.of(x[:7]) + fid.Moments.of(x[7:40])
    np.testing.assert_allclose(parts.covariance, whole.covariance, rtol=1e-12)


def test_distance_of_known_gaussians():
    """Diagonal covariances: |m|^2 + sum (a - b)^2 of the standard deviations."""
    n, d = 400, 3
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d))
    x = np.linalg.solve(np.linalg.cholesky(np.cov(x.T)), (x - x.mean(0)).T).T  # exactly white
    a, b = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 1.0])
    shift = np.array([1.0, 0.0, -2.0])
    got = fid.frechet(fid.Moments.of(x * a), fid.Moments.of(x * b + shift))
    assert got == pytest.approx(5.0 + 5.0, abs=1e-9)


def test_distance_equals_scipys_matrix_root():
    x, y = features(300, 20, 1), features(200, 20, 2, 1.3, 0.2)
    a, b = fid.Moments.of(x), fid.Moments.of(y)
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance).real
    want = ((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance + b.covariance - 2 * root)
    assert fid.frechet(a, b) == pytest.approx(want, rel=1e-9)
    assert fid.frechet(b, a) == pytest.approx(want, rel=1e-9)


def test_distance_to_itself_is_nothing_even_without_full_rank():
    for n in (500, 8):
        m = fid.Moments.of(features(n, 30))
        assert abs(fid.frechet(m, m)) < 1e-6 * np.trace(m.covariance)


def test_more_noise_is_further_away():
    x = features(500, 10)
    noise = np.random.default_rng(3).standard_normal(x.shape)
    distances = [
        fid.frechet(fid.Moments.of(x), fid.Moments.of(x + s * noise)) for s in (0.5, 1, 2, 4)
    ]
    assert distances == sorted(distances)


def test_one_image_and_foreign_widths_are_refused():
    with pytest.raises(ValueError, match="at least 2"):
        _ = fid.Moments.of(features(1, 4)).covariance
    with pytest.raises(ValueError, match="width 4 and 5"):
        fid.frechet(fid.Moments.of(features(9, 4)), fid.Moments.of(features(9, 5)))
