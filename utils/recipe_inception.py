"""FID's Inception from a file of its published weights, under a name that goes with every score.

    found = load("pt_inception-2015-12-05-6726825d.pth")        # found.name: inception@6726825d
    save_npz("inception.npz", read("pt_inception-2015-12-05-6726825d.pth"))  # no torch from here on

Nothing is downloaded: what a score was measured with should be a file that its owner knows.
"""

import functools
import hashlib
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from models import inception

SOURCE = (
    "the published weights, pt_inception-2015-12-05-6726825d.pth, come from "
    "github.com/mseitzer/pytorch-fid/releases (tag fid_weights)"
)
OURS = ("made_from", "contents")  # what a file of save_npz tells besides the weights


class Weights(NamedTuple):
    """The arrays of a weights file under PyTorch's names."""

    sha256: str  # of the file; of a file of save_npz, that of the file it was made from
    named: dict[str, np.ndarray]

    @property
    def name(self) -> str:
        """ "inception@6726825d": kind of features and beginning of the digest."""
        return f"inception@{self.sha256[:8]}"


class Extractor(NamedTuple):
    """A network with its weights."""

    name: str  # as Weights.name
    sha256: str
    apply: Callable[..., inception.Features]  # jitted; of f32[B, 299, 299, 3] in 0..255


def load(path: str | Path, *, sha256: str | None = None) -> Extractor:
    """The network with the weights of a file; see `read` for what is refused."""
    weights = read(path, sha256=sha256)
    try:
        params = inception.convert(weights.named)
    except ValueError as error:
        raise ValueError(f"{path} has {error}; {SOURCE}") from None
    apply = functools.partial(jax.jit(inception.apply), params)
    return Extractor(weights.name, weights.sha256, apply)


def read(path: str | Path, *, sha256: str | None = None) -> Weights:
    """The arrays of a .pth (which wants torch) or .npz file; nothing in it is executed.

    Args:
        sha256: refuse a file with another digest; its beginning will do, from 8 digits on.

    Raises:
        FileNotFoundError: there is none; the message tells where it comes from.
        ValueError: neither .pth nor .npz, not readable as such, or a digest other than the one
            asked for or the one in the file's name (NAME-6726825d.pth).
        ModuleNotFoundError: a .pth without torch.
    """
    path = Path(path)
    if path.suffix not in (".pth", ".npz"):
        raise ValueError(f"weights are .pth or .npz; got {path}")
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; {SOURCE}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if path.suffix == ".npz":
        digest, named = from_npz(path, digest)
        verify(path, digest, sha256)
    else:
        in_name = re.search(r"-([0-9a-f]{8})$", path.stem)
        verify(path, digest, sha256, in_name and in_name.group(1))
        named = from_pth(path)
    return Weights(digest, named)


def verify(path, digest, asked, in_name=None):
    if asked is not None and not re.fullmatch("[0-9a-f]{8,64}", asked.lower()):
        raise ValueError(f"a sha256 has 64 hexadecimal digits, of which 8 will do; got {asked!r}")
    for wanted, where in ((asked, "asked for"), (in_name, "in its name")):
        if wanted is not None and not digest.startswith(wanted.lower()):
            raise ValueError(f"{path} has sha256 {digest}, not {wanted} as {where}; {SOURCE}")


def from_pth(path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"reading {path} wants torch (pip install torch); where there is one, "
            "utils.recipe_inception.save_npz makes a file that does not"
        ) from None
    try:
        named = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in named.items()}
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, TypeError) as error:
        line = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{path} is no file of weights: {line[0]}; {SOURCE}") from None


def from_npz(path, digest) -> tuple[str, dict[str, np.ndarray]]:
    """(Digest of the file that the arrays come from, the arrays)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            named = {name: file[name] for name in file}
        told = [named.pop(name).item() for name in OURS if name in named]
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no npz of weights: {error}") from None
    if not told:  # of someone else's making
        return digest, named
    if len(told) != 2 or told[1] != contents(told[0], named):
        raise ValueError(f"{path} was changed since save_npz wrote it; make it again")
    return told[0], named


def save_npz(path: str | Path, weights: Weights) -> Path:
    """Writes weights as an npz, which keeps their name; returns its path."""
    path = Path(path).with_suffix(".npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    told = (weights.sha256, contents(*weights))
    np.savez(path, **weights.named, **dict(zip(OURS, told, strict=True)))
    return path


def contents(sha256, named) -> str:
    """A digest over arrays, their names and where they come from."""
    digest = hashlib.sha256(sha256.encode())
    for name in sorted(named):
        array = np.ascontiguousarray(named[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()
