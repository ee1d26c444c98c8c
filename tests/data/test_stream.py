"""The shuffle of what is not in memory."""

import numpy as np
import pytest

from data import images, shards, stream
from data.pipeline import Ahead


class Numbers:
    """Blocks of several sizes of records that are nothing but their number."""

    mode, classes, heaviest = "L", None, 100

    def __init__(self, *sizes):
        self.sizes, self.reads = np.array(sizes), []

    def read(self, block):
        self.reads.append(block)
        first = int(self.sizes[:block].sum())
        return [shards.Record(f"row {i}", None, i) for i in range(first, first + self.sizes[block])]


def decode(records):
    return [np.full((1, 1, 1), r.label % 251, np.uint8) for r in records]


def batches(*sizes, batch=8, **how):
    return stream.Stream(Numbers(*sizes), decode, batch, **how)


SIZES = (7, 30, 1, 12, 30, 30, 9, 2, 16)  # 137 records: 17 batches of 8 an epoch, one is left over


def test_an_epoch_shows_every_record_once_but_for_less_than_a_batch():
    b = batches(*SIZES)
    assert b.steps == 17
    left = []
    for epoch in range(3):
        seen = np.concatenate([b(17 * epoch + i)["label"] for i in range(17)])
        assert len(set(seen)) == 17 * 8
        left += set(range(137)) - set(seen)
    assert len(set(left)) == 3, "others each time"


def test_a_resumed_run_sees_what_an_uninterrupted_one_does():
    whole = [batches(*SIZES)(i) for i in range(40)]  # a new stream at each step
    for first in (0, 1, 16, 17, 33):
        again = batches(*SIZES)
        with Ahead(again, end=40) as ahead:
            for i in range(first, 40):
                for key, value in ahead(i).items():
                    np.testing.assert_array_equal(value, whole[i][key])


def test_epochs_and_seeds_have_orders_of_their_own():
    b = batches(*SIZES)
    first = np.concatenate([b(i)["label"] for i in range(17)])
    second = np.concatenate([b(i)["label"] for i in range(17, 34)])
    assert (first != second).mean() > 0.9
    assert (batches(*SIZES, seed=1)(0)["label"] != b(0)["label"]).any()


def test_a_batch_is_mixed_from_many_places():
    b = batches(*[100] * 40, batch=64)
    assert b.lanes == 64
    blocks = b(3)["label"] // 100
    assert len(set(blocks)) > 25, "of 40 blocks"
    order = np.concatenate([b(i)["label"] for i in range(b.steps)])
    places = np.argsort(order)[:3900]  # when 0, 1, 2, ... were seen
    assert abs(np.corrcoef(np.arange(3900), places)[0, 1]) < 0.2


def test_processes_share_a_batch_and_read_their_own_blocks():
    sizes = [20] * 60
    whole = batches(*sizes, batch=16)
    parts = [batches(*sizes, batch=16, process=p, processes=4) for p in range(4)]
    for step in (*range(20), whole.steps + 2):
        one = whole(step)
        shared = [p(step) for p in parts]
        for key in one:
            np.testing.assert_array_equal(np.concatenate([s[key] for s in shared]), one[key])
    reads = [len(p.shards.reads) for p in parts]
    assert sum(reads) <= len(whole.shards.reads) + 4 and max(reads) < 0.4 * sum(reads)


def test_no_more_blocks_are_held_than_there_are_lanes():
    b = batches(*[10] * 50, batch=20)
    for i in range(25):
        b(i)
        assert len(b.held) <= 2 * b.lanes
    assert len(b.shards.reads) <= 2 * 50, "at most twice an epoch: where a lane's piece ends"


def test_heavy_blocks_make_fewer_lanes():
    heavy = Numbers(*[10] * 50)
    heavy.heaviest = stream.HELD // 5
    assert stream.Stream(heavy, decode, 16).lanes == 4
    parts = [stream.Stream(heavy, decode, 16, process=p, processes=8) for p in range(8)]
    whole = stream.Stream(heavy, decode, 16)(3)["label"]
    np.testing.assert_array_equal(np.concatenate([p(3)["label"] for p in parts]), whole)


def test_bad_batches_are_refused():
    with pytest.raises(ValueError, match="batch of 5 cannot be shared by 2"):
        batches(20, batch=5, processes=2)
    with pytest.raises(ValueError, match="a stream of 7 images has no batch of 8"):
        batches(7)


def test_an_unreadable_image_gives_its_place_to_the_next_of_its_block(tmp_path, capsys):
    from tests.pixels import pictures, png

    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    x = pictures(40, 4)
    for i, a in enumerate(x):
        (tmp_path / "train" / f"{i:02}.png").write_bytes(b"damaged" if i == 11 else png(a))
        (tmp_path / "test" / f"{i:02}.png").write_bytes(png(a))
    known = {a.tobytes(): i for i, a in enumerate(x)}
    data = images.load(f"folder:{tmp_path},unreadable=0.1", stream=True)["train"]
    b = data.batches(8)
    seen = [known[a.tobytes()] for i in range(5) for a in b(i)["x"]]
    assert 11 not in seen and len(set(seen)) == 39
    again = data.batches(8)
    assert [known[a.tobytes()] for a in again(3)["x"]] == seen[24:32]
    assert "11.png cannot be read" in capsys.readouterr().err


def test_a_stream_is_the_same_images_as_the_cache(tmp_path):
    from tests.pixels import pictures, png

    for i, a in enumerate(pictures(60, 9)):
        (tmp_path / f"c{i % 3}").mkdir(exist_ok=True)
        (tmp_path / f"c{i % 3}" / f"{i:02}.png").write_bytes(png(a))
    cached = images.load(f"folder:{tmp_path}", size=4)
    streamed = images.load(f"folder:{tmp_path}", size=4, stream=True)
    assert streamed["train"].n == cached["train"].n == 54
    assert streamed["train"].shape == cached["train"].shape and streamed["train"].num_classes == 3
    b = streamed["train"].batches(9)
    rows = [
        (a.tobytes(), y)
        for i in range(6)
        for a, y in zip(*map(b(i).get, ("x", "label")), strict=True)
    ]
    want = [(a.tobytes(), y) for a, y in zip(cached["train"].x, cached["train"].label, strict=True)]
    assert sorted(rows) == sorted(want)
    np.testing.assert_array_equal(streamed["test"].x, cached["test"].x)
