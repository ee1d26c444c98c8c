"""The states that a network meets while it samples, which other forms of it are judged by.

A network that is off by little at random states may be off by much at those that it is asked about,
and it is for those that a quantised one must be scaled.
"""

from typing import NamedTuple

import numpy as np

from jetson import draw

ROWS = 4  # samples that are drawn to compare by


class State(NamedTuple):
    """One call of a denoiser: x f32[B, H, W, C] or i64[B, L], modulation f32[B, M], and out."""

    x: np.ndarray
    modulation: np.ndarray
    out: np.ndarray


def visited(package, backend, *, seed=0, rows=ROWS):
    """[State] of `rows` samples from noise to data, by the float32 network of a backend."""
    denoise, met = package.denoiser(backend, "fp32"), []

    def recorded(x, modulation):
        out = denoise(x, modulation)
        met.append(State(x.copy(), modulation.copy(), out.copy()))
        return out

    index = np.arange(rows)
    if package.config["kind"] == "text":
        draw.tokens(
            package, recorded, index, blank(package.config, rows), seed=seed, solver="ancestral"
        )
    else:
        known = package.schedule["labels"]
        labels = np.resize(known[:-1] if len(known) > 1 else known, rows)
        draw.images(package, recorded, index, labels, seed=seed, solver="ddim")
    return met


def blank(config, rows):
    """i64[rows, L]: -1, as nothing is given, up to where a row ends, early or late."""
    lengths = np.array(config["rows"]["lengths"])
    ends = lengths[np.linspace(0, len(lengths) - 1, rows).astype(int)]
    return np.where(np.arange(config["shape"][0]) < ends[:, None], -1, config["pad_id"])


def relative(states, denoise):
    """The largest relative L2 error of a denoiser over states [State]; NaN where it gives none."""
    errors = [distance(denoise(s.x, s.modulation), s.out) for s in states]
    return float(np.max(errors))


def distance(ours, theirs):
    """L2 norm of the difference over that of `theirs`."""
    return np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), 1e-6)


def same_choice(states, denoise):
    """The share of places of text where a denoiser's likeliest token is that of the states."""
    hits = [denoise(s.x, s.modulation).argmax(-1) == s.out.argmax(-1) for s in states]
    return float(np.mean(hits))
