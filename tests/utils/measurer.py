"""A set of images seen by a network whose features are exact: what tests start in many processes.

    python tests/utils/measurer.py OUT [die_at=BATCH | fail_at=BATCH] [flags of processes]

Leaves what a process knows in OUT/PROCESS.npz, and work in OUT/part.npz while it goes on. The last
process dies, or fails, at its BATCHth batch.
"""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np

from utils import config as flags
from utils import distress, hosts, measuring

IMAGES, BATCH = 457, 30  # neither a multiple of the other, nor of the devices
KEPT, MEET = 300, 4
distress.SILENCE = 15.0  # seconds that one waits for another: here no network is slow


class Network:
    """Nothing is summed up, so that every split rounds alike."""

    name, resize, range = "toy@1", "none", "-1..1"

    def __init__(self, die_at=0, fail_at=0):
        self.left, self.fails = die_at + fail_at, bool(fail_at)

    def apply(self, x):
        self.left -= 1
        if self.left == 0 and jax.process_index() == jax.process_count() - 1:
            if self.fails:
                raise ValueError("images are broken")
            os._exit(9)
        flat = x.reshape(len(x), -1).astype(np.float32) / 64
        return SimpleNamespace(pool=flat, logits=flat[:, :3] ** 2, spatial=flat[:, :5] + 100)


def main():
    out, *words = sys.argv[1:]
    trouble = [word.split("=") for word in words if word.startswith(("die_at=", "fail_at="))]
    words = words[len(trouble) :]
    hosts.connect(flags.parse(["measurer.py", *words], "configs/flow.py"))
    x = np.random.default_rng(0).integers(0, 256, (IMAGES, 2, 2, 3), np.uint8)
    measuring.KEPT, measuring.MEET, begun = KEPT, MEET, []

    def batches(first):
        begun.append(first)
        return (x[i : i + BATCH] for i in range(first, IMAGES, BATCH))

    out = Path(out)
    found = measuring.measured(
        Network(**{k: int(v) for k, v in trouble}), batches, IMAGES, "toy", out / "part.npz"
    )
    stats = found.stats
    np.savez(
        out / f"{jax.process_index()}.npz", mean=stats.mean, covariance=stats.covariance,
        pool=found.pool, logits=found.logits, spatial_mean=stats.spatial.mean,
        spatial_covariance=stats.spatial.covariance, n=stats.n, first=begun[0],
        devices=jax.device_count(), hash=stats.data_hash or "",
    )  # fmt: skip


if __name__ == "__main__":
    flags.run(main)
