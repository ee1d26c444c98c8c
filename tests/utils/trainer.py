"""A run as small as one can be: what tests start on many devices and in many processes.

    python tests/utils/trainer.py STEPS pmap=WORKDIR fsdp=WORKDIR ... [--accumulate 2 ...]

The runs are done one after another, with flags of configs/flow.py. A perceptron learns noisy
numbers, each example's noise from its own key. With FAIL=raise or FAIL=die in its environment a
process does so where it reads the batch of step 7.
"""

import os
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from data import pipeline
from diffusion import draws
from utils import checkpoint, distress, hosts, loop
from utils import config as flags
from utils.wandb import Metrics

WIDTH = 256
distress.SILENCE = 15.0  # seconds that one waits for another: here no network is slow


def init():
    down, up = jax.random.split(jax.random.key(0))
    shape = (4, WIDTH), (WIDTH, 4)
    return {"in": jax.random.normal(down, shape[0]), "out": jax.random.normal(up, shape[1]) / WIDTH}


def loss(params, key, batch):
    noise = draws.normal(draws.fold(key, batch["index"]), (4,))
    y = jnp.tanh((batch["x"] + noise) @ params["in"]) @ params["out"]
    wrong = jnp.mean((y - batch["x"]) ** 2)
    return wrong, {"loss": wrong}


def failing(batches, how, workdir):
    """It fails once there is a checkpoint: a save that is under way may be lost."""

    def read(step):
        while how and step == 7 and not checkpoint.steps_in(workdir / "checkpoints"):
            time.sleep(0.1)
        if step == 7 and how == "raise":
            raise ValueError("row 7 cannot be read")
        if step == 7 and how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return batches(step)

    return read


def train(c, steps, mode, workdir):
    """Leaves metrics.jsonl, checkpoints, the norm of the averaged weights in judged.txt, and
    of each process what it saw in PROCESS.txt."""
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    process, processes = jax.process_index(), jax.process_count()
    batches = pipeline.Batches({"x": x}, 16, process=process, processes=processes)
    batches = pipeline.Ahead(failing(batches, os.environ.get("FAIL"), workdir), end=steps)
    tx = optax.adam(1e-2)
    state = loop.create(init, tx, jax.random.key(1), mode)
    step = loop.update(loss, tx, ema_decay=0.9, accumulate=c.accumulate, mode=mode)
    saves = checkpoint.Checkpoints(workdir / "checkpoints")
    if found := saves.restore(state):
        state, _ = found
    cut = sum(not a.is_fully_replicated for a in jax.tree.leaves(state))
    metrics = Metrics(workdir, flags.flatten(c), {"name": ""}, False)

    def told(state, m):
        metrics.log(int(state.step), loss=m["loss"])
        time.sleep(0.02 if steps > 100 else 0)  # a long run is one that is told to stop

    def judge(state, m):
        (workdir / "judged.txt").write_text(str(float(optax.global_norm(state.ema))))

    save = lambda state, _: saves.save(state, {}, {"position": int(state.step)})
    hooks = [loop.Hook(1, told), loop.Hook(c.save_interval, save)]
    hooks.append(loop.Hook(1000, loop.by_first(judge), False))
    with batches, saves, metrics:
        state, signal = loop.fit(state, step, batches, steps, hooks)
    rows = hosts.together(np.arange(8)[hosts.share(8)])
    said = [jax.device_count(), len(jax.tree.leaves(state)), cut, int(state.step), signal, *rows]
    (workdir / f"{process}.txt").write_text(" ".join(map(str, said)))


def main():
    steps, *words = sys.argv[1:]
    runs = [word.split("=") for word in words if not word.startswith("--") and "=" in word]
    c = flags.parse(["trainer.py", *words[len(runs) :]], "configs/flow.py")
    hosts.connect(c)
    for mode, workdir in runs:
        train(c, int(steps), mode, Path(workdir))


if __name__ == "__main__":
    flags.run(main)
