"""Processes for text side by side, at equal network size and equal processor time.

    python -m bench.processes --dataset stories --minutes 20
    python -m bench.processes --dataset shakespeare --minutes 20 --data_dir PATH --judge RUN
    python -m bench.processes --dataset stories --minutes 5 --only ar,masked -- --model.depth 2

Minutes are those of the processor, user and system, of a row's whole training: compiling, two
looks at held-out text and saving count. Each row is calibrated by a few steps, trained, and scored
by eval_text.py. What stands behind -- goes to train_text.py of every row; --max_steps there spares
the calibration. The same command goes on where it stopped. A table is printed; all of it is in
OUT/processes.json and OUT/processes.png.
"""

import argparse
import difflib
import importlib.util
import json
import os
import queue
import re
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from bench import child, plot_processes, row, table_processes


class Process(NamedTuple):
    """flags: of train_text.py, on top of configs/DATASET{file}.py, or of configs/DATASET.py where
    there is no such file."""

    flags: str
    file: str = ""


SPARSE = "--process.name sparse --process.spread 0.95 --process.candidates"
SHOWN = "--process.self_conditioning topk --process.candidates 8"
ROWS = {
    "ar": Process("--process.name autoregressive"),
    "masked": Process("--process.name masked"),
    "uniform": Process("--process.name uniform"),
    "sparse2": Process(f"{SPARSE} 2", file="_sparse"),
    "sparse8": Process(f"{SPARSE} 8", file="_sparse"),
    "sdd_m": Process(f"--process.name masked {SHOWN}"),
    "embedding": Process("--process.name embedding", file="_embedding"),
}
DATASETS = ("stories", "shakespeare")


def arguments(words: list[str]):
    """(what is asked, flags for the training of every row).

    Raises:
        ValueError: no such row, or a number that nothing can be made of.
    """
    end = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(
        prog="bench.processes", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--dataset", choices=DATASETS, required=True)
    add("--minutes", type=float, required=True, help="of the processor, for each training")
    add("--out", help="where all of it goes (runs/processes/DATASET)")
    add("--only", default=",".join(ROWS), help="rows, with commas between (%(default)s)")
    add("--data_dir", help="where named corpora live")
    add("--judge", help="of what is written, see eval_text.py")
    add("--num_samples", type=int, default=256, help="texts to draw, each row; 0: none")
    add("--rows", type=int, default=1024, help="held-out rows for the bound; 0: all")
    add("--seed", type=int, default=0)
    add("--jobs", type=int, default=1, help="rows at once, then each on one core of its own")
    add("--dry_run", action="store_true", help="print what would be run, and stop")
    args = parser.parse_args(words[:end])
    args.out = Path(args.out or f"runs/processes/{args.dataset}")
    there, wanted = ", ".join(ROWS), args.only.split(",")
    for name in wanted:
        if name not in ROWS:
            near = difflib.get_close_matches(name, ROWS, n=1)
            raise ValueError(
                f"no row {name!r}; {f'did you mean {near[0]!r}? ' if near else ''}there are {there}"
            )
    args.only = [name for name in ROWS if name in wanted]
    if not args.minutes > 0:
        raise ValueError(f"--minutes wants more than 0; got {args.minutes:g}")
    if not 1 <= args.jobs <= len(child.cores()):
        raise ValueError(f"--jobs wants 1 to {len(child.cores())}, a core each; got {args.jobs}")
    return args, words[end + 1 :]


def asked(name: str, args, extra: list[str]) -> row.Asked:
    """What makes the row of a name."""
    files = [f"configs/{args.dataset}{end}.py" for end in (ROWS[name].file, "")]
    config = next(file for file in files if (child.ROOT / file).is_file())
    flags = [*ROWS[name].flags.split(), "--seed", str(args.seed), *extra]
    where = ["--data_dir", args.data_dir] if args.data_dir else []
    score = ["--num_samples", str(args.num_samples), "--rows", str(args.rows)]
    score += ["--judge", args.judge] if args.judge else []
    return row.Asked(name, config, flags, args.minutes, where, score, steps_of(extra))


def steps_of(extra: list[str]) -> int | None:
    """The --max_steps of some flags, in any of its spellings; None: there is none."""
    found = re.findall(r"--(?:config\.)?max_steps[= ](\S+)", " ".join(extra))
    if found and not re.fullmatch(r"[1-9][\d_]*", found[-1]):
        raise ValueError(f"--max_steps wants 1 or more; got {found[-1]}")
    return int(found[-1]) if found else None


class Progress:
    """A line at each stage of each row, with the time that all of it may still take."""

    def __init__(self, rows: list[row.Row], minutes: float, jobs: int):
        self.lock, self.jobs = threading.Lock(), jobs
        self.left = {r.asked.name: r.left() for r in rows}
        self.guess = {"calibrate": 90.0, "train": 60.0 * minutes, "score": 180.0}  # seconds
        self.took = {stage: [] for stage in self.guess}

    def seconds(self) -> float:
        """Of the stages that are left, by those that are done."""
        mean = {k: sum(v) / len(v) if v else self.guess[k] for k, v in self.took.items()}
        return sum(mean[stage] for stages in self.left.values() for stage in stages) / self.jobs

    def through(self, work: row.Row):
        """Does all that is left of a row."""
        for stage in work.left():
            with self.lock:
                steps = work.state.get("max_steps")
                what = f"train, {steps:,d} steps" if stage == "train" else stage
                left = timedelta(seconds=round(self.seconds()))
                print(f"{work.asked.name}: {what}; about {left} left; {work.log}", flush=True)
            began = time.perf_counter()
            try:
                getattr(work, stage)()
            except Exception:
                self.left[work.asked.name] = []
                raise
            with self.lock:
                self.took[stage].append(time.perf_counter() - began)
                self.left[work.asked.name].remove(stage)


def pinned(cores: queue.SimpleQueue):
    """Keeps this thread, and what it starts, on a core of its own."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cores.get()})


def done(rows: list[row.Row], children, minutes: float, jobs: int) -> dict[str, str]:
    """Does all rows; {name: why not} of those that failed."""
    progress, failed, cores = Progress(rows, minutes, jobs), {}, queue.SimpleQueue()
    for core in child.cores():
        cores.put(core)
    pin = {"initializer": pinned, "initargs": (cores,)} if jobs > 1 else {}
    with ThreadPoolExecutor(jobs, **pin) as pool:
        futures = {pool.submit(progress.through, r): r.asked.name for r in rows}
        try:
            for future in as_completed(futures):
                try:
                    future.result()
                except Exception as error:  # whatever one row has, the others go on
                    name, why = futures[future], str(error) or repr(error)
                    failed[name] = why
                    print(f"{name}: failed: {why}", flush=True)
        except KeyboardInterrupt:
            children.stop()
            pool.shutdown(cancel_futures=True)
            raise KeyboardInterrupt from None
    return failed


def main(words: list[str]) -> int:
    args, extra = arguments(words)
    children = child.Children()
    rows = [row.Row(asked(n, args, extra), args.out / n, children) for n in args.only]
    if args.dry_run:
        for r in rows:
            steps = r.state.get("max_steps", f"as many as take {args.minutes:g} CPU minutes")
            line = " ".join([f"--config={r.asked.config}", *r.asked.flags, *r.asked.where])
            print(f"{r.asked.name}: {', '.join(r.left()) or 'nothing left'}; steps: {steps}")
            print(f"  python train_text.py {line}")
        return 0
    failed = done(rows, children, args.minutes, args.jobs)
    facts = {"dataset": args.dataset, "minutes": args.minutes, "seed": args.seed}
    facts |= {"jobs": args.jobs, "date": row.today(), "commit": child.commit()} | child.hardware()
    whole = [r.state for r in rows if r.asked.name not in failed]
    results = {"facts": facts, "rows": [table_processes.summary(state) for state in whole]}
    results |= {"failed": failed, "details": whole}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "processes.json").write_text(json.dumps(results, indent=1))
    if whole:
        print(f"\n{table_processes.markdown(results)}\n\nin {args.out / 'processes.json'}")
    if whole and importlib.util.find_spec("matplotlib"):
        plot_processes.save(args.out / "processes.png", results)
        print(f"and {args.out / 'processes.png'}")
    elif whole:
        print("no picture: pip install matplotlib, or this project's [bench] extra, and again")
    for name, why in failed.items():
        print(f"failed: {name}: {why}")
    return int(bool(failed))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: children save first
    try:
        raise SystemExit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        raise SystemExit(130) from None
    except (ValueError, OSError) as error:
        raise SystemExit(f"bench.processes: {error}") from None
