"""A judge of generated text: another model's -log p of it, and so a perplexity.

    runs/stories_ar                 a run of train_text.py --process.name autoregressive
    stories260K.bin,tok512.bin      a model of github.com/karpathy/llama2.c and its tokenizer

A judge speaks its own tokens, so perplexities of two judges do not compare; nats a character do.
A low one alone says little: the same dull sentence over and over pleases any judge. It stands
beside entropy, and beside what the judge says of real text.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data import llama_tokens, tokenizer
from diffusion.masked import cross_entropy
from models import llama
from utils import writing

BATCH = 16


class Judge(NamedTuple):
    """name: as printed. encode: text -> ids, of which all but the first are judged. length: in
    tokens, of which more are cut off. nats: (ids i32[B, L]) -> f32[B, L - 1], of ids[:, 1:]."""

    name: str
    encode: Callable[[str], list[int]]
    length: int
    nats: Callable


class Verdict(NamedTuple):
    """Of some texts."""

    nats: float  # a token of the judge's
    error: float  # standard error, over texts
    nats_per_char: float
    tokens: int
    cut: int  # texts that were too long for the judge, and judged by their beginning


def load(spec: str) -> Judge:
    """The judge of a path, or of two paths with a comma between: model and tokenizer.

    Raises:
        ValueError, FileNotFoundError: not a judge, or a run that is not autoregressive.
    """
    path, _, words = spec.partition(",")
    return of_llama(path, words) if path.endswith(".bin") else of_run(path)


def of_llama(path: str, words: str) -> Judge:
    if not words:
        raise ValueError(f"judge {path} wants its tokenizer too: {path},TOKENIZER.bin")
    module, params = llama.read(path)
    speaker = llama_tokens.read(words, module.vocab_size)
    logits = lambda x: module.apply({"params": params}, x)
    nats = jax.jit(lambda x: cross_entropy(logits(x[:, :-1]), x[:, 1:])[0])
    return Judge(Path(path).stem, lambda t: [1, *speaker.encode(t)], module.max_seq_len, nats)


def of_run(path: str) -> Judge:
    run = writing.restored(path)
    if run.config.process.name != "autoregressive":
        raise ValueError(
            f"{path} is a {run.config.process.name} model; a judge wants "
            "--process.name autoregressive, which gives -log p itself"
        )
    first = [tokenizer.BOS] if run.rows["begin"] else []

    @jax.jit
    def nats(x):
        start = jnp.full((len(x), 1), tokenizer.BOS)
        behind = jnp.concatenate([start, x[:, :-1]], 1)
        logits = run.recipe.apply(run.ema, behind, jnp.zeros(len(x)), {})
        return cross_entropy(logits.astype(jnp.float32), x)[0][:, 1:]

    encode = lambda text: [*first, *run.tokenizer.encode(text)]
    return Judge(run.name, encode, run.recipe.shape[0], nats)


def judged(judge: Judge, texts: list[str]) -> Verdict:
    """What a judge says of texts; those of less than two tokens say nothing."""
    rows = [(text, ids) for text in texts if len(ids := judge.encode(text)) > 1]
    if not rows:
        raise ValueError("no text is long enough to be judged")
    totals, counts, chars = [], [], []
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][1]))  # of like length together
    for first in range(0, len(order), BATCH):
        some = [rows[i][1][: judge.length] for i in order[first : first + BATCH]]
        width = min(-(-max(map(len, some)) // 64) * 64, judge.length)
        x = np.zeros((BATCH, width), np.int32)
        for row, ids in zip(x, some, strict=False):
            row[: len(ids)] = ids
        nats = np.asarray(judge.nats(x), np.float64)
        for k, ids in enumerate(some):
            totals.append(nats[k, : len(ids) - 1].sum())
            counts.append(len(ids) - 1)
    for i in order:
        text, ids = rows[i]
        chars.append(len(text) * min(judge.length, len(ids)) / len(ids))
    totals, counts = np.array(totals), np.array(counts)
    mean = totals.sum() / counts.sum()
    error = np.sqrt(((totals - mean * counts) ** 2).sum()) / counts.sum()
    cut = sum(len(ids) > judge.length for _, ids in rows)
    return Verdict(
        float(mean), float(error), float(totals.sum() / sum(chars)), int(counts.sum()), cut
    )
