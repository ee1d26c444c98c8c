import numpy as np
import pytest
import scipy.special
import scipy.stats

from utils import fid, fid_stats, image_metrics


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kid_is_that_of_torch_fidelity(dtype, peer):
    torch, module = pytest.importorskip("torch"), peer("torch_fidelity.metric_kid")
    x, y = normal(300, 24).astype(dtype), (1.2 * normal(250, 24, seed=1) + 0.1).astype(dtype)
    keys = {"kid_subsets": 7, "kid_subset_size": 100, "rng_seed": 2020, "verbose": False}
    keys |= {"kid_kernel": "poly", "kid_kernel_poly_degree": 3}
    keys |= {"kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1.0}
    want = module.kid_features_to_metric(torch.tensor(y), torch.tensor(x), **keys)
    got = image_metrics.kid(x, y, subsets=7, size=100)
    rel = 1e-9 if dtype == np.float64 else 1e-4
    assert got.mean == pytest.approx(want[module.KEY_METRIC_KID_MEAN], rel=rel)
    assert got.std == pytest.approx(want[module.KEY_METRIC_KID_STD], rel=rel)
    assert (got.subsets, got.size, got.seed) == (7, 100, 2020)


def test_kid_of_all_images_is_that_of_clean_fid(peer):
    """Which draws its subsets without a seed: the one subset of all images is the same."""
    x, y = normal(60, 8), 1.3 * normal(60, 8, seed=1)
    want = peer("cleanfid.fid").kernel_distance(x, y, num_subsets=1, max_subset_size=60)
    assert image_metrics.kid(x, y, subsets=1).mean == pytest.approx(want, rel=1e-9)


def test_kid_has_no_bias_at_any_number_of_images():
    for n in (10, 200):
        values = [
            image_metrics.mmd(normal(n, 4, seed=i), normal(n, 4, seed=1000 + i)) for i in range(400)
        ]
        assert abs(np.mean(values)) < 3 * np.std(values) / 20 < 0.5


def test_kid_is_of_its_seed_and_grows_with_noise():
    x = normal(300, 8)
    some = lambda y, seed=0: image_metrics.kid(x, y, subsets=5, size=100, seed=seed)
    assert some(2 * x) == some(2 * x) != some(2 * x, seed=1)
    noisy = [some(x + s * normal(300, 8, seed=2)).mean for s in (1, 2, 4)]
    assert 0 < noisy[0] < noisy[1] < noisy[2]


def test_kid_says_the_size_of_its_subsets_and_refuses_one_image():
    assert image_metrics.kid(normal(40, 3), normal(25, 3), subsets=2).size == 25
    with pytest.raises(ValueError, match="got 40 of width 3 and 1 of width 3"):
        image_metrics.kid(normal(40, 3), normal(1, 3))
    with pytest.raises(ValueError, match="width 3 and 40 of width 4"):
        image_metrics.kid(normal(40, 3), normal(40, 4))


def test_inception_score_is_that_of_torch_fidelity(peer):
    torch, module = pytest.importorskip("torch"), peer("torch_fidelity.metric_isc")
    logits = (5 * normal(533, 30)).astype(np.float32)
    for seed in (2020, None):
        want = module.isc_features_to_metric(torch.tensor(logits), 10, seed is not None, seed)
        got = image_metrics.inception_score(logits, seed=seed)
        assert got.mean == pytest.approx(want[module.KEY_METRIC_ISC_MEAN], rel=1e-9)
        assert got.std == pytest.approx(want[module.KEY_METRIC_ISC_STD], rel=1e-9)


def test_inception_score_of_adm_takes_splits_in_order_and_keeps_the_last():
    """Its formula with logarithms of probabilities, where they do not underflow."""
    logits = 2 * normal(25, 6)
    scores = []
    for part in (logits[:10], logits[10:20], logits[20:]):
        p = scipy.special.softmax(part, 1)
        kl = p * (np.log(p) - np.log(p.mean(0)))
        scores.append(np.exp(kl.sum(1).mean()))
    got = image_metrics.inception_score(logits, split_size=10)
    assert got.splits == 3 and got.mean == pytest.approx(np.mean(scores), rel=1e-12)
    assert image_metrics.inception_score(logits[:20], split_size=10).splits == 2


def test_inception_score_runs_from_one_to_the_number_of_classes():
    same, sure = np.tile(normal(1, 7), (50, 1)), 2000.0 * np.eye(7)[np.arange(70) % 7]
    assert image_metrics.inception_score(same, splits=1).mean == pytest.approx(1.0, abs=1e-12)
    assert image_metrics.inception_score(sure, splits=5).mean == pytest.approx(7.0, rel=1e-12)
    with pytest.raises(ValueError, match="10 splits wants as many images; got 9"):
        image_metrics.inception_score(same[:9])


def test_sfid_is_the_distance_of_spatial_moments_alone():
    moments = lambda seed, d: fid.Moments.of(normal(50, d, seed=seed) * (1 + seed))
    a, b = (fid_stats.of(moments(s, 5), spatial=moments(s, 4)) for s in (0, 1))
    assert image_metrics.sfid(a, b) == pytest.approx(fid.frechet(moments(0, 4), moments(1, 4)))
    bare = fid_stats.of(moments(0, 5), source="edm.npz")
    with pytest.raises(ValueError, match="spatial statistics .* edm.npz has none"):
        image_metrics.sfid(a, bare)


def test_class_counts_are_tested_as_scipy_does():
    guesses = np.repeat([0, 1, 2, 4], [30, 10, 25, 15])
    shares = np.array([0.3, 0.2, 0.2, 0.1, 0.2])
    for given in (None, shares, 7 * shares):
        got = image_metrics.class_counts(guesses, 5, given)
        expected = 80 * (shares if given is not None else np.full(5, 0.2))
        want = scipy.stats.chisquare([30, 10, 25, 0, 15], expected)
        assert got.counts.tolist() == [30, 10, 25, 0, 15]
        assert got.chi2 == pytest.approx(want.statistic) and got.p == pytest.approx(want.pvalue)


@pytest.mark.parametrize("freedom", [1, 2, 3, 8, 9, 99, 999])
def test_the_tail_of_chi2_is_scipys(freedom):
    for x in (1e-3, 0.5 * freedom, freedom, 1.5 * freedom, freedom + 200.0):
        want = scipy.stats.chi2.sf(x, freedom)
        assert image_metrics.chi2_tail(x, freedom) == pytest.approx(want, rel=1e-9, abs=1e-300)


def test_counts_as_expected_are_likely_and_a_lost_class_is_not():
    even = np.arange(1000) % 10
    assert image_metrics.class_counts(even, 10).p == 1.0
    assert image_metrics.class_counts(even[even != 9], 10).p < 1e-10


def test_impossible_classes_are_refused():
    with pytest.raises(ValueError, match=r"range over \[0, 5\]; wanted 0 to 4"):
        image_metrics.class_counts([0, 5], 5)
    with pytest.raises(ValueError, match=r"classes \[2\] are expected never"):
        image_metrics.class_counts([0, 2], 3, [1, 1, 0])
    assert image_metrics.class_counts([0, 1], 3, [1, 1, 0]).chi2 == 0.0
    with pytest.raises(ValueError, match="expected shares of 3 classes"):
        image_metrics.class_counts([0, 2], 3, [1, 1])
