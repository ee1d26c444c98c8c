import threading
import time

import numpy as np
import pytest

from data import pipeline


def batches(n=10, size=4, **kw):
    return pipeline.Batches({"x": np.arange(n), "label": np.arange(n) * 2}, size, **kw)


def test_an_epoch_shows_every_example_once():
    b = batches(10, 5)
    for epoch in range(3):
        seen = np.concatenate([b(2 * epoch)["x"], b(2 * epoch + 1)["x"]])
        assert sorted(seen) == list(range(10))


def test_epochs_and_seeds_are_shuffled_differently():
    b = batches(50, 50)
    assert (b(0)["x"] != b(1)["x"]).any()
    assert (b(0)["x"] != batches(50, 50, seed=1)(0)["x"]).any()


def test_a_batch_is_a_function_of_the_step_alone():
    a, b = batches(), batches()
    late = [b(i)["x"] for i in range(9)][7]
    np.testing.assert_array_equal(a(7)["x"], late)


def test_batches_run_across_the_ends_of_epochs():
    b = batches(10, 4)
    stream = np.concatenate([b(i)["x"] for i in range(5)])
    assert sorted(stream[:10]) == sorted(stream[10:]) == list(range(10))


def test_a_batch_may_be_larger_than_the_dataset():
    assert sorted(batches(3, 6)(0)["x"]) == [0, 0, 1, 1, 2, 2]


def test_arrays_stay_together():
    b = batches()(3)
    np.testing.assert_array_equal(b["label"], 2 * b["x"])


def test_processes_share_a_batch_in_order():
    whole = batches(20, 8)(2)
    parts = [batches(20, 8, process=p, processes=2)(2) for p in range(2)]
    for key in whole:
        np.testing.assert_array_equal(np.concatenate([p[key] for p in parts]), whole[key])


def test_bad_batches_are_refused():
    with pytest.raises(ValueError, match="batch of 5 cannot be shared by 2"):
        batches(20, 5, processes=2)
    with pytest.raises(ValueError, match="no examples"):
        batches(0, 1)


def test_batches_are_made_ahead_in_a_thread():
    seconds = 0.02
    made, here = [], threading.get_ident()

    def slow(step):
        assert threading.get_ident() != here
        time.sleep(seconds)
        made.append(step)
        return step

    with pipeline.Ahead(slow, end=10) as ahead:
        assert ahead(3) == 3
        time.sleep(5 * seconds)
        assert made == [3, 4, 5], "two ahead"
        assert [ahead(i) for i in range(4, 10)] == list(range(4, 10))
        time.sleep(2 * seconds)
    assert made == list(range(3, 10)), "each once, and none behind the end"


def test_what_goes_wrong_ahead_is_raised_where_it_is_asked_for():
    def faulty(step):
        if step == 5:
            raise ValueError("record 17 of train-3.parquet")
        return step

    with pipeline.Ahead(faulty, end=9) as ahead:
        assert [ahead(3), ahead(4)] == [3, 4]
        with pytest.raises(ValueError, match="record 17"):
            ahead(5)
        assert ahead(8) == 8, "and a jump is followed"


def test_pixels_go_to_the_unit_range_and_back():
    x = np.arange(256, dtype=np.uint8)
    unit = pipeline.to_unit(x)
    assert unit.min() == -1 and unit.max() == 1
    np.testing.assert_array_equal(pipeline.to_bytes(unit), x)
    np.testing.assert_array_equal(pipeline.to_bytes(np.array([-7.0, 7.0])), [0, 255])


def test_a_memory_mapped_gather_is_no_bottleneck(tmp_path):
    """The goal is a million 32x32 images a second on a quiet machine; a tenth is a bug."""
    np.save(tmp_path / "x.npy", np.zeros((20_000, 32, 32, 3), np.uint8))
    b = pipeline.Batches({"x": np.load(tmp_path / "x.npy", mmap_mode="r")}, 512)
    b(0)
    seconds = []
    for i in range(20):
        began = time.perf_counter()
        b(i)
        seconds.append(time.perf_counter() - began)
    assert 512 / min(seconds) > 100_000


def test_epochs_are_passes_over_the_examples():
    from ml_collections import ConfigDict

    steps = lambda epochs: pipeline.steps(
        ConfigDict({"epochs": epochs, "max_steps": 7, "batch_size": 32}), 100
    )
    assert steps(0.0) == 7 and steps(8.0) == 25 and steps(0.5) == 2
    assert steps(1.0) == 4, "the last step of a pass may be half of the next"
    with pytest.raises(ValueError, match="--epochs wants 0"):
        steps(-1.0)
