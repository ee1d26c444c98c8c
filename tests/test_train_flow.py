"""train_flow.py as a user runs it: three steps of every config, resuming, faults, refusals."""

import json
import re
import signal

import numpy as np
import pytest

from tests.autoencoders import tiny
from tests.pixels import pictures, png
from utils import checkpoint

TINY = [
    "--batch_size",
    "8",
    "--model.patch_size",
    "4",
    "--eval_interval",
    "100000",
    "--log_interval",
    "1",
]
TINY += ["--sampler.denoise_timesteps", "2", "--lr", "1e-3", "--ema_decay", "0.9"]


@pytest.fixture
def train(script, toy):
    """train(workdir, *flags) -> (refusal, out): a DiT of 4 tokens on the toy images."""
    return lambda workdir, *words: script(
        "train_flow.py", "--dataset_name", toy, "--workdir", workdir, *TINY, *words
    )


def leaves(workdir, step):
    """Every array of a checkpoint, by name."""
    import orbax.checkpoint as ocp

    tree = ocp.StandardCheckpointer().restore(
        (workdir / "checkpoints" / str(step) / "state").resolve()
    )
    import jax

    def plain(a):
        return np.asarray(
            jax.random.key_data(a) if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key) else a
        )

    return {jax.tree_util.keystr(k): plain(v) for k, v in jax.tree_util.tree_leaves_with_path(tree)}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def logged(workdir, name="loss"):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {r["step"]: r[name] for r in rows if name in r}


@pytest.mark.slow
def test_200_steps_and_200_more_are_400_bit_for_bit(train, tmp_path):
    quiet = ["--log_interval", "200", "--save_interval", "50"]
    assert train(tmp_path / "a", "--max_steps", "200", *quiet)[0] == ""
    refusal, out = train(tmp_path / "a", "--max_steps", "400", *quiet)
    assert refusal == "" and "step 200 of 400" in out
    assert train(tmp_path / "b", "--max_steps", "400", *quiet)[0] == ""
    assert_same(leaves(tmp_path / "a", 400), leaves(tmp_path / "b", 400))


def test_a_streamed_run_goes_on_exactly(train, tmp_path):
    for i, a in enumerate(pictures(60, 8, 1)):
        (tmp_path / "x" / f"c{i % 2}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / f"c{i % 2}" / f"{i}.png").write_bytes(png(a))
    words = ["--dataset_name", f"folder:{tmp_path / 'x'}", "--stream", "--max_steps"]
    assert train(tmp_path / "a", *words, "5")[0] == ""
    refusal, out = train(tmp_path / "a", *words, "12")
    assert refusal == "" and "54 images 8x8x1, 2 classes" in out and "step 5 of 12" in out
    assert train(tmp_path / "b", *words, "12")[0] == ""
    assert_same(leaves(tmp_path / "a", 12), leaves(tmp_path / "b", 12))


def test_a_finished_run_may_be_started_again_without_harm(train, tmp_path):
    train(tmp_path, "--max_steps", "3")
    before = leaves(tmp_path, 3)
    refusal, out = train(tmp_path, "--max_steps", "3")
    assert refusal == "" and "done: 3 steps" in out
    assert_same(before, leaves(tmp_path, 3))


def test_the_loss_falls_and_everything_is_written(train, tmp_path):
    refusal, out = train(
        tmp_path,
        "--max_steps",
        "150",
        "--eval_interval",
        "75",
        "--save_interval",
        "50",
        "--keep",
        "2",
    )
    assert refusal == ""
    losses = logged(tmp_path)
    assert np.mean([losses[i] for i in range(131, 151)]) < 0.6 * losses[1]
    assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == [
        "0000075.png",
        "0000150.png",
    ]
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["100", "150"]
    assert logged(tmp_path, "valid_loss_t0.5").keys() == {75, 150}
    assert re.search(
        r"step    150/150  loss [\d.]+  grad_norm [\d.]+  \d+ images/s  0:00 left", out
    )


def test_micro_batches_are_the_whole_batch(train, tmp_path):
    train(tmp_path / "a", "--max_steps", "5", "--flip")
    train(tmp_path / "b", "--max_steps", "5", "--flip", "--accumulate", "4")
    a, b = logged(tmp_path / "a"), logged(tmp_path / "b")
    np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=1e-5)


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(train, tmp_path):
    train(tmp_path, "--max_steps", "4", "--save_interval", "2")
    files = [p for p in (tmp_path / "checkpoints" / "4" / "state").rglob("*") if p.is_file()]
    largest = max(files, key=lambda p: p.stat().st_size)
    raw = bytearray(largest.read_bytes())
    raw[len(raw) // 2] ^= 4  # one bit
    largest.write_bytes(raw)
    refusal, out = train(tmp_path, "--max_steps", "6", "--save_interval", "2")
    assert refusal == ""
    assert re.search(r"checkpoint \S*/4 is damaged .* kept as damaged-4, using 2", out)
    assert "step 2 of 6" in out
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} >= {"2", "4", "6", "damaged-4"}


def test_when_no_checkpoint_is_whole_the_run_does_not_start_over(train, tmp_path):
    train(tmp_path, "--max_steps", "2")
    for p in (tmp_path / "checkpoints" / "2" / "state").rglob("*"):
        if p.is_file():
            p.write_bytes(b"")
    for _ in range(2):  # and neither does it when it is asked again
        refusal, _ = train(tmp_path, "--max_steps", "4")
        assert "no whole checkpoint" in refusal and "(2: " in refusal
    assert checkpoint.steps_in(tmp_path / "checkpoints") == [2]


def test_a_changed_config_is_refused_with_a_diff(train, tmp_path):
    train(tmp_path, "--max_steps", "2")
    refusal, _ = train(tmp_path, "--max_steps", "4", "--lr", "5e-3")
    assert "another config" in refusal and "lr: 0.001 -> 0.005" in refusal
    refusal, _ = train(tmp_path, "--max_steps", "4", "--model.hidden_size", "32")
    assert "model.hidden_size: None -> 32" in refusal


def test_changed_images_under_an_old_name_are_refused_and_nothing_is_set_aside(script, tmp_path):
    words = ["--dataset_name", f"npz:{tmp_path / 'a.npz'}", "--workdir", tmp_path / "run", *TINY]
    for side, message in ((8, ""), (12, "shape: [8, 8, 1] -> (12, 12, 1)")):
        np.savez(tmp_path / "a.npz", x=np.zeros((20, side, side, 1), np.uint8))
        refusal, _ = script("train_flow.py", *words, "--max_steps", side)
        assert message in refusal and bool(message) == bool(refusal)
    assert checkpoint.steps_in(tmp_path / "run" / "checkpoints") == [8]


@pytest.mark.parametrize("interval", ["1", "10"])
def test_a_diverging_run_names_its_steps_and_saves_nothing_of_it(train, tmp_path, interval):
    words = ["--clip", "0", "--lr", "1e30", "--warmup", "4", "--max_steps", "60"]
    refusal, _ = train(tmp_path, *words, "--save_interval", "1", "--log_interval", interval)
    wanted = r"the (loss|grad_norm|param_norm) became (nan|inf) between steps \d+ and \d+; nothing"
    assert re.search(wanted, refusal), refusal
    for step in checkpoint.steps_in(tmp_path / "checkpoints"):
        assert all(np.isfinite(a).all() for a in leaves(tmp_path, step).values())


def test_a_disk_too_full_for_a_line_of_metrics_is_one_line(train, tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    refusal, out = train(
        tmp_path, "--max_steps", "6", "--log_interval", "4", "--save_interval", "2"
    )
    assert refusal == "train_flow.py: [Errno 28] No space left on device", out
    assert checkpoint.steps_in(tmp_path / "checkpoints") == [2]


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_goes_on_exactly(process, train, toy, tmp_path):
    words = ["--lr_schedule", "cosine", "--log_interval", "20"]
    words += ["--max_steps", "800", "--save_interval", "100000"]
    run = process(
        "train_flow.py", "--dataset_name", toy, "--workdir", tmp_path / "a", *TINY, *words
    )
    for line in run.stdout:
        if line.startswith("step     40"):
            break
    run.send_signal(signal.SIGTERM)
    out = run.stdout.read()
    assert run.wait(60) == 0, out
    stopped = int(re.search(r"stopped by signal 15 at step (\d+), after .*; saved", out)[1])
    assert checkpoint.steps_in(tmp_path / "a" / "checkpoints") == [stopped]
    assert stopped < 800
    refusal, out = train(tmp_path / "a", *words)
    assert refusal == "" and f"step {stopped} of 800" in out
    assert train(tmp_path / "b", *words)[0] == ""
    assert_same(leaves(tmp_path / "a", 800), leaves(tmp_path / "b", 800))


def test_a_batch_that_devices_cannot_share_is_refused(process, toy, tmp_path):
    run = process(
        "train_flow.py",
        "--dataset_name",
        toy,
        "--batch_size",
        "6",
        "--workdir",
        tmp_path,
        devices=4,
    )
    out = run.communicate()[0]
    assert run.returncode != 0 and "Traceback" not in out
    assert (
        out.strip().splitlines()[-1]
        == "train_flow.py: a batch of 6 cannot be shared by 4 devices; 8 can"
    )


@pytest.mark.parametrize(
    "words, message",
    [
        (["--learning_rate", "1"], "no flag --learning_rate"),
        (["--model.preset", "hueg"], "no dit preset 'hueg'; there are debug, big"),
        (["--model.name", "vit"], "no model.name 'vit'.* dit, unet"),
        (["--dataset_name", "mnits"], "no dataset 'mnits'; did you mean mnist"),
        (
            ["--dataset_name", "mnist", "--data_dir", "/nowhere"],
            "idx files .* at /nowhere/mnist, which is not there",
        ),
        (["--sampler.solver", "hein"], "no solver 'hein'; did you mean 'heun'"),
        (["--process.target", "noise"], "no process.target 'noise'.* x0, eps, v, velocity"),
        (["--process.target", "eps"], "'eps' says nothing of x_0 at t = 1"),
        (["--model.patch_size", "3"], "side divisible by patch_size 3; got 8x8"),
        (["--model.num_heads", "7"], "multiple of .*num_heads 7"),
        (["--lr_schedule", "steps"], "no lr_schedule 'steps'; there are constant, cosine"),
        (
            ["--batch_size", "9", "--accumulate", "2"],
            "batch of 9 cannot be shared by 1 devices x 2",
        ),
        (["--model.dtype", "float8"], "no dtype 'float8'"),
        (["--model.attention", "flash"], "no attention 'flash'; there are auto, xla, cudnn"),
        (["--model.attention", "cudnn"], "'cudnn' wants a GPU; this is a cpu"),
        (["--log_interval", "0"], "--log_interval wants more than 0; got 0"),
        (["--keep", "0"], "--keep wants more than 0"),
        (["--model.patch_size", "0"], "--model.patch_size wants more than 0"),
        (["--seed", "-1"], "--seed wants 0 or more; got -1"),
        (["--lr", "none"], "--lr wants float; got none"),
        (["--process.class_dropout_prob", "2"], r"wants a share in \[0, 1\); got 2"),
        (["--workdir", "/proc/nowhere"], "/proc/nowhere"),
        (["--model.use_stable_vae", "1"], "sd-vae-ft-mse .*download it where there is a network"),
        (
            ["--model.name", "unet", "--model.preset", "cifar"],
            "halves its input 3 times|GroupNorm|groups",
        ),
    ],
)
def test_bad_input_is_one_line_that_says_what_there_is(train, tmp_path, words, message):
    if words[:2] == ["--model.name", "unet"]:
        words = [*words, "--image_size", "6"]
    refusal, _ = train(tmp_path / "run", "--max_steps", "2", *words)
    assert re.search(message, refusal) and "\n" not in refusal, refusal
    assert not (tmp_path / "run").exists(), "nothing is left behind"


def test_trackers_are_written_when_asked(train, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is an extra")
    pytest.importorskip("tensorboardX", reason="tensorboardX is an extra")
    monkeypatch.setenv("WANDB_SILENT", "true")
    refusal, _ = train(tmp_path, "--max_steps", "2", "--wandb.name", "try", "--tensorboard")
    assert refusal == ""
    assert list(tmp_path.glob("wandb/offline-run-*")) and list(tmp_path.glob("tensorboard/events*"))


def test_a_missing_tracker_says_how_to_get_it(monkeypatch):
    import importlib

    from utils import wandb

    monkeypatch.setattr(
        importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name))
    )
    with pytest.raises(ImportError, match="pip install tensorboardX"):
        wandb.tracker("tensorboardX", "tb")


SMALL = ["--model.hidden_size", "32", "--model.depth", "2", "--model.num_heads", "2"]
CONFIGS = {
    "flow": [],
    "digits": SMALL,
    "mnist": SMALL,
    "mnist_ddpm": ["--model.preset", "debug"],
    "cifar10": SMALL,
    "cifar10_cpu": SMALL,
    "cifar10_ddpm": ["--model.preset", "debug"],
    "cifar10_latent": SMALL,
}


@pytest.mark.parametrize("name", CONFIGS)
def test_three_steps_of_every_config(script, toy, tmp_path, name):
    """On toy images of the config's own kind of data: the recipe, not the dataset, is tried."""
    words = [
        "--batch_size",
        "4",
        "--max_steps",
        "3",
        "--log_interval",
        "1",
        "--model.patch_size",
        "4",
    ]
    refusal, out = script(
        "train_flow.py", f"--config=configs/{name}.py", "--dataset_name", toy, "--workdir", tmp_path,
        "--sampler.denoise_timesteps", "2", *words, *CONFIGS[name],
        "--model.vae", tiny(tmp_path / "vae.safetensors"),
    )  # fmt: skip
    assert refusal == "" and "done: 3 steps" in out
    assert all(np.isfinite(v) for v in logged(tmp_path).values())


def test_every_config_has_its_smoke():
    from pathlib import Path

    flow = {
        p.stem for p in Path("configs").glob("[a-z]*.py") if "python train_flow.py" in p.read_text()
    }
    assert flow == set(CONFIGS)
