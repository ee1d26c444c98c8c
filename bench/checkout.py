"""Other people's programs that are on no package index: modules out of a checkout, by its folder.

Their packages are called `models` and `utils`, as ours are, so a file is loaded by its place.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

KNOWN = {  # a file that tells whose checkout it is
    "jax-flow": "diffusion_transformer.py",
    "DiT": "run_DiT.ipynb",
    "md4": "md4/models/diffusion/md4.py",
    "mdlm": "models/dimamba.py",
}

FLAG = {
    "--peer-path": dict(
        action="append", default=[], metavar="PATH", help="someone's checkout; may be repeated"
    )
}


def recognise(paths: list[str], wanted: list[str]) -> dict[str, str]:
    """{name in KNOWN: folder} of checkouts.

    Raises:
        ValueError: a folder is not a checkout of any that are wanted.
    """
    found = {}
    for path in paths:
        names = [name for name in wanted if (Path(path) / KNOWN[name]).is_file()]
        if not names:
            raise ValueError(f"--peer-path {path} is no checkout of {' or '.join(wanted)}")
        found[names[0]] = path
    return found


def module(path: str, file: str):
    """The module that is this file of a checkout.

    Raises:
        ImportError: what it imports is not here, or there is no checkout.
    """
    if path is None:
        raise ImportError("wants --peer-path, a checkout of it")
    name = f"checkout_{Path(file).stem}"
    spec = importlib.util.spec_from_file_location(name, Path(path) / file)
    found = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def within(path: str, name: str):
    """A module by its name in a checkout whose packages are not called as ours; errors as of
    `module`."""
    if path is None:
        raise ImportError("wants --peer-path, a checkout of it")
    sys.path.insert(0, str(path))
    return importlib.import_module(name)
