"""Files that are there as a whole or not at all."""

import contextlib
import os


@contextlib.contextmanager
def whole(path):
    """A file to write to; whoever reads meanwhile finds the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    halfway = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(halfway, "wb") as file:
            yield file
        os.replace(halfway, path)
    finally:
        halfway.unlink(missing_ok=True)


def write(path, data):
    """A file of bytes."""
    with whole(path) as file:
        file.write(data)
