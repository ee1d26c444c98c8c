"""What is wrong with an export, a device or a wish is said in one line, and nothing is written."""

import json
import shutil
import sys

import pytest

for package in ("torch", "onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason="exports want '.[edge]'")

from jetson.package import Package  # noqa: E402


@pytest.fixture
def refused(exported, tmp_path, script):
    """refused(kind, break_, *flags) -> the line, of a copy of an export that break_ has had."""

    def run(kind, break_, *flags):
        folder, out = tmp_path / "export", tmp_path / "out"
        shutil.copytree(exported[kind][1], folder, dirs_exist_ok=True)
        break_(folder)
        words = ["--load_dir", folder, "--out", out, "--num_samples", 1, *flags]
        refusal, _ = script("jetson/inference.py", *words)
        assert refusal.startswith("inference.py: ") and len(refusal.splitlines()) == 1
        assert not out.exists()
        return refusal

    return run


def cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-200])


def emptied(name):
    return lambda folder: (folder / name).write_bytes(b"")


def configured(break_):
    def run(folder):
        config = json.loads((folder / "config.json").read_text())
        break_(config)
        (folder / "config.json").write_text(json.dumps(config))

    return run


def resealed(name):
    """Bytes that are no network, noted as if they were what was exported."""

    def break_(folder):
        package = Package(folder)
        package.add(name, b"nothing")

    return break_


def nothing(folder):
    pass


@pytest.mark.parametrize(
    "kind, break_, flags, message",
    [
        ("text", cut("schedule.npz"), [], "schedule.npz is not what was exported"),
        ("text", emptied("config.json"), [], "config.json is damaged; copy the folder once more"),
        ("text", configured(lambda c: c.pop("files")), [], "is damaged, it lacks 'files'; copy the"),
        ("images", configured(lambda c: c.pop("network")), [], "is damaged, it lacks network; copy"),
        ("images", cut("params.safetensors"), ["--backend", "torch"], "params.safetensors is not what"),
        ("images", emptied("denoiser_fp32.onnx"), [], "denoiser_fp32.onnx is not what was exported"),
        ("text", cut("tokenizer.json"), [], "tokenizer.json is not what was exported"),
        ("images", resealed("denoiser_fp32.onnx"), [], "--backend onnxruntime cannot run"),
        ("text", nothing, ["--prompt", "the " * 11], "prompt has 12 tokens, and a row of this model"),
        ("text", nothing, ["--seq_length", "3"], "--seq_length 3: this network learnt rows of 4 to"),
        ("text", nothing, ["--num_steps", "4,8"], "--num_steps wants a whole number"),
        ("text", nothing, ["--seed", "-1"], "--seed wants 0 to 4294967295; got -1"),
        ("images", nothing, ["--classes", "7"], "class 7 was not exported; there are 0, 2"),
        ("images", nothing, ["--backend", "tpu"], "no backend 'tpu'; there are "),
        ("images", nothing, ["--precision", "fp8"], "no precision 'fp8'; there are fp32, fp16, int8"),
    ],
)  # fmt: skip
def test_one_line_says_what_is_wrong(refused, kind, break_, flags, message):
    assert message in refused(kind, break_, *flags)


def test_another_tokenizer_is_not_taken_for_the_networks(refused):
    from data import tokenizer

    other = tokenizer.train_words(["a cat sat on the log and sang while the bird dog mat bad"])
    said = refused("text", lambda folder: other.save(folder / "tokenizer.json"))
    assert "tokenizer.json is not what was exported: it is damaged, or of another export" in said


def test_a_backend_that_is_not_installed_is_named(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert refused("images", nothing) == (
        "inference.py: --backend onnxruntime wants onnxruntime, which is not here"
    )


def test_what_ends_halfway_leaves_what_was_there(tmp_path):
    from jetson.files import whole

    path = tmp_path / "samples.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole(path) as file:
        file.write(b"ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
