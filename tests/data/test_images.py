import gzip

import numpy as np
import pytest

from data import images
from tests.pixels import pictures, png


def write_idx(path, array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(s.to_bytes(4, "big") for s in array.shape)
    raw = head + array.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def write_mnist(folder):
    folder.mkdir()
    x, y = pictures(20, 28, 1), np.arange(20) % 10
    write_idx(folder / "train-images-idx3-ubyte.gz", x)
    write_idx(folder / "train-labels-idx1-ubyte.gz", y.astype(np.uint8))
    write_idx(folder / "t10k-images-idx3-ubyte", x[:5])
    write_idx(folder / "t10k-labels-idx1-ubyte", y[:5].astype(np.uint8))
    return x, y


def test_digits_are_embedded_and_split_without_overlap():
    data = images.load("digits")
    train, test = data["train"], data["test"]
    assert train.x.shape == (1437, 8, 8, 1) and test.x.shape == (360, 8, 8, 1)
    assert train.x.dtype == np.uint8 and train.x.max() == 255 and train.num_classes == 10
    rows = lambda x: {a.tobytes() for a in x}
    assert not rows(train.x) & rows(test.x)


def test_idx_files_are_read_gzipped_or_not(tmp_path):
    x, y = write_mnist(tmp_path / "mnist")
    data = images.load("mnist", str(tmp_path))
    np.testing.assert_array_equal(data["train"].x[..., 0], x)
    np.testing.assert_array_equal(data["test"].label, y[:5])
    assert data["train"].shape == (28, 28, 1)


def test_a_cut_idx_file_is_named(tmp_path):
    write_mnist(tmp_path / "mnist")
    path = tmp_path / "mnist" / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte is cut short"):
        images.load("mnist", str(tmp_path))


def test_parquet_in_the_hubs_schema(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="parquet files want pyarrow")
    import pyarrow.parquet as pq

    x = pictures(12, 6)
    (tmp_path / "cifar10").mkdir()
    for name, part in (("train-0", x[:5]), ("train-1", x[5:9]), ("test", x[9:])):
        rows = [{"bytes": png(a), "path": None} for a in part]
        table = pa.table({"img": rows, "label": list(range(len(part)))})
        pq.write_table(table, tmp_path / "cifar10" / f"{name}.parquet")
    data = images.load("cifar10", str(tmp_path))
    np.testing.assert_array_equal(data["train"].x, x[:9])
    np.testing.assert_array_equal(data["test"].x, x[9:])
    np.testing.assert_array_equal(data["train"].label, [0, 1, 2, 3, 4, 0, 1, 2, 3])


def test_a_folder_of_classes(tmp_path):
    x = pictures(20, 6)
    for i, a in enumerate(x):
        (tmp_path / "f" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / "ab"[i % 2] / f"{i:02d}.png").write_bytes(png(a))
    data = images.load(f"folder:{tmp_path / 'f'}")
    assert (
        len(data["train"].x) == 18 and len(data["test"].x) == 2 and data["train"].num_classes == 2
    )
    labelled = {a.tobytes(): i % 2 for i, a in enumerate(x)}
    for part in data.values():
        assert [labelled[a.tobytes()] for a in part.x] == list(part.label)


def test_classes_are_the_same_in_both_parts_of_a_folder(tmp_path):
    for i, a in enumerate(pictures(12, 6)):
        for part, folder in (("train", "abc"[i % 3]), ("val", "bc"[i % 2])):
            (tmp_path / part / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / part / folder / f"{i:02d}.png").write_bytes(png(a))
    data = images.load(f"folder:{tmp_path}")
    assert data["train"].num_classes == 3 and set(data["test"].label) == {1, 2}
    (tmp_path / "val" / "b").rename(tmp_path / "val" / "images")
    with pytest.raises(ValueError, match="val has a folder 'images', which .*train has not"):
        images.load(f"folder:{tmp_path}")


def test_mixed_sizes_want_a_size_and_get_it(tmp_path):
    for i, side in enumerate((6, 9, 12)):
        (tmp_path / f"{i}.png").write_bytes(png(pictures(1, side)[0]))
    with pytest.raises(ValueError, match="several sizes.*set --image_size"):
        images.load(f"folder:{tmp_path}")
    assert images.load(f"folder:{tmp_path}", size=4)["train"].shape == (4, 4, 3)


def test_npz_with_its_own_test_split(tmp_path):
    x = pictures(8, 4, 1)
    np.savez(tmp_path / "a.npz", x=x, label=np.arange(8), test_x=x[:3], test_label=np.arange(3))
    data = images.load(f"npz:{tmp_path / 'a.npz'}")
    np.testing.assert_array_equal(data["test"].x[..., 0], x[:3])


def test_images_are_decoded_once(tmp_path, monkeypatch):
    write_mnist(tmp_path / "mnist")
    first = images.load("mnist", str(tmp_path))["train"]
    monkeypatch.setitem(images.SOURCES, "mnist", lambda path: pytest.fail("decoded again"))
    second = images.load("mnist", str(tmp_path))["train"]
    assert isinstance(second.x, np.memmap)
    np.testing.assert_array_equal(first.x, second.x)


def test_changed_files_are_decoded_anew(tmp_path):
    write_mnist(tmp_path / "mnist")
    images.load("mnist", str(tmp_path))
    write_idx(tmp_path / "mnist" / "train-images-idx3-ubyte.gz", pictures(20, 28, 1, seed=9))
    again = images.load("mnist", str(tmp_path))["train"]
    np.testing.assert_array_equal(again.x[..., 0], pictures(20, 28, 1, seed=9))


@pytest.mark.parametrize(
    "name, error, message",
    [
        ("mnits", ValueError, "no dataset 'mnits'; did you mean mnist"),
        ("mnist", FileNotFoundError, "idx files .* --data_dir"),
        ("folder:", ValueError, "folder:PATH"),
        ("folder:/nowhere", FileNotFoundError, "/nowhere, which is not there"),
    ],
)
def test_what_is_not_there_is_said_with_what_was_looked_for(name, error, message, tmp_path):
    with pytest.raises(error, match=message):
        images.load(name, str(tmp_path))


BROKEN = {
    "one-hot labels": {"x": np.zeros((20, 4, 4, 1), np.uint8), "label": np.eye(20)},
    "too few labels": {"x": np.zeros((20, 4, 4, 1), np.uint8), "label": np.arange(5)},
    "labels below 0": {"x": np.zeros((20, 4, 4, 1), np.uint8), "label": np.arange(20) - 1},
    "flat images": {"x": np.zeros((20, 16), np.uint8)},
    "other sizes": {"x": np.zeros((9, 4, 4), np.uint8), "test_x": np.zeros((9, 5, 5), np.uint8)},
    "no images": {"y": np.arange(3)},
}


@pytest.mark.parametrize("name", BROKEN)
def test_arrays_that_do_not_fit_are_refused(tmp_path, name):
    np.savez(tmp_path / "a.npz", **BROKEN[name])
    with pytest.raises(ValueError, match=r"wanted|several sizes|has no array"):
        images.load(f"npz:{tmp_path / 'a.npz'}")


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "a.npz").write_text("hello")
    with pytest.raises(ValueError, match="is no npz file"):
        images.load(f"npz:{tmp_path / 'a.npz'}")


def test_images_without_classes_have_none(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        x=np.zeros((20, 4, 4, 1), np.uint8),
        test_x=np.zeros((3, 4, 4, 1), np.uint8),
    )
    assert images.load(f"npz:{tmp_path / 'a.npz'}")["test"].num_classes == 0


def test_an_empty_folder_and_floats_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no images"):
        images.load(f"folder:{tmp_path / 'empty'}")
    np.savez(tmp_path / "f.npz", x=np.zeros((9, 4, 4, 1)))
    with pytest.raises(ValueError, match=r"train row 0: it is float64\[4, 4, 1\]; wanted uint8"):
        images.load(f"npz:{tmp_path / 'f.npz'}")
