"""An export and a backend, opened; whatever is wrong with them is said in a line."""

import zipfile
import zlib

import numpy as np

from jetson.package import Package

DAMAGE = (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)
PER_LEVEL = ("alpha", "sigma", "dalpha", "dsigma", "modulation")


def opened(folder):
    """The package.Package of a folder.

    Raises:
        FileNotFoundError: the folder is none.
        ValueError: one of its files is damaged, or of another export.
    """
    try:
        package = Package(folder)
        wrong = misfit(package.config, package.schedule)
    except DAMAGE as error:
        wrong = first_line(error)
    if wrong:
        raise ValueError(
            f"{folder}: config.json or schedule.npz is damaged ({wrong}); copy the export again"
        )
    return package


def misfit(config, schedule):
    """What is wrong with the two, "" if nothing is."""
    if config["kind"] not in ("images", "text"):
        return f"it is of {config['kind']!r}"
    lacking = [name for name in ("shape", "network", "sampler", "run") if name not in config]
    lacking += [name for name in ("times", "labels", *PER_LEVEL) if name not in schedule]
    if lacking:
        return f"without {', '.join(lacking)}"
    levels = len(schedule["times"])
    odd = [name for name in PER_LEVEL if len(schedule[name]) != levels]
    if odd:
        return f"{odd[0]} has {len(schedule[odd[0]])} levels, times {levels}"
    broken = [name for name in ("times", *PER_LEVEL) if not np.isfinite(schedule[name]).all()]
    return f"{broken[0]} is not all numbers" if broken else ""


def started(package, backend, precision):
    """A denoiser that has been called once.

    Raises:
        ValueError: no such backend or precision, one whose packages are not here, or files that
            it cannot read.
    """
    folder = package.folder
    if precision not in ("fp32", "fp16") and not list(folder.glob(f"*{precision}*")):
        raise ValueError(f"no precision {precision!r} in {folder}; there are fp32 and fp16")
    try:
        denoise = package.denoiser(backend, precision)
        out = denoise(*trial(package))
    except ImportError as error:
        raise ValueError(f"--backend {backend} wants {error.name}, which is not here") from None
    except (ValueError, OSError):
        raise
    except Exception as error:  # each backend raises types of its own
        raise ValueError(
            f"--backend {backend} cannot run {folder} ({first_line(error)}); copy the export again"
        ) from None
    if not np.isfinite(out).all():
        raise ValueError(f"{folder}: by {backend}, {precision}, the network's answer is no number")
    return denoise


def trial(package):
    """(x, modulation) of batch 1."""
    text = package.config["kind"] == "text"
    x = np.zeros((1, *package.config["shape"]), np.int64 if text else np.float32)
    return x + 1 if text else x, package.modulation(0, package.schedule["labels"][:1])


def first_line(error):
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(":") if lines else type(error).__name__
