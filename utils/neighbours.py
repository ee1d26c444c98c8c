"""Nearest neighbours among features: precision, recall, and copies of training images.

Distances are |u|^2 - 2 u.v + |v|^2 in float32, some rows at a time. Both sets are moved by one
mean first, for it is large beside the distances and would round them away.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BLOCK = 2**24  # distances at once: 64 MiB


class PrecisionRecall(NamedTuple):
    precision: float
    recall: float
    n_reference: int
    n_samples: int
    k: int


class Copies(NamedTuple):
    """How near samples are to training images, beside how near held-out images are."""

    ratio: float  # of the medians; 1 as near as held-out, 0 copies
    near: float  # share of samples as near as hardly any held-out image is
    expected: float  # that share for held-out images: the quantile that was asked for
    index: np.ndarray  # i64[M], each sample's nearest training image
    distance: np.ndarray  # f64[M], to it
    usual: np.ndarray  # f64[K], of held-out images to theirs


def precision_recall(reference, samples, k: int = 3) -> PrecisionRecall:
    """Shares of samples within the reference's manifold and of the reference within the samples'
    (arXiv:1904.06991). A manifold is the balls around its points f[N, D] that reach to their k-th
    neighbours. Sets may differ in size, and the numbers depend on both sizes.

    Raises:
        ValueError: widths differ, or no more than k points in a set.
    """
    n, m = len(reference), len(samples)
    if min(n, m) <= k:
        raise ValueError(f"precision and recall of k={k} want more images in both; got {n}, {m}")
    x, y = centred(reference, samples)
    reach_x, reach_y = radii(x, k), radii(y, k)
    within, reached = np.zeros(m, bool), np.zeros(n, bool)
    for start, block in blocks(y, x):
        stop = start + len(block)
        within[start:stop] = (block <= reach_x).any(1)
        reached |= (block <= reach_y[start:stop, None]).any(0)
    return PrecisionRecall(float(within.mean()), float(reached.mean()), n, m, k)


def copies(train, samples, held_out, quantile: float = 0.01) -> Copies:
    """Whether samples f[M, D] are copies: their distances to the nearest training features
    f[N, D], against those of held-out images f[K, D], which nobody can have copied. `near` counts
    samples that are no further than this quantile of the held-out images.

    Raises:
        ValueError: widths differ, or too few held-out images to know their quantile.
    """
    if len(held_out) * quantile < 1:
        raise ValueError(
            f"a quantile of {quantile:g} wants at least {int(np.ceil(1 / quantile))} held-out "
            f"images; got {len(held_out)}"
        )
    index, distance = nearest(train, samples)
    _, usual = nearest(train, held_out)
    middle = np.median(usual)
    ratio = float(np.median(distance) / middle) if middle > 0 else float("nan")
    near = float((distance <= np.quantile(usual, quantile)).mean())
    return Copies(ratio, near, quantile, index, distance, usual)


def ratios(found: Copies, label, held_out_label) -> list[float | None]:
    """Copies.ratio of each class by itself: a class with few images may be learnt by heart while
    the others hide it in the whole. Classes are those of i32[M] and i32[K]; None where either has
    no image, or held-out ones have no distance."""
    classes = range(held_out_label.max() + 1)
    middles = lambda d, of: [np.median(d[of == k]) if k in of else np.nan for k in classes]
    pairs = zip(middles(found.distance, label), middles(found.usual, held_out_label), strict=True)
    return [float(ours / usual) if usual > 0 and ours >= 0 else None for ours, usual in pairs]


def nearest(train, samples) -> tuple[np.ndarray, np.ndarray]:
    """(i64[M], f64[M]): each sample's nearest training point, and the distance to it, which is
    measured once more from the difference: of a copy it is 0, not what rounding left."""
    x, y = centred(train, samples)
    index = np.concatenate([block.argmin(1) for _, block in blocks(y, x)])
    rows = range(0, len(y), 4096)
    gaps = ((i, np.asarray(samples[i : i + 4096], np.float64)) for i in rows)
    square = [((some - train[index[i : i + 4096]]) ** 2).sum(1) for i, some in gaps]
    return index, np.sqrt(np.concatenate(square))


def radii(x, k: int) -> np.ndarray:
    """f32[N]: squared distance of each point f32[N, D] to its k-th neighbour, itself left out."""
    out = np.empty(len(x), np.float32)
    for start, block in blocks(x, x):
        rows = np.arange(len(block))
        block[rows, start + rows] = np.inf
        out[start + rows] = np.partition(block, k - 1, axis=1)[:, k - 1]
    return out


def blocks(x, y) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, squared distances f32[rows, M]) of points f32[N, D] to points f32[M, D]."""
    square_x, square_y = (x**2).sum(1), (y**2).sum(1)
    step = max(BLOCK // len(y), 1)
    for start in range(0, len(x), step):
        block = x[start : start + step] @ y.T
        block *= -2.0
        block += square_x[start : start + step, None]
        block += square_y
        yield start, np.maximum(block, 0.0, out=block)


def centred(x, y) -> tuple[np.ndarray, np.ndarray]:
    """Both in float32, less the mean of the first."""
    (n, width), (m, other) = np.shape(x), np.shape(y)
    if width != other or not n or not m:
        raise ValueError(
            f"neighbours want features of one width; got {n} of width {width}, {m} of {other}"
        )
    mean = np.mean(x, axis=0, dtype=np.float64)
    return (x - mean).astype(np.float32), (y - mean).astype(np.float32)
