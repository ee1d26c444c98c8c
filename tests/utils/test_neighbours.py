import numpy as np
import pytest

from utils import neighbours


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def gaps(x, y):
    """f64[N, M]: distances, from differences."""
    return np.sqrt(((x[:, None].astype(np.float64) - y[None]) ** 2).sum(-1))


@pytest.mark.parametrize("n, m", [(200, 150), (90, 300)])
def test_precision_and_recall_are_those_of_torch_fidelity(n, m, peer):
    torch, module = pytest.importorskip("torch"), peer("torch_fidelity.metric_prc")
    x, y = normal(n, 6), 0.8 * normal(m, 6, seed=1) + 0.3
    keys = {"prc_neighborhood": 3, "prc_batch_size": 64, "save_cpu_ram": True, "verbose": False}
    want = module.prc_features_to_metric(torch.tensor(y), torch.tensor(x), **keys)
    got = neighbours.precision_recall(x, y)
    assert 0.2 < got.recall < got.precision < 1
    assert got.precision == pytest.approx(want[module.KEY_METRIC_PRECISION], abs=1e-6)
    assert got.recall == pytest.approx(want[module.KEY_METRIC_RECALL], abs=1e-6)
    assert (got.n_reference, got.n_samples, got.k) == (n, m, 3)


def test_precision_and_recall_swap_with_the_sets():
    x, y = normal(100, 4), 0.5 * normal(130, 4, seed=1)
    one, other = neighbours.precision_recall(x, y), neighbours.precision_recall(y, x)
    assert (one.precision, one.recall) == (other.recall, other.precision)
    assert one.precision > one.recall  # narrow samples are likely and leave much out


def test_lost_modes_cost_recall_and_false_ones_precision():
    centre = np.repeat(np.eye(4, dtype=np.float32) * 100, 50, 0)
    x, y = centre + normal(200, 4), centre + normal(200, 4, seed=1)
    lost = neighbours.precision_recall(x, y[:100])
    false = neighbours.precision_recall(x[:100], y)
    assert lost.precision > 0.8 and 0.4 < lost.recall <= 0.5
    assert false.recall > 0.8 and 0.4 < false.precision <= 0.5


@pytest.mark.parametrize("block", [1, 700, 2**24])
def test_blocks_of_any_size_give_the_same(block, monkeypatch):
    x, y = normal(80, 5), normal(70, 5, seed=1)
    want = neighbours.precision_recall(x, y), *neighbours.nearest(x, y), neighbours.radii(x, 3)
    monkeypatch.setattr(neighbours, "BLOCK", block)
    got = neighbours.precision_recall(x, y), *neighbours.nearest(x, y), neighbours.radii(x, 3)
    assert got[0] == want[0]
    for a, b in zip(got[1:], want[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_radii_leave_the_point_itself_out_but_not_its_copy():
    x = normal(40, 3)
    want = np.sort(gaps(x, x), 1)[:, 3] ** 2
    np.testing.assert_allclose(neighbours.radii(x, 3), want, rtol=1e-4)
    twice = np.concatenate([x, x])
    assert neighbours.radii(twice, 1).max() < 1e-5 < neighbours.radii(twice, 2).min()


def test_nearest_is_that_of_all_distances_far_from_the_origin():
    """Where squares in float32 without a common mean would round distances away."""
    x, y = normal(120, 6) + 3000, normal(90, 6, seed=1) + 3000
    index, distance = neighbours.nearest(x, y)
    want = gaps(y, x)
    np.testing.assert_array_equal(index, want.argmin(1))
    np.testing.assert_allclose(distance, want.min(1), rtol=1e-12)


def test_copies_are_found_and_fresh_images_are_not():
    train, held_out, fresh = (normal(n, 8, seed=n) for n in (900, 400, 401))
    got = neighbours.copies(train, fresh, held_out)
    assert got.ratio == pytest.approx(1, abs=0.05) and got.near < 0.04 and got.expected == 0.01
    mixed = np.concatenate([fresh[:300], train[:100]])
    got = neighbours.copies(train, mixed, held_out)
    assert 0.25 <= got.near < 0.3
    np.testing.assert_array_equal(got.index[300:], np.arange(100))
    np.testing.assert_array_equal(got.distance[300:], 0.0)
    assert neighbours.copies(train, train[:50] + 1e-3, held_out).ratio < 0.01


def test_a_class_that_is_copied_is_told_from_those_that_are_not():
    train, held_out, fresh = (normal(n, 8, seed=n) for n in (900, 300, 301))
    label, held_out_label = np.arange(301) % 3, np.arange(300) % 4
    fresh[label == 2] = train[: (label == 2).sum()]
    got = neighbours.ratios(neighbours.copies(train, fresh, held_out), label, held_out_label)
    assert got[:2] == pytest.approx([1, 1], abs=0.15) and got[2] == 0 and got[3] is None


def test_copies_count_where_held_out_images_are_copies_too():
    train = normal(300, 4)
    held_out = np.concatenate([normal(195, 4, seed=1), train[:5]])
    assert neighbours.copies(train, train[:40], held_out).near == 1.0


def test_too_few_images_and_foreign_widths_are_refused():
    with pytest.raises(ValueError, match="k=3 want more images in both; got 40, 3"):
        neighbours.precision_recall(normal(40, 2), normal(3, 2))
    with pytest.raises(ValueError, match="40 of width 2, 30 of 3"):
        neighbours.precision_recall(normal(40, 2), normal(30, 3))
    with pytest.raises(ValueError, match="at least 100 held-out images; got 99"):
        neighbours.copies(normal(40, 2), normal(40, 2), normal(99, 2))
