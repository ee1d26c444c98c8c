"""An export and a backend, opened; whatever is wrong with them is said in a line."""

import numpy as np

from jetson.package import PRECISIONS, Package

SAID = ("kind", "shape", "network", "sampler", "run")  # by every config.json


def opened(folder):
    """The package.Package of a folder.

    Raises:
        FileNotFoundError, ValueError: the folder is none, or damaged; see package.Package.
    """
    try:
        package = Package(folder)
        lacking = [name for name in SAID if name not in package.config]
    except (KeyError, TypeError, AttributeError) as error:
        lacking = [str(error)]
    if lacking:
        raise ValueError(
            f"{folder}/config.json is damaged, it lacks {', '.join(lacking)}; "
            "copy the folder once more, whole"
        )
    return package


def started(package, backend, precision):
    """A denoiser that has been called once.

    Raises:
        ValueError: no such backend or precision, one whose packages are not here, or files that
            it cannot read.
    """
    folder = package.folder
    if precision not in PRECISIONS:
        raise ValueError(f"no precision {precision!r}; there are {', '.join(PRECISIONS)}")
    try:
        denoise = package.denoiser(backend, precision)
        out = denoise(*trial(package))
    except ImportError as error:
        raise ValueError(f"--backend {backend} wants {error.name}, which is not here") from None
    except (ValueError, OSError):
        raise
    except Exception as error:  # each backend raises types of its own
        raise ValueError(f"--backend {backend} cannot run {folder} ({first_line(error)})") from None
    if not np.isfinite(out).all():
        raise ValueError(f"{folder}: by {backend}, {precision}, the network's answer is no number")
    return denoise


def trial(package):
    """What a denoiser takes, of batch 1."""
    fill, seen = {"int64": np.ones, "float32": np.zeros}, package.inputs
    seen.pop("modulation", None)
    x = [fill[kind]((1, *shape), kind) for kind, shape in seen.values()]
    return *x, package.modulation(0, package.schedule["labels"][:1])


def first_line(error):
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(":") if lines else type(error).__name__
