"""All that is said of a set of images: distances to a reference, and what stands beside them.

Means and covariances are of all images; what wants pairs of images (KID, precision, recall,
copies) or resampling (standard error, FID_inf) is of those whose own features were kept.
"""

import numpy as np

from utils import fid, fid_stats, image_metrics, neighbours
from utils.measuring import Measured

MANIFOLD = 10_000  # reference images of precision and recall, as many as ADM's evaluator has


def compared(reference: Measured, samples: Measured, held_out: Measured | None, *, limit=False):
    """{what: number} of samples against a reference, with that of held-out images beside it.

    Args:
        limit: FID_inf as well.
    """
    warnings = [fid_stats.comparable(reference.stats, samples.stats)]
    n, width = samples.stats.n, len(samples.stats.mean)
    warnings.append(fid.caution(n, width))
    out = {
        "value": distance(reference.stats, samples),
        "n": n,
        "standard_error": fid.standard_error(reference.stats, samples.pool),
        "floor": held_out and distance(reference.stats, held_out),
        "floor_n": held_out and held_out.stats.n,
    }
    if limit:
        out["limit"] = fid.extrapolated(reference.stats, samples.pool).value
    if samples.stats.spatial is not None and reference.stats.spatial is not None:
        out["sfid"] = image_metrics.sfid(reference.stats, samples.stats)
    if reference.pool is not None:
        out |= pairwise(reference.pool, samples, held_out)
    return out | {"warnings": [w for w in warnings if w]}


def distance(reference: fid_stats.Stats, seen: Measured) -> float:
    """By the features themselves where they are so few that it is faster, and nearer zero."""
    if seen.stats.n <= len(seen.stats.mean) and seen.pool is not None:
        return fid.frechet_of(reference, seen.pool)
    return fid.frechet(reference, seen.stats)


def classified(features, reference: Measured, samples: Measured, held_out: Measured | None):
    """{what: number} of what the network takes the images for: the score of arXiv:1606.03498 by
    its classes and, where it was trained on such images, how often each class comes, and how often
    it is the one that an image was drawn as. What held-out images have is beside it."""
    if samples.logits is None:
        return {}
    score = image_metrics.inception_score(samples.logits, splits=min(10, len(samples.logits)))
    out = {"inception_score": score.mean, "inception_score_std": score.std}
    if not features.classes:
        return out
    shares = None if reference.logits is None else guessed(reference, features.classes)
    for name, images in (("class", samples), ("held_out_class", held_out)):
        if images is not None:
            found = image_metrics.class_counts(images.logits.argmax(-1), features.classes, shares)
            out |= {f"{name}_counts": found.counts.tolist(), f"{name}_chi2": found.chi2}
    real = held_out and accuracy(held_out, features.classes)
    out["classifier_accuracy"] = features.accuracy if real is None else real
    return out | {"class_accuracy": accuracy(samples, features.classes)}


def guessed(images: Measured, classes: int) -> np.ndarray:
    """How often a network sees each class, i64[K]; at least once, for never is too strong."""
    return np.bincount(images.logits.argmax(-1), minlength=classes).clip(1)


def accuracy(images: Measured, classes: int) -> float | None:
    """Share of images that are taken for what they are; None if they are of other classes."""
    if images.label is None or images.label.max() >= classes:
        return None
    return float((images.logits.argmax(-1) == images.label[: len(images.logits)]).mean())


def pairwise(reference, samples: Measured, held_out: Measured | None) -> dict:
    """What wants the features of single images; the reference's are f32[N, D]."""
    kid = image_metrics.kid(reference, samples.pool)
    out = {"kid": kid.mean, "kid_std": kid.std, "kid_subset": kid.size, "kid_seed": kid.seed}
    if min(len(reference), len(samples.pool)) > 3:
        found = neighbours.precision_recall(reference[:MANIFOLD], samples.pool)
        out |= {"precision": found.precision, "recall": found.recall}
        out |= {"manifold_n": [found.n_reference, found.n_samples]}
    if held_out is not None and len(held_out.pool) >= 100:
        near = neighbours.copies(reference, samples.pool, held_out.pool)
        out |= {"copies_ratio": near.ratio, "copies_near": near.near}
        if samples.label is not None and held_out.label is not None:
            labels = (x.label[: len(x.pool)] for x in (samples, held_out))
            out["copies_ratio_by_class"] = neighbours.ratios(near, *labels)
    return out
