"""bench.data: contestants that make the same batches."""

import numpy as np
import pytest

from bench import data

pytestmark = pytest.mark.slow


def found(contest):
    """What each finds that has no workers; those are processes that a test would have to fork."""
    return {c.name: c.setup()() for c in contest.contestants if "2 workers" not in c.name}


def test_images_and_rows_are_the_same_whoever_reads_them():
    pytest.importorskip("torch", reason="the peers' DataLoader is torch's")
    pytest.importorskip("datasets", reason="the peers are made of it")
    for contest in data.contests(tiny=True):
        values = found(contest)
        first, *others = values.values()
        assert others and np.isfinite(first)
        # grouping drops rows, and shuffles none of those that are left
        assert others == pytest.approx([first] * len(others), rel=2e-2), contest.title
        if contest.unit == "image":
            assert others == pytest.approx([first] * len(others), rel=1e-6), contest.title


def test_an_epoch_is_every_image_once_and_the_next_another_order():
    folder, images, *_ = data.material(True)
    seen = []

    def read(batch):
        seen.append(batch["x"][:, 0, 0].copy())
        return batch["x"].astype(np.float32)

    train = data.ours(folder)
    run = data.by_steps(train.batches(32), read, train.n // 32, ahead=True)
    assert run() == pytest.approx(run()) and len(seen) == 2 * images // 32
    one, two = np.concatenate(seen[: len(seen) // 2]), np.concatenate(seen[len(seen) // 2 :])
    assert (one != two).any()
    np.testing.assert_array_equal(np.sort(one, 0), np.sort(train.x[:, 0, 0], 0))
