"""An engine is built once, used as long as it fits, and never half there.

TensorRT is a stand-in here (fake_tensorrt.py says what that shows), but for the last tests, which
run where it is installed.
"""

import json
import shutil
import sys

import numpy as np
import pytest

for module in ("torch", "onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(module, reason="exports want '.[edge]'")

import torch  # noqa: E402

from jetson import engine, states  # noqa: E402
from jetson.package import Package  # noqa: E402
from tests.jetson import fake_tensorrt  # noqa: E402


@pytest.fixture
def folders(exported, tmp_path):
    kinds = {kind: tmp_path / kind for kind in exported}
    for kind, folder in kinds.items():
        shutil.copytree(exported[kind][1], folder)
    return kinds


@pytest.mark.parametrize("kind", ["images", "text"])
@pytest.mark.parametrize("precision, most", [("fp32", 1e-5), ("fp16", 3e-3)])
def test_what_is_bound_is_what_comes_out(device, folders, kind, precision, most):
    package = Package(folders[kind])
    met = states.visited(package, "torch")
    denoise = package.denoiser("trt", precision)
    assert states.relative(met, denoise) <= most
    *inputs, out = (np.concatenate([a] * 5) for a in (*met[1].inputs, met[1].out))
    for count in (1, 3, 20):  # more than it takes
        found = denoise(*(a[:count] for a in inputs))
        assert states.distance(found, out[:count]) <= most and len(found) == count


def test_the_builder_is_told_what_the_notes_say(device, folders):
    engine.ready(Package(folders["text"]), "fp16", say=lambda line: None)
    told = dict(fake_tensorrt.calls)
    assert told["set_memory_pool_limit"] == ("WORKSPACE", 512 << 20)
    assert told["builder_optimization_level"] == 5 and told["max_aux_streams"] == 0
    assert told["clear_flag"] == "TF32" and told["build"] is True
    shapes = [value for name, value in fake_tensorrt.calls if name == "set_shape"]
    assert shapes[0] == ("x", (1, 10), (8, 10), (8, 10)) and shapes[1][0] == "modulation"
    fake_tensorrt.calls.clear()
    engine.ready(Package(folders["images"]), "fp16", say=lambda line: None)
    assert dict(fake_tensorrt.calls)["build"] is False
    assert not any(name == "set_shape" for name, _ in fake_tensorrt.calls)


def build(folder, **kwargs):
    """(lines that were said, whether something was built)."""
    fake_tensorrt.calls.clear()
    lines = []
    engine.ready(Package(folder), "fp16", say=lines.append, **kwargs)
    return lines, any(name == "build" for name, _ in fake_tensorrt.calls)


def test_an_engine_is_built_again_only_where_it_does_not_fit(device, folders):
    folder = folders["text"]
    path = folder / "model.trt"
    assert build(folder) == (
        ["model.trt is not there; it is built now, which may take minutes"],
        True,
    )
    assert build(folder) == ([], False)
    for key, value in {"tensorrt": "10.16.2", "gpu": "Thor", "multiprocessors": 4}.items():
        device[key] = value
        (line,), again = build(folder)
        assert again and line.startswith(f"model.trt was made for {key} ") and str(value) in line
    assert build(folder, batch=3)[0][0].startswith(
        "model.trt was made for batch 8, and here it is 3"
    )
    assert build(folder) == ([], False), "the batch is remembered"
    path.write_bytes(path.read_bytes()[:-5])
    assert build(folder)[0][0].startswith("model.trt is damaged; it is built now")
    (folder / "model.trt.json").write_text("{")
    assert build(folder)[0][0].startswith("model.trt is not there")
    shutil.copy(folder / "denoiser_fp32.onnx", folder / "denoiser_fp16.onnx")
    opened = Package(folder)
    opened.add("denoiser_fp16.onnx", (folder / "denoiser_fp32.onnx").read_bytes())
    assert build(folder)[0][0].startswith("model.trt was made of another network")
    assert not list(folder.glob(".*"))


def test_timings_of_kernels_are_kept_and_those_of_another_machine_are_not_used(device, folders):
    cache = folders["text"] / "timing.cache"
    build(folders["text"])
    assert cache.read_bytes() == b"timings"
    build(folders["text"], batch=2)
    assert [v for name, v in fake_tensorrt.calls if name == "set_timing_cache"] == [b"timings"]
    cache.write_bytes(b"another machine's")
    build(folders["text"], batch=4)
    tried = [v for name, v in fake_tensorrt.calls if name == "set_timing_cache"]
    assert tried == [b"another machine's", b""]


def test_what_tensorrt_cannot_do_is_said_with_its_reason(device, folders, monkeypatch):
    package = Package(folders["images"])
    before = set(folders["images"].iterdir())
    package.add("denoiser_fp16.onnx", b"no model")
    with pytest.raises(
        ValueError, match=r"TensorRT 10.3.0 does not read denoiser_fp16.onnx: no model"
    ):
        engine.ready(package, "fp16", say=lambda line: None)

    def nothing(builder, network, config):
        log.log(fake_tensorrt.ILogger.Severity.ERROR, "Could not find any\n implementation")

    log, heard = engine.listener(fake_tensorrt)
    monkeypatch.setattr(engine, "listener", lambda trt: (log, heard))
    monkeypatch.setattr(fake_tensorrt.Builder, "build_serialized_network", nothing)
    with pytest.raises(
        ValueError, match="built no model_fp32.trt: Could not find any implementation"
    ):
        engine.ready(package, "fp32", say=lambda line: None)
    assert set(folders["images"].iterdir()) == before


def test_the_script_adds_an_engine_to_an_export_and_drops_one_that_is_far_off(
    device, folders, script, monkeypatch
):
    words = ("jetson/export.py", "--load_dir", folders["text"], "--tensorrt", "--batch_size", 2)
    refusal, out = script(*words)
    assert refusal == ""
    assert "trtexec --onnx=denoiser_fp16.onnx --saveEngine=model.trt --stronglyTyped" in out
    assert "--maxShapes=x:2x10,modulation:2x128" in out
    assert "on Orin, built in" in out and json.loads(
        (folders["text"] / "model.trt.json").read_text()
    )
    refusal, _ = script(*words[:-1], 0)
    assert refusal == "export.py: --batch_size wants at least 1; got 0"
    monkeypatch.setitem(engine.LIMITS, "fp16", 1e-9)
    refusal, _ = script(*words)
    assert "model.trt: a relative L2 error of" in refusal and refusal.endswith("will do")
    assert not list(folders["text"].glob("model.trt*"))


@pytest.mark.parametrize("missing", ["tensorrt", "gpu"])
def test_without_tensorrt_or_a_gpu_it_is_one_line_and_nothing_is_left(
    folders, script, monkeypatch, missing
):
    present = fake_tensorrt if missing == "gpu" else None
    monkeypatch.setitem(sys.modules, "tensorrt", present)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = set(folders["images"].iterdir())
    refusal, _ = script("jetson/export.py", "--load_dir", folders["images"], "--tensorrt")
    said = {"tensorrt": "TensorRT cannot be used here", "gpu": "wants a GPU, and torch sees none"}
    assert said[missing] in refusal and set(folders["images"].iterdir()) == before


def test_an_export_is_added_to_without_jax(folders, process):
    """As on a device: none of it can be imported there."""
    code = (
        "import sys, runpy; sys.modules.update(jax=None, flax=None, ml_collections=None); "
        f"sys.argv = ['export.py', '--load_dir', {str(folders['images'])!r}]; "
        "runpy.run_path('jetson/export.py', run_name='__main__')"
    )
    said = process("-c", code).communicate(timeout=120)[0]
    assert "is an export already; --" in said and "Traceback" not in said


NAMES = """
    Builder.create_network Builder.create_builder_config Builder.create_optimization_profile
    Builder.build_serialized_network OnnxParser.parse OnnxParser.num_errors OnnxParser.get_error
    ParserError.desc INetworkDefinition.num_inputs INetworkDefinition.get_input ITensor.shape
    IBuilderConfig.set_memory_pool_limit IBuilderConfig.builder_optimization_level
    IBuilderConfig.max_aux_streams IBuilderConfig.clear_flag IBuilderConfig.add_optimization_profile
    IBuilderConfig.create_timing_cache IBuilderConfig.set_timing_cache
    IBuilderConfig.get_timing_cache ITimingCache.serialize IOptimizationProfile.set_shape
    Runtime.deserialize_cuda_engine ICudaEngine.num_io_tensors ICudaEngine.get_tensor_name
    ICudaEngine.get_tensor_shape ICudaEngine.get_tensor_dtype ICudaEngine.create_execution_context
    IExecutionContext.set_tensor_address IExecutionContext.set_input_shape
    IExecutionContext.execute_async_v3 ILogger.Severity.ERROR ILogger.Severity.INTERNAL_ERROR
    NetworkDefinitionCreationFlag.STRONGLY_TYPED MemoryPoolType.WORKSPACE BuilderFlag.TF32
    DataType.FLOAT DataType.HALF DataType.INT64 DataType.INT32
"""


def test_the_real_package_has_every_name_that_is_used():
    trt = pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    for name in NAMES.split():
        place = trt
        for part in name.split("."):
            assert hasattr(place, part), name
            place = getattr(place, part)


@pytest.mark.parametrize("kind", ["images", "text"])
def test_the_real_package_builds_and_runs(folders, kind):
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    name, said = engine.add(Package(folders[kind]), "fp16")
    assert name == "model.trt" and "relative L2 off" in said
