"""A judge of generated text: another model's -log p of it, and so a perplexity.

    runs/stories_ar                 a run of train_text.py --process.name autoregressive
    stories260K.bin,tok512.bin      a model of github.com/karpathy/llama2.c and its tokenizer

A judge speaks its own tokens, so perplexities of two judges do not compare; nats a character do.
A low one alone says little: the same dull sentence over and over pleases any judge. It stands
beside entropy, and beside what the judge says of real text.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data import llama_tokens
from data.tokenizer import BOS
from diffusion.readouts import cross_entropy
from models import llama
from utils import files, places, writing

BATCH = 16


class Judge(NamedTuple):
    """name: as printed. encode: text -> ids. front: ids that stand before each text and are not
    judged. length: places that the network has. logits: (ids i32[B, L]) -> f32[B, L, V], those at
    a place speaking of the next."""

    name: str
    encode: Callable[[str], list[int]]
    front: list[int]
    length: int
    logits: Callable


class Verdict(NamedTuple):
    """Of some texts."""

    nats: float  # a token of the judge's
    error: float  # standard error, over texts
    nats_per_char: float
    tokens: int
    texts: int  # that were judged; empty ones say nothing
    cut: int  # of these, texts too long for the judge, judged by their beginning


def load(spec: str) -> Judge:
    """The judge of a path, or of two paths with a comma between: model and tokenizer.

    Raises:
        ValueError, FileNotFoundError: not a judge, or a run that is not autoregressive.
    """
    path, _, words = spec.partition(",")
    if path.endswith(".bin"):
        return of_llama(files.fetched(path), files.fetched(words))
    return of_run(places.run(path))


def of_llama(path: str, words: str) -> Judge:
    if not words:
        raise ValueError(f"judge {path} wants its tokenizer too: {path},TOKENIZER.bin")
    module, params = llama.read(path)
    speaker = llama_tokens.read(words, module.vocab_size)
    logits = jax.jit(lambda params, x: module.apply({"params": params}, x))
    front, length = [llama_tokens.BOS], module.max_seq_len
    return Judge(Path(path).stem, speaker.encode, front, length, partial(logits, params))


def of_run(path: str) -> Judge:
    run = writing.restored(path)
    if run.config.process.name != "autoregressive":
        raise ValueError(
            f"{run.name} is {run.config.process.name}; a judge wants "
            "--process.name autoregressive, which gives -log p itself"
        )
    logits = jax.jit(lambda params, x: run.recipe.apply(params, x, jnp.zeros(len(x)), {}))
    front = [BOS] * (2 if run.facts["rows"]["begin"] else 1)  # its start, and that of the row
    length = run.recipe.shape[0]
    return Judge(run.name, run.tokenizer.encode, front, length, partial(logits, run.ema))


def judged(judge: Judge, texts: list[str]) -> Verdict | None:
    """What a judge says of texts; None where all are empty."""
    rows = [(text, ids) for text in texts if (ids := judge.encode(text))]
    if not rows:
        return None
    rows.sort(key=lambda row: len(row[1]))  # of like length together
    first, room = len(judge.front) - 1, judge.length + 1 - len(judge.front)
    totals, counts, chars = [], [], []
    for number in range(0, len(rows), BATCH):
        some = [ids[:room] for _, ids in rows[number : number + BATCH]]
        width = min(-(-(first + max(map(len, some))) // 64) * 64, judge.length)
        x = np.zeros((BATCH, width + 1), np.int32)
        x[:, : first + 1] = judge.front
        for row, ids in zip(x, some, strict=False):
            row[first + 1 :][: len(ids)] = ids
        nats = np.asarray(cross_entropy(judge.logits(x[:, :-1]).astype(jnp.float32), x[:, 1:])[0])
        for k, ids in enumerate(some):
            totals.append(nats[k, first : first + len(ids)].sum(dtype=np.float64))
            counts.append(len(ids))
            text, whole = rows[number + k]
            chars.append(len(text) * len(ids) / len(whole))
    totals, counts = np.array(totals), np.array(counts)
    mean = totals.sum() / counts.sum()
    error = np.sqrt(((totals - mean * counts) ** 2).sum()) / counts.sum()
    cut = sum(len(ids) > room for _, ids in rows)
    return Verdict(
        float(mean), float(error), float(totals.sum() / sum(chars)), int(counts.sum()),
        len(rows), cut,
    )  # fmt: skip
