"""A script in a process of its own, with the processor time that it took."""

import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TOLD = re.compile(r"step +(\d+)(/\d+)? ")  # a report of training, or (no total) a look at it


class Ended(NamedTuple):
    """How a script ended."""

    code: int
    cpu: float  # processor seconds, user and system, of all its threads
    wall: float  # seconds
    lines: list[tuple[str, float | None]]  # what it said, and its processor seconds by then

    @property
    def last(self) -> str:
        """The last line that is not empty, and not JAX's on how tracebacks are filtered."""
        said = (text for text, _ in reversed(self.lines) if text.strip("- "))
        return next((s for s in said if "JAX_TRACEBACK_FILTERING" not in s), "nothing was said")


class Stopped(Exception):
    """All children were asked to leave."""


class Children:
    """Runs scripts, several at a time if called by several threads; all of them can be stopped."""

    def __init__(self):
        self.lock, self.running, self.stopped = threading.Lock(), set(), False

    def run(self, words, log, env=None, heard=lambda line, cpu: None) -> Ended:
        """Runs `python WORDS`, its output appended to the file `log`.

        Args:
            words: a script of this project, then its flags.
            log: a path.
            env: variables on top of `environment()`.
            heard: is told each line, and the processor seconds by then (None: not known here).

        Raises:
            Stopped: `stop` was called before.
        """
        script, *flags = map(str, words)
        command, lines = [sys.executable, str(ROOT / script), *flags], []
        with open(log, "a") as file, self.lock:
            if self.stopped:
                raise Stopped
            file.write(f"$ {script} {' '.join(flags)}\n")
            began, child = time.perf_counter(), subprocess.Popen(
                command, env=environment() | (env or {}), text=True, errors="replace",
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            self.running.add(child)
        with open(log, "a", buffering=1) as file, child.stdout:
            for line in child.stdout:
                spent = so_far(child.pid)
                file.write(line)
                lines.append((line.rstrip("\n"), spent))
                heard(line, spent)
        with self.lock:  # once it is waited for, its number may be another's
            self.running.discard(child)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        return Ended(child.returncode, used.ru_utime + used.ru_stime, wall, lines)

    def stop(self):
        """Asks all to save and leave, and lets no other start."""
        with self.lock:
            self.stopped = True
            for child in self.running:
                os.kill(child.pid, signal.SIGTERM)


def environment() -> dict:
    """This process's variables, for scripts that compute on the processor."""
    env = dict(os.environ)
    env.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")  # huge pages, see the Makefile
    env.setdefault("JAX_PLATFORMS", "cpu")
    return env


def so_far(pid: int) -> float | None:
    """Processor seconds of a running process; None where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def seconds_a_step(lines) -> float | None:
    """Processor seconds of a training step: the median over the reports of train_text.py.

    What lies before the first report (compiling) or between a report and the look that follows
    it is not in it. None where too little was said.
    """
    found, before = [], None
    for text, cpu in lines:
        told = TOLD.match(text)
        if not told or cpu is None:
            continue
        number, report = int(told[1]), told[2]
        if report and before and number > before[0]:
            found.append((cpu - before[1]) / (number - before[0]))
        before = number, cpu
    return statistics.median(found) if found else None


def hardware() -> dict:
    """The processor, and how many cores of it may be used."""
    try:
        facts = Path("/proc/cpuinfo").read_text()
        name = re.search(r"model name\s*: (.*)", facts)[1]
    except (OSError, TypeError):
        name = platform.processor() or platform.machine()
    return {"cpu": name, "cores": len(cores()), "machine_cores": os.cpu_count()}


def cores() -> list[int]:
    """Numbers of the cores that this thread may use."""
    usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    return sorted(usable(0))


def commit() -> str | None:
    """The commit of this checkout, "-dirty" if files differ from it; None outside of git."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()
