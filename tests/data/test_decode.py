"""Resizing, and images that cannot be read."""

import numpy as np
import pytest
from PIL import Image

from data import decode, image_cache, images, shards, store
from tests.pixels import pictures, png


def square(x, size):
    return np.asarray(decode.square(Image.fromarray(x), size))


def test_an_image_of_the_right_size_is_left_as_it_is():
    x = pictures(1, 16)[0]
    np.testing.assert_array_equal(square(x, 16), x)


def test_twice_too_long_a_side_is_halved_by_boxes():
    """The mean of four pixels; bicubic without boxes would ring at this edge."""
    x = np.zeros((32, 32, 3), np.uint8)
    x[:, 16:] = 255
    np.testing.assert_array_equal(square(x, 16), x[::2, ::2])
    noise = pictures(1, 64)[0]
    mean = noise.reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(square(noise, 32) - mean).max() <= 1, "Pillow rounds after each axis"


def test_the_shorter_side_is_resized_and_the_middle_is_cut_out():
    """On a ramp, which bicubic keeps: 40 x 24 at side 12 is 20 x 12 by a box, then places 4 to 16."""
    ramp = np.broadcast_to((np.arange(40) * 4).astype(np.uint8), (24, 40))
    np.testing.assert_allclose(square(ramp, 12)[5], (np.arange(4, 16) * 2 + 0.5) * 4, atol=1)
    np.testing.assert_array_equal(square(ramp.T, 12), square(ramp, 12).T)
    wide = square(np.broadcast_to((np.arange(45) * 4).astype(np.uint8), (30, 45)), 20)[0]
    np.testing.assert_allclose(wide[1:-1], ((np.arange(6, 24) + 0.5) * 1.5 - 0.5) * 4, atol=2)


def test_every_mode_becomes_one(tmp_path):
    x = pictures(1, 8)[0]
    kinds = {"RGB": x, "RGBA": np.dstack([x, x[..., 0]]), "L": x[..., 0], "P": x}
    records = [
        shards.Record(mode, png(np.asarray(a)), 0) for mode, a in kinds.items() if mode != "P"
    ]
    Image.fromarray(x).quantize(4).save(tmp_path / "p.png")
    records.append(shards.Record("P", (tmp_path / "p.png").read_bytes(), 0))
    split = shards.Arrays(np.zeros((4, 8, 8, 3), np.uint8), [0] * 4, "here")
    found = decode.Decoder("here", split, None, "RGB")(records)
    assert {a.shape for a in found} == {(8, 8, 3)}
    np.testing.assert_array_equal(found[1], x)
    np.testing.assert_array_equal(found[2], np.dstack([x[..., 0]] * 3))


class Damaged:
    """Six blocks of ten images, some of which are no images."""

    sizes, heaviest, mode, classes = np.full(6, 10), 1000, "RGB", 60

    def __init__(self, bad=(), reads=None):
        self.x, self.bad, self.reads = pictures(60), set(bad), [] if reads is None else reads

    def read(self, block):
        self.reads.append(block)
        rows = range(10 * block, 10 * block + 10)
        return [shards.Record(f"file row {i}", self.bytes(i), i) for i in rows]

    def bytes(self, i):
        data = png(self.x[i])
        return (data[:40] + data[60:], b"", b"hello", data[:-30])[i % 4] if i in self.bad else data

    def labels(self, block):
        return list(range(10 * block, 10 * block + 10))


def make(place, split, share=0.1, **how):
    decoders = image_cache.decoders("toy", {"train": split}, None, None, share)
    image_cache.make(place, "toy", {"train": split}, decoders, **how)
    return store.read(place)


def test_unreadable_images_are_counted_named_and_skipped(tmp_path, capsys):
    bad = [4, 21, 22, 59]
    arrays, facts = make(tmp_path / "a", Damaged(bad))
    good = [i for i in range(60) if i not in bad]
    assert arrays["train_label"].tolist() == good
    np.testing.assert_array_equal(arrays["train_x"], Damaged().x[good])
    assert list(facts["skipped"]["train"]) == [f"file row {i}" for i in bad]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 4 and told[1].startswith("toy: file row 21 cannot be read (there are no b")


def test_too_many_unreadable_images_are_one_line_with_the_count(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"7 images of toy cannot be read, .* 10.00% of 60: file row 0, .*,unreadable=0.2",
    ):
        make(tmp_path / "a", Damaged(range(7)))


def test_decoding_goes_on_where_it_was_cut_off(tmp_path):
    class CutOff(Damaged):
        def read(self, block):
            if block == 4:
                raise KeyboardInterrupt
            return super().read(block)

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "a", CutOff([13]))
    assert not (tmp_path / "a").exists()
    reads = []
    facts = make(tmp_path / "a", Damaged([13], reads))[1]
    assert reads == [4, 5], "and nothing is decoded twice"
    assert facts == make(tmp_path / "b", Damaged([13]))[1], "SHA-256 and all"
    assert list(facts["skipped"]["train"]) == ["file row 13"]


@pytest.mark.parametrize("stream", [False, True])
def test_what_goes_wrong_in_a_thread_is_told_with_its_record(tmp_path, stream, monkeypatch):
    """Not an unreadable image, but an error of the decoder's own."""
    for i, a in enumerate(pictures(40)):
        (tmp_path / f"{i:02}.png").write_bytes(png(a))
    seventh = (tmp_path / "07.png").read_bytes()
    original = decode.opened

    def opened(image):
        if image == seventh:
            raise RuntimeError("out of luck")
        return original(image)

    monkeypatch.setattr(decode, "opened", opened)
    monkeypatch.setattr(decode, "mode_of", lambda _: "RGB")
    with pytest.raises(ValueError, match=r"^folder:\S+, 07.png: RuntimeError: out of luck"):
        data = images.load(f"folder:{tmp_path}", stream=stream)["train"]
        batches = data.batches(12)
        [batches(i) for i in range(3)]


def test_colours_after_grey_are_refused_unless_it_is_said_what_all_shall_be(tmp_path):
    for i, a in enumerate([*pictures(19, 8, 1), pictures(1, 8)[0]]):
        (tmp_path / "train" / "a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "test" / "a").mkdir(parents=True, exist_ok=True)
        (tmp_path / ("test" if i > 15 else "train") / "a" / f"{i:02}.png").write_bytes(png(a))
    with pytest.raises(ValueError, match="test/a/19.png: it is coloured.*,mode=RGB or ,mode=L"):
        images.load(f"folder:{tmp_path}")
    assert images.load(f"folder:{tmp_path},mode=RGB")["train"].shape == (8, 8, 3)
    assert images.load(f"folder:{tmp_path},mode=L")["test"].shape == (8, 8, 1)


def test_more_than_eight_bits_are_refused(tmp_path):
    for i in range(12):
        Image.fromarray(np.full((4, 4), 999, np.uint16)).save(tmp_path / f"{i}.png")
    with pytest.raises(ValueError, match=r"png: its pixels are I.*; wanted 8 bits a channel"):
        images.load(f"folder:{tmp_path}")


def test_no_room_is_said_before_it_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(
        image_cache.shutil, "disk_usage", lambda _: image_cache.shutil._ntuple_diskusage(9, 0, 9)
    )
    with pytest.raises(
        ValueError, match="toy decoded takes 0.0 GB more in .* TANDEM_CACHE .*--stream"
    ):
        make(tmp_path / "a", Damaged())
    assert not list(tmp_path.glob("[!.]*"))
