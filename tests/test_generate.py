"""generate.py, train_classifier.py and eval_fid.py on a run of a few steps."""

import json
import re
import runpy

import numpy as np
import pytest
from PIL import Image

from utils import sampling

TINY = [
    "--batch_size",
    "8",
    "--model.patch_size",
    "4",
    "--log_interval",
    "100",
    "--eval_interval",
    "100000",
]


@pytest.fixture(scope="session")
def run(toy, tmp_path_factory):
    """The workdir of 60 steps on the toy images, and features trained on them."""
    import sys

    folder = tmp_path_factory.mktemp("run")
    flow = [
        "--dataset_name",
        toy,
        "--workdir",
        folder,
        "--max_steps",
        60,
        "--lr",
        "3e-3",
        "--ema_decay",
        0.9,
        *TINY,
    ]
    features = [
        "--dataset_name",
        toy,
        "--out",
        folder / "features.npz",
        "--steps",
        40,
        "--batch_size",
        16,
    ]
    for name, words in (("train_flow.py", flow), ("train_classifier.py", features)):
        old, sys.argv = sys.argv, [name, *map(str, words)]
        try:
            runpy.run_path(name, run_name="__main__")
        finally:
            sys.argv = old
    return folder


def generated(folder):
    with np.load(folder / "samples.npz") as f:
        return f["arr_0"], f["arr_1"]


def test_a_checkpoint_directory_is_enough(script, run, tmp_path):
    refusal, out = script(
        "generate.py",
        "--load_dir",
        run,
        "--num_samples",
        12,
        "--denoise_timesteps",
        3,
        "--out",
        tmp_path,
    )
    assert refusal == "" and "12 images" in out
    x, label = generated(tmp_path)
    assert x.shape == (12, 8, 8, 1) and x.dtype == np.uint8
    assert list(label) == [0, 1] * 6
    assert Image.open(tmp_path / "grid.png").width > 400
    assert Image.open(tmp_path / "denoising.gif").n_frames == 4


def test_an_image_depends_on_seed_and_index_and_not_on_the_batch(script, process, run, tmp_path):
    words = [
        "--load_dir",
        run,
        "--classes",
        "1",
        "--denoise_timesteps",
        4,
        "--no_film",
        "--solver",
        "churn",
    ]
    script("generate.py", *words, "--num_samples", 10, "--out", tmp_path / "a")
    script("generate.py", *words, "--num_samples", 6, "--batch_size", 4, "--out", tmp_path / "b")
    script("generate.py", *words, "--num_samples", 6, "--seed", 1, "--out", tmp_path / "c")
    four = process("generate.py", *words, "--num_samples", "6", "--out", tmp_path / "d", devices=4)
    out = four.communicate()[0]
    assert four.returncode == 0, out
    a, b, c, d = (generated(tmp_path / k)[0].astype(int) for k in "abcd")
    assert abs(a[:6] - b).max() <= 1 and abs(a[:6] - d).max() <= 1  # rounding to bytes
    assert abs(a[:6] - c).max() > 20


def test_classes_and_guidance_are_obeyed(script, run, tmp_path):
    script(
        "generate.py",
        "--load_dir",
        run,
        "--classes",
        "0,1",
        "--num_samples",
        40,
        "--cfg_scale",
        1.5,
        "--out",
        tmp_path,
    )
    x, label = generated(tmp_path)
    means = x.reshape(40, -1).mean(1)
    assert means[label == 1].mean() > means[label == 0].mean() + 60, "class 1 is the bright one"


def test_a_run_can_be_guided_by_a_weaker_one(script, run, tmp_path):
    words = ["--load_dir", run, "--num_samples", 4, "--denoise_timesteps", 3, "--no_film"]
    script("generate.py", *words, "--cfg_scale", 1, "--out", tmp_path / "a")
    refusal, _ = script(
        "generate.py", *words, "--cfg_scale", 3, "--weak_dir", run, "--out", tmp_path / "b"
    )
    assert refusal == ""
    a, b = generated(tmp_path / "a")[0].astype(int), generated(tmp_path / "b")[0].astype(int)
    assert abs(a - b).max() <= 1, "guided away from itself, nothing changes"


@pytest.mark.parametrize(
    "words, message",
    [
        (["--load_dir", "/nowhere"], "/nowhere is not there; wanted the workdir"),
        (["--step", "7"], r"no checkpoint 7; there are \[60\]"),
        (["--classes", "5"], "classes are 0 to 1"),
        (["--classes", "x"], "wants something like"),
        (["--num_samples", "0"], "at least 1"),
        (["--denoise_timesteps", "0"], "at least 1"),
        (["--solver", "dimd"], "no solver 'dimd'; did you mean 'ddim'"),
        (["--cfg_interval", "0.8,0.2"], "two noise levels"),
        (["--sovler", "ddim"], "unrecognized arguments: --sovler"),
    ],
)
def test_bad_requests_are_one_line(script, run, tmp_path, words, message):
    refusal, _ = script("generate.py", "--load_dir", run, "--out", tmp_path / "out", *words)
    assert re.search(message, refusal), refusal
    assert not (tmp_path / "out").exists()


def test_a_folder_without_checkpoints_and_a_foreign_one_are_told_apart(script, run, tmp_path):
    refusal, _ = script("generate.py", "--load_dir", tmp_path)
    assert "holds no checkpoint" in refusal
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    refusal, _ = script("generate.py", "--load_dir", tmp_path)
    assert "is not a checkpoint of this project" in refusal
    (tmp_path / "checkpoints" / "10" / "meta").mkdir()
    meta = {"config": {"lr": 1.0}, "fingerprints": {}, "data": {}}  # of some other script
    (tmp_path / "checkpoints" / "10" / "meta" / "metadata").write_text(json.dumps(meta))
    refusal, _ = script("generate.py", "--load_dir", tmp_path)
    assert "not trained by train_flow.py" in refusal


def test_a_damaged_checkpoint_is_not_sampled(script, run, tmp_path):
    import shutil

    shutil.copytree(run, tmp_path / "copy")
    path = tmp_path / "copy" / "checkpoints" / "60" / "meta" / "metadata"
    meta = json.loads(path.read_text())
    name = next(k for k in meta["fingerprints"] if k.startswith(".ema"))
    meta["fingerprints"][name] += 1
    path.write_text(json.dumps(meta))
    refusal, _ = script("generate.py", "--load_dir", tmp_path / "copy")
    assert "is damaged: 1 arrays are not what was saved" in refusal


def test_a_score_says_all_that_it_depends_on(script, run):
    refusal, out = script(
        "eval_fid.py",
        "--load_dir",
        run,
        "--features",
        run / "features.npz",
        "--denoise_timesteps",
        5,
        "--cfg_scale",
        1,
    )
    assert refusal == ""
    assert re.search(
        r"FD\[npz:.*-cnn@[0-9a-f]{8}\] n=6  [\d.]+  floor=[-\d.]+ \(held-out, n=6\)  class accuracy",
        out,
    )
    assert "not an FID" in out and "ema weights, ddim 5 steps, cfg_scale 1.0, seed 0" in out
    result = json.loads((run / "score.json").read_text())
    assert result["n"] == 6 and result["value"] >= 0


def test_exactly_n_samples_are_scored_whatever_the_batch(script, run):
    values = []
    for batch in (3, 10):
        script("eval_fid.py", "--load_dir", run, "--features", run / "features.npz", "--num_samples", 10,
               "--batch_size", batch, "--denoise_timesteps", 3, "--cfg_scale", 1)  # fmt: skip
        result = json.loads((run / "score.json").read_text())
        assert result["n"] == 10
        values.append(result["value"])
    assert values[0] == pytest.approx(values[1], rel=0.02)


def test_samples_are_in_the_layout_of_adm_and_are_scored_again(script, run, toy, tmp_path):
    words = ["--num_samples", 12, "--denoise_timesteps", 3, "--out", tmp_path, "--no_film"]
    script("generate.py", "--load_dir", run, *words)
    x, label = generated(tmp_path)
    assert x.dtype == np.uint8 and x.shape == (12, 8, 8, 1) and label.tolist() == [0, 1] * 6
    words = ["--features", run / "features.npz", "--out", tmp_path, "--reference", toy]
    refusal, _ = script("eval_fid.py", "--images", f"npz:{tmp_path / 'samples.npz'}", *words)
    result = json.loads((tmp_path / "score.json").read_text())
    assert refusal == "" and result["n"] == 12 and 0 <= result["class_accuracy"] <= 1


def test_a_sweep_is_one_table_one_plot_and_one_file(script, run):
    words = ["--sweep", "cfg_scale=1,1.2 steps=3,5", "--num_samples", 6]
    refusal, out = script(
        "eval_fid.py", "--load_dir", run, "--features", run / "features.npz", *words
    )
    assert refusal == ""
    results = json.loads((run / "sweep.json").read_text())
    assert [(r["cfg_scale"], r["steps"]) for r in results] == [(1, 3), (1, 5), (1.2, 3), (1.2, 5)]
    assert len({r["value"] for r in results}) == 4 and out.count("| 1.2 |") == 2
    assert Image.open(run / "sweep.png").size[0] > 100


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["--features", "none.npz"],
            "no features at none.npz; make them with: python train_classifier.py",
        ),
        (["--num_samples", "1"], "at least 2"),
        (["--dataset_name", "digitz"], "no features at runs/features/digitz.npz"),
    ],
)
def test_bad_scores_are_refused(script, run, words, message):
    base = [] if "--dataset_name" in words else ["--features", run / "features.npz"]
    refusal, _ = script("eval_fid.py", "--load_dir", run, *base, *words)
    assert re.search(message, refusal), refusal


def test_a_file_that_holds_no_features_is_refused(script, run, tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    refusal, _ = script("eval_fid.py", "--load_dir", run, "--features", tmp_path / "x.npz")
    assert "is not a features file" in refusal


def test_images_of_another_range_are_refused_and_a_little_overshoot_is_not():
    in_range = sampling.in_range
    x = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 1))
    in_range(x * 1.1)
    with pytest.raises(ValueError, match=r"range over \[[-\d.].*wanted pixels in \[-1, 1\]"):
        in_range(x * 127.5 + 127.5)
    with pytest.raises(ValueError, match="outside"):
        in_range(2 * x - 1)
    with pytest.raises(ValueError, match="outside"):
        in_range(x * np.nan)


def test_a_weak_run_of_another_process_is_no_guide(script, run, toy, tmp_path):
    words = ["--dataset_name", toy, "--workdir", tmp_path / "weak", "--max_steps", 1, *TINY]
    script(
        "train_flow.py",
        *words,
        "--process.target",
        "x0",
        "--eval_interval",
        1,
        "--sampler.denoise_timesteps",
        1,
    )
    refusal, _ = script(
        "generate.py", "--load_dir", run, "--weak_dir", tmp_path / "weak", "--out", tmp_path / "o"
    )
    assert "cannot guide" in refusal and "target velocity and x0" in refusal


def test_a_film_ends_with_the_finished_images(script, run, tmp_path):
    words = ["--load_dir", run, "--num_samples", 2, "--denoise_timesteps", 120, "--out", tmp_path]
    script("generate.py", *words)
    film, grid = Image.open(tmp_path / "denoising.gif"), Image.open(tmp_path / "grid.png")
    film.seek(film.n_frames - 1)
    last = np.asarray(film.convert("L").resize(grid.size)).astype(int)
    assert film.n_frames <= 50
    assert abs(last - np.asarray(grid.convert("L")).astype(int)).mean() < 12


def test_a_classifier_wants_classes(script, tmp_path):
    np.savez(tmp_path / "one.npz", x=np.zeros((20, 8, 8, 1), np.uint8))
    refusal, _ = script("train_classifier.py", "--dataset_name", f"npz:{tmp_path / 'one.npz'}")
    assert "at least 2 classes" in refusal
