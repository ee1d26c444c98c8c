"""Checks of the arithmetic behind a score, on numbers whose answer is known: seconds, no files."""

import time

import numpy as np

from utils import fid


def known_gaussians():
    """Two Gaussians with covariances that commute: a sum over the axes."""
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(64, 64)))
    a, b = rng.uniform(0.1, 2.0, (2, 64))
    gap = rng.normal(size=64)
    one = fid.Gaussian(np.zeros(64), (turn * a) @ turn.T)
    other = fid.Gaussian(gap, (turn * b) @ turn.T)
    want = gap @ gap + np.square(np.sqrt(a) - np.sqrt(b)).sum()
    return abs(fid.frechet(one, other) / want - 1), 1e-9


def a_set_and_itself():
    x = np.random.default_rng(1).normal(size=(500, 64)) ** 3
    return abs(fid.frechet(fid.Moments.of(x), fid.Moments.of(x))), 1e-6


def order_and_batches():
    x = np.random.default_rng(2).normal(size=(300, 32)).astype(np.float32)
    whole, shuffled = fid.Moments.of(x), x[np.random.default_rng(3).permutation(300)]
    parts = fid.Moments.of(shuffled[:7]) + fid.Moments.of(shuffled[7:])
    return abs(whole.covariance - parts.covariance).max(), 1e-12


def fewer_images_than_features():
    """Two images each, on a line: one variance each, and nothing imaginary."""
    line = np.eye(64)[0]
    pair = lambda spread: fid.Moments.of(np.stack([-spread * line, spread * line]))
    want = (np.sqrt(2.0) * 3 - np.sqrt(2.0)) ** 2
    return abs(fid.frechet(pair(1.0), pair(3.0)) - want), 1e-7


def resizing():
    """Worked by hand: the ends of a ramp of two pixels, and a grey that stays grey."""
    from data import resize

    ramp = np.broadcast_to(np.array([0, 255], np.uint8)[None, None, :, None], (1, 2, 2, 1))
    want = {"tf1": (0.0, 255 * 2 / 299), "pytorch": (0.0, 0.0)}  # of the first two places
    off = [
        np.abs(np.asarray(resize.resize(ramp, mode))[0, 0, :2, 0] - first).max()
        for mode, first in want.items()
    ]
    grey = np.full((1, 5, 7, 3), 77, np.uint8)
    off += [np.abs(np.asarray(resize.resize(grey, mode)) - 77).max() for mode in resize.MODES]
    return max(off), 1e-3


CHECKS = (
    known_gaussians,
    a_set_and_itself,
    order_and_batches,
    fewer_images_than_features,
    resizing,
)


def run() -> str:
    """A line for each check.

    Raises:
        ValueError: one of them is off; the message tells all.
    """
    began, lines, fine = time.perf_counter(), [], True
    for check in CHECKS:
        off, most = check()
        fine &= bool(off <= most)
        name = check.__name__.replace("_", " ")
        lines.append(
            f"{'ok  ' if off <= most else 'FAIL'}  {name}: off by {off:.1e}, at most {most:g}"
        )
    text = "\n".join(lines)
    if not fine:
        raise ValueError(f"the arithmetic of scores is off on this machine\n{text}")
    return f"{text}\n{len(CHECKS)} checks in {time.perf_counter() - began:.1f} s"
