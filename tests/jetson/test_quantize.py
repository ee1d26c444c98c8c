"""Products in int8 say about what float32 says; what does not is refused."""

import shutil

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="exports want '.[edge]'")
for module in ("torch", "onnxruntime", "onnxscript"):
    pytest.importorskip(module, reason="exports want '.[edge]'")

from jetson import operators, quantize, states  # noqa: E402
from jetson import package as packages  # noqa: E402
from jetson.package import Package  # noqa: E402


@pytest.fixture(params=["images", "text"])
def folder(exported, tmp_path, request):
    return shutil.copytree(exported[request.param][1], tmp_path / request.param)


def test_int8_is_close_to_float32_and_is_what_inference_runs(folder, script, tmp_path):
    refusal, out = script("jetson/export.py", "--load_dir", folder, "--int8")
    assert refusal == "" and "of the weights in int8; relative L2 off float32 by" in out
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
    assert len(plain) == (4 if images else 2), "attention's two, and of images first and last layer"
    assert len(done) + len(plain) == len(products) and len(done) >= 4
    graph, kind = onnx.load(folder / "denoiser_fp32.onnx").graph, package.config["kind"]
    held = sum(values[pairs[node.input[1]].input[0]].size for node in done)
    rest = sum(values[node.input[1]].size for node in plain if node.input[1] in values)
    assert quantize.part_of(graph, kind) == pytest.approx(held / (held + rest))
    for node in done:
        held = pairs[node.input[1]]
        assert values[held.input[0]].dtype == np.int8
        assert values[held.input[1]].size == values[held.input[0]].shape[1]


def test_scales_cover_what_the_samples_held(folder):
    """The largest value met is the largest that int8 tells apart, as far as what is rounded before
    it lets it be; and weights with their divisors are the network's, within half a step."""
    package = Package(folder)
    met = states.visited(package, "onnxruntime", seed=quantize.SEEDS[0], rows=quantize.ROWS)
    model = quantize.quantized(package, met)
    values = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    plain = onnx.load(folder / "denoiser_fp32.onnx").graph
    whole = {i.name: onnx.numpy_helper.to_array(i) for i in plain.initializer}
    chosen = quantize.products(plain, package.config["kind"])
    assert len(chosen) >= 4
    for node in chosen:
        name = node.output[0]
        steps, by = values[f"{name}_w_scale"], values[f"{name}_by"][:, None]
        off = values[f"{name}_w"] * steps * by - whole[node.input[1]]
        assert (np.abs(off) <= 0.501 * steps * by).all()
    found = quantize.extremes(model, [n for n in model.graph.node if n.op_type == "QuantizeLinear"],
                              met, package.config["batch"])  # fmt: skip
    for name, most in found.items():
        assert most.max() / values[f"{name}_scale"] == pytest.approx(127, rel=0.15)


@pytest.mark.parametrize("operator, shape, size", [("MatMul", (64, 32), ()), ("Gemm", (64, 32), ()),
                                                   ("Conv", (2, 32, 6, 6), (3, 3))])  # fmt: skip
def test_a_channel_that_is_large_leaves_the_others_their_steps(operator, shape, size):
    """One product, whose input has a channel 100 times as large: one scale for all of x would round
    the rest of it to nothing."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    w = rng.normal(size=(16, 32, *size)).astype(np.float32)
    x[:, 5] *= 100
    w[:, 5] /= 100
    w = w.T.copy() if operator == "MatMul" else w
    node = onnx.helper.make_node(operator, ["x", "w"], ["out"])
    if operator == "Gemm":
        node.attribute.append(onnx.helper.make_attribute("transB", 1))

    def run(x, *nodes, **arrays):
        tables = [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items()]
        info = lambda name, *shape: onnx.helper.make_tensor_value_info(name, 1, shape)
        ends = [info("x", *shape)], [info("out", *[None] * len(shape))]
        graph = onnx.helper.make_graph(nodes, "one", *ends, tables)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
        return packages.by_session(model.SerializeToString())(x, x)

    exact, step = run(x, node, w=w), np.abs(x).max() / 127
    plain = run(np.rint(x / step) * step, node, w=w)
    most = np.abs(x).max((0, *range(2, len(shape))))
    made, arrays = quantize.pairs(node, w, most)
    assert states.distance(run(x, *made, node, **arrays), exact) <= 0.02
    assert states.distance(plain, exact) >= 0.2


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
    said = {"MOST": "at most 0.1 will do", "LEAST": "at least 95% will do"}[limit]
    assert refusal.startswith("export.py: denoiser_int8.onnx: ")
    assert refusal.endswith(said) and set(folder.iterdir()) == before


def test_calls_are_of_the_graphs_batch():
    state = states.State((np.arange(5.0)[:, None], np.zeros((5, 2))), None)
    calls = list(quantize.calls([state], 2, ["x"]))
    assert all(set(inputs) == {"x"} for inputs in calls)
    assert [inputs["x"][:, 0].tolist() for inputs in calls] == [[0, 1], [2, 3], [4, 4]]
