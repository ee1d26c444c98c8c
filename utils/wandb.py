"""Metrics: metrics.jsonl always; Weights & Biases and tensorboard when asked.

Only process 0 writes. The heavy packages are imported when they are asked for.
"""

import json
import time
from pathlib import Path

import jax


class Metrics:
    """Scalars by step, and pictures, of one run.

    Args:
        folder: where metrics.jsonl lies; lines of an earlier part of the run stay.
        config: flattened; travels to wandb.
        wandb: {"name", "project", "mode"}; a name turns it on.
        tensorboard: also write event files.

    Raises:
        ImportError: a tracker was asked for and is not installed; tells the command.
    """

    def __init__(self, folder, config: dict, wandb: dict, tensorboard: bool):
        self.writes = jax.process_index() == 0
        self.file = self.wandb = self.events = None
        if not self.writes:
            return
        folder = Path(folder)
        if wandb["name"]:
            self.wandb = tracker("wandb", "wandb").init(
                name=wandb["name"], project=wandb["project"], mode=wandb["mode"], dir=str(folder),
                config=config, resume="allow",
            )  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config, indent=1))
        if tensorboard:
            self.events = tracker("tensorboardX", "tb").SummaryWriter(str(folder / "tensorboard"))
        self.file = (folder / "metrics.jsonl").open("a", buffering=1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def log(self, step: int, **values):
        """Appends one line; values are floats, or strings (which only the line gets)."""
        if not self.writes:
            return
        self.file.write(json.dumps({"step": step, "time": round(time.time(), 1)} | values) + "\n")
        numbers = {k: v for k, v in values.items() if isinstance(v, int | float)}
        if self.wandb:
            self.wandb.log(numbers, step=step)
        for name, value in numbers.items() if self.events else ():
            self.events.add_scalar(name, value, step)

    def picture(self, step: int, name: str, path):
        """Sends a PNG that is already on disk."""
        if self.wandb:
            import wandb

            self.wandb.log({name: wandb.Image(str(path))}, step=step)

    def close(self):
        for writer in (self.file, self.events):
            if writer:
                writer.close()
        if self.wandb:
            self.wandb.finish()


def tracker(package: str, extra: str):
    """Imports a tracker, or says how to get it."""
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError:
        raise ImportError(
            f"{package} is not installed; pip install {package}, or this project's [{extra}] extra"
        ) from None
