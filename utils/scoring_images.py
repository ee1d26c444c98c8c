"""All that is said of a set of images: distances to a reference, and what stands beside them.

A set is gone through once. Its features are kept in float32 up to KEPT images, for what wants
pairs of images (KID, precision, recall, copies) or resampling (standard error, FID_inf); means and
covariances are of all images, from float64 sums.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils import fid, fid_stats, hosts, image_metrics, neighbours
from utils.progress import bar

KEPT = 50_000
MANIFOLD = 10_000  # reference images of precision and recall, as many as ADM's evaluator has


@dataclass
class Measured:
    """A set of images as a network sees it.

    Attributes:
        stats: the Gaussian of their features; of their spatial ones too, where there are any.
        pool, logits: f32[N, D], f32[N, K] of the first KEPT of them; None of a statistics file,
            and logits of a network that tells no classes apart.
        label: i32[N], the classes that they are of, or were drawn as; None: nobody said.
    """

    stats: fid_stats.Stats
    pool: np.ndarray | None = None
    logits: np.ndarray | None = None
    label: np.ndarray | None = None


def measured(
    features, batches, total: int, source: str, part: Path | None = None, label=None
) -> Measured:
    """Goes through batches u8[B, H, W, C], `total` images in all.

    Args:
        features: what they are seen by: name, resize, range, apply.
        batches: a function (first image) -> batches from there on.
        source: what to call the set, on the bar and in messages.
        part: a file that work is kept in while it goes on, and continued from; None keeps none.
        label: see Measured.
    """
    sums, digest = {}, hashlib.sha256()
    kept = {"pool": [], "logits": []}
    first = resumed(part, sums, kept) if part else 0
    progress = bar(total, "image", first=first, title=source)
    for number, x in enumerate(batches(first)):
        seen = features.apply(x)
        digest.update(np.ascontiguousarray(x).tobytes())
        for name in ("pool", "spatial"):
            if (value := getattr(seen, name)) is not None:
                moments = fid.Moments.of(value)
                sums[name] = sums[name] + moments if name in sums else moments
        room = max(KEPT - sum(map(len, kept["pool"])), 0)
        for name, values in kept.items():
            if (value := getattr(seen, name)) is not None:
                values.append(np.asarray(value, np.float32)[:room])
        progress.update(len(x))
        if part and number % 20 == 19 and hosts.first():
            save_part(part, sums, kept)
    progress.close()
    if part and hosts.first():
        part.unlink(missing_ok=True)
    stats = fid_stats.of(
        sums["pool"], spatial=sums.get("spatial"), source=source, features=features.name,
        resize=features.resize, range=features.range,
        data_hash=None if first else digest.hexdigest()[:16],
    )  # fmt: skip
    return Measured(stats, **whole(kept), label=label)


def whole(kept) -> dict:
    return {name: np.concatenate(values) for name, values in kept.items() if values}


def save_part(part: Path, sums, kept):
    """Whole or not at all."""
    arrays = whole(kept)
    for name, m in sums.items():
        arrays |= {f"{name}_n": m.n, f"{name}_total": m.total, f"{name}_squares": m.squares}
    halfway = part.with_suffix(".halfway")
    with halfway.open("wb") as file:
        np.savez(file, **arrays)
    halfway.replace(part)


def resumed(part: Path, sums, kept) -> int:
    """Fills in what a file holds; how many images that was."""
    if not part.exists():
        return 0
    with np.load(part, allow_pickle=False) as file:
        for name in kept:
            kept[name] += [file[name]] if name in file else []
        for name in ("pool", "spatial"):
            if f"{name}_n" in file:
                sums[name] = fid.Moments(
                    int(file[f"{name}_n"]), file[f"{name}_total"], file[f"{name}_squares"]
                )
    return sums["pool"].n


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
