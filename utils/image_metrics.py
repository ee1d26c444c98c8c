"""What stands beside a Frechet distance: KID, Inception Score, sFID, counts of classes.

All of features or logits that were computed elsewhere, in float64 on the host. precision, recall
and copies of training images are in neighbours.py.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from utils import fid


class Kid(NamedTuple):
    """Mean and spread over subsets; the spread is of one subset's value, not the mean's error."""

    mean: float
    std: float
    subsets: int
    size: int  # of a subset; less than asked where there are fewer images
    seed: int


class InceptionScore(NamedTuple):
    mean: float
    std: float  # over splits
    splits: int


class ClassCounts(NamedTuple):
    counts: np.ndarray  # i64[K]
    chi2: float
    p: float  # of a chi2 at least as large, if the expected shares hold


def kid(reference, samples, *, subsets=100, size=1000, seed=2020) -> Kid:
    """Kernel Inception Distance (arXiv:1801.01401): the unbiased squared MMD of features f[N, D]
    and f[M, D] with the kernel (x.y / D + 1)^3, a mean over random subsets. It has no bias at any
    number of images, so it stands in for FID where they are few. Subsets are drawn as
    torch-fidelity draws them.

    Raises:
        ValueError: widths differ, or fewer than two images in either.
    """
    (n, width), (m, other) = np.shape(reference), np.shape(samples)
    size = min(size, n, m)
    if width != other or size < 2:
        raise ValueError(
            f"KID wants at least 2 features of one width in both sets; got {n} of width {width} "
            f"and {m} of width {other}"
        )
    random, values = np.random.RandomState(seed), []
    for _ in range(subsets):
        y = samples[random.choice(m, size, replace=False)]
        x = reference[random.choice(n, size, replace=False)]
        with fid.alone():  # a tenth of the time where cores are busy
            values.append(mmd(np.asarray(x, np.float64), np.asarray(y, np.float64)))
    return Kid(float(np.mean(values)), float(np.std(values)), subsets, size, seed)


def mmd(x, y) -> float:
    """The unbiased squared MMD of two sets f64[N, D] of one size."""
    n, width = x.shape
    kernel = lambda a, b: (a @ b.T / width + 1.0) ** 3
    within = sum(k.sum() - np.trace(k) for k in (kernel(x, x), kernel(y, y)))
    return within / (n * (n - 1)) - 2.0 * kernel(x, y).mean()


def inception_score(logits, *, splits=10, split_size=None, seed=None) -> InceptionScore:
    """exp of the mutual information of image and class (arXiv:1606.03498), by splits of f[N, K].

    Two protocols, which differ in the second decimal: torch-fidelity's shuffles with seed 2020 and
    makes 10 splits; ADM's takes 5,000 after 5,000 in order (split_size=5000). Both want logits
    without the bias of Inception's last layer.

    Raises:
        ValueError: fewer images than splits.
    """
    logits = np.asarray(logits, np.float64)
    n = len(logits)
    if n < max(splits, 1):
        raise ValueError(f"an Inception Score of {splits} splits wants as many images; got {n}")
    if seed is not None:
        logits = logits[np.random.RandomState(seed).permutation(n)]
    edges = [i * n // splits for i in range(splits + 1)]
    if split_size:
        edges = [*range(0, n, split_size), n]
    log_p = logits - logits.max(1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
    scores = []
    for start, stop in itertools.pairwise(edges):
        part = log_p[start:stop]
        p = np.exp(part)
        mean = p.mean(0)
        log_mean = np.log(np.where(mean > 0, mean, 1.0))  # where it is 0, so is every p
        scores.append(np.exp((p * (part - log_mean)).sum(1).mean()))
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)), len(scores))


def sfid(reference, samples) -> float:
    """The Frechet distance of the spatial features of two Stats (arXiv:2103.03841).

    Raises:
        ValueError: one of them has none.
    """
    for stats in (reference, samples):
        if stats.spatial is None:
            raise ValueError(
                f"sFID wants spatial statistics (mu_s, sigma_s); {stats.source} has none"
            )
    return fid.frechet(reference.spatial, samples.spatial)


def class_counts(guesses, num_classes: int, shares=None) -> ClassCounts:
    """How often each class was seen i[N], against expected shares f[K] (uniform), with Pearson's
    chi2. A classifier that errs gives a small p to real images too: read it beside theirs.

    Raises:
        ValueError: a class out of range, or one that was seen and is expected never.
    """
    guesses = np.asarray(guesses)
    if guesses.size and not 0 <= guesses.min() <= guesses.max() < num_classes:
        raise ValueError(
            f"classes range over [{guesses.min()}, {guesses.max()}]; wanted 0 to {num_classes - 1}"
        )
    counts = np.bincount(guesses, minlength=num_classes)
    shares = np.ones(num_classes) if shares is None else np.asarray(shares, np.float64)
    if shares.shape != (num_classes,) or (shares < 0).any() or not shares.sum() > 0:
        raise ValueError(f"expected shares of {num_classes} classes; got {shares.tolist()}")
    some = shares > 0
    if counts[~some].any():
        raise ValueError(f"classes {np.flatnonzero(counts * ~some).tolist()} are expected never")
    expected = counts.sum() * shares[some] / shares.sum()
    chi2 = float(((counts[some] - expected) ** 2 / np.maximum(expected, 1e-300)).sum())
    return ClassCounts(counts, chi2, chi2_tail(chi2, int(some.sum()) - 1))


def chi2_tail(x: float, freedom: int) -> float:
    """P(chi2 >= x): the finite sums of Abramowitz & Stegun 26.4.4 and 26.4.5, in logarithms."""
    if freedom < 1 or x <= 0:
        return 1.0
    half, odd = x / 2, freedom % 2
    powers = [k + odd / 2 for k in range(freedom // 2)]
    terms = [math.exp(s * math.log(half) - half - math.lgamma(s + 1)) for s in powers]
    return min(sum(terms) + (math.erfc(math.sqrt(half)) if odd else 0.0), 1.0)
