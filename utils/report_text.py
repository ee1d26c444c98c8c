"""What eval_text.py measures of a text model; table_text.py tells it."""

import time

import jax
import numpy as np

from data import stories
from data import text as corpora
from data.tokenizer import UNK
from utils import recipe_judge, recipe_text, scoring, text_metrics, writing

BATCHES = (1, 16)  # of the timings
REPEATS = 5
BINS = 8  # of noise rates


def likelihood(run, corpus, rows: int, levels: int, seed: int, batch_size: int) -> dict:
    """The bound on held-out rows, evenly spaced (0: all), per token, character and byte."""
    n = min(rows or len(corpus.valid), len(corpus.valid))
    held_out = corpus.valid[np.linspace(0, len(corpus.valid) - 1, n).round().astype(int)]
    exact = run.config.process.name == "autoregressive"
    levels = 1 if exact else levels
    found = scoring.bound(
        recipe_text.scorer(run.recipe), run.ema, held_out, jax.random.key(seed),
        levels=levels, batch_size=batch_size,
    )  # fmt: skip
    words = [run.tokenizer.decode(row) for row in held_out]
    chars, size = sum(map(len, words)), sum(len(w.encode()) for w in words)
    bits = found.total / np.log(2.0)
    return {
        "corpus": corpus.name,
        "kind": "-log p" if exact else "bound on -log p",
        "rows": found.rows,
        "tokens": found.tokens,
        "unknown": float((held_out == UNK).sum() / found.tokens),  # share, of letters not counted
        "levels": levels,
        "nats_per_token": found.nats,
        "standard_error": found.error,
        "perplexity": float(np.exp(found.nats)),
        "bits_per_char": float(bits / chars),
        "bits_per_byte": float(bits / size),
        "true_nats_per_token": text_metrics.true_nats(corpus),
        "accuracy": by_rate(found.metrics),
    }


def by_rate(metrics: list[dict]) -> list[tuple[float | None, float]]:
    """(share of tokens that is noise, accuracy on those) by part of (0, 1]; None: no noise."""
    name = next((k for k in ("mask", "noise") if f"{k}_rate" in metrics[0]), None)
    if name is None:
        return [(None, metrics[0]["accuracy"])]
    accuracy = "masked_accuracy" if name == "mask" else "noise_accuracy"
    pairs = np.array(sorted((m[f"{name}_rate"], m[accuracy]) for m in metrics))
    return [tuple(part.mean(0).tolist()) for part in np.array_split(pairs, min(BINS, len(pairs)))]


def drawn(run, n: int, seed: int, batch_size: int):
    """n rows of ids i32[n, L], nothing given."""
    from utils.progress import bar

    known, _ = writing.asked(run, "", n, seed)
    progress, rows = bar(n, "text", title="sampling"), []
    for batch in writing.writer(run, batch_size=batch_size)(known, seed=seed):
        rows.append(batch)
        progress.update(len(batch))
    progress.close()
    return np.concatenate(rows)


def measured(run, rows, judge, corpus) -> dict:
    """Variety of rows of ids, what a judge says of their documents, and of stories their worth."""
    parts = [part[part > UNK] for row in rows for part in writing.parted(row)]
    texts = [said for row in rows for said in writing.documents(run.tokenizer, row)]
    out = {"rows": len(rows), "documents": len(texts)}
    out |= {f"distinct_{n}": text_metrics.distinct(parts, n) for n in (1, 2, 3)}
    out["repetition_4"] = text_metrics.repetition(parts)
    out["entropy"] = text_metrics.entropy([row[row > UNK] for row in np.asarray(rows)])
    if judge and (said := recipe_judge.judged(judge, texts)):
        out["judge"] = {"name": judge.name, "perplexity": float(np.exp(said.nats))}
        out["judge"] |= said._asdict()
    if text_metrics.true_nats(corpus):
        out["stories"] = worth(texts, len(rows), corpus)
    return out | {"first": texts[:4]}


def worth(texts: list[str], n: int, corpus) -> dict:
    """Of n rows of stories: how many are ones, how likely, how varied (of as many true stories),
    how many were in the training set."""
    log_p = np.array([stories.log_prob(t) for t in texts])
    ours = [t for t, found in zip(texts, log_p, strict=True) if np.isfinite(found)]
    seen = {row.tobytes() for row in np.ascontiguousarray(corpus.train)}
    ids = corpora.padded(corpus.tokenizer.encode_batch(ours), corpus.train.shape[1])
    nats = -log_p[np.isfinite(log_p)]
    return {
        "valid": len(ours) / n,
        "nats_a_story": float(nats.mean()) if ours else None,
        "variety": text_metrics.variety(ours) if ours else None,
        "true_entropy": stories.entropy(),
        "novel": 1.0 - sum(row.tobytes() in seen for row in ids) / len(ours) if ours else None,
        "different": len(set(ours)) / len(ours) if ours else None,
    }


def grid(run, text: str | None) -> list[tuple[int, int]]:
    """(length, steps) pairs of "64,128x16,32".

    Raises:
        ValueError: anything else, or a length that the network has no places for.
    """
    if not text:
        return []
    try:
        lengths, steps = ([int(n) for n in part.split(",")] for part in text.split("x"))
        fine = min(lengths + steps) >= 1
    except ValueError:
        fine = False
    if not fine:
        raise ValueError(f"--latency wants LENGTHSxSTEPS such as 64,128x16,32; got {text!r}")
    for length in lengths:
        draw = recipe_text.drawer(run.recipe._replace(shape=(length,)), 1)
        known = np.full((1, length), -1, np.int32)
        jax.eval_shape(draw, run.ema, jax.random.key(0), np.arange(1), known)
    return [(length, number) for length in lengths for number in steps]


def latency(run, pairs, seed: int) -> list[dict]:
    """Whole generations on this machine, compiled before: medians of REPEATS."""
    out = []
    for length, steps in pairs:
        draw = recipe_text.drawer(run.recipe._replace(shape=(length,)), steps)
        for batch in BATCHES:
            known, index = np.full((batch, length), -1, np.int32), np.arange(batch)
            args = run.ema, jax.random.key(seed), index, known
            jax.block_until_ready(draw(*args))
            times = []
            for _ in range(REPEATS):
                began = time.perf_counter()
                jax.block_until_ready(draw(*args))
                times.append(time.perf_counter() - began)
            seconds = float(np.median(times))
            out.append(
                {"length": length, "steps": steps, "batch": batch, "seconds": seconds,
                 "fastest": min(times), "slowest": max(times),
                 "tokens_per_second": batch * length / seconds}
            )  # fmt: skip
    return out
