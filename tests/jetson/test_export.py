"""An export holds what its checks say, and is all there or not there at all."""

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="jetson/export.py wants '.[edge]'")
onnx = pytest.importorskip("onnx", reason="jetson/export.py wants '.[edge]'")
pytest.importorskip("onnxruntime", reason="jetson/export.py wants '.[edge]'")
pytest.importorskip("onnxscript", reason="jetson/export.py wants '.[edge]'")

from jetson import checks, operators, package  # noqa: E402
from jetson.package import Package  # noqa: E402
from tests.jetson import alike  # noqa: E402

FILES = {"config.json", "params.safetensors", "schedule.npz"}
FILES |= {"denoiser_fp32.onnx", "denoiser_fp16.onnx"}


@pytest.mark.parametrize("kind", ["images", "text"])
def test_every_backend_says_what_flax_says(exported, kind):
    run, folder = exported[kind]
    files = {p.name for p in folder.iterdir() if p.is_file()}  # folders are of other tests
    assert files == FILES | ({"tokenizer.json"} if kind == "text" else set())
    alike.says_what_flax_says(run, folder)


@pytest.mark.parametrize("kind", ["images", "text"])
def test_half_a_denoiser_is_half_as_large_and_tells_nobody_where_it_was_made(exported, kind):
    _, folder = exported[kind]
    size = {p.name: p.stat().st_size for p in folder.glob("*.onnx")}
    types = {}
    for precision in ("fp32", "fp16"):
        model = onnx.load(folder / f"denoiser_{precision}.onnx")
        types[precision] = {w.data_type for w in model.graph.initializer if len(w.dims) == 2}
        assert b".py" not in model.SerializeToString()
        assert [o.version for o in model.opset_import] == [20]
    assert (
        onnx.TensorProto.FLOAT16 in types["fp16"] and onnx.TensorProto.FLOAT16 not in types["fp32"]
    )
    assert size["denoiser_fp16.onnx"] < 0.9 * size["denoiser_fp32.onnx"]


def test_the_schedule_has_a_row_for_each_step_and_class_exported(exported):
    _, folder = exported["images"]
    package = Package(folder)
    assert package.schedule["modulation"].shape[:2] == (7, 3)
    np.testing.assert_allclose(package.schedule["alpha"], 1 - package.schedule["times"], atol=1e-6)
    first, none = package.modulation(2, np.array([0, 3]))
    assert np.abs(first - none).max() > 1e-3
    with pytest.raises(ValueError, match="class 1 was not exported; there are 0, 2"):
        package.modulation(0, np.array([1]))


def test_a_parameter_that_is_off_by_little_is_found(exported):
    """Of the file that the checks read, not of what was in memory."""
    from safetensors.numpy import load_file, save_file

    run, folder = exported["images"]
    path = folder / "params.safetensors"
    params = whole = load_file(path)
    try:
        save_file(params | {"head/out/bias": params["head/out/bias"] + 2e-3}, path)
        package.seal(folder, Package(folder).config)
        with pytest.raises(
            ValueError, match=r"params.safetensors.*: off Flax by .*e-04 at t = .*5e-05"
        ):
            checks.passed(run, folder)
    finally:
        save_file(whole, path)
        package.seal(folder, package.config_of(folder))


def test_a_failed_check_leaves_nothing(script, image_run, tmp_path, monkeypatch):
    from jetson import graph

    monkeypatch.setattr(graph, "to_onnx", lambda *_: None)
    monkeypatch.setitem(checks.ERRORS, "fp32", (checks.largest, 0.0, "off Flax by"))
    out = tmp_path / "out"
    refusal, _ = script("jetson/export.py", "--load_dir", image_run, "--out", out)
    assert "params.safetensors and schedule.npz: off Flax by" in refusal
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_refused_in_a_line(script, image_run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    refusal, _ = script("jetson/export.py", "--load_dir", image_run, "--out", tmp_path)
    assert refusal.endswith("is there and is no export; choose another --out")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    refusal, _ = script("jetson/export.py", "--load_dir", image_run, "--denoise_timesteps", 0)
    assert "--denoise_timesteps wants at least 1; got 0" in refusal
    refusal, _ = script(
        "jetson/export.py", "--load_dir", image_run, "--classes", "7", "--out", tmp_path / "a"
    )
    assert "this model's classes are 0 to 2" in refusal


def test_a_whole_export_takes_the_place_of_the_one_before(tmp_path):
    from jetson import export

    new, old = tmp_path / "new", tmp_path / "old"
    for folder in (new, old):
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(folder.name))
    export.replace(new, old)
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
    assert json.loads((old / "config.json").read_text()) == "new"


def test_operators_that_tensorrt_does_not_read_are_named():
    node = onnx.helper.make_node("Attention", ["a"], ["b"])
    graph = onnx.helper.make_graph([node], "g", [], [])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 23)])
    assert operators.unreadable(model) == ["opset 23 of 'ai.onnx'", "operator Attention"]


def test_a_file_with_an_operator_that_tensorrt_does_not_read_is_refused(tmp_path):
    value = lambda name: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2])
    node = onnx.helper.make_node("Celu", ["x"], ["out"])
    graph = onnx.helper.make_graph([node], "g", [value("x")], [value("out")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    onnx.save(model, tmp_path / "denoiser_fp32.onnx")
    with pytest.raises(
        ValueError, match="denoiser_fp32.onnx: TensorRT 10.3 does not read operator Celu"
    ):
        checks.readable(tmp_path / "denoiser_fp32.onnx")


def test_the_table_at_the_end_has_each_file_with_its_size_and_error(exported):
    from jetson import export

    run, folder = exported["images"]
    found = checks.passed(run, folder)
    lines = export.listed(folder, found).splitlines()
    assert [line.split()[0] for line in lines] == [
        "schedule.npz", "params.safetensors", "denoiser_fp32.onnx", "denoiser_fp16.onnx",
    ]  # fmt: skip
    size = (folder / "denoiser_fp16.onnx").stat().st_size / 1e6
    assert f"{size:.2f} MB" in lines[3] and "relative L2 off Flax by at most" in lines[3]
