"""One seed gives one sample in JAX, in torch and in onnxruntime."""

import runpy
import sys

import numpy as np
import pytest

for package in ("torch", "onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason="exports want '.[edge]'")

from jetson import draw  # noqa: E402
from jetson.package import Package  # noqa: E402
from tests.jetson import alike  # noqa: E402
from utils import sampling  # noqa: E402

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


@pytest.mark.parametrize(
    "steps, prompt, knobs",
    [
        (12, "", dict(solver="ancestral", temperature=0.9)),
        (12, "the cat [2] dog", dict(solver="confidence", temperature=0.9)),
        (6, "", dict(solver="remask_cap", top_k=6)),
        (12, "[*] {cat|dog}", dict(solver="remask_rescale", top_p=0.8, block_size=4)),
        (12, "the [1] sat", dict(solver="margin", rounds=2)),
        (12, "", dict(solver="entropy", rounds=3, block_size=5, temperature=0.0)),
        (4, "a [1]", dict(solver="random", rounds=2)),
    ],
    ids=lambda v: "-".join(map(str, v.values())) if isinstance(v, dict) else None,
)
def test_tokens_are_jaxs(exported, text_run, steps, prompt, knobs):
    folder = exported["text"][1]
    alike.writes_what_jax_writes(text_run, folder, prompt, 24, steps, SEED, knobs)


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
        assert f["arr_0"].shape == (3, 8, 8, 1) and f["arr_0"].dtype == np.uint8
        assert (f["arr_1"] == 2).all()
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
        ("text", ["--temperature", "-1"], "--temperature wants 0.0 or more; got -1.0"),
        ("text", ["--top_p", "0"], "--top_p wants a share above 0, at most 1; got 0.0"),
        ("text", ["--rounds", "13"], "--rounds 13 wants as many steps; --num_steps is 12"),
        ("text", ["--solver", "content"], "no solver 'content' on a device; there are ancestral,"),
        (
            "text",
            ["--num_steps", "25"],
            "python jetson/export.py --load_dir RUN --denoise_timesteps 25",
        ),
        ("text", ["--num_steps", "0"], "--num_steps wants at least 1; got 0"),
        ("text", ["--classes", "3"], "is a model of text, which has no --classes"),
        (None, [], "is no export: it has no config.json"),
    ],
)
def test_what_it_cannot_do_is_said_in_a_line(exported, tmp_path, monkeypatch, kind, words, message):
    folder = exported[kind][1] if kind else tmp_path
    with pytest.raises(SystemExit) as end:
        command(monkeypatch, "--load_dir", folder, "--out", tmp_path / "out", *words)
    assert message in str(end.value)


def test_fewer_steps_than_exported_are_the_nearest_that_were(exported, tmp_path, script):
    package = Package(exported["text"][1])
    rows, levels = draw.picked(package, 4)
    assert rows.tolist() == [0, 3, 6, 9, 12] and levels.alpha.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert draw.picked(package, 5)[0].tolist() == [0, 2, 5, 7, 10, 12]
    words = ["--load_dir", exported["text"][1], "--out", tmp_path, "--num_steps"]
    refusal, out = script("jetson/inference.py", *words, 5)
    assert not refusal and "5 of the 12 steps exported, as even as these allow" in out
    _, out = script("jetson/inference.py", *words, 4)
    assert "steps exported" not in out


def test_knobs_that_want_more_than_an_export_has_are_refused_and_not_forgotten(exported):
    package = Package(exported["text"][1])
    del package.schedule["hidden"]
    package.config["sampler"]["rounds"] = 2
    known = np.full((1, 10), -1)
    with pytest.raises(ValueError, match="--rounds 2 wants an export that has a row for each num"):
        draw.tokens(package, None, np.arange(1), known)
    package.config["sampler"].update(rounds=1, solver="remask_loop")
    with pytest.raises(ValueError, match="no solver 'remask_loop' on a device; .*--solver takes"):
        draw.tokens(package, None, np.arange(1), known)
