"""A folder that is not what was exported is refused in a line, and by whoever opens it."""

import json
import shutil

import numpy as np
import pytest

for module in ("torch", "onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(module, reason="exports want '.[edge]'")

from data import tokenizer  # noqa: E402
from jetson import files, package  # noqa: E402
from jetson.package import Package  # noqa: E402


@pytest.fixture
def copies(exported, tmp_path):
    """{kind: a folder of one's own}."""
    kinds = {kind: tmp_path / kind for kind in exported}
    for kind, folder in kinds.items():
        shutil.copytree(exported[kind][1], folder)
    return kinds


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def another_tokenizer(path):
    tokenizer.train_words(["a bird sang"]).save(path)


def gone(path):
    path.unlink()


DAMAGE = [
    ("images", "schedule.npz", truncated, "schedule.npz is not what was exported"),
    ("images", "params.safetensors", flipped, "params.safetensors is not what was exported"),
    ("images", "denoiser_fp16.onnx", truncated, "denoiser_fp16.onnx is not what was exported"),
    ("text", "tokenizer.json", another_tokenizer, "tokenizer.json is not what was exported"),
    ("images", "denoiser_fp32.onnx", gone, "has no denoiser_fp32.onnx; python jetson/export.py"),
    ("images", "schedule.npz", gone, "has no schedule.npz; python jetson/export.py --load_dir RUN"),
    ("images", "config.json", truncated, "config.json is damaged"),
]


@pytest.mark.parametrize("kind, name, damage, message", DAMAGE)
def test_a_file_that_is_not_the_exported_one_is_named(
    script, copies, tmp_path, kind, name, damage, message
):
    damage(copies[kind] / name)
    backend = ("--backend", "torch") if name == "params.safetensors" else ()
    half = ("--precision", "fp16") if "fp16" in name else ()
    out = tmp_path / "out"
    words = ("--load_dir", copies[kind], "--num_samples", 1, "--out", out, *backend, *half)
    refusal, _ = script("jetson/inference.py", *words)
    assert message in refusal and refusal.startswith("inference.py: ")
    assert not list(out.glob("*")), "nothing is left of it"


@pytest.mark.parametrize("change", [{"format": 0}, {"format": 2}, {"format": None}])
def test_an_export_of_another_version_is_refused(copies, change):
    config = json.loads((copies["images"] / "config.json").read_text()) | change
    (copies["images"] / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=rf"format {change['format']}, this reads 1; export it"):
        Package(copies["images"])


def test_a_write_that_fails_leaves_the_file_before_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    files.write(path, b"one")
    with pytest.raises(TypeError):
        files.write(path, "no bytes")
    assert path.read_bytes() == b"one" and list(tmp_path.iterdir()) == [path]


def test_what_is_added_is_known_from_then_on(copies):
    opened = Package(copies["images"])
    opened.add("denoiser_int8.onnx", b"12345")
    assert Package(copies["images"]).file("denoiser_int8.onnx").read_bytes() == b"12345"
    truncated(copies["images"] / "denoiser_int8.onnx")
    with pytest.raises(ValueError, match="denoiser_int8.onnx is not what was exported"):
        Package(copies["images"]).file("denoiser_int8.onnx")


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6])
def test_any_number_of_rows_goes_through_a_fixed_batch(count):
    seen = []

    def run(x, modulation):
        seen.append(len(x))
        return x * 2 + modulation

    x = np.arange(count, dtype=np.float32)[:, None]
    assert (package.in_parts(run, 3, x, x * 10) == x * 12).all()
    assert seen == [3] * -(-count // 3)
