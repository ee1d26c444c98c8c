"""Compiles the training step of trainer.py, for tests to read the programs.

    python tests/utils/compiled.py FOLDER MODE:ACCUMULATE ...

Leaves FOLDER/MODE:ACCUMULATE.txt, the program of each, and .json with bytes on a device: "state"
(and the batch: what comes in), "again" (how much of it is written into) and "more" (wanted besides).
The mode "unguided" is fsdp with XLA left to part the micro-batches itself.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import trainer

from utils import loop


def main():
    folder, *wanted = sys.argv[1:]
    unguided = loop.MODES["fsdp"]._replace(over_devices=lambda means, accumulate: means)
    loop.MODES["unguided"] = unguided
    tx = optax.adam(1e-2)
    batch = {"x": np.zeros((16, 4), np.float32), "index": np.arange(16, dtype=np.int32)}
    for name in wanted:
        mode, accumulate = name.split(":")
        state = loop.create(trainer.init, tx, jax.random.key(1), mode)
        step = loop.update(trainer.loss, tx, ema_decay=0.9, accumulate=int(accumulate), mode=mode)
        program = step.lower(state, batch).compile()
        Path(folder, f"{name}.txt").write_text(program.as_text())
        used = program.memory_analysis()
        told = {
            "state": used.argument_size_in_bytes,
            "again": used.alias_size_in_bytes,
            "more": used.temp_size_in_bytes,
        }
        Path(folder, f"{name}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
