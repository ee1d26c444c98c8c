"""Files of weights read without torch, held against torch's and safetensors' own readers."""

import json
import pickle
import zipfile

import numpy as np
import pytest

from utils import weights


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason=".pth files are its")


def tensors(torch):
    """One of each kind, and views that are not laid out in a row."""
    torch.manual_seed(0)
    x = torch.randn(4, 6, 2)
    ends = torch.tensor([0.0, -0.0, 1e-40, 3.4e38, float("inf"), 1 / 3])
    kinds = dict(
        plain=x, half=x.half(), double=x.double(), brain=x.bfloat16(), ends=ends.bfloat16(),
        long=torch.arange(5), byte=torch.arange(5, dtype=torch.uint8), truth=x > 0,
    )  # fmt: skip
    views = dict(turned=x.transpose(0, 2), part=x[1:, ::2], broad=x[:1].expand(3, 6, 2))
    return kinds | views | dict(scalar=torch.tensor(2.5), empty=x[:0])


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        tensor = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
        assert found[name].dtype == tensor.numpy().dtype, name
        np.testing.assert_array_equal(found[name], tensor.numpy(), err_msg=name)


@pytest.mark.parametrize("inside", [False, True], ids=["state_dict", "under its name"])
def test_a_pth_is_what_torch_reads(torch, tmp_path, inside):
    wanted = tensors(torch)
    torch.save({"state_dict": wanted, "epoch": 3} if inside else wanted, tmp_path / "a.pth")
    assert_same(weights.read(tmp_path / "a.pth"), wanted)


def test_a_modules_own_state_dict_and_parameters_are_read(torch, tmp_path):
    module = torch.nn.BatchNorm1d(3)
    torch.save(module.state_dict(), tmp_path / "a.pt")
    assert_same(weights.read(tmp_path / "a.pt"), module.state_dict())
    torch.save(dict(module.named_parameters()), tmp_path / "b.bin")
    assert_same(
        weights.read(tmp_path / "b.bin"), {k: p.detach() for k, p in module.named_parameters()}
    )


def test_safetensors_are_what_its_package_reads(torch, tmp_path):
    save = pytest.importorskip("safetensors.torch", reason="it writes the files").save_file
    wanted = {k: t.contiguous() for k, t in tensors(torch).items() if k != "broad"}
    wanted = {k: t.clone() for k, t in wanted.items()}
    save(wanted, tmp_path / "a.safetensors", metadata={"format": "pt"})
    assert_same(weights.read(tmp_path / "a.safetensors"), wanted)


class Shell:
    def __reduce__(self):
        return print, ("a pickle ran",)


def zipped(path, tree):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", pickle.dumps(tree))


def test_a_pickle_that_would_run_something_does_not(tmp_path, capsys):
    zipped(tmp_path / "a.pth", {"weight": Shell()})
    with pytest.raises(ValueError, match=r"a.pth is no file of weights: it names builtins.print"):
        weights.read(tmp_path / "a.pth")
    assert "ran" not in capsys.readouterr().out


def test_an_array_that_reaches_beyond_its_numbers_is_refused(torch, tmp_path):
    torch.save({"a": torch.zeros(4)}, tmp_path / "whole.pth")
    with (
        zipfile.ZipFile(tmp_path / "whole.pth") as old,
        zipfile.ZipFile(tmp_path / "a.pth", "w") as new,
    ):
        for item in old.namelist():
            raw = old.read(item)
            new.writestr(item, raw[:8] if "/data/" in item else raw)
    with pytest.raises(ValueError, match="a.pth is no file of weights: an array reaches beyond"):
        weights.read(tmp_path / "a.pth")


def safetensors(header, numbers=b""):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + numbers


@pytest.mark.parametrize(
    "name, raw, message",
    [
        ("a.safetensors", b"", "is no safetensors file"),
        ("a.safetensors", safetensors(b"{"), "is no safetensors file"),
        ("a.safetensors", safetensors({"a": {"dtype": "F8", "shape": [1], "data_offsets": [0, 1]}}, b"0"), "F8"),
        ("a.safetensors", safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"0"), "a is cut short"),
        ("a.safetensors", safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"0000"), "reshape"),
        ("a.pth", b"PK", "is no zip"),
        ("a.npy", b"", "weights are .safetensors, .pth, .pt, .bin; got"),
    ],
)  # fmt: skip
def test_a_damaged_or_foreign_file_is_named(tmp_path, name, raw, message):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(ValueError, match=message) as refused:
        weights.read(tmp_path / name)
    assert name in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_that_is_not_there_or_empty_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weights at \S*a.pth"):
        weights.read(tmp_path / "a.pth")
    zipped(tmp_path / "b.pth", {"epoch": 1})
    with pytest.raises(ValueError, match="b.pth holds no named arrays"):
        weights.read(tmp_path / "b.pth")
