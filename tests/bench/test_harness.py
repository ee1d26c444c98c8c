"""bench.harness and bench.report: who has a turn when, what is made of it, and how it is told."""

import importlib
import json
import math
import os
import time
from functools import partial

import pytest

from bench import child, harness, machine, report, startup
from bench.harness import Contest, Contestant, Turn


def contest(*names, **fields):
    return Contest("work", [Contestant(name, name) for name in names], **fields)


class Scripted:
    """A player whose turns are known: seconds by (name, number of the turn)."""

    def __init__(self, seconds, absent=()):
        self.seconds, self.absent, self.log = seconds, absent, []

    def __call__(self, contestant):
        name, parent = contestant.name, self
        if name in self.absent:
            raise harness.Absent(f"No module named '{name}'")
        parent.log.append(f"start {name}")
        numbers = iter(range(99))

        class One:
            def turn(self):
                parent.log.append(name)
                wall = parent.seconds[name][next(numbers)]
                return Turn(wall, 2 * wall, {"a": 4.0, "b": 4.0004}.get(name))

            def close(self):
                parent.log.append(f"close {name}")
                return 100.0

        return One()


SECONDS = {"a": [9.0, 1.0, 2.0, 4.0], "b": [8.0, 3.0, 8.0, 8.0]}  # the first turn compiles


def competed(player=None, rounds=3, names=("a", "b"), **fields):
    say = lambda line: None
    return harness.compete(contest(*names, **fields), rounds, player or Scripted(SECONDS), say)


def results(*contests):
    facts = {"cpu": "A Processor", "machine_cores": 2, "threads": 1, "rounds": 3, "tiny": False}
    facts |= {"date": "2026-11-25", "commit": "22d8e09", "versions": {"jax": "0.10.2"}}
    facts |= {"load_before": 0.5, "load_after": 1.25}
    return {"bench": "x", "facts": facts, "contests": [report.judged(c) for c in contests]}


# -- turns


def test_each_is_warm_before_the_rounds_and_has_one_turn_in_each():
    player = Scripted(SECONDS)
    found = competed(player)
    assert player.log == [
        *("start a", "a", "start b", "b"),
        *("a", "b", "a", "b", "a", "b"),
        *("close a", "close b"),
    ]
    a, b = found["rows"]
    assert (a["first"], a["wall"], a["cpu"]) == (9.0, [1.0, 2.0, 4.0], [2.0, 4.0, 8.0])
    assert (b["name"], b["wall"], b["value"], b["memory"]) == ("b", [3.0, 8.0, 8.0], 4.0004, 100.0)


def test_who_is_not_installed_is_named_and_the_others_compete():
    player = Scripted(SECONDS, absent=("b",))
    found = competed(player, names=("a", "b"))
    assert [row["name"] for row in found["rows"]] == ["a"]
    assert found["absent"] == {"b": "No module named 'b'"}
    assert "not here: b: No module named 'b'" in report.markdown(results(found))


# -- numbers


def test_ratios_are_of_the_same_round():
    """The median of 3/1, 8/2 and 8/4; medians by themselves would say 8/2."""
    a, b = report.judged(competed(amount=10, unit="image"))["rows"]
    assert a["ratio"] == {"low": 1.0, "median": 1.0, "high": 1.0}
    assert b["ratio"] == {"low": 2.5, "median": 3.0, "high": 3.5} == b["cpu_ratio"]
    assert b["seconds"]["median"] == 8.0 and b["rate"] == 10 / 8.0
    assert a["difference"] == 0.0 and b["difference"] == pytest.approx(1e-4)


def test_a_single_round_has_no_spread():
    assert report.spread([2.0]) == {"low": 2.0, "median": 2.0, "high": 2.0}
    assert report.quotients([2e-6, 3.0], [0.0, 1.5]) == [2.0, 2.0], "no division by zero"
    assert report.spread([1, 2, 3, 4, 5]) == {"low": 2.0, "median": 3.0, "high": 4.0}


@pytest.mark.parametrize(
    "number, text", [(0.000581, "0.000581"), (1.0, "1.00"), (15.04, "15.0"), (123.4, "123")]
)
def test_numbers_have_three_digits(number, text):
    assert report.short(number) == text
    assert report.short(999.9) == "1,000" and report.short(12345.6) == "12,346"


def test_the_table_has_a_row_each_and_the_conditions():
    table = report.markdown(results(competed(amount=10, unit="image")))
    assert "**work**" in table and "| images/s |" in table
    assert (
        "| b | 8.00 [5.50, 8.00] | 16.0 | 3.00 [2.50, 3.50] | 3.00 | 1.25 | 100 | 1.0e-04 |"
        in table
    )
    assert table.startswith(
        "bench.x: A Processor, 1 of 2 cores, median [quartiles] of 3 rounds, load 0.5 to 1.2; "
        "2026-11-25, commit 22d8e09; jax 0.10.2"
    )


def test_all_of_it_is_kept_as_json_and_drawn(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    report.save(tmp_path / "deep" / "x", results(competed()))
    kept = json.loads((tmp_path / "deep" / "x.json").read_text())
    assert kept["facts"]["threads"] == 1 and kept["facts"]["commit"] == "22d8e09"
    assert kept["contests"][0]["rows"][1]["wall"] == [3.0, 8.0, 8.0], "no number is lost"
    assert "| b |" in capsys.readouterr().out
    (axes,) = report.figure(kept).axes
    b = axes.containers[1]
    assert b[0].get_xdata() == [3.0] and axes.get_xscale() == "log"
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b"]
    assert (tmp_path / "deep" / "x.png").stat().st_size > 10_000


def test_a_bound_on_ratios_is_held_or_not():
    kept = results(competed(at_most=3.0), competed(at_most=2.9))
    assert [c["held"] for c in kept["contests"]] == [True, False]
    table = report.markdown(kept)
    assert "at most 3.0 times as long as the first: holds" in table
    assert "at most 2.9 times as long as the first: DOES NOT HOLD" in table
    assert "at most" not in report.markdown(results(competed()))


# -- processes


def test_a_turn_has_its_seconds_and_what_it_found():
    player = harness.Player(Contestant("root", partial(partial, math.sqrt, 2.0)))
    assert player.turn().value == math.sqrt(2.0)
    assert player.close() > 5.0 and not player.process.is_alive()


def test_sleep_is_no_processor_time_and_that_of_children_is():
    asleep = harness.Player(Contestant("asleep", partial(partial, time.sleep, 0.2)))
    turn = asleep.turn()
    assert turn.wall > 0.2 and turn.cpu < 0.1
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    turn = harness.Player(Contestant("busy", partial(startup.python, "-c", busy))).turn()
    assert turn.cpu > 0.3
    asleep.close()


def test_variables_are_those_of_one_process(monkeypatch):
    monkeypatch.delenv("TANDEM_X", raising=False)
    look = partial(partial, os.getenv, "TANDEM_X")
    assert harness.Player(Contestant("x", look, (("TANDEM_X", "1"),))).turn().value == "1"
    assert "TANDEM_X" not in os.environ


def test_what_fails_there_is_told_here():
    missing = partial(importlib.import_module, "no_such_module")
    with pytest.raises(harness.Absent, match="No module named 'no_such_module'"):
        harness.Player(Contestant("missing", missing))
    with pytest.raises(RuntimeError, match="wrong: ValueError: invalid literal"):
        harness.Player(Contestant("wrong", partial(int, "x")))
    with pytest.raises(RuntimeError, match="dead died, code 3"):
        harness.Player(Contestant("dead", partial(os._exit, 3)))


# -- the command


def test_a_bench_is_a_function_of_contests(tmp_path, monkeypatch):
    confined = []
    monkeypatch.setattr(machine, "confine", confined.append)
    contests = lambda tiny: [
        Contest(f"tiny: {tiny}", [Contestant("root", partial(partial, math.sqrt, 4.0))])
    ]
    words = ["--tiny", "--threads", "1", "--out", str(tmp_path)]
    found = harness.main("roots", "Roots.", contests, words)
    kept = json.loads((tmp_path / "roots.json").read_text())
    assert kept == found and confined == [1]
    assert kept["contests"][0]["title"] == "tiny: True"
    assert kept["contests"][0]["rows"][0]["value"] == 2.0
    assert len(kept["contests"][0]["rows"][0]["wall"]) == kept["facts"]["rounds"] == 2
    for fact in ("cpu", "cores", "date", "commit", "load_before", "load_after"):
        assert fact in kept["facts"]
    assert {"python", "jax", "numpy"} <= set(kept["facts"]["versions"])


def test_a_bench_has_flags_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "confine", lambda threads: None)
    seen = []
    contests = lambda tiny, peer_path: seen.append(peer_path) or []
    flags = {"--peer-path": dict(action="append", default=[])}
    words = ["--tiny", "--out", str(tmp_path), "--peer-path", "a", "--peer-path", "b"]
    harness.main("x", "", contests, words, flags=flags)
    assert seen == [["a", "b"]]


def test_more_threads_than_cores_and_no_rounds_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="--threads wants 1 to .*; got 4096"):
        machine.confine(4096)
    with pytest.raises(ValueError, match="--rounds wants 1 or more; got -1"):
        harness.main("x", "", lambda tiny: [], ["--rounds", "-1"])


def test_threads_bind_cores_and_pools(monkeypatch):
    bound = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda who, cores: bound.append(cores), False)
    monkeypatch.setattr(child, "cores", lambda: [3, 5, 7])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    machine.confine(2)
    assert bound == [[3, 5]] and os.environ["OMP_NUM_THREADS"] == "2"
