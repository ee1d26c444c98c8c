"""The states that a network meets while it samples, which other forms of it are judged by.

A network that is off by little at random states may be off by much at those that it is asked about,
and it is for those that a quantised one must be scaled.
"""

from typing import NamedTuple

import numpy as np

from jetson import draw

ROWS = 4  # samples that are drawn to compare by


class State(NamedTuple):
    """One call of a denoiser: its inputs, such as (x, modulation), and what came out."""

    inputs: tuple
    out: np.ndarray

    def rows(self, which):
        """The inputs of some rows."""
        return tuple(array[which] for array in self.inputs)


def visited(package, backend, *, seed=0, rows=ROWS):
    """[State] of `rows` samples from noise to data, by the float32 network of a backend."""
    denoise, met = package.denoiser(backend, "fp32"), []

    def recorded(*inputs):
        out = denoise(*inputs)
        met.append(State(tuple(array.copy() for array in inputs), out.copy()))
        return out

    index = np.arange(rows)
    if package.config["kind"] == "text":
        solver = "ancestral" if package.process == "masked" else None
        known = blank(package.config, rows)
        draw.tokens(package, recorded, index, known, seed=seed, solver=solver)
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
    errors = [distance(denoise(*s.inputs), s.out) for s in states]
    return float(np.max(errors))


def distance(ours, theirs):
    """L2 norm of the difference over that of `theirs`."""
    return np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), 1e-6)


def same_choice(states, denoise):
    """The share of places of text where a denoiser's likeliest token is that of the states."""
    hits = [denoise(*s.inputs).argmax(-1) == s.out.argmax(-1) for s in states]
    return float(np.mean(hits))
