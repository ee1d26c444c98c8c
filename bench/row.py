"""One row of a comparison: calibrated, trained for its minutes, scored; and all of it kept.

FOLDER/row.json says what is done, so that the same command goes on where it stopped; FOLDER/run is
the workdir of train_text.py, FOLDER/log.txt what the scripts said.
"""

import datetime
import json
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench import child

STEPS, REPORTS = 48, 6  # of a calibration
LEAST = 20  # steps that are worth a training
# Compiled programs of an earlier run would spare one row what another one paid.
FRESH = {"JAX_ENABLE_COMPILATION_CACHE": "false"}


class Failed(Exception):
    """A script that ended badly; says its last line."""


class Asked(NamedTuple):
    """What makes a row."""

    name: str
    config: str  # relative to the project
    flags: list[str]  # of train_text.py, on top of it
    minutes: float  # of the processor, for the training
    where: list[str]  # --data_dir PATH, or nothing
    score: list[str]  # flags of eval_text.py
    max_steps: int | None  # given, and not to be found out

    def training(self) -> dict:
        """What may not change between two parts of a row's training."""
        return {"config": self.config, "flags": self.flags, "minutes": self.minutes}


class Row:
    """The work of a row.

    Args:
        asked: an Asked.
        folder: where it is kept.
        children: runs the scripts.

    Raises:
        ValueError: the folder holds a row that was asked for in other words.
    """

    def __init__(self, asked: Asked, folder, children: child.Children):
        self.asked, self.folder, self.children = asked, Path(folder), children
        self.path, self.log = self.folder / "row.json", self.folder / "log.txt"
        self.run = self.folder / "run"
        self.state = {"name": asked.name, "asked": asked.training(), "spent": 0.0}
        if self.path.exists():
            self.state = json.loads(self.path.read_text())
            if changed := different(self.state["asked"], asked.training()):
                raise ValueError(
                    f"{self.folder} holds {asked.name} as it was asked for before; take another "
                    f"--out, or undo: {'; '.join(changed)}"
                )
        if asked.max_steps and "max_steps" not in self.state:
            self.state["max_steps"] = asked.max_steps

    def left(self) -> list[str]:
        """The stages that are not done, each a method."""
        done = {
            "calibrate": "max_steps" in self.state,
            "train": "trained" in self.state,
            "score": self.state.get("scored_by") == self.asked.score,
        }
        return [stage for stage, is_done in done.items() if not is_done]

    def keep(self, **parts):
        self.state |= parts
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.state, indent=1))
        part.replace(self.path)

    def train_text(self, workdir, steps: int, reports: int) -> list[str]:
        """The command of a training that looks at held-out text half way and at its end."""
        config, flags, half = child.ROOT / self.asked.config, self.asked.flags, -(-steps // 2)
        words = ["train_text.py", f"--config={config}", *flags, *self.asked.where]
        words += ["--workdir", workdir, "--max_steps", steps, "--log_interval", reports]
        return [*words, "--eval_interval", half, "--save_interval", half]

    def calibrate(self):
        """Finds out how many steps make the minutes, by a few of them in a place of their own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="tandem-bench-") as workdir:
            words = self.train_text(workdir, STEPS, STEPS // REPORTS)
            ended = well(self.children.run(words, self.log, FRESH))
        seconds = child.seconds_a_step(ended.lines)
        if seconds is None:
            raise Failed("processor time is not told here (no /proc); give steps: -- --max_steps N")
        overhead = ended.cpu - STEPS * seconds
        steps = fitting(60.0 * self.asked.minutes, overhead, seconds)
        self.keep(max_steps=steps, seconds_a_step=seconds, overhead=overhead)

    def train(self):
        """Trains to the last step, from nothing or from the newest checkpoint."""
        self.folder.mkdir(parents=True, exist_ok=True)
        steps, before = self.state["max_steps"], self.state["spent"]

        def heard(line, cpu):
            if cpu is not None and child.TOLD.match(line):
                self.keep(spent=before + cpu)  # should this process be killed before the child ends

        words = self.train_text(self.run, steps, min(max(steps // 20, 1), 100))
        ended = self.children.run(words, self.log, FRESH, heard)
        self.keep(spent=before + ended.cpu)
        said = "\n".join(line for line, _ in well(ended).lines)
        if not re.search(r"^done: ", said, re.M):  # it was stopped, and has saved
            raise Failed(ended.last)
        config = json.loads((self.run / "config.json").read_text())
        self.keep(
            parameters=re.search(r"([\d.]+ M) parameters", said)[1],
            seconds_a_step=child.seconds_a_step(ended.lines) or self.state.get("seconds_a_step"),
            tokens_a_step=config["batch_size"] * config["max_seq_len"],
            trained={"date": today(), "commit": child.commit(), **child.hardware()},
        )

    def score(self):
        """The bound, samples and speed, as eval_text.py finds them."""
        config = json.loads((self.run / "config.json").read_text())
        length, steps = config["max_seq_len"], config["sampler.denoise_timesteps"]
        if config["process.name"] == "autoregressive":
            steps = length
        words = ["eval_text.py", "--load_dir", self.run, *self.asked.where, *self.asked.score]
        well(self.children.run([*words, "--latency", f"{length}x{steps}"], self.log))
        found = json.loads((self.run / "text_score.json").read_text())
        self.keep(score=found, scored_by=self.asked.score)


def fitting(budget: float, overhead: float, seconds: float) -> int:
    """Steps of a training that takes `budget` processor seconds.

    Args:
        overhead: seconds that it takes besides: start, compiling, looks, saving.
        seconds: of a step.

    Raises:
        Failed: hardly any; tells the minutes that are wanted.
    """
    steps = int((budget - overhead) / seconds)
    if steps < LEAST:
        wanted = (overhead + LEAST * seconds) / 60.0
        raise Failed(
            f"{budget / 60.0:.2f} CPU minutes leave no {LEAST} steps: a step takes {seconds:.3f} s "
            f"and all else {overhead:.1f} s; --minutes {wanted:.2f} would do"
        )
    return steps


def well(ended: child.Ended) -> child.Ended:
    """What ended, if it ended well."""
    if ended.code:
        raise Failed(ended.last)
    return ended


def different(old: dict, new: dict) -> list[str]:
    told = lambda value: " ".join(value) if isinstance(value, list) else value
    return [f"{k}: {told(old.get(k))} -> {told(new[k])}" for k in new if old.get(k) != new[k]]


def today() -> str:
    return datetime.date.today().isoformat()
