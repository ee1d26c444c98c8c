"""Telling a person how long work goes on: a bar on a terminal, lines elsewhere."""

import sys
import time


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
    """

    def __init__(
        self, config, metrics, rate, unit, first, per_example=1, shown=("loss", "grad_norm")
    ):
        self.config, self.metrics, self.rate, self.unit = config, metrics, rate, unit
        self.shown = shown
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
        known = {f"{self.unit}_per_second": speed, "lr": float(self.rate(number - 1))}
        self.metrics.log(number, **m, **known)
        told = "  ".join(f"{name} {m[name]:.4f}" for name in self.shown if name in m)
        self.say(f"step {number:6d}/{total}  {told}  {speed:.0f} {self.unit}/s  {left} left")

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
