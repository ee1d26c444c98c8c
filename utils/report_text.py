"""What eval_text.py measures of a text model, and how it is told."""

import time

import jax
import numpy as np

from data import stories
from data.tokenizer import BOS, EOS, UNK
from utils import recipe_judge, recipe_text, scoring, text_metrics, writing

BATCHES = (1, 16)  # of the timings
REPEATS = 5


def likelihood(run, corpus, rows: int, levels: int, seed: int) -> dict:
    """The bound on the first held-out rows (0: all), per token, character and byte."""
    held_out = corpus.valid[: rows or None]
    exact = run.config.process.name == "autoregressive"
    key = jax.random.key(seed)
    found = scoring.bound(
        recipe_text.scorer(run.recipe), run.ema, held_out, key, levels=1 if exact else levels
    )
    words = [run.tokenizer.decode(row) for row in held_out[: found.rows]]
    chars, size = sum(map(len, words)), sum(len(w.encode()) for w in words)
    bits = found.total / np.log(2.0)
    out = {
        "corpus": corpus.name,
        "kind": "-log p" if exact else "bound on -log p",
        "rows": found.rows,
        "tokens": found.tokens,
        "levels": 1 if exact else levels,
        "nats_per_token": found.nats,
        "standard_error": found.error,
        "perplexity": float(np.exp(found.nats)),
        "bits_per_char": float(bits / chars),
        "bits_per_byte": float(bits / size),
        "accuracy": by_rate(found.metrics),
    }
    if corpus.name == "stories":
        out["true_entropy"] = stories.entropy() / run.recipe.shape[0]
    return out


def by_rate(metrics: list[dict], bins: int = 8) -> dict[str, float]:
    """Accuracy by the share of tokens that is noise, {"0.06": 0.99, ...}."""
    if "mask_rate" in metrics[0] or "noise_rate" in metrics[0]:
        rate = [m.get("mask_rate", m.get("noise_rate")) for m in metrics]
        right = [m.get("masked_accuracy", m.get("accuracy")) for m in metrics]
        order = np.argsort(rate)
        parts = np.array_split(order, min(bins, len(order)))
        mean = lambda values, part: float(np.mean(np.asarray(values)[part]))
        return {f"{mean(rate, part):.2f}": mean(right, part) for part in parts}
    return {"next token": metrics[0]["accuracy"]}


def drawn(run, n: int, seed: int, batch_size: int):
    """n rows of ids i32[n, L], nothing given."""
    from utils.progress import bar

    known, _ = writing.asked(run, "", n, seed)
    progress, rows = bar(n, "text", title="sampling"), []
    for batch in writing.writer(run, seed=seed, batch_size=batch_size)(known):
        rows.append(batch)
        progress.update(len(batch))
    progress.close()
    return np.concatenate(rows)


def measured(run, rows, judge, corpus) -> dict:
    """Variety of rows of ids, what a judge says of their texts, and of stories their worth."""
    words = [row[row > UNK] for row in np.asarray(rows)]
    texts = writing.texts(run.tokenizer, rows)
    out = {f"distinct_{n}": text_metrics.distinct(words, n) for n in (1, 2, 3)}
    out |= {"repetition_4": text_metrics.repetition(words), "entropy": text_metrics.entropy(words)}
    if judge:
        said = recipe_judge.judged(judge, texts)
        out["judge"] = {
            "name": judge.name,
            "perplexity": float(np.exp(said.nats)),
            **said._asdict(),
        }
    if corpus.name == "stories":
        out["stories"] = worth(texts, corpus)
    return out | {"first": texts[:4]}


def worth(texts: list[str], corpus) -> dict:
    """Of stories: how many are ones, how likely, how many were in the training set."""
    log_p = np.array([stories.log_prob(t) for t in texts])
    valid = np.isfinite(log_p)
    ours = [t for t, ok in zip(texts, valid, strict=True) if ok]
    seen = {row.tobytes() for row in np.ascontiguousarray(corpus.train)}
    row = lambda t: corpus.tokenizer.encode(t)
    length = corpus.train.shape[1]
    old = sum(np.array([BOS, *row(t), EOS], np.uint16)[:length].tobytes() in seen for t in ours)
    return {
        "valid": float(valid.mean()),
        "nats_a_story": float(-log_p[valid].mean()) if valid.any() else None,
        "true_entropy": stories.entropy(),
        "novel": 1.0 - old / len(ours) if ours else None,
        "different": len(set(ours)) / len(ours) if ours else None,
    }


def grid(text: str | None) -> list[tuple[int, int]]:
    """(length, steps) pairs of "64,128x16,32".

    Raises:
        ValueError: anything else.
    """
    if not text:
        return []
    try:
        lengths, steps = ([int(n) for n in part.split(",")] for part in text.split("x"))
        if min(lengths + steps) >= 1:
            return [(length, number) for length in lengths for number in steps]
    except ValueError:
        pass
    raise ValueError(f"--latency wants LENGTHSxSTEPS such as 64,128x16,32; got {text!r}")


def latency(run, pairs, seed: int) -> list[dict]:
    """Whole generations on this machine, compiled before: medians of REPEATS."""
    out = []
    for length, steps in pairs:
        draw = recipe_text.drawer(run.recipe._replace(shape=(length,)), steps)
        for batch in BATCHES:
            known = np.full((batch, length), -1, np.int32)
            index = np.arange(batch)
            call = lambda: jax.block_until_ready(
                draw(run.ema, jax.random.key(seed), index, known)  # noqa: B023 (called at once)
            )
            call()
            times = []
            for _ in range(REPEATS):
                began = time.perf_counter()
                call()
                times.append(time.perf_counter() - began)
            seconds = float(np.median(times))
            out.append(
                {"length": length, "steps": steps, "batch": batch, "seconds": seconds,
                 "fastest": min(times), "slowest": max(times),
                 "tokens_per_second": batch * length / seconds}
            )  # fmt: skip
    return out


def table(r: dict) -> str:
    """All of it, for reading."""
    b = r["bound"]
    true = f"  true entropy {b['true_entropy']:.4f}" if "true_entropy" in b else ""
    lines = [
        f"{r['run']}, {r['weights']} weights, seed {r['seed']}",
        f"{b['kind']} of {b['corpus']}, held out: {b['nats_per_token']:.4f} +- "
        f"{b['standard_error']:.4f} nats/token{true}",
        f"  perplexity {b['perplexity']:.3f}  {b['bits_per_char']:.4f} bits/char  "
        f"{b['bits_per_byte']:.4f} bits/byte  ({b['rows']} rows, {b['tokens']} tokens, "
        f"{b['levels']} noise levels a row)",
        "  accuracy at noise rate  " + "  ".join(f"{k}: {v:.1%}" for k, v in b["accuracy"].items()),
    ]
    if "samples" in r:
        s = r["sampler"]
        lines.append(
            f"{s['n']} samples: {s['solver']} {s['denoise_timesteps']} steps, temperature "
            f"{s['temperature']}, top_k {s['top_k']}, top_p {s['top_p']}"
        )
        lines += compared(flat(r["samples"]), flat(r["held_out"]))
        lines.append(f"  {r['samples']['first'][0]!r}")
    for t in r.get("latency", ()):
        lines.append(
            f"length {t['length']:4d}  steps {t['steps']:4d}  batch {t['batch']:3d}  "
            f"{1e3 * t['seconds']:9.1f} ms [{1e3 * t['fastest']:.1f}..{1e3 * t['slowest']:.1f}]  "
            f"{t['tokens_per_second']:9.0f} tokens/s"
        )
    return "\n".join(lines)


def flat(groups: dict, front: str = "") -> dict:
    """Numbers of nested groups, under their names."""
    out = {}
    for name, value in groups.items():
        if isinstance(value, dict):
            out |= flat(value, f"{name} ")
        elif isinstance(value, int | float) or value is None:
            out[front + name] = value
    return out


def compared(ours: dict, real: dict) -> list[str]:
    """A row a number: of samples, and of held-out text."""
    told = lambda v: "-" if v is None else f"{v:.4f}"
    rows = [f"  {name:26s}{told(v):>12s}{told(real[name]):>12s}" for name, v in ours.items()]
    return [f"  {'':26s}{'samples':>12s}{'held out':>12s}", *rows]
