"""Asking line by line: what comes is what one command each would have written."""

import io

import numpy as np
import pytest

for package in ("torch", "onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason="exports want '.[edge]'")


@pytest.fixture
def typed(script, monkeypatch):
    """Runs inference.py on lines: typed(folder, out, line, ...) -> what it printed."""

    def run(folder, out, *lines):
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        words = ["--load_dir", folder, "--out", out, "--interactive"]
        refusal, said = script("jetson/inference.py", *words)
        assert not refusal
        return said

    return run


def test_lines_are_prompts_and_settings_stay(exported, tmp_path, typed, script):
    folder = exported["text"][1]
    said = typed(
        folder, tmp_path / "a", "the cat [2] dog", ":seed 5", ":set temperature 0.5", ":steps 6",
        "a [*] dog", ":again", "", ":show", ":seed none", ":show",
    )  # fmt: skip
    assert "temperature = 0.5" in said and "num_steps = 6" in said
    assert said.index("seed = 6") < said.index("seed = 0"), ":again takes the next, none the first"
    flags = ["--temperature", 0.5, "--num_steps", 6, "--num_samples", 1]
    common = ["jetson/inference.py", "--load_dir", folder, "--out", tmp_path / "b"]
    at = 0
    for words in (
        ["--prompt", "the cat [2] dog", "--num_samples", 1],
        ["--prompt", "a [*] dog", "--seed", 5, *flags],
        ["--prompt", "a [*] dog", "--seed", 6, *flags],
        ["--prompt", "", "--seed", 6, *flags],
    ):
        refusal, once = script(*common, *words)
        assert not refusal
        text = once.split("\n\n1 samples")[0]
        at = said.index(text, at) + len(text)


def test_mistakes_are_told_and_the_talk_goes_on(exported, tmp_path, typed):
    said = typed(
        exported["text"][1], tmp_path, ":colour 3", ":seed x", ":steps 13", "the", ":steps none",
        "the unicorn", ":cfg_scale 2", ":help", "the cat",
    )  # fmt: skip
    for message in (
        "no command :colour; :help lists them, and settings are num_samples, seed,",
        ":seed wants a whole number; got 'x'",
        "--num_steps 13: this export has the noise levels of 12 steps",
        "the tokenizer does not know 'unicorn'",
        "no command :cfg_scale",
        "gaps are [3], [*] and {one|of|these}",
    ):
        assert message in said
    assert "the cat" in said.split(":help, :quit")[1]


def test_lines_are_classes_where_the_export_draws(exported, tmp_path, typed):
    said = typed(exported["images"][1], tmp_path, "1", ":samples 3", "2,0", ":quit", "0")
    assert "class 1 was not exported; there are 0, 2" in said
    with np.load(tmp_path / "samples.npz") as f:
        assert f["arr_1"].tolist() == [2, 0, 2], "nothing is read behind :quit"
