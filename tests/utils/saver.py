"""A process that saves and saves, in copies of itself: what tests kill.

    python tests/utils/saver.py FOLDER TIMES SEED

Each copy restores the newest checkpoint, says what it found, and saves one step after another until
it is killed, at a moment drawn from (SEED, number of the copy). Copies are made before XLA has any
threads, so that twenty starts cost one import.
"""

import os
import random
import signal
import sys
import time

import jax
import numpy as np

from utils import checkpoint, train_state

SIZE = 20_000  # words an array


def state(step: int):
    """The only right state after `step` updates."""
    words = lambda salt: np.random.default_rng((salt, step)).integers(0, 1 << 32, SIZE, np.uint32)
    one = train_state.State(np.int32(step), words(0), words(1), (), jax.random.key(step))
    return jax.device_put(one)


def save_on(folder, out):
    """Goes on from what is there; tells its step, then that of each that is on disk."""
    with checkpoint.Checkpoints(folder, keep=2) as saves:
        found, meta = saves.restore(state(0)) or (state(0), {"data": {"position": 0}})
        step = int(found.step)
        right = checkpoint.fingerprints(found) == checkpoint.fingerprints(state(step))
        print(step if right and meta["data"] == {"position": step} else "wrong", file=out)
        while True:
            step += 1
            saves.save(state(step), {}, {"position": step})
            saves.wait()
            print(step, file=out)


def main(folder, times, seed):
    """Prints of each copy: what it found, the last that it had kept when it was killed, and whether
    it left a half-written one."""
    rng = random.Random(seed)
    for _ in range(times):
        read, write = os.pipe()
        child = os.fork()
        if not child:
            with os.fdopen(write, "w", buffering=1) as out:
                save_on(folder, out)
        os.close(write)
        with os.fdopen(read, buffering=1) as told:
            found, kept = told.readline().strip(), told.readline().strip()
            time.sleep(rng.uniform(0.0, 0.1))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            half = any(name.endswith("-tmp") for name in os.listdir(folder))
            print(found, [kept, *told.read().split()][-1], int(half), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
