"""Batches from arrays in memory: a seeded permutation an epoch, the position is the step.

Nothing has to be saved to resume: batch `step` is a function of (seed, step) alone. stream.py has
the same of what is not in memory.
"""

import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np


class Batches:
    """The endless shuffled sequence of examples, cut into batches.

    Attributes:
        arrays: {"x": [N, ...], "label": i32[N], ...}, of one length N.
        batch_size: examples a step, over all processes.
        seed: of the shuffle; epoch e is permuted by (seed, e).
        process, processes: this host's number and how many there are; a host gets rows
            [p B/P, (p + 1) B/P) of each batch.

    Raises:
        ValueError: no examples, or a batch that the processes cannot share.
    """

    def __init__(self, arrays, batch_size, *, seed=0, process=0, processes=1):
        if batch_size < 1 or batch_size % processes:
            raise ValueError(f"a batch of {batch_size} cannot be shared by {processes} processes")
        self.arrays, self.batch_size, self.seed = arrays, batch_size, seed
        self.length = len(next(iter(arrays.values())))
        if self.length == 0:
            raise ValueError("the dataset has no examples")
        share = batch_size // processes
        self.rows = np.arange(process * share, (process + 1) * share)
        self.permutation = functools.lru_cache(2)(self._permutation)

    def _permutation(self, epoch):
        return np.random.default_rng((self.seed, epoch)).permutation(self.length)

    def __call__(self, step: int) -> dict:
        """The batch of step 0, 1, ...; "index" i32[B] is each row's place in the whole batch."""
        epochs, places = np.divmod(step * self.batch_size + self.rows, self.length)
        chosen = np.empty(len(places), np.int64)
        for epoch in np.unique(epochs):
            now = epochs == epoch
            chosen[now] = self.permutation(int(epoch))[places[now]]
        return {k: v[chosen] for k, v in self.arrays.items()} | {
            "index": self.rows.astype(np.int32)
        }


def steps(config, n: int) -> int:
    """config.max_steps, or as many as make config.epochs passes over n examples, where set.

    Raises:
        ValueError: less than none.
    """
    if config.epochs < 0:
        raise ValueError(f"--epochs wants 0 (as many as --max_steps) or more; got {config.epochs}")
    return math.ceil(config.epochs * n / config.batch_size) or config.max_steps


class Ahead:
    """Calls `batches` for the next steps in a thread, while the present one is worked on.

    What goes wrong there is raised where the batch is asked for. Leaving the context drops what
    nobody asked for.

    Args:
        batches: number of the step -> batch.
        depth: how many steps it may be ahead.
        end: the step that nobody will ask for, nor any behind it.
    """

    def __init__(self, batches: Callable, depth: int = 2, *, end: int):
        self.batches, self.depth, self.end = batches, depth, end
        self.thread, self.coming = ThreadPoolExecutor(1), {}

    def __call__(self, step: int):
        wanted = range(step, max(step + 1, min(step + 1 + self.depth, self.end)))
        for other in self.coming.keys() - wanted:
            self.coming.pop(other).cancel()
        for s in wanted:
            if s not in self.coming:
                self.coming[s] = self.thread.submit(self.batches, s)
        return self.coming.pop(step).result()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.thread.shutdown(wait=False, cancel_futures=True)


def to_unit(x):
    """u8 pixels 0..255 as float32 in [-1, 1]; numpy or jax arrays alike."""
    return x.astype("float32") / 127.5 - 1.0


def to_bytes(x):
    """The inverse: [-1, 1] as u8, rounded; what is outside is cut off."""
    return np.clip(np.round((np.asarray(x, np.float32) + 1.0) * 127.5), 0, 255).astype(np.uint8)
