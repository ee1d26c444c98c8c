"""Parquet files in the Hub's layout: which of them are a split, which columns are what, their rows.

An image is a struct {bytes, path}, a class an integer; what a column holds is also written in the
schema by `datasets` (key "huggingface"), and that is believed first.
"""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from data.shards import Record, reason

TRAIN = ("train", "training")
HELD_OUT = ("validation", "valid", "val", "dev", "test")  # ImageNet's test has no labels
IMAGES, LABELS = ("image", "img"), ("label", "fine_label", "labels")


class File(NamedTuple):
    """A parquet file, here or far away."""

    name: str
    open: Callable[[], Any]  # gives what pyarrow reads: a path or a file object


def splits(paths: list[str]) -> dict[str, dict[str, list[str]]]:
    """{config: {split: paths}} by the names that repositories on the Hub use.

    data/train-00000-of-00002.parquet, plain_text/test-...parquet, default/train/0000.parquet (as
    the Hub converts what was none), and train.parquet, test-5k.parquet of one's own.
    """
    found = {}
    for path in sorted(paths):
        *folders, stem = path.removesuffix(".parquet").split("/")
        split = re.match(r"[A-Za-z_]*", stem)[0].strip("_")
        above = folders[-1].removeprefix("partial-") if folders else ""
        if above in TRAIN + HELD_OUT or (above and not split):
            split, folders = above, folders[:-1]
        config = "/".join(f for f in folders if f != "data") or "default"
        found.setdefault(config, {}).setdefault(split or "train", []).append(path)
    return found


def choose(paths, where: str, config=None, train=None, test=None) -> dict[str, list[str]]:
    """{"train": paths, "test": paths}; no "test" where nothing is held out.

    Raises:
        ValueError: no such config or split, or several and none is named; tells what there is.
    """
    configs = splits(paths)
    if config is None:
        config = next(iter(configs)) if len(configs) == 1 else "default"
    if config not in configs:
        raise ValueError(
            f"{where} has no parquet files of a config {config!r}; it has "
            f"{', '.join(sorted(configs)) or 'none'}: say which with ,config=NAME behind the name"
        )
    there = configs[config]
    first = lambda names: next((s for s in names if s in there), None)
    train = train or first(TRAIN) or (next(iter(there)) if len(there) == 1 else "train")
    test = test or first(HELD_OUT)
    for key, split in (("train", train), ("test", test)):
        if split not in there and split is not None:
            raise ValueError(
                f"{where} has no split {split!r}; it has {', '.join(there)}: say which with "
                f",{key}=NAME behind the name"
            )
    held_out = {} if test in (None, train) else {"test": there[test]}
    return {"train": there[train]} | held_out


class Table:
    """Rows of parquet files of one schema; a block is a row group.

    Attributes:
        schema: pyarrow's, of the first file.
        sizes: i64[blocks], rows of each.
        heaviest: bytes of the largest block.

    Raises:
        ValueError: a file that cannot be read; the message names it.
    """

    def __init__(self, files: list[File]):
        self.files = files
        with ThreadPoolExecutor(16) as pool:  # far away, a footer takes its time
            self.footers = list(pool.map(self.footer, files))
        self.schema = self.footers[0].schema.to_arrow_schema()
        groups = [[m.row_group(g) for g in range(m.num_row_groups)] for m in self.footers]
        rows = [[g.num_rows for g in of_file] for of_file in groups]
        self.places = [(f, g) for f, of_file in enumerate(groups) for g in range(len(of_file))]
        self.first = [sum(rows[f][:g]) for f, g in self.places]
        self.sizes = np.array([n for of_file in rows for n in of_file], np.int64)
        self.heaviest = max((g.total_byte_size for of_file in groups for g in of_file), default=0)

    @staticmethod
    def footer(file: File):
        try:
            import pyarrow.parquet as pq

            return pq.ParquetFile(file.open()).metadata
        except Exception as error:  # pyarrow's, fsspec's or the system's
            raise ValueError(f"{file.name} cannot be read: {reason(error)}") from error

    def read(self, block: int, columns: list[str]) -> dict[str, list]:
        """{column: values} of one block."""
        import pyarrow.parquet as pq

        place, group = self.places[block]
        file = self.files[place]
        try:
            opened = pq.ParquetFile(file.open(), metadata=self.footers[place], pre_buffer=True)
            table = opened.read_row_group(group, columns=columns, use_threads=False)
        except Exception as error:
            rows = f"rows {self.first[block]} to {self.first[block] + self.sizes[block] - 1}"
            raise ValueError(f"{rows} of {file.name} cannot be read: {reason(error)}") from error
        return {column: table[column].to_pylist() for column in columns}

    def key(self, block: int, row: int) -> str:
        """Where a row of a block is."""
        return f"{self.files[self.places[block][0]].name} row {self.first[block] + row}"

    def largest(self, column: str) -> int | None:
        """The largest value of a column, where the footers tell it."""
        found = [
            footer.row_group(g).column(i).statistics
            for footer in self.footers
            for g in range(footer.num_row_groups)
            for i in range(footer.num_columns)
            if footer.row_group(g).column(i).path_in_schema == column
        ]
        told = found and all(s and s.has_min_max for s in found)
        return max(s.max for s in found) if told else None

    def features(self) -> dict:
        """What `datasets` noted of the columns; {} where it did not write the files."""
        noted = (self.schema.metadata or {}).get(b"huggingface")
        return json.loads(noted)["info"]["features"] if noted else {}

    def pick(self, given: str | None, usual: tuple[str, ...], fits: Callable) -> str | None:
        """A column: the one given, else a usual name that fits, else the only one that fits."""
        if given is not None:
            if given not in self.schema.names:
                names = ", ".join(self.schema.names)
                raise ValueError(f"{self.files[0].name} has no column {given!r}; it has {names}")
            return given
        fitting = [name for name in self.schema.names if fits(name)]
        called = [name for name in usual if name in fitting]
        return (called or (fitting if len(fitting) == 1 else [None]))[0]


def texts(files: list[File], column: str | None = None, most: int = 0) -> list[str]:
    """The rows of a column of texts, the first `most` of them or all.

    Args:
        column: its name; None finds "text", or the only column of strings.
    """
    import pyarrow as pa

    table = Table(files)
    of = lambda name: table.schema.field(name).type
    column = table.pick(
        column,
        ("text",),
        lambda name: pa.types.is_string(of(name)) or pa.types.is_large_string(of(name)),
    )
    if column is None:
        raise ValueError(
            f"{files[0].name} has no one column of texts; it has "
            f"{', '.join(table.schema.names)}: say which with ,text=NAME behind the name"
        )
    found = []
    for block in range(len(table.sizes)):
        found += [text or "" for text in table.read(block, [column])[column]]
        if most and len(found) >= most:
            return found[:most]
    return found


class Pictures:
    """Images and classes in parquet files: a split (data/shards.py).

    Args:
        files: of one split.
        image, label: names of columns; None finds them, label="none" wants no classes.

    Raises:
        ValueError: no such columns; the message lists those that there are.
    """

    mode = None

    def __init__(self, files: list[File], image: str | None = None, label: str | None = None):
        import pyarrow as pa

        self.table = table = Table(files)
        self.sizes, self.heaviest = table.sizes, table.heaviest
        noted = table.features()
        kind = lambda name: (noted.get(name) or {}).get("_type") if noted else None
        of = lambda name: table.schema.field(name).type
        is_image = lambda name: (
            kind(name) == "Image"
            or (pa.types.is_struct(of(name)) and of(name).get_field_index("bytes") >= 0)
            or (pa.types.is_binary(of(name)) and name in IMAGES)
        )
        self.image = table.pick(image, IMAGES, is_image)
        if self.image is None:
            raise ValueError(
                f"{files[0].name} has no one column of images; it has "
                f"{', '.join(table.schema.names)}: say which with ,image=NAME behind the name"
            )
        is_class = lambda name: (
            pa.types.is_integer(of(name)) and (kind(name) == "ClassLabel" or name in LABELS)
        )
        self.label = None if label == "none" else table.pick(label, LABELS, is_class)
        if self.label and not pa.types.is_integer(of(self.label)):
            raise ValueError(
                f"column {self.label!r} of {files[0].name} holds {of(self.label)}; wanted "
                "integers: say which with ,label=NAME behind the name, or ,label=none"
            )
        names = (noted.get(self.label) or {}).get("names")
        top = table.largest(self.label) if self.label and not names else 0
        self.classes = len(names) if names else None if top is None else 1 + top

    def read(self, block: int) -> list[Record]:
        columns = self.table.read(block, [c for c in (self.image, self.label) if c])
        images = columns[self.image]
        labels = columns[self.label] if self.label else [0] * len(images)
        records = []
        for row, (image, label) in enumerate(zip(images, labels, strict=True)):
            key, data = self.table.key(block, row), image
            if isinstance(image, dict):
                key, data = f"{key} {image.get('path') or ''}".strip(), image["bytes"]
            records.append(Record(key, data, label))
        return records

    def labels(self, block: int) -> list[int]:
        if self.label is None:
            return [0] * int(self.sizes[block])
        return self.table.read(block, [self.label])[self.label]
