"""Statistics files: the Gaussian of a set of images' features, and how the features were made.

    who writes it                             keys
    this repository                           mu sigma n chol features resize range data_hash
                                              mu_s sigma_s n_s
    ADM (openai/guided-diffusion)             mu sigma mu_s sigma_s arr_0
    pytorch-fid, clean-fid, EDM, jax-flow     mu sigma
    meanflow                                  ref_mu ref_sigma
    EDM2 (.pkl)                               {fid: {mu sigma}, fd_dinov2: {mu sigma}, ...}

A foreign file does not say which network, resizing and range its numbers come from, and two
pipelines differ by more than two models do. Those that say are held against each other.
"""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils import pickled_arrays
from utils.fid import Gaussian, Moments

SAYS = ("features", "resize", "range")  # what two sets must have in common
MEANS, COVARIANCES = ("mu", "ref_mu"), ("sigma", "ref_sigma")


@dataclass
class Stats(Gaussian):
    """A Gaussian and where it comes from; None is what a file does not say.

    Attributes:
        features: name@hash of the network.
        resize: how images came to its size (tf1, clean, pytorch, none).
        range: how images became what it reads.
        data_hash: of the images.
        spatial: Gaussian of the spatial features, for sFID.
        source: the file, or what else to call it in a message.
    """

    features: str | None = None
    resize: str | None = None
    range: str | None = None
    data_hash: str | None = None
    spatial: Gaussian | Moments | None = None
    source: str = "statistics"


def of(moments: Moments, *, spatial: Moments | None = None, source="samples", **says) -> Stats:
    """Stats of sums of features, with features, resize, range and data_hash as given."""
    return Stats(
        moments.mean, moments.covariance, moments.n, spatial=spatial, source=source, **says
    )


def comparable(a: Stats, b: Stats) -> str:
    """A warning to print, "" where both say all and agree.

    Raises:
        ValueError: they differ in features, resize, range or width.
    """
    for what in SAYS:
        one, other = getattr(a, what), getattr(b, what)
        if None not in (one, other) and one != other:
            raise ValueError(
                f"no distance between different {what}: {a.source} has {one}, "
                f"{b.source} has {other}"
            )
    if len(a.mean) != len(b.mean):
        raise ValueError(
            f"no distance between different widths: {a.source} has {len(a.mean)} features, "
            f"{b.source} has {len(b.mean)}"
        )
    silent = [
        f"{s.source} does not say its {', '.join(missing)}"
        for s in (a, b)
        if (missing := [what for what in SAYS if getattr(s, what) is None])
    ]
    return "; ".join(silent) + ": comparable only if they are the same" if silent else ""


def read(path, *, metric="fid") -> Stats:
    """Stats of any of the files above; `metric` chooses within an EDM2 pickle.

    Raises:
        ValueError: not such a file, damaged, or its numbers are no Gaussian. Says file and keys.
        FileNotFoundError: as open.
    """
    path, known = Path(path), {}
    entries = entries_of(path, metric)
    for name in (*SAYS, "data_hash"):
        known[name] = str(entries[name]) if name in entries else None
    mean, covariance = gaussian(path, entries, MEANS, COVARIANCES)
    spatial = None
    if "mu_s" in entries:
        pair = gaussian(path, entries, ("mu_s",), ("sigma_s",))
        spatial = Gaussian(*pair, count(path, entries, "n_s"))
    stats = Stats(
        mean, covariance, count(path, entries, "n"), **known, spatial=spatial, source=path.name
    )
    if "chol" in entries:
        stats.chol = checked_factor(path, entries["chol"], covariance)
    return stats


def images(path) -> np.ndarray | None:
    """u8[N, H, W, C]: some of the images that the statistics are of, which ADM's files have, for
    precision and recall; None where there are none."""
    path = Path(path)
    if "arr_0" not in entries_of(path, ""):
        return None
    with np.load(path, allow_pickle=False) as file:
        found = file["arr_0"]
    return found if found.dtype == np.uint8 and found.ndim == 4 and len(found) > 1 else None


def write(path, stats: Stats):
    """An npz that read() reads; whole or not at all. The factor goes with it."""
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"statistics are written to .npz; got {path}")
    entries = {"mu": stats.mean, "sigma": stats.covariance, "chol": stats.chol, "n": stats.n}
    entries |= {name: getattr(stats, name) for name in (*SAYS, "data_hash")}
    if (spatial := stats.spatial) is not None:
        entries |= {"mu_s": spatial.mean, "sigma_s": spatial.covariance, "n_s": spatial.n}
    path.parent.mkdir(parents=True, exist_ok=True)
    halfway = path.with_name(f"{path.name}.{os.getpid()}.halfway")
    try:
        with halfway.open("wb") as file:
            np.savez(file, **{name: x for name, x in entries.items() if x is not None})
        halfway.replace(path)
    finally:
        halfway.unlink(missing_ok=True)


def entries_of(path: Path, metric: str) -> dict:
    """{key: array} of a file; images (arr_0), which can be gigabytes, stay where they are."""
    if path.suffix == ".pkl":
        tree = pickled_arrays.read(path)
        if not isinstance(tree, dict) or not isinstance(tree.get(metric), dict):
            keys = ", ".join(map(str, tree)) if isinstance(tree, dict) else type(tree).__name__
            raise ValueError(f"{path} has no statistics {metric!r}; there are {keys}")
        return tree[metric]
    if path.suffix != ".npz":
        raise ValueError(f"statistics are read from .npz or .pkl; got {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files if not key.startswith("arr_")} | {
                key: None for key in file.files if key.startswith("arr_")
            }
    except (zipfile.BadZipFile, ValueError, EOFError, KeyError) as error:
        raise ValueError(f"{path} cannot be read as npz: {error}") from error


def gaussian(path, entries, means, covariances):
    """(f64[D], f64[D, D]) under the first of these names that is there."""
    found = ", ".join(entries) or "nothing"
    pair = []
    for names in (means, covariances):
        name = next((name for name in names if name in entries), None)
        if name is None:
            images = "; arr_0 alone are images" if "arr_0" in entries else ""
            raise ValueError(f"{path} has no {' or '.join(names)}; it has {found}{images}")
        x = np.asarray(entries[name])
        if x.dtype.kind not in "fiu" or not np.isfinite(x).all():
            raise ValueError(f"{path}: {name} {x.dtype}{list(x.shape)} is not all finite numbers")
        pair.append(x.astype(np.float64))
    mean, covariance = pair
    if mean.ndim != 1 or not len(mean) or covariance.shape != (len(mean),) * 2:
        raise ValueError(
            f"{path}: wanted a mean [D] and a covariance [D, D]; got {list(mean.shape)} and "
            f"{list(covariance.shape)} (it has {found})"
        )
    lopsided = abs(covariance - covariance.T).max()
    if lopsided > 1e-5 * abs(covariance).max() or (covariance.diagonal() < 0).any():
        raise ValueError(
            f"{path}: no covariance: it differs from its transpose by up to {lopsided:.3g}, its "
            f"smallest variance is {covariance.diagonal().min():.3g} (it has {found})"
        )
    return mean, (covariance + covariance.T) / 2


def count(path, entries, name) -> int | None:
    if name not in entries:
        return None
    n = np.asarray(entries[name])
    if n.shape or n.dtype.kind not in "iu" or n < 2:
        raise ValueError(f"{path}: {name} is a number of images, at least 2; got {entries[name]!r}")
    return int(n)


def checked_factor(path, chol, covariance) -> np.ndarray:
    """The factor f64[D, R], if it belongs to this covariance: tried on one vector, so it costs
    nothing beside what it saves."""
    probe = np.random.default_rng(0).standard_normal(len(covariance))
    if chol.ndim == 2 and len(chol) == len(covariance):
        want = covariance @ probe
        if np.abs(chol @ (chol.T @ probe) - want).max() <= 1e-8 * np.abs(want).max():
            return chol
    raise ValueError(f"{path}: chol {list(chol.shape)} is no factor of sigma")
