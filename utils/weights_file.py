"""Files of published weights: what is in them, and the digest that goes with every score.

    found = read("pt_inception-2015-12-05-6726825d.pth")        # found.sha256: 6726825d...
    save_npz("inception.npz", found)                            # no torch from here on

Nothing is downloaded: what a score was measured with should be a file that its owner knows.
"""

import hashlib
import pickle
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

TORCH = (".pth", ".th", ".pt")
OURS = ("made_from", "contents")  # what a file of save_npz tells besides the weights


class Weights(NamedTuple):
    """The arrays of a weights file under PyTorch's names."""

    sha256: str  # of the file; of a file of save_npz, that of the file it was made from
    named: dict[str, np.ndarray]


def read(path: str | Path, *, sha256: str | None = None) -> Weights:
    """The arrays of a file of torch's (which wants torch) or an .npz; nothing in it is executed.

    Args:
        sha256: refuse a file with another digest; its beginning will do, from 8 digits on.

    Raises:
        FileNotFoundError: there is none.
        ValueError: no such suffix, not readable as what it says, or a digest other than the one
            asked for or the one in the file's name (NAME-6726825d.pth).
        ModuleNotFoundError: a file of torch's without torch.
    """
    path = Path(path)
    if path.suffix not in (*TORCH, ".npz"):
        raise ValueError(f"weights are {', '.join(TORCH)} or .npz; got {path}")
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if path.suffix == ".npz":
        digest, named = from_npz(path, digest)
        verify(path, digest, sha256)
    else:
        in_name = re.search(r"-([0-9a-f]{8})$", path.stem)
        verify(path, digest, sha256, in_name and in_name.group(1))
        named = from_torch(path)
    return Weights(digest, named)


def verify(path, digest, asked, in_name=None):
    if asked is not None and not re.fullmatch("[0-9a-f]{8,64}", asked.lower()):
        raise ValueError(f"a sha256 has 64 hexadecimal digits, of which 8 will do; got {asked!r}")
    for wanted, where in ((asked, "asked for"), (in_name, "in its name")):
        if wanted is not None and not digest.startswith(wanted.lower()):
            raise ValueError(f"{path} has sha256 {digest}, not {wanted} as {where}")


def from_torch(path) -> dict[str, np.ndarray]:
    """The state, or that of a checkpoint; without the "module." that parallel training adds."""
    try:
        import torch
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"reading {path} wants torch (pip install torch); where there is one, "
            "utils.weights_file.save_npz makes a file that does not"
        ) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        return {name.removeprefix("module."): tensor.numpy() for name, tensor in state.items()}
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, TypeError) as error:
        line = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{path} is no file of weights: {line[0]}") from None


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
