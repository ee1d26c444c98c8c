"""Batches for training, beside others: how fast images and tokens come, and how soon they may.

    python -m bench.data                about ten minutes on one core; --threads 2 for workers
    python -m bench.data --tiny         a minute: 128 images, 200 stories; --rounds 3, --out FOLDER

Images: PNG of 32x32 in parquet, as datasets of the Hub are kept, brought to shuffled batches
f32[128, 32, 32, 3] in [-1, 1] in this machine's memory. What others have is `datasets` under
torch's DataLoader, which decodes at every use, or keeps what Dataset.map has decoded. Text: stories
as packed rows of 256 tokens of one BPE, in shuffled batches of 64; others tokenise and group by
Dataset.map, as the language modelling examples of transformers do. A run is one epoch; workers are
started anew for it, which is what a DataLoader does unless told. Column "difference" is between the
means of a few numbers of every row: they are the same, but for the rows that grouping drops.
"""

import contextlib
import functools
import io
import os
import tempfile
from functools import partial
from pathlib import Path
from unittest import mock

from bench import harness, loaders
from bench.harness import Contest, Contestant

BATCH, ROWS, LENGTH = 128, 64, 256


def contests(tiny: bool) -> list[Contest]:
    folder, images, tokens, rows = material(tiny)
    env = (("TANDEM_CACHE", f"{folder}/cache"), ("HF_HUB_OFFLINE", "1"))
    own = lambda title, f, *args: Contestant(title, partial(f, folder, *args), env)
    decoding = {"datasets, DataLoader": False, "datasets.map, DataLoader": True}
    dataloaders = [
        own(f"{title}, {n} workers", loader, once, n)
        for title, once in decoding.items()
        for n in (0, 2)
    ]
    return [
        Contest(
            f"batches of {BATCH} images",
            [
                own("cache", cached, False),
                own("cache, made ahead", cached, True),
                own("streamed", streamed),
                *dataloaders,
            ],
            "image",
            images,
        ),
        Contest(
            "images decoded once",
            [own("images.load", decoded), own("datasets.map", mapped)],
            "image",
            images,
        ),
        Contest(
            f"batches of {ROWS} rows of {LENGTH} tokens",
            [
                own("cache", rows_cached, False, rows),
                own("cache, made ahead", rows_cached, True, rows),
                own("datasets.map, DataLoader, 0 workers", rows_loader, 0, rows),
                own("datasets.map, DataLoader, 2 workers", rows_loader, 2, rows),
            ],
            "token",
            rows * LENGTH,
        ),
        Contest(
            "text tokenised once",
            [own("text.load", tokenised), own("datasets.map", grouped)],
            "token",
            tokens,
        ),
    ]


@functools.cache
def material(tiny: bool):
    """(folder, images, tokens, rows of them that make batches): files that all read, as long as
    this process lives."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    from data import stories, tokenizer

    images, texts, vocabulary = (128, 200, 400) if tiny else (8192, 20_000, 4096)
    folder, rng = Path(kept().name), np.random.default_rng(0)

    def png():
        x = rng.integers(0, 100, (32, 32, 3)) + np.linspace(0, rng.integers(1, 155), 32)[:, None]
        Image.fromarray(x.astype(np.uint8)).save(out := io.BytesIO(), "PNG")
        return {"bytes": out.getvalue(), "path": None}

    for part, n in (("train", images), ("test", 8)):
        table = pa.table({"img": [png() for _ in range(n)], "label": rng.integers(0, 10, n)})
        (folder / "images").mkdir(exist_ok=True)
        pq.write_table(table, folder / "images" / f"{part}.parquet", row_group_size=256)
    told = stories.sample(rng, texts + 100)
    words = tokenizer.train_bpe(told[:2000], vocabulary)
    words.save(folder / "tokenizer.json")
    for part, some in (("train", told[100:]), ("test", told[:100])):
        (folder / "text").mkdir(exist_ok=True)
        pq.write_table(pa.table({"text": some}), folder / "text" / f"{part}.parquet")
    tokens = sum(len(ids) + 1 for ids in words.encode_batch(told[100:]))
    return str(folder), images, tokens, int(0.98 * tokens) // LENGTH // ROWS * ROWS


@functools.cache
def kept():
    return tempfile.TemporaryDirectory(prefix="tandem-bench-")


# -- images; what a run finds is the mean over each image's first line


def epoch(batches):
    """The mean of what batches give."""
    import numpy as np

    found = [np.asarray(x[:, 0], np.float64).reshape(len(x), -1).mean(1) for x in batches]
    return float(np.concatenate(found).mean())


@contextlib.contextmanager
def fresh():
    """A folder, which is the cache: nothing is in it."""
    with (
        tempfile.TemporaryDirectory(prefix="tandem-bench-") as folder,
        mock.patch.dict(os.environ, TANDEM_CACHE=folder),
    ):
        yield folder


def ours(folder, stream=False):
    from data import images

    return images.load(f"parquet:{folder}/images", stream=stream)["train"]


def by_steps(batches, read, steps: int, ahead: bool):
    """Runs through epochs of so many steps; read: a batch -> an array."""
    from data import pipeline

    done = 0

    def run():
        nonlocal done
        first, done = done, done + steps
        made = lambda step: read(batches(step))
        if not ahead:
            return epoch(made(step) for step in range(first, done))
        with pipeline.Ahead(made, end=done) as coming:
            return epoch(coming(step) for step in range(first, done))

    return run


def cached(folder, ahead: bool):
    from data import pipeline

    train = ours(folder)
    read = lambda batch: pipeline.to_unit(batch["x"])
    return by_steps(train.batches(BATCH), read, train.n // BATCH, ahead)


def streamed(folder):
    from data import pipeline

    train = ours(folder, stream=True)
    read = lambda batch: pipeline.to_unit(batch["x"])
    return by_steps(train.batches(BATCH), read, train.n // BATCH, False)


def decoded(folder):
    def run():
        with fresh():
            return epoch([ours(folder).x[:].astype("float32") / 127.5 - 1])

    return run


def loader(folder, once: bool, workers: int):
    found = loaders.pictures(f"{folder}/images", f"{folder}/hf", once)
    batches = loaders.dataloader(found, BATCH, workers, collate_fn=loaders.collate)
    return lambda: epoch(batch["img"].numpy() for batch in batches)


def mapped(folder):
    def run():
        with fresh() as cache:
            train = loaders.pictures(f"{folder}/images", cache, once=True)
            return epoch(x["img"].astype("float32") / 127.5 - 1 for x in train.iter(1000))

    return run


# -- text; what a run finds is the mean of each row's first token


def corpus(folder):
    from data import text, tokenizer

    words = tokenizer.load(f"{folder}/tokenizer.json")
    name = f"parquet:{folder}/text"
    return text.load(name, max_seq_len=LENGTH, tokenizer=words, pack=True)


def rows_cached(folder, ahead: bool, rows: int):
    from data import pipeline

    batches = pipeline.Batches({"x": corpus(folder).train[:rows]}, ROWS)
    return by_steps(batches, lambda batch: batch["x"].astype("int32"), rows // ROWS, ahead)


def tokenised(folder):
    def run():
        with fresh():
            return epoch([corpus(folder).train])

    return run


def their_rows(folder, cache):
    return loaders.rows(f"{folder}/text", cache, f"{folder}/tokenizer.json", LENGTH)


def rows_loader(folder, workers: int, rows: int):
    found = their_rows(folder, f"{folder}/hf").with_format("torch").select(range(rows))
    batches = loaders.dataloader(found, ROWS, workers)
    return lambda: epoch(batch["ids"].numpy() for batch in batches)


def grouped(folder):
    def run():
        with fresh() as cache:
            train = their_rows(folder, cache).with_format("numpy")
            return epoch(x["ids"] for x in train.iter(1000))

    return run


if __name__ == "__main__":
    harness.command("data", __doc__, contests)
