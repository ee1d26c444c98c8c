"""Devices, processes and modes: one run, whoever does it."""

import json
import shutil
import signal
import time

import numpy as np
import pytest

from tests import group
from tests.group import finished
from utils import checkpoint

pytestmark = pytest.mark.slow
STEPS, MORE = 10, 15
ONE = (1, 1, "pmap")


@pytest.fixture(scope="module")
def start():
    """start(processes, devices, steps, runs, *flags): the started processes, ended with the test.

    runs: {mode: workdir}; fail: what the last process does at step 7, see trainer.py.
    """
    running = []

    def trainers(processes, devices, steps, runs, *words, fail=""):
        runs = [f"{mode}={workdir}" for mode, workdir in runs.items()]
        words = "tests/utils/trainer.py", steps, *runs, *words
        started = group.start(processes, devices, *words, last={"FAIL": fail})
        running.extend(started)
        return started

    yield trainers
    for run in running:
        run.kill()


def losses(workdir):
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return {row["step"]: row["loss"] for row in rows}


def seen(workdir, process=0):
    """(devices, arrays of the state, how many were cut, last step, signal, the numbers 0 to 7 as
    the processes put them together) as a process saw them."""
    return (workdir / f"{process}.txt").read_text().split()


@pytest.fixture(scope="module")
def runs(start, tmp_path_factory):
    """{(processes, devices, mode): workdir} of runs of STEPS steps; that of one device is longer."""
    folder = tmp_path_factory.mktemp("runs")
    found = {ONE: folder / "one"}
    finished(start(1, 1, MORE, {"pmap": found[ONE]}))
    for processes, devices in ((1, 4), (2, 2)):
        of = {m: folder / f"{processes}x{devices}-{m}" for m in ("pmap", "fsdp")}
        finished(start(processes, devices, STEPS, of))
        found |= {(processes, devices, mode): workdir for mode, workdir in of.items()}
    return found


def as_one(runs, workdir, last):
    """Whether a run has the losses that one device has, up to `last`."""
    wanted, got = losses(runs[ONE]), losses(workdir)
    assert list(got)[:last] == list(range(1, last + 1)), "each step once"
    for step in range(1, last + 1):
        assert got[step] == pytest.approx(wanted[step], abs=1e-6), step


def test_four_devices_and_two_processes_with_two_each_learn_what_one_device_does(runs):
    assert losses(runs[ONE])[STEPS] < losses(runs[ONE])[1]
    others = [workdir for which, workdir in runs.items() if which != ONE]
    for workdir in others:
        as_one(runs, workdir, STEPS)
    judged = [float((workdir / "judged.txt").read_text()) for workdir in others]
    np.testing.assert_allclose(judged, judged[0], rtol=1e-6, err_msg="the average, on process 0")


def test_fsdp_cuts_the_large_arrays_and_pmap_none(runs):
    for (processes, devices, mode), workdir in runs.items():
        count, arrays, cut = map(int, seen(workdir)[:3])
        assert seen(workdir, processes - 1)[5:] == list("01234567")
        assert count == processes * devices
        # two matrices, their averages, and two moments of Adam
        assert cut == (8 if mode == "fsdp" and count > 1 else 0) < arrays


def test_a_run_goes_on_on_other_devices_in_other_processes_and_modes(runs, start, tmp_path):
    moves = [
        ((2, 2, "fsdp"), (1, 1, "pmap")),
        ((2, 2, "pmap"), (1, 4, "fsdp")),
        ((1, 4, "fsdp"), (1, 4, "pmap")),
        ((1, 4, "pmap"), (2, 2, "fsdp")),
        ((1, 4, "fsdp"), (2, 2, "pmap")),
    ]
    for processes, devices in ((1, 1), (1, 4), (2, 2)):
        of = {}
        for source, (*target, mode) in moves:
            if target == [processes, devices]:
                of[mode] = shutil.copytree(runs[source], tmp_path / f"{processes}x{devices}-{mode}")
        finished(start(processes, devices, MORE, of))
        for workdir in of.values():
            as_one(runs, workdir, MORE)


def test_sigterm_to_one_process_saves_on_both_at_one_step_and_micro_batches_are_one_batch(
    runs, start, tmp_path
):
    both = start(2, 2, 100_000, {"fsdp": tmp_path}, "--accumulate", "2")
    until = time.time() + 200
    while not (tmp_path / "metrics.jsonl").exists() or len(losses(tmp_path)) < 2 * STEPS:
        assert time.time() < until and both[0].poll() is None, both[0].communicate()[0]
        time.sleep(0.1)
    both[1].send_signal(signal.SIGTERM)
    finished(both)
    last = max(losses(tmp_path))
    assert seen(tmp_path, 0) == seen(tmp_path, 1) and seen(tmp_path)[3:5] == [str(last), "15"]
    assert checkpoint.steps_in(tmp_path / "checkpoints") == [last]
    as_one(runs, tmp_path, STEPS)


@pytest.mark.parametrize(
    "how, code, last_words",
    [
        ("raise", 1, ["process 1 failed: trainer.py: row 7 cannot be read; so", "row 7 cannot"]),
        (
            "die",
            -signal.SIGKILL,
            ["the same commands continue", ""],
        ),
    ],
)
def test_when_one_of_two_fails_the_other_ends_with_a_line_and_they_can_be_started_again(
    start, tmp_path, how, code, last_words
):
    flags = {"pmap": tmp_path}, "--save_interval", "3"
    both = start(2, 1, 100_000, *flags, fail=how)
    said = [run.communicate(timeout=150)[0] for run in both]  # by itself JAX would wait for 300 s
    assert [run.returncode for run in both] == [1, code], said
    for text, words in zip(said, last_words, strict=True):
        lines = [line for line in text.splitlines() if not line.startswith("[Gloo]")]
        assert len(lines) == bool(words) and all(words in line for line in lines), text
    before, last = losses(tmp_path), max(checkpoint.steps_in(tmp_path / "checkpoints"))
    assert last in (3, 6) and max(before) in (5, 6, 7), "step 7 is read two steps ahead"
    finished(start(2, 1, STEPS, *flags))
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    after = {row["step"]: row["loss"] for row in map(json.loads, rows[len(before) :])}
    assert list(after) == list(range(last + 1, STEPS + 1))
    for step in before.keys() & after.keys():
        assert before[step] == pytest.approx(after[step], abs=1e-6)
