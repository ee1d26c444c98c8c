"""Reads arrays out of a pickle without running anything that the pickle says.

A pickle is a program that may call what it names. Here it may name the five things that an array
is made of, and gets stand-ins for them that only note their arguments: numpy never sees it. The
arrays are made afterwards, of numbers alone, from shape, type and bytes. All else is refused.
"""

import io
import pickle
import re
from pathlib import Path

import numpy as np


class Type:
    """Stands for numpy.dtype."""

    def __init__(self, code="", *_):
        self.code, self.order = code, "="

    def __setstate__(self, state):
        self.order = state[1]

    def made(self) -> np.dtype:
        if not isinstance(self.code, str) or not re.fullmatch(r"[fiub]\d{1,2}", self.code):
            raise ValueError(f"arrays of {self.code!r}; wanted numbers")
        return np.dtype({"|": "=", "<": "<", ">": ">", "=": "="}[self.order] + self.code)


class Array:
    """Stands for numpy.ndarray."""

    def __init__(self, shape=(), type=None, fortran=False, raw=b""):
        self.__setstate__((1, shape, type, fortran, raw))

    def __setstate__(self, state):
        _, self.shape, self.type, self.fortran, self.raw = state

    def made(self) -> np.ndarray:
        flat = np.frombuffer(self.raw, self.type.made())
        return flat.reshape(self.shape, order="F" if self.fortran else "C").copy()


NAMES = {
    ("numpy", "dtype"): Type,
    ("numpy", "ndarray"): Array,
    ("_codecs", "encode"): lambda text, _: text.encode("latin1"),  # bytes in protocols 0 to 2
}
for package in ("numpy.core", "numpy._core"):  # before and since numpy 2
    NAMES[package + ".multiarray", "_reconstruct"] = lambda *_: Array()
    NAMES[package + ".multiarray", "scalar"] = lambda type, raw: Array((), type, False, raw)
    NAMES[package + ".numeric", "_frombuffer"] = lambda raw, type, shape, order: Array(
        shape, type, order == "F", raw
    )


DAMAGE = (pickle.UnpicklingError, ValueError, TypeError, AttributeError, EOFError, LookupError,
          ImportError)  # fmt: skip


class Reader(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in NAMES:
            raise ValueError(f"it names {module}.{name}; arrays and plain containers are read only")
        return NAMES[module, name]


def read(path):
    """The dict, list, tuple, array, number or string that a pickle holds.

    Raises:
        ValueError: it names anything but arrays, or is damaged. Says the file.
    """
    try:
        return made(Reader(io.BytesIO(Path(path).read_bytes())).load())
    except DAMAGE as error:
        raise ValueError(f"{path} is no pickle of arrays: {error}") from error


def made(tree):
    """The same tree with arrays in the places of their stand-ins."""
    if isinstance(tree, dict):
        return {key: made(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(made(value) for value in tree)
    return tree.made() if isinstance(tree, Array | Type) else tree
