"""The rows that embedding diffusion starts with, by the name that a config gives them."""

from pathlib import Path

import numpy as np

from data import embeddings
from utils import files, places


def rows(config, tokenizer):
    """f32[V, D] of unit length, or None where the process has no table.

    process.table is "random" (orthogonal directions), the folder of a run of train_text.py on the
    same tokens, whose embedding is taken, or a file that `data.embeddings.read` reads. All but
    the random ones are centred and turned to their process.dim principal directions.

    Raises:
        ValueError, FileNotFoundError: nothing of that name, other tokens, or too few directions.
    """
    if config.process.name != "embedding":
        return None
    name, dim = config.process.table, config.process.dim
    if name == "random":
        return embeddings.random_table(tokenizer.size, dim, config.seed)
    of_run = Path(name).suffix not in embeddings.READERS and places.remote(name)
    if of_run or Path(name).is_dir():
        return embeddings.prepared(learnt(places.run(name), tokenizer), dim)
    found, share = embeddings.read(files.fetched(name), tokenizer.pieces())
    print(f"{name}: rows for {share:.1%} of the {tokenizer.size} tokens", flush=True)
    return embeddings.prepared(found, dim)


def learnt(folder, tokenizer):
    """The embedding f32[V, D] of a run."""
    from utils import writing

    run = writing.restored(folder)
    if run.tokenizer.hash != tokenizer.hash:
        raise ValueError(f"process.table: {run.name} was trained on other tokens")
    if run.recipe.table is not None:
        return np.asarray(run.ema["table"])
    return np.asarray(run.ema["embed"]["embedding"])[: tokenizer.size]
