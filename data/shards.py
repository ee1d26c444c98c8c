"""Splits of image datasets as blocks of records, each of which can be read by itself.

A block is what is cheap to read at once: a row group of a parquet file, a stretch of an array
record file, some files of a folder. Nothing is decoded here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

TEST_SHARE = 0.1  # held out, where a source has no such split


class Record(NamedTuple):
    """One example as it is stored."""

    key: str  # where it is: file and row
    image: bytes | np.ndarray | None  # a PNG, a JPEG, ...; or pixels u8[H, W(, C)]
    label: int


class Shards(Protocol):
    """A split.

    Attributes:
        sizes: i64[blocks], records of each block.
        heaviest: bytes of the largest block, roughly.
        mode: "L" or "RGB" where it is known, else None.
        classes: how many there are, where that is known, else None.
    """

    sizes: np.ndarray
    heaviest: int
    mode: str | None
    classes: int | None

    def read(self, block: int) -> list[Record]:
        """The records of one block."""

    def labels(self, block: int) -> list[int]:
        """Their labels alone."""


class Arrays:
    """Images that are in memory already.

    Args:
        x: u8[N, H, W(, C)], or a list of u8[H, W(, C)].
        label: i32[N], or a list.
    """

    block, classes = 1000, None

    def __init__(self, x, label, where: str):
        self.x, self.label, self.where = x, np.asarray(label), where
        first = np.asarray(x[0]) if len(x) else np.zeros(0)
        self.mode = "L" if first.ndim < 3 or first.shape[2] == 1 else "RGB"
        if self.label.shape != (len(x),) or self.label.dtype.kind not in "iu":
            raise ValueError(
                f"labels of {where} are {self.label.dtype}{list(self.label.shape)}; "
                f"wanted {len(x)} integers from 0 on"
            )
        self.sizes = cut(len(x), self.block)
        self.heaviest = self.block * first.nbytes

    def read(self, block):
        rows = range(block * self.block, block * self.block + self.sizes[block])
        return [Record(f"{self.where} row {i}", self.x[i], self.label[i]) for i in rows]

    def labels(self, block):
        return self.label[block * self.block : block * self.block + self.sizes[block]]


class Files:
    """Image files, in the order given.

    Args:
        files: their paths, under `root`.
        label: the class of each, of so many `classes`.
    """

    mode, block = None, 32

    def __init__(self, files: Sequence[Path], label: Sequence[int], classes: int, root: Path):
        self.files, self.label, self.classes, self.root = files, label, classes, root
        self.sizes = cut(len(files), self.block)
        self.heaviest = self.block * max((f.stat().st_size for f in files[:100]), default=0)

    def read(self, block):
        rows = range(block * self.block, block * self.block + self.sizes[block])
        key = lambda i: str(self.files[i].relative_to(self.root))
        return [Record(key(i), self.files[i].read_bytes(), self.label[i]) for i in rows]

    def labels(self, block):
        return self.label[block * self.block : block * self.block + self.sizes[block]]


class Part:
    """Some records of a split, in its order.

    Args:
        rows: for each block, which of its records.
    """

    def __init__(self, whole: Shards, rows: list[np.ndarray]):
        self.whole, self.heaviest = whole, whole.heaviest
        self.mode, self.classes = whole.mode, whole.classes
        self.blocks = [b for b, r in enumerate(rows) if len(r)]
        self.rows = [rows[b] for b in self.blocks]
        self.sizes = np.array([len(r) for r in self.rows])

    def read(self, block):
        records = self.whole.read(self.blocks[block])
        return [records[i] for i in self.rows[block]]

    def labels(self, block):
        labels = self.whole.labels(self.blocks[block])
        return [labels[i] for i in self.rows[block]]


def cut(n: int, block: int) -> np.ndarray:
    """Sizes of blocks that n records make."""
    return np.diff(np.append(np.arange(0, n, block), n)) if n else np.zeros(0, np.int64)


def halved(whole: Shards) -> dict[str, Shards]:
    """A seeded tenth of a split's records is held out; the same wherever they are read from."""
    n = int(whole.sizes.sum())
    order = np.random.default_rng(0).permutation(n)
    test = np.zeros(n, bool)
    test[order[: max(1, int(TEST_SHARE * n))]] = True
    blocks = np.split(test, np.cumsum(whole.sizes)[:-1])
    pick = lambda held: Part(whole, [np.flatnonzero(b == held) for b in blocks])
    return {"train": pick(False), "test": pick(True)}


def some(whole: Shards, most: int) -> Shards:
    """At most so many records, from blocks that are drawn by a fixed seed."""
    rows = [np.arange(0)] * len(whole.sizes)
    for block in np.random.default_rng(0).permutation(len(whole.sizes)):
        rows[block] = np.arange(min(whole.sizes[block], most))
        most -= len(rows[block])
    return Part(whole, rows)


def reason(error: BaseException) -> str:
    """An error in a line: its kind, and the first 200 letters of what it says."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0][:200]}" if said else type(error).__name__
