"""bench.fid and bench.startup: contestants that do the same work."""

import time

import pytest

from bench import fid, harness, machine, startup


def test_distances_are_the_same_number():
    distance, *_ = fid.contests(tiny=True)
    found = [contestant.setup()() for contestant in distance.contestants]
    assert len(found) == 4 and found[0] > 0.01
    assert found == pytest.approx([found[0]] * 4, rel=1e-6)


def test_a_kept_factor_is_made_once(monkeypatch):
    from utils import fid as scored

    calls, factor = [], scored.factor
    monkeypatch.setattr(scored, "factor", lambda c: calls.append(1) or factor(c))
    for kept, made in ((True, 1), (False, 3)):
        calls.clear()
        run = fid.ours(8, kept)
        assert run() == run() == run() and len(calls) == made


@pytest.mark.slow
def test_networks_find_the_same_features():
    pytest.importorskip("torch", reason="the peers are made of torch")
    pytest.importorskip("pytorch_fid", reason="the network held against is its")
    _, features = fid.contests(tiny=True)
    assert features.amount == 1
    found = [contestant.setup()() for contestant in features.contestants]
    assert len(found) == 4 and found == pytest.approx([found[0]] * 4, rel=1e-5)


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
