"""Arrays that are made once, piece by piece, in a folder that is there only when it is whole.

Beside it, while it is made, FOLDER.part holds what is done, and goes on from there when the work
was cut off. In the end manifest.json tells each array's type, shape and SHA-256.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np

MANIFEST = "manifest.json"


class Work:
    """A folder in the making.

    Attributes:
        done: {part: how far it is}, as `add` was told.
        notes: {name: anything that JSON holds}, saved with each piece.
        arrays: {name: {"dtype", "shape"}} of what is there.
    """

    def __init__(self, folder: Path):
        self.folder, self.progress = folder, folder / "progress.json"
        self.done, self.notes, self.arrays = {}, {}, {}
        if self.progress.exists():
            known = json.loads(self.progress.read_text())
            if all(size_of(folder, name) >= size(a) for name, a in known["arrays"].items()):
                self.done, self.notes, self.arrays = known["done"], known["notes"], known["arrays"]
        for name, array in self.arrays.items():
            os.truncate(folder / f"{name}.bin", size(array))  # a piece that was half written
        for file in folder.glob("*.bin"):
            if file.stem not in self.arrays:
                file.unlink()

    def add(self, part: str, done, **arrays: np.ndarray):
        """Writes rows behind those that are there; `done` says how far `part` is with them."""
        for name, rows in arrays.items():
            known = self.arrays.setdefault(
                name, {"dtype": rows.dtype.str, "shape": [0, *rows.shape[1:]]}
            )
            assert (known["dtype"], known["shape"][1:]) == (rows.dtype.str, list(rows.shape[1:]))
            with (self.folder / f"{name}.bin").open("ab") as file:
                file.write(np.ascontiguousarray(rows).data)
            known["shape"][0] += len(rows)
        self.done[part] = done
        told = {"done": self.done, "notes": self.notes, "arrays": self.arrays}
        write(self.progress, told)

    def read(self, name: str) -> np.ndarray:
        """A memory map of what is there."""
        array = self.arrays[name]
        return np.memmap(
            self.folder / f"{name}.bin", array["dtype"], "r", shape=tuple(array["shape"])
        )

    def finish(self, **facts):
        """Writes the manifest; the folder is renamed when the work's context is left."""
        arrays = {
            name: array | {"sha256": digest([self.folder / f"{name}.bin"])}
            for name, array in self.arrays.items()
        }
        write(self.folder / MANIFEST, {"arrays": arrays} | facts)
        self.progress.unlink(missing_ok=True)


@contextlib.contextmanager
def making(folder: Path):
    """The Work that makes `folder`, or None where it is there, if only by now: one process makes
    it, others wait for it.

    Work that fails before its first piece leaves nothing behind.
    """
    import fcntl

    if folder.exists():
        yield None
        return
    halfway = folder.with_name(f"{folder.name}.part")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process makes {folder}; waiting for it", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if (halfway / MANIFEST).exists():  # all that was missing was its name
            halfway.rename(folder)
        if folder.exists():
            yield None
            return
        halfway.mkdir(exist_ok=True)
        work = Work(halfway)
        try:
            yield work
        finally:
            if (halfway / MANIFEST).exists():
                halfway.rename(folder)
            elif not work.done:
                shutil.rmtree(halfway)


def read(folder: Path) -> tuple[dict[str, np.ndarray], dict]:
    """({name: memory map}, manifest) of a folder that is whole.

    Raises:
        ValueError: it is not; the message says what to do.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        wrong = [n for n, a in manifest["arrays"].items() if size_of(folder, n) != size(a)]
    except (OSError, ValueError, KeyError):
        wrong = [MANIFEST]
    if wrong:
        raise ValueError(
            f"{wrong[0]} in the cache {folder} is damaged; remove that folder, and it is made anew"
        )
    maps = {
        name: np.memmap(folder / f"{name}.bin", array["dtype"], "r", shape=tuple(array["shape"]))
        for name, array in manifest["arrays"].items()
    }
    return maps, manifest


def counted(sizes, first: int, title: str, unit: str):
    """Numbers of pieces from `first` on, with a bar if it takes longer than two seconds; where
    there is no terminal, a line twice a minute."""
    from tqdm import tqdm

    how = {"delay": 2, "mininterval": 0.1 if sys.stderr.isatty() else 30, "unit_scale": True}
    done, total = int(sum(sizes[:first])), int(sum(sizes))
    with tqdm(total=total, initial=done, unit=unit, desc=title, **how) as bar:
        for piece in range(first, len(sizes)):
            yield piece
            bar.update(int(sizes[piece]))


def place(array: np.memmap) -> Path:
    """The folder that an array is from."""
    return Path(array.filename).parent


def verify(folder: Path):
    """Raises ValueError if an array is not what was written, bit for bit."""
    _, manifest = read(folder)
    for name, array in manifest["arrays"].items():
        if digest([folder / f"{name}.bin"]) != array["sha256"]:
            raise ValueError(
                f"{name} in the cache {folder} is damaged; remove that folder, and it is made anew"
            )


def size(array: dict) -> int:
    """Bytes of an array of a manifest."""
    return int(np.prod(array["shape"], dtype=np.int64)) * np.dtype(array["dtype"]).itemsize


def size_of(folder: Path, name: str) -> int:
    """Bytes of an array's file; -1 if there is none."""
    file = folder / f"{name}.bin"
    return file.stat().st_size if file.exists() else -1


def digest(files: list[Path]) -> str:
    """SHA-256 of files behind each other."""
    found = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while piece := opened.read(1 << 22):
                found.update(piece)
    return found.hexdigest()


def write(path: Path, facts: dict):
    """JSON that is there as a whole or not at all."""
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(facts))
    os.replace(beside, path)
