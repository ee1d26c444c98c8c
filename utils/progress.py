"""Telling a person how long work goes on: a bar on a terminal, lines elsewhere."""

import sys
import time

from utils import flops

SHOWN = ("loss", "grad_norm")


def clock(seconds: float) -> str:
    """Seconds as 0:05, 12:34 or 3:04:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def bar(total: int, unit: str, first: int = 0, title: str = ""):
    """A tqdm bar on standard error; silent when that is not a terminal."""
    from tqdm import tqdm

    quiet = not sys.stderr.isatty()
    return tqdm(
        total=total, initial=first, unit=unit, desc=title, disable=quiet, dynamic_ncols=True
    )


class Reporter:
    """The hook that tells how training goes: a line, a bar, and a row of metrics.jsonl.

    Args:
        config: has max_steps and batch_size.
        metrics: a utils.wandb.Metrics.
        rate: step -> learning rate.
        unit: what a batch is made of, "images" or "tokens".
        first: step that the run starts from.
        per_example: units in an example.
        shown: metrics that the line tells, as far as there are any.
        operations: of an example, in floating point, see flops.py; the line tells what they make
            a second where there is a device's peak to hold them against.
    """

    def __init__(
        self, config, metrics, rate, unit, first, per_example=1, shown=SHOWN, operations=0
    ):
        self.config, self.metrics, self.rate, self.unit = config, metrics, rate, unit
        self.shown, self.operations = shown, operations
        self.units = config.batch_size * per_example
        self.began, self.bar = time.time(), bar(config.max_steps, "step", first)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()

    def __call__(self, state, m: dict):
        number, total = int(state.step), self.config.max_steps
        self.bar.update(number - self.bar.n)
        speed = m["steps_per_second"] * self.units
        left = clock((total - number) / m["steps_per_second"])
        work = flops.speed(m["steps_per_second"] * self.config.batch_size * self.operations)
        known = {f"{self.unit}_per_second": speed, "lr": float(self.rate(number - 1))}
        self.metrics.log(number, **m, **known, **work)
        told = "  ".join(f"{name} {m[name]:.4f}" for name in self.shown if name in m)
        told += f"  {speed:.0f} {self.unit}/s"
        if "mfu" in work:
            told += f"  {work['flops_per_second'] / 1e12:.0f} TFLOP/s (MFU {work['mfu']:.0%})"
        self.say(f"step {number:6d}/{total}  {told}  {left} left")

    def say(self, text: str):
        """Prints a line above the bar."""
        self.bar.write(text, file=sys.stdout)
        sys.stdout.flush()

    def farewell(self, step: int, signal: int | None, workdir):
        """The last line: what was done, where it is, how to go on."""
        took = clock(time.time() - self.began)
        if signal is not None:
            again = "saved. The same command continues."
            print(f"stopped by signal {signal} at step {step}, after {took}; {again}")
        else:
            print(f"done: {step} steps, {took}; checkpoints, samples, metrics.jsonl in {workdir}")
