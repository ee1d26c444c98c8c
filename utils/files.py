"""Single files on gs:// (or wherever fsspec reaches) that a command is given: copied here first.

places.py has the folders of runs, which are written to as well. A copy is as good as the file as
long as that is not changed there; nothing travels twice.
"""

import contextlib
import json
import os
import re
import tempfile
from pathlib import Path

from data.cache import cache_dir
from utils.places import Mirror, remote, stamp, version


def fetched(path):
    """A path that is here: of the copy of a file or a folder elsewhere, or the same.

    Raises:
        FileNotFoundError: elsewhere, and there is nothing.
        ImportError: as places.Mirror.
    """
    if not remote(path):
        return path
    far = Mirror(path)
    far.fs.invalidate_cache()
    if not far.fs.exists(far.root):
        raise FileNotFoundError(f"there is nothing at {path}")
    return copy_of(far) if far.fs.isfile(far.root) else far.fetch()


def copy_of(far: Mirror) -> Path:
    """The copy of one file."""
    copy = cache_dir() / "fetched" / far.folder.relative_to(cache_dir() / "mirror")
    record, there = copy.with_name(f".{copy.name}.json"), version(far.fs.info(far.root))
    if record.exists() and json.loads(record.read_text()) == [there, stamp(copy)]:
        return copy
    copy.parent.mkdir(parents=True, exist_ok=True)
    part = copy.with_name(f".{copy.name}.{os.getpid()}.part")
    far.fs.get_file(far.root, str(part))
    os.replace(part, copy)
    part.write_text(json.dumps([there, stamp(copy)]))
    os.replace(part, record)
    return copy


def there(path) -> bool:
    """Is there anything, here or elsewhere?"""
    if not remote(path):
        return Path(path).exists()
    far = Mirror(path)
    return far.fs.exists(far.root)


def named(name: str) -> str:
    """The name of a dataset, KIND:PATH,option=value, or of a file, with a PATH that is here."""
    if re.match(r"\w+://", name):
        return str(fetched(name))
    head, *options = re.split(r",(?=[a-z]+=)", name)
    kind, _, path = head.partition(":")
    return ",".join([f"{kind}:{fetched(path)}", *options]) if remote(path) else name


@contextlib.contextmanager
def written(path):
    """A path here to write a file to, which is sent to `path` when that went well."""
    if not remote(path):
        yield Path(path)
        return
    far = Mirror(path)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder) / far.folder.name
        yield here
        far.fs.put_file(str(here), far.root)
