"""Files of weights: what is read from them, what they are called, and which are refused."""

import hashlib
import os
import sys

import jax
import numpy as np
import pytest

from utils.weights_file import Weights, read, save_npz


@pytest.fixture(scope="module")
def named():
    rng, shapes = np.random.default_rng(0), {"conv.weight": (4, 3, 3, 3), "fc.weight": (2, 4)}
    return {name: rng.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason=".pth files are its")


@pytest.fixture(scope="module")
def pth(named, torch, tmp_path_factory):
    """A file as torch writes it, with the counts of batches that it keeps beside norms."""
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    counts = {"bn.num_batches_tracked": torch.tensor(7)}
    torch.save({name: torch.from_numpy(a) for name, a in named.items()} | counts, path)
    return path


@pytest.fixture(scope="module")
def digest(pth):
    return hashlib.sha256(pth.read_bytes()).hexdigest()


def test_a_pth_is_read_and_named_by_its_digest(pth, digest, named):
    weights = read(pth)
    assert weights.sha256 == digest
    assert weights.named.keys() - named.keys() == {"bn.num_batches_tracked"}
    for name, array in named.items():
        np.testing.assert_array_equal(weights.named[name], array)


def test_an_npz_is_the_same_weights_under_the_same_name_without_torch(
    pth, digest, tmp_path, monkeypatch
):
    path = save_npz(tmp_path / "folder" / "copy", read(pth))
    assert path == tmp_path / "folder" / "copy.npz"
    monkeypatch.setitem(sys.modules, "torch", None)
    copy = read(path, sha256=digest)
    monkeypatch.undo()
    assert copy.sha256 == digest
    jax.tree.map(np.testing.assert_array_equal, copy.named, read(pth).named)
    assert save_npz(tmp_path / "again", copy).stat().st_size == path.stat().st_size


def test_of_a_checkpoint_the_state_is_read_as_of_one_device(torch, named, tmp_path):
    """As trained in parallel, in torch's format of before 1.6, and with what else was saved."""
    state = {f"module.{name}": torch.from_numpy(a) for name, a in named.items()}
    whole = {"best_prec1": 93.6, "state_dict": state}
    torch.save(whole, tmp_path / "net.th", _use_new_zipfile_serialization=False)
    jax.tree.map(np.testing.assert_array_equal, read(tmp_path / "net.th").named, named)


def test_a_digest_that_is_not_the_files_is_refused(pth, digest, tmp_path):
    assert read(pth, sha256=digest.upper()[:8]).sha256 == digest
    other = ("0" if digest[0] != "0" else "1") + digest[1:]
    with pytest.raises(ValueError, match=f"has sha256 {digest}, not {other} as asked for"):
        read(pth, sha256=other)
    with pytest.raises(ValueError, match="of which 8 will do; got 'abc'"):
        read(pth, sha256="abc")
    copy = save_npz(tmp_path / "copy", read(pth))
    with pytest.raises(ValueError, match=f"has sha256 {digest}, not {other[:8]} as asked for"):
        read(copy, sha256=other[:8])


def test_a_name_that_ends_in_a_digest_is_taken_at_its_word(pth, digest, tmp_path):
    right = tmp_path / f"inception-{digest[:8]}.pth"
    wrong = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    for path in (right, wrong):
        os.link(pth, path)
    assert read(right).sha256 == digest
    with pytest.raises(ValueError, match=f"sha256 {digest}, not 6726825d as in its name") as error:
        read(wrong)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weights at .*none.pth"):
        read(tmp_path / "none.pth")
    with pytest.raises(ValueError, match=r"weights are .pth, .th, .pt or .npz; got .*none.pkl"):
        read(tmp_path / "none.pkl")


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def test_files_that_are_no_weights_are_refused_and_not_executed(torch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = {
        "bomb": lambda path: torch.save({"fc.weight": Bomb()}, path),
        "text": lambda path: path.write_text("not found"),
        "empty": lambda path: path.write_bytes(b""),
        "module": lambda path: torch.save([torch.zeros(2)], path),
        "numbers": lambda path: torch.save({"epoch": 3}, path),
    }
    for name, make in made.items():
        make(tmp_path / f"{name}.pth")
        with pytest.raises(ValueError, match=rf"{name}.pth is no file of weights: .*") as e:
            read(f"{name}.pth")
        assert "\n" not in str(e.value)
    assert not (tmp_path / "exploded").exists()
    for raw in (b"", b"PK\x03\x04", b"not found"):
        (tmp_path / "a.npz").write_bytes(raw)
        with pytest.raises(ValueError, match="a.npz is no npz of weights"):
            read("a.npz")
    np.savez("b.npz", np.array([{}], object))
    with pytest.raises(ValueError, match="b.npz is no npz of weights"):
        read("b.npz")


def test_an_npz_of_someone_elses_making_is_named_by_its_own_digest(tmp_path):
    path = tmp_path / "theirs.npz"
    np.savez(path, a=np.zeros(3))
    assert read(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_npz_that_was_changed_does_not_keep_its_name(tmp_path):
    weights = Weights("ab" * 32, {"a": np.zeros(3), "b": np.ones(2)})
    path = save_npz(tmp_path / "w", weights)
    with np.load(path) as file:
        arrays = dict(file)
    for changed in ({"a": np.ones(3)}, {"made_from": np.array("cd" * 32)}):
        np.savez(path, **arrays | changed)
        with pytest.raises(ValueError, match="w.npz was changed since save_npz wrote it"):
            read(path)
    np.savez(path, **{name: a for name, a in arrays.items() if name != "contents"})
    with pytest.raises(ValueError, match="was changed"):
        read(path)
