"""One seed gives one sample in JAX, in torch and in onnxruntime."""

import runpy
import sys

import numpy as np
import pytest

for package in ("torch", "onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason="exports want '.[edge]'")

from data import tokenizer  # noqa: E402
from jetson import draw, inference  # noqa: E402
from jetson.package import Package  # noqa: E402
from utils import sampling, writing  # noqa: E402

N, SEED = 6, 11


@pytest.mark.parametrize(
    "solver, scale, backends",
    [
        ("ddim", 1.0, ("torch",)),
        ("heun", 2.5, ("torch", "onnxruntime")),
        ("dpm2m", 2.5, ("torch",)),
    ],
)
def test_images_are_jaxs(exported, image_run, solver, scale, backends):
    labels = np.resize(np.array([0, 2], np.int32), N)
    run = sampling.restored(image_run, solver=solver)
    theirs = np.concatenate([*sampling.sampler(run, scale=scale, seed=SEED, batch_size=N)(labels)])
    assert theirs.std() > 0.1
    package = Package(exported["images"][1])
    for backend in backends:
        ours = draw.images(
            package,
            package.denoiser(backend),
            np.arange(N),
            labels,
            seed=SEED,
            scale=scale,
            solver=solver,
        )
        assert np.abs(ours - theirs).max() <= 2e-4 * np.abs(theirs).max()


@pytest.mark.parametrize("solver, prompt", [("ancestral", ""), ("confidence", "the cat [2] dog")])
def test_tokens_are_jaxs(exported, text_run, solver, prompt):
    """Rows that differ would be near-ties of two tokens; in these there is none."""
    n = 24
    run = writing.restored(text_run)
    run.config.model.dtype = "float32"  # it was trained in bfloat16; an export computes as finely
    run = writing.changed(run, solver=solver, temperature=0.9)
    known, _ = writing.asked(run, prompt, n, SEED)
    theirs = np.concatenate([*writing.writer(run, batch_size=n)(known, seed=SEED)])
    package = Package(exported["text"][1])
    words = tokenizer.load(package.folder / "tokenizer.json")
    mine = inference.asked(package.config, words, prompt, n, SEED)
    assert (mine == known).all()
    for backend in ("torch", "onnxruntime"):
        ours = draw.tokens(
            package,
            package.denoiser(backend),
            np.arange(n),
            mine,
            seed=SEED,
            solver=solver,
            temperature=0.9,
        )
        ours[np.cumsum(ours == tokenizer.EOS, -1) > (ours == tokenizer.EOS)] = tokenizer.PAD
        assert len({tuple(row) for row in ours}) > n // 2
        assert (ours == theirs).all()


def test_a_sample_does_not_depend_on_its_batch(exported):
    package = Package(exported["images"][1])
    denoise = package.denoiser("onnxruntime")
    labels = np.resize(np.array([0, 2]), 5)
    all_ = draw.images(package, denoise, np.arange(5), labels, seed=3)
    last = draw.images(package, denoise, np.arange(4, 5), labels[4:], seed=3)
    np.testing.assert_allclose(all_[4:], last, atol=1e-5)


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["inference.py", *map(str, words)])
    runpy.run_path("jetson/inference.py", run_name="__main__")


def test_the_script_writes_pictures_and_texts(exported, tmp_path, monkeypatch, capsys):
    images, text = (exported[kind][1] for kind in ("images", "text"))
    out = tmp_path / "images"
    command(
        monkeypatch,
        "--load_dir",
        images,
        "--out",
        out,
        "--num_samples",
        3,
        "--classes",
        "2",
        "--solver",
        "heun",
    )
    with np.load(out / "samples.npz") as f:
        assert f["x"].shape == (3, 8, 8, 1) and f["x"].dtype == np.uint8 and (f["label"] == 2).all()
    assert (out / "grid.png").exists() and "3 samples of" in capsys.readouterr().out
    out = tmp_path / "text"
    words = ["--load_dir", text, "--out", out, "--backend", "torch", "--precision", "fp16"]
    command(monkeypatch, *words, "--num_samples", 3, "--prompt", "the cat")
    said = (out / "samples.txt").read_text().strip().split("\n\n")
    assert len(said) == 3 and all(text.startswith("the cat") for text in said)


@pytest.mark.parametrize(
    "kind, words, message",
    [
        (
            "images",
            ["--solver", "churn"],
            "no solver 'churn' on a device; there are ddim, heun, dpm2m",
        ),
        ("images", ["--classes", "1"], "class 1 was not exported; there are 0, 2"),
        ("images", ["--classes", "x"], "--classes wants something like 3 or 0,5,7; got 'x'"),
        ("text", ["--temperature", "0"], "--temperature wants a number above 0; got 0.0"),
        ("text", ["--prompt", "a {cat|dog}"], "a choice such as {red|blue} is generate.py's alone"),
        (None, [], "is no export: it has no config.json"),
    ],
)
def test_what_it_cannot_do_is_said_in_a_line(exported, tmp_path, monkeypatch, kind, words, message):
    folder = exported[kind][1] if kind else tmp_path
    with pytest.raises(SystemExit) as end:
        command(monkeypatch, "--load_dir", folder, "--out", tmp_path / "out", *words)
    assert message in str(end.value)
