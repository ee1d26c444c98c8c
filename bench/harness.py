"""Contestants side by side: each does the same work, in turns, in a process of its own.

    A B C   A B C   A B C  ...        one at a time; who waits, computes nothing

What a machine does besides then falls on all of them alike, and ratios are taken within a round. A
bench is a function `contests(tiny) -> [Contest]` of a few lines, handed to `main` (see fid.py).
"""

import argparse
import datetime
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench import child, machine, report

SAY = partial(print, flush=True)
LONG = 5.0  # seconds; shorter runs are done once before they count, see `serve`


class Contestant(NamedTuple):
    """Someone's way to do the work.

    Attributes:
        name: of a row.
        setup: imports, compiles and loads what it wants, once, and returns `run`: one whole unit
            of work, done when it returns (block_until_ready is its own affair), and what it found,
            a float, or None. It goes to another process, so it is a function of a module, or a
            functools.partial of one. An ImportError leaves the row empty, and its message there.
            `run` may have an attribute `memory`, () -> MiB at most, where it is not the process's.
        env: variables of its process alone, as (name, value).
    """

    name: str
    setup: Callable[[], Callable[[], float | None]]
    env: tuple[tuple[str, str], ...] = ()


class Contest(NamedTuple):
    """One kind of work. The first contestant is the one that the others are measured against."""

    title: str
    contestants: list[Contestant]
    unit: str = "run"
    amount: int = 1  # of units that a run does
    operations: float = 0.0  # of a run, in floating point; 0: not told
    peak: float | None = None  # of them a second that the device can do; None: not known
    at_most: float | None = None  # times as long as the first that the others may take


class Turn(NamedTuple):
    """One run."""

    wall: float  # seconds
    cpu: float  # processor seconds of all its threads, and of processes that it waited for
    value: float | None  # what it found


class Absent(Exception):
    """A contestant that is not installed here."""


class Player:
    """A contestant in its process, set up.

    Raises:
        Absent: by an ImportError there.
        RuntimeError: by any other error; tells it. So does `turn`.
    """

    def __init__(self, contestant: Contestant):
        context = multiprocessing.get_context("spawn")  # nothing of this process is in the other
        self.name, (self.pipe, theirs) = contestant.name, context.Pipe()
        self.process = context.Process(target=serve, args=(contestant, theirs), daemon=True)
        before = dict(os.environ)
        os.environ.update(contestant.env)
        try:
            self.process.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        theirs.close()
        self.answer()

    def answer(self):
        try:
            found, error = self.pipe.recv()
        except EOFError:
            self.process.join()
            raise RuntimeError(f"{self.name} died, code {self.process.exitcode}") from None
        if error is not None:
            raise error
        return found

    def turn(self) -> Turn:
        self.pipe.send(True)
        return self.answer()

    def close(self) -> float | None:
        """Ends the process; MiB that it had at most, None where there is no /proc."""
        self.pipe.send(False)
        peak = self.answer()
        self.process.join()
        return peak


def serve(contestant: Contestant, pipe):
    """What a contestant's process does: a run whenever it is told True, and at False it ends. It
    answers with (what there is, None) or (None, an error).

    Who has waited may have lost pages to the system and caches to others: a step took twice as long
    after ten seconds. So a short run goes before the one that counts.
    """
    try:
        run, turn = contestant.setup(), None
        pipe.send((None, None))
        while pipe.recv():
            if turn and turn.wall < LONG:
                run()
            wall, cpu = time.perf_counter(), machine.processor()
            value = run()
            turn = Turn(time.perf_counter() - wall, machine.processor() - cpu, value)
            pipe.send((turn, None))
        pipe.send((getattr(run, "memory", machine.peak)(), None))
    except ImportError as error:
        pipe.send((None, Absent(str(error))))
    except Exception as error:  # of a kind that may not go through a pipe
        told = f"{contestant.name}: {type(error).__name__}: {error}"
        pipe.send((None, RuntimeError(told)))


def compete(contest: Contest, rounds: int, player=Player, say=SAY) -> dict:
    """All turns of a contest.

    Returns:
        {"title", "unit", ... as the contest has them, "rows": [{"name", "first": seconds of the
        run before the rounds, which compiles, "wall" and "cpu": [seconds], "value", "memory"}],
        "absent": {name: why}}
    """
    rows, players, absent = {}, {}, {}
    for contestant in contest.contestants:
        try:
            one = player(contestant)
            first = one.turn()
        except Absent as why:
            absent[contestant.name] = str(why)
            say(f"{contest.title}: no {contestant.name}: {why}")
            continue
        players[contestant.name] = one
        rows[contestant.name] = {"first": first.wall, "wall": [], "cpu": []}
        say(f"{contest.title}: {contestant.name}: first run {first.wall:.3g} s")
    for _ in range(rounds):
        for name, one in players.items():
            turn, row = one.turn(), rows[name]
            row["wall"].append(turn.wall)
            row["cpu"].append(turn.cpu)
            row["value"] = turn.value
    for name, one in players.items():
        rows[name]["memory"] = one.close()
    facts = {k: v for k, v in contest._asdict().items() if k != "contestants"}
    return facts | {"rows": [{"name": n} | row for n, row in rows.items()], "absent": absent}


def command(name: str, doc: str, contests: Callable[..., list[Contest]], **more):
    """`main` with this process's arguments; what is wrong is told in a line."""
    try:
        main(name, doc, contests, sys.argv[1:], **more)
    except (ValueError, RuntimeError, OSError) as error:
        raise SystemExit(f"bench.{name}: {error}") from None


def main(
    name: str, doc: str, contests: Callable[..., list[Contest]], words: list[str], *,
    flags=None, save=report.save,
) -> dict:  # fmt: skip
    """A bench as a command; returns what it also writes to OUT/NAME.json.

    Args:
        contests: (tiny, **the values of `flags`) -> contests.
        flags: of this bench alone, {"--name": what add_argument is told}.
        save: (OUT/NAME, results) writes them; it may add to them.

    Raises:
        ValueError: flags that nothing can be made of.
        RuntimeError: a contestant failed.
    """
    parser = argparse.ArgumentParser(
        prog=f"bench.{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--threads", type=int, default=1, help="cores and threads that each has (%(default)s)")
    add("--rounds", type=int, help="turns that each has (7; tiny: 2)")
    add("--tiny", action="store_true", help="small work, to see in seconds that all of it runs")
    add("--out", type=Path, default=Path("runs/bench"), help="a folder (%(default)s)")
    own = [add(flag, **told).dest for flag, told in (flags or {}).items()]
    args = parser.parse_args(words)
    rounds = args.rounds or (2 if args.tiny else 7)
    if rounds < 1:
        raise ValueError(f"--rounds wants 1 or more; got {rounds}")
    facts = child.hardware()
    machine.confine(args.threads)
    facts |= {"threads": args.threads, "rounds": rounds, "tiny": args.tiny}
    facts |= {"date": datetime.date.today().isoformat(), "commit": child.commit()}
    facts |= {"versions": machine.versions(), "load_before": os.getloadavg()[0]}
    results = {"bench": name, "facts": facts, "contests": []}
    for contest in contests(args.tiny, **{k: getattr(args, k) for k in own}):
        results["contests"].append(report.judged(compete(contest, rounds)))
    facts["load_after"] = os.getloadavg()[0]
    save(args.out / name, results)
    return results
