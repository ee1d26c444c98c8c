"""bench.startup: how scripts are started and when a start ends."""

import time

import pytest

from bench import harness, machine, startup


def test_every_script_tells_its_help_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "confine", lambda threads: None)
    words = ["--tiny", "--rounds", "1", "--out", str(tmp_path)]
    helps, _ = harness.main("startup", "", startup.contests, words)["contests"]
    assert [row["name"] for row in helps["rows"][1:]] == [f"{s} --help" for s in startup.SCRIPTS]
    assert "train_flow.py" in startup.SCRIPTS
    for row in helps["rows"]:
        assert row["cpu"][0] < 0.5, row["name"]


SCRIPT = """
import os, pathlib, sys, time
cache = pathlib.Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
cache.mkdir(exist_ok=True)
entry, log = cache / "entry", pathlib.Path(sys.argv[1])
log.open("a").write("found " if entry.exists() else "compiled ")
entry.touch()
print("step      1/100  loss 1.0", flush=True)
time.sleep(600)
"""


def test_a_start_ends_at_its_first_step_and_the_second_finds_what_the_first_compiled(tmp_path):
    script, log = tmp_path / "slow.py", tmp_path / "log.txt"
    script.write_text(SCRIPT)
    for fresh, said in ((True, "compiled compiled "), (False, "compiled found ")):
        run = startup.starting((str(script), str(log)), fresh)
        began = time.perf_counter()
        run()
        run()
        assert time.perf_counter() - began < 300 and log.read_text() == said
        log.unlink()


def test_a_script_that_ends_before_its_first_step_is_told_of(tmp_path):
    script = tmp_path / "broken.py"
    script.write_text("print('no such dataset')")
    with pytest.raises(RuntimeError, match="ended before its first step: no such dataset"):
        startup.starting((str(script),), fresh=True)()


def test_a_package_that_is_not_there_is_absent():
    with pytest.raises(ImportError, match="import no_such_module"):
        startup.importing("no_such_module")
