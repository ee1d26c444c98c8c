import time

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


def gaussian(x):
    return fid.Gaussian(x.mean(0), np.cov(x.T), len(x))


def test_float32_features_of_many_batches_are_summed_in_float64():
    x = (features(9000, 3, shift=1000.0)).astype(np.float32)
    want = np.cov(x.T.astype(np.float64))
    np.testing.assert_allclose(fid.Moments.of(x).covariance, want, rtol=1e-7)


def test_a_gaussian_without_sums_stands_where_moments_do():
    x, y = features(90, 6), features(80, 6, 2, 1.3)
    want = fid.frechet(fid.Moments.of(x), fid.Moments.of(y))
    assert fid.frechet(gaussian(x), gaussian(y)) == pytest.approx(want, abs=1e-9)


def test_the_references_factor_is_made_once(monkeypatch):
    calls, factor = [], fid.factor
    monkeypatch.setattr(fid, "factor", lambda c: calls.append(1) or factor(c))
    reference = fid.Moments.of(features(90, 6))
    for seed in range(4):
        fid.frechet(reference, fid.Moments.of(features(50, 6, seed)))
        fid.standard_error(reference, features(50, 6, seed))
    assert len(calls) == 1


@pytest.mark.parametrize("n, m", [(200, 12), (12, 200), (12, 9), (200, 20)])
def test_without_full_rank_the_distance_is_that_of_the_features(n, m):
    """Nuclear norm of the features' product, which never forms a covariance (d = 20)."""
    x, y = features(n, 20, 1), features(m, 20, 2, 1.3, 0.2)
    whiten = lambda z: (z - z.mean(0)) / np.sqrt(len(z) - 1)
    root = np.linalg.svd(whiten(x) @ whiten(y).T, compute_uv=False).sum()
    spread = (whiten(x) ** 2).sum() + (whiten(y) ** 2).sum()
    want = ((x.mean(0) - y.mean(0)) ** 2).sum() + spread - 2 * root
    a, b = fid.Moments.of(x), fid.Moments.of(y)
    assert fid.frechet(a, b) == pytest.approx(want, rel=1e-11)
    assert fid.frechet_of(a, y) == pytest.approx(want, rel=1e-11)
    assert fid.frechet(gaussian(x), b) == pytest.approx(want, rel=1e-11)


def test_few_images_take_the_fast_ways(monkeypatch):
    few, many = features(12, 20, 1), fid.Moments.of(features(200, 20, 2))
    refuse = lambda *args: pytest.fail("the slow way")
    monkeypatch.setattr(np.linalg, "eigh", refuse)  # the factor of the other, which has full rank
    want = fid.frechet(fid.Moments.of(few), many)
    monkeypatch.setattr(fid, "eigvalsh", refuse)  # singular values
    assert fid.frechet_of(many, few) == pytest.approx(want, rel=1e-11)


def test_the_inner_matrix_is_the_same_of_a_triangle_and_of_any_other_factor():
    x, y = fid.Moments.of(features(90, 7)), fid.Moments.of(features(80, 7, 3)).covariance
    want = x.chol.T @ y @ x.chol
    low = lambda m: np.tril(m)  # the triangle that counts
    np.testing.assert_allclose(low(fid.inner(x, y)), low(want), rtol=1e-12, atol=1e-10)
    turn = np.linalg.qr(features(7, 7, 4))[0]
    x.chol = x.chol @ turn
    want = low(turn.T @ want @ turn)
    np.testing.assert_allclose(low(fid.inner(x, y)), want, rtol=1e-12, atol=1e-10)


def test_a_dead_feature_and_a_doubled_one_are_no_trouble():
    x, y = features(300, 10), features(300, 10, 5, 1.2)
    dead = lambda z: np.concatenate([z, np.zeros((300, 1))], 1)
    want = fid.frechet(fid.Moments.of(x), fid.Moments.of(y))
    got = fid.frechet(fid.Moments.of(dead(x)), fid.Moments.of(dead(y)))
    assert got == pytest.approx(want, rel=1e-9)
    twice = lambda z: fid.Moments.of(np.concatenate([z, z], 1))
    assert fid.frechet(twice(x), twice(y)) == pytest.approx(2 * want, rel=1e-6)


def test_distance_to_itself_is_nothing_where_features_lie_in_a_plane():
    x = features(300, 5) @ np.random.default_rng(0).standard_normal((5, 200))  # rank 5 of 200
    m = fid.Moments.of(x)
    assert abs(fid.frechet(m, m)) < 1e-6 * np.trace(m.covariance)
    assert fid.shown(-1e-9) == 0.0 and fid.shown(2.5) == 2.5


def samples(n, d, rng):
    """Features that are not Gaussian: half of a bell, as after a relu."""
    return np.maximum(rng.standard_normal((n, d)) * (1 + np.arange(d)) ** -0.5 * 1.2 + 0.3, 0)


def reference(d):
    return fid.Moments.of(samples(100_000, d, np.random.default_rng(9)) / 1.1)


def test_standard_error_is_the_spread_of_distances_of_many_sets():
    rng, ref = np.random.default_rng(0), reference(16)
    sets = [1.5 * samples(500, 16, rng) for _ in range(400)]
    spread = np.std([fid.frechet(ref, fid.Moments.of(x)) for x in sets], ddof=1)
    assert np.mean([fid.standard_error(ref, x) for x in sets]) == pytest.approx(spread, rel=0.12)


def test_standard_error_of_the_references_own_kind_is_too_large_by_less_than_a_bootstraps():
    """There the distance has no slope, and each way to measure its spread says too much."""
    rng, ref = np.random.default_rng(0), reference(16)
    sets = [samples(80, 16, rng) / 1.1 for _ in range(200)]
    distance = lambda x: fid.frechet(ref, fid.Moments.of(x))
    spread = np.std([distance(x) for x in sets], ddof=1)
    resample = lambda x: x[rng.integers(0, len(x), len(x))]
    bootstrap = np.mean([np.std([distance(resample(x)) for _ in range(10)]) for x in sets])
    ours = np.mean([fid.standard_error(ref, x) for x in sets])
    assert spread < ours < 1.6 * spread and ours < bootstrap


def test_standard_error_is_that_of_leaving_each_image_out():
    """The jackknife, which the formula is the derivative of."""
    ref, n = reference(6), 800
    x = 2 * samples(n, 6, np.random.default_rng(1))
    left = [fid.frechet(ref, fid.Moments.of(np.delete(x, i, 0))) for i in range(n)]
    jackknife = np.sqrt((n - 1) * np.var(left))
    assert fid.standard_error(ref, x) == pytest.approx(jackknife, rel=0.01)


def test_extrapolation_removes_the_bias_of_few_images():
    rng, ref = np.random.default_rng(0), reference(16)
    true = fid.frechet(ref, fid.Moments.of(samples(200_000, 16, rng)))
    sets = [samples(320, 16, rng) for _ in range(60)]
    bias = np.mean([fid.frechet(ref, fid.Moments.of(x)) for x in sets]) - true
    left = np.mean([fid.extrapolated(ref, x, seed=i).value for i, x in enumerate(sets)]) - true
    assert bias > 0.02 and abs(left) < 0.35 * bias


def test_extrapolation_is_of_its_seed_and_starts_where_it_is_a_line():
    ref, x = reference(8), samples(600, 8, np.random.default_rng(2)).astype(np.float32)
    one, again, other = (fid.extrapolated(ref, x, seed=s) for s in (0, 0, 1))
    assert one.value == again.value != other.value
    assert len(one.sizes) == 15 and one.sizes[0] == 60 and one.sizes[-1] == 600
    assert one.distances[-1] == pytest.approx(fid.frechet(ref, fid.Moments.of(x)), abs=1e-9)
    assert fid.extrapolated(ref, x[:100]).sizes[0] == 16
    with pytest.raises(ValueError, match="at least 32 images; got 31"):
        fid.extrapolated(ref, x[:31])


def test_few_images_are_warned_of_and_kid_is_named():
    assert fid.caution(2049, 2048) == ""
    assert "n=2048" in fid.caution(2048, 2048) and "KID" in fid.caution(2048, 2048)


def test_one_kept_feature_is_refused():
    ref = fid.Moments.of(features(50, 4))
    for call in (fid.frechet_of, fid.standard_error):
        with pytest.raises(ValueError, match="at least 2"):
            call(ref, features(1, 4))
        with pytest.raises(ValueError, match="width 4 and 5"):
            call(ref, features(9, 5))


@pytest.mark.parametrize("name", ["pytorch_fid", "torch_fidelity", "cleanfid"])
@pytest.mark.parametrize("n", [400, 30])
def test_distance_is_that_of_others(name, n, peer):
    """Of 40 features; of 30 images it holds to the 1e-6 or so that a root without full rank has."""
    x, y = features(400, 40, 1), features(n, 40, 2, 1.3, 0.2)
    four = (x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))
    if name == "pytorch_fid":
        want = peer("pytorch_fid.fid_score").calculate_frechet_distance(*four)
    elif name == "cleanfid":
        want = peer("cleanfid.fid").frechet_distance(*four)
    else:
        pairs = [{"mu": four[i], "sigma": four[i + 1]} for i in (0, 2)]
        module = peer("torch_fidelity.metric_fid")
        want = module.fid_statistics_to_metric(*pairs, False)[module.KEY_METRIC_FID]
    rel = 1e-8 if n > 40 else 1e-5
    assert fid.frechet(fid.Moments.of(x), fid.Moments.of(y)) == pytest.approx(want, rel=rel)


def test_distance_is_faster_than_a_general_root():
    """Against the general root of a matrix, at 512 features to be quick."""
    scale = np.arange(1, 513) ** -0.6
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((1200, 512)) * scale * s for s in (1.0, 1.2))
    start = time.perf_counter()
    with fid.alone():
        root = scipy.linalg.sqrtm(np.cov(x.T) @ np.cov(y.T))
    theirs = time.perf_counter() - start
    a, b = fid.Moments.of(x), fid.Moments.of(y)
    want = ((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance + b.covariance - 2 * root.real)
    start = time.perf_counter()
    got = fid.frechet(a, b)
    assert time.perf_counter() - start < theirs / 2  # 10 to 20 times, where nothing else runs
    assert got == pytest.approx(want, abs=1e-6)
