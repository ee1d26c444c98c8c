"""The trace says what the network in float16 says, in any batch, and is refused where it does not."""

import json
import shutil

import numpy as np
import pytest

for module in ("torch", "onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(module, reason="exports want '.[edge]'")

import torch  # noqa: E402

from jetson import models, package, states, trace  # noqa: E402
from jetson.package import Package  # noqa: E402


@pytest.fixture(params=["images", "text"])
def folder(exported, tmp_path, request):
    return shutil.copytree(exported[request.param][1], tmp_path / request.param)


def test_a_trace_is_the_network_in_float16_at_any_batch(folder, script):
    refusal, out = script("jetson/export.py", "--load_dir", folder, "--torchscript")
    assert refusal == "" and "model_jetson.pt" in out and "Deprecat" not in out
    opened = Package(folder)
    traced, eager = (opened.denoiser(name, "fp16") for name in ("torchscript", "torch"))
    for state in states.visited(opened, "torch", seed=5, rows=3)[::2]:
        for count in (1, 3):
            a, b = (f(*state.rows(slice(count))) for f in (traced, eager))
            assert states.distance(a, b) <= 1e-3
        assert 1e-6 < states.distance(a, state.out[:count]) <= trace.MOST, "float16 is not float32"


def test_the_file_is_enough_for_torch_and_its_config_tells_how_it_is_called(folder):
    trace.add(Package(folder))
    about = json.loads((folder / "model_jetson_config.json").read_text())
    assert about["precision"] == "float16" and about["network"]["name"] in ("dit", "transformer")
    inputs = [
        torch.zeros([3, *shape[1:]], dtype=getattr(torch, kind))
        for kind, shape in about["inputs"].values()
    ]
    out = torch.jit.load(str(folder / "model_jetson.pt"))(*inputs)
    assert len(out) == 3 and torch.isfinite(out).all()


def test_a_trace_that_says_something_else_is_not_kept(folder, monkeypatch):
    before = set(folder.iterdir())
    opened = Package(folder)
    other = package.network(opened, "fp16")
    with torch.no_grad():
        other.blocks_0.attention.out.weight.mul_(1.5)
    whole = trace.traced
    monkeypatch.setattr(trace, "traced", lambda network, inputs: whole(other, inputs))
    with pytest.raises(ValueError, match="model_jetson.pt: .* against the network itself; at most"):
        trace.add(opened)
    assert set(folder.iterdir()) == before


def test_it_is_float16_alone_and_has_to_be_there(folder):
    with pytest.raises(ValueError, match="model_jetson.pt is float16; --precision fp16"):
        Package(folder).denoiser("torchscript", "fp32")
    with pytest.raises(FileNotFoundError, match=r"no model_jetson.pt; .* --torchscript makes one"):
        Package(folder).denoiser("torchscript", "fp16")


def test_a_network_without_noise_levels_is_called_with_x_alone(exported):
    """Text with conditioning none: its modulation has no columns."""
    opened = Package(exported["text"][1])
    fields = dict(opened.config["network"], conditioning="none")
    network = models.halved(models.create(fields.pop("name"), **fields))
    x, nothing = np.full((2, 10), 7), np.zeros((2, 0), np.float32)
    opened.schedule["modulation"] = np.zeros((1, 1, 0), np.float32)
    found = trace.of_bytes(trace.traced(network, (x,)), opened)(x, nothing)
    with torch.no_grad():
        wanted = network.body(torch.from_numpy(x)).float().numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-3)
