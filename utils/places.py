"""Folders on gs:// (or wherever fsspec reaches), each with a folder here that stands for it.

Checkpoints are written to gs:// directly: orbax does that well, from many hosts at once. All else
that a run writes is small, and some of it grows by lines, which an object store cannot; it is
written here and sent there at every checkpoint. What is read is copied here first.
"""

import json
import math
import os
import shutil
from pathlib import Path

from data.cache import cache_dir

RECORD = ".mirror.json"
DONE = "commit_success.txt"  # orbax's mark of a whole checkpoint where nothing can be renamed


def remote(path) -> bool:
    """Is it an address rather than a path of this machine?"""
    return "://" in str(path)


def place(path):
    """A path to write checkpoints to: of pathlib, or for gs:// its twin of etils."""
    if not remote(path):
        return Path(path).resolve()
    from etils import epath

    return epath.Path(str(path))


def room(folder) -> float:
    """Bytes that a folder has room for; without end where it is no folder of this machine."""
    return math.inf if remote(folder) else shutil.disk_usage(folder).free


class Mirror:
    """A folder and its copy here; a folder of this machine is its own copy.

    A record beside the copy says which version of a file was last fetched or sent, so nothing
    travels twice.

    Raises:
        ImportError: the package that reaches it is missing; tells the command.
    """

    def __init__(self, path):
        self.path, self.remote = str(path).rstrip("/"), remote(path)
        self.folder = Path(path)
        if not self.remote:
            return
        import fsspec

        try:
            self.fs, self.root = fsspec.core.url_to_fs(self.path)
        except ImportError as error:
            raise ImportError(f"{self.path}: {error}; for gs:// it is the [gcs] extra") from None
        scheme, _, rest = self.path.partition("://")
        self.folder = cache_dir() / "mirror" / scheme / rest.strip("/")

    def __str__(self):
        return self.path

    def __truediv__(self, name: str) -> str:
        return f"{self.path}/{name}"

    def there(self) -> dict[str, list]:
        """{file: [version, bytes]} of what lies there, by its path in the folder."""
        self.fs.invalidate_cache()
        found = self.fs.find(self.root, detail=True)
        return {path[len(self.root) :].lstrip("/"): version(i) for path, i in found.items()}

    def fetch(self, choose=lambda files: files) -> Path:
        """Makes the copy here like what is there, which is right where the two differ.

        Args:
            choose: all files there -> those to copy.
        """
        if not self.remote:
            return self.folder
        there, known = self.there(), self.record()
        wanted = {name: there[name] for name in choose(list(there))}
        for name in known.keys() - wanted:
            (self.folder / name).unlink(missing_ok=True)
        new = [n for n in wanted if known.get(n) != [wanted[n], stamp(self.folder / n)]]
        parts = [self.folder / f"{name}.part" for name in new]
        for part in parts:
            part.parent.mkdir(parents=True, exist_ok=True)
        if new:
            self.fs.get([f"{self.root}/{name}" for name in new], [str(p) for p in parts])
        for part in parts:
            os.replace(part, part.with_suffix(""))
        self.keep({name: [wanted[name], stamp(self.folder / name)] for name in wanted})
        return self.folder

    def send(self, *_):
        """Sends what has changed here since it was fetched or sent. Also a hook of the loop."""
        import jax

        if not self.remote or jax.process_index():
            return
        known, sent = self.record(), {}
        for path in self.folder.rglob("*"):
            name, now = path.relative_to(self.folder).as_posix(), stamp(path)
            fresh = known.get(name, [None, None])[1] != now
            if fresh and path.is_file() and not path.is_symlink() and path.name != RECORD:
                self.fs.put_file(str(path), f"{self.root}/{name}")
                sent[name] = now
        if sent:
            there = self.there()
            self.keep(known | {name: [there[name], now] for name, now in sent.items()})

    def record(self) -> dict[str, list]:
        """{file: [[version, bytes] there, [nanoseconds, bytes] here]}."""
        path = self.folder / RECORD
        return json.loads(path.read_text()) if path.exists() else {}

    def keep(self, record: dict[str, list]):
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{RECORD}.part"
        part.write_text(json.dumps(record))
        os.replace(part, self.folder / RECORD)


def version(info: dict) -> list:
    """[what changes whenever a file there does, bytes]."""
    marks = (info.get(key) for key in ("generation", "etag", "mtime", "created"))
    return [str(next(mark for mark in marks if mark)), info["size"]]


def stamp(path: Path) -> list | None:
    """[time of the last change in nanoseconds, bytes] of a file here; None if it is not."""
    if not path.exists():
        return None
    stat = path.stat()
    return [stat.st_mtime_ns, stat.st_size]


def home(config) -> Mirror:
    """Where a run is kept: --workdir, else runs/EXPERIMENT; one of no config file has its dataset
    in its name."""
    own = config.experiment
    own = f"{own}_{config.dataset_name}" if own in ("flow", "text") else own
    return Mirror(config.workdir or f"runs/{own.replace('/', '-')}")


def log(files: list[str]) -> list[str]:
    """What a run that goes on adds lines to."""
    return [name for name in files if name == "metrics.jsonl"]


def run(load_dir, step: int | None = None):
    """A trained run, here: its own files and its newest checkpoint, or that of `step`.

    A path of this machine is returned as it is, whatever lies there.

    Raises:
        FileNotFoundError: no checkpoint there; the message tells which there are.
    """
    if not remote(load_dir):
        return load_dir

    def choose(files):
        steps = whole(files)
        if not steps or step not in steps | {None}:
            raise FileNotFoundError(
                f"{load_dir} has no checkpoint{'' if step is None else f' {step}'}; wanted the "
                f"workdir of a train script, with checkpoints/STEP; there are {sorted(steps)}"
            )
        own = f"checkpoints/{max(steps) if step is None else step}/"
        return [name for name in files if "/" not in name or name.startswith(own)]

    return Mirror(load_dir).fetch(choose)


def whole(files: list[str]) -> set[int]:
    """Steps of the checkpoints that were finished."""
    parts = (name.split("/") for name in files)
    return {int(p[1]) for p in parts if p[::2] == ["checkpoints", DONE] and p[1].isdigit()}
