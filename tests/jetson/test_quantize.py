"""Products in int8 say about what float32 says; what does not is refused."""

import shutil

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="exports want '.[edge]'")
for module in ("torch", "onnxruntime", "onnxscript"):
    pytest.importorskip(module, reason="exports want '.[edge]'")

from jetson import operators, quantize, states  # noqa: E402
from jetson.package import Package  # noqa: E402


@pytest.fixture(params=["images", "text"])
def folder(exported, tmp_path, request):
    return shutil.copytree(exported[request.param][1], tmp_path / request.param)


def test_int8_is_close_to_float32_and_is_what_inference_runs(folder, script, tmp_path):
    refusal, out = script("jetson/export.py", "--load_dir", folder, "--int8")
    assert refusal == "" and "denoiser_int8.onnx" in out and "relative L2 off float32" in out
    package = Package(folder)
    met = states.visited(package, "onnxruntime", seed=9)
    error = states.relative(met, package.denoiser("onnxruntime", "int8"))
    assert 1e-3 < error <= quantize.MOST, "8 bits are neither float32 nor noise"
    words = (
        "--load_dir",
        folder,
        "--precision",
        "int8",
        "--num_samples",
        2,
        "--out",
        tmp_path / "o",
    )
    assert script("jetson/inference.py", *words)[0] == ""
    assert any((tmp_path / "o").iterdir())
    refusal, _ = script("jetson/inference.py", *words, "--backend", "torch")
    assert "torch runs fp32 and fp16; int8 wants --backend onnxruntime or trt" in refusal


def test_every_product_by_parameters_is_symmetric_int8_and_the_rest_is_not(folder):
    """As TensorRT has it: zero points are 0, weights are kept as int8 with a scale a column."""
    package = Package(folder)
    quantize.add(package)
    model = onnx.load(folder / "denoiser_int8.onnx")
    assert operators.unreadable(model) == []
    values = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    pairs = {n.output[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert not values[node.input[2]].any() and values[node.input[2]].dtype == np.int8
    products = [n for n in model.graph.node if n.op_type in ("MatMul", "Gemm")]
    done = [n for n in products if all(i in pairs for i in n.input[:2])]
    plain = [n for n in products if not any(i in pairs for i in n.input[:2])]
    images = package.config["kind"] == "images"
    assert len(plain) == (3 if images else 2), "attention's two, and of images the last layer"
    assert len(done) + len(plain) == len(products) and len(done) >= 4
    for node in done:
        held = pairs[node.input[1]]
        assert values[held.input[0]].dtype == np.int8
        assert values[held.input[1]].size == values[held.input[0]].shape[1]


def test_scales_cover_what_the_samples_held(folder):
    """The largest value met is the largest that int8 tells apart, within one step."""
    package = Package(folder)
    met = states.visited(package, "onnxruntime", seed=quantize.SEEDS[0], rows=quantize.ROWS)
    model = quantize.quantized(package, met)
    values = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    scales = [
        float(values[n.input[1]])
        for n in model.graph.node
        if n.op_type == "QuantizeLinear" and values[n.input[1]].size == 1
    ]
    assert len(scales) >= 3 and all(1e-4 < 127 * s < 100 for s in scales)
    if package.config["kind"] == "images":  # the first product is of the pixels themselves
        most = max(np.abs(s.inputs[0]).max() for s in met)
        assert any(abs(127 * s - most) <= 2 * s for s in scales)


@pytest.mark.parametrize("folder", ["text"], indirect=True)
@pytest.mark.parametrize("limit", ["MOST", "LEAST"])
def test_one_that_says_something_else_is_not_kept(folder, script, monkeypatch, limit):
    """Scales of 2 % of what they should be: all that is larger is cut."""
    before = set(folder.iterdir())
    whole = quantize.quantized

    def cut(package, met):
        model = whole(package, met)
        for value in model.graph.initializer:
            if value.name.endswith("_scale") and len(value.dims) == 0:
                small = onnx.numpy_helper.to_array(value) * np.float32(0.02)
                value.CopyFrom(onnx.numpy_helper.from_array(small, value.name))
        return model

    monkeypatch.setattr(quantize, "quantized", cut)
    if limit == "LEAST":
        monkeypatch.setattr(quantize, "MOST", np.inf)
        monkeypatch.setattr(quantize, "LEAST", 0.95)
    refusal, _ = script("jetson/export.py", "--load_dir", folder, "--int8")
    said = {"MOST": "at most 0.15 will do", "LEAST": "at least 95% will do"}[limit]
    assert refusal.startswith("export.py: denoiser_int8.onnx: relative L2 off float32")
    assert refusal.endswith(said) and set(folder.iterdir()) == before


def test_calls_are_of_the_graphs_batch(exported):
    state = states.State((np.arange(5.0)[:, None], np.zeros((5, 2))), None)
    reader = quantize.Reader([state], 2, ["x"])
    rows = []
    while (inputs := reader.get_next()) is not None:
        assert set(inputs) == {"x"}
        rows.append(inputs["x"][:, 0].tolist())
    assert rows == [[0, 1], [2, 3], [4, 4]]
