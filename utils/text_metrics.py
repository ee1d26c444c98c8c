"""What texts look like from outside, as numbers: variety, repetition, entropy.

Rows are sequences of token ids, of any lengths. None of these knows whether a text makes sense:
a model that says one good sentence for ever, and one that says noise, are what they tell apart.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from data import stories
from data.tokenizer import BOS, EOS, PAD


def grams(row: Sequence[int], n: int) -> list[tuple[int, ...]]:
    """All runs of n tokens."""
    row = [int(i) for i in row]
    return list(zip(*(row[i:] for i in range(n)), strict=False))


def distinct(rows: Sequence[Sequence[int]], n: int) -> float:
    """Different n-grams / n-grams, over all rows together (arXiv:1510.03055). It falls as there
    are more rows: compare at the same number of them alone. NaN where there is no n-gram."""
    found = [g for row in rows for g in grams(row, n)]
    return len(set(found)) / len(found) if found else float("nan")


def repetition(rows: Sequence[Sequence[int]], n: int = 4) -> float:
    """The share of n-grams that their own row has said before, a mean over rows with any."""
    shares = [1.0 - len(set(g)) / len(g) for row in rows if (g := grams(row, n))]
    return float(np.mean(shares)) if shares else float("nan")


def entropy(rows: Sequence[Sequence[int]]) -> float:
    """Nats of the histogram of a row's tokens, a mean over rows (arXiv:2409.02908, sec. 4)."""
    nats = []
    for row in rows:
        p = np.array(list(Counter(map(int, row)).values())) / max(len(row), 1)
        nats.append(-(p * np.log(p)).sum())
    return float(np.mean(nats))


def variety(texts: list[str], seed: int = 0) -> float:
    """Entropy of what stories choose, rule by rule, over that of as many drawn from the grammar.

    Near 1 where names, places, plots and morals are mixed as they should be; near 0 where it is
    one story with small changes, be all different and each as likely as a true one. A text that
    is no story counts as one that chose nothing. NaN of fewer than two texts.
    """
    chosen = lambda some: choices([stories.parse(text) or {} for text in some])
    true = chosen(stories.sample(np.random.default_rng(seed), len(texts)))
    return chosen(texts) / true if true else float("nan")


def choices(parsed: list[dict[str, str]]) -> float:
    """Nats of the histogram of each rule's options, not used being one of them; summed."""
    total = 0.0
    for rule in {rule for one in parsed for rule in one}:
        p = np.array(list(Counter(one.get(rule) for one in parsed).values())) / len(parsed)
        total -= float((p * np.log(p)).sum())
    return total


def true_nats(corpus) -> float | None:
    """Nats a token that no model can go below, where they are known: of the embedded stories, as
    long as each row is one whole story. BOS, EOS and padding add nothing."""
    if corpus.name != "stories":
        return None
    real = (corpus.valid != PAD).sum(-1)
    last = np.take_along_axis(np.asarray(corpus.valid), real[:, None] - 1, 1)[:, 0]
    whole = (corpus.valid[:, 0] == BOS).all() and (last == EOS).all()
    return float(stories.entropy() / real.mean()) if whole else None
