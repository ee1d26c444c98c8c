import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from utils import config as flags

ROOT = Path(__file__).resolve().parents[2]
FLOW = "configs/flow.py"


def parse(*words, default=FLOW):
    return flags.parse(["train_flow.py", *words], default)


def test_both_spellings_set_the_same_knob():
    a = parse("--config.model.depth=12", "--config.lr=2e-4")
    b = parse("--model.depth", "12", "--lr", "2e-4")
    assert a == b and a.model.depth == 12 and a.lr == 2e-4


SEED_LINES = [
    "--dataset_name cifar10 --batch_size 128 --model.preset big --model.patch_size 8 --model.use_stable_vae 0",
    "--dataset_name tiny-imagenet --batch_size 64 --model.preset big --model.patch_size 8 --model.use_stable_vae 0",
    "--dataset_name imagenet256 --wandb.name DiT-B --model.depth 12 --model.hidden_size 768 --model.patch_size 2 "
    "--model.num_heads 16 --model.mlp_ratio 4 --batch_size 512",
    "--dataset_name celebahq256 --wandb.name DiT-B-CelebAPixel --model.depth 12 --model.hidden_size 768 "
    "--model.patch_size 8 --model.num_heads 16 --model.mlp_ratio 4 --batch_size 512 --use_stable_vae 0",
]


@pytest.mark.parametrize("line", SEED_LINES)
def test_the_published_command_lines_parse(line):
    words = line.split()
    c = parse(*words)
    assert c.dataset_name == words[1]
    assert c.model.patch_size == int(words[words.index("--model.patch_size") + 1])
    if "--wandb.name" in words:
        assert c.wandb.name.startswith("DiT-B") and c.model.mlp_ratio == 4.0


def test_a_preset_can_be_asked_for_where_the_config_file_has_none():
    assert parse("--config=configs/digits.py").model.preset is None
    assert parse("--config=configs/digits.py", "--model.preset", "DiT-S").model.preset == "DiT-S"


def test_flags_beat_the_config_file_and_the_file_beats_the_default():
    assert parse("--config=configs/digits.py").model.depth == 4
    assert parse("--config=configs/digits.py", "--model.depth", "6").model.depth == 6
    assert parse("--model.depth", "6", "--config", "configs/digits.py").model.depth == 6


@pytest.mark.parametrize(
    "words, value",
    [
        (["--flip"], True),
        (["--flip", "0"], False),
        (["--flip=1"], True),
        (["--noflip"], False),
        (["--flip", "false"], False),
    ],
)
def test_a_switch_reads_its_value_with_and_without_a_space(words, value):
    assert parse(*words).flip is value


def test_negative_numbers_and_none_are_values():
    c = parse("--process.time_mean", "-0.4", "--model.preset", "none")
    assert c.process.time_mean == -0.4 and c.model.preset is None


@pytest.mark.parametrize(
    "words, message",
    [
        (["--modle.depth", "3"], "no flag --modle.depth; did you mean --model.depth"),
        (["--depth", "3"], "did you mean --model.depth"),
        (["--batch_size", "many"], "--batch_size wants int; got 'many'"),
        (["--batch_size", "2.5"], "--batch_size wants int; got '2.5'"),
        (["--lr"], "--lr wants a value"),
        (["--flip", "perhaps"], "--flip wants bool; got 'perhaps'"),
        (["digits"], "stray word 'digits'"),
        (["--model", "big"], "--model is a group of flags"),
    ],
)
def test_bad_flags_are_refused_in_one_line_with_what_there_is(words, message):
    with pytest.raises(ValueError) as caught:
        parse(*words)
    assert message in str(caught.value).replace("no flag --model;", "--model is a group of flags;")
    assert "\n" not in str(caught.value)


def test_a_missing_config_file_names_those_there_are():
    with pytest.raises(FileNotFoundError, match=r"configs/ has .*digits.*mnist"):
        parse("--config=configs/nope.py")


def test_a_file_without_get_config_is_refused(tmp_path):
    (tmp_path / "bad.py").write_text("x = 1")
    with pytest.raises(ValueError, match="no get_config"):
        parse(f"--config={tmp_path / 'bad.py'}")


def test_dry_run_prints_the_flattened_config_and_stops(capsys):
    with pytest.raises(SystemExit) as end:
        parse("--dry_run", "--model.depth", "7")
    assert end.value.code == 0
    assert "model.depth = 7" in capsys.readouterr().out


def test_help_lists_every_knob_within_two_seconds():
    seconds = []
    for _ in range(3):  # the best of three: the machine may be busy
        began = time.perf_counter()
        words = [sys.executable, "train_flow.py", "--help"]
        out = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 2
    for name in flags.flatten(flags.load(str(ROOT / FLOW))):
        assert f"--{name} " in out.stdout


def test_a_name_that_no_config_has_is_refused_in_a_file_too(tmp_path):
    text = (
        "from configs import flow\n\ndef get_config():\n    c = flow.get_config()\n    c.lrr = 3\n"
    )
    (tmp_path / "typo.py").write_text(text + "    return c\n")
    with pytest.raises(ValueError, match="lrr"):
        parse(f"--config={tmp_path / 'typo.py'}")


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("[a-z]*.py")), ids=lambda p: p.stem)
def test_every_config_survives_a_checkpoint_and_tells_its_command(path):
    flat = flags.flatten(flags.load(str(path)))
    assert not flags.differences(json.loads(json.dumps(flat)), flat)
    assert "python train_" in path.read_text()


def test_differences_name_what_matters_and_nothing_else():
    old = flags.flatten(parse())
    new = dict(old, lr=1.0, log_interval=7)
    new["model.depth"] = 9
    assert flags.differences(old, new) == ["lr: 0.0001 -> 1.0", "model.depth: None -> 9"]


def test_a_constant_rate_may_go_on_for_longer_and_a_cosine_may_not():
    old = flags.flatten(parse("--max_steps", "10"))
    assert not flags.differences(old, old | {"max_steps": 20})
    old["lr_schedule"] = "cosine"
    assert flags.differences(old, old | {"max_steps": 20}) == ["max_steps: 10 -> 20"]


def test_an_error_of_ours_is_one_line_and_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_flow.py"])
    with pytest.raises(SystemExit, match="train_flow.py: no config file"):
        flags.run(lambda: parse("--config=nope.py"))
    with pytest.raises(ValueError):
        flags.run(lambda: int("x"))
