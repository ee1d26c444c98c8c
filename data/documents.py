"""The documents of a text corpus by name: those to train on, and those that are held out.

    stories        the embedded grammar's (data/stories.py)
    shakespeare    DATA_DIR/shakespeare/input.txt, the last tenth is held out
    tinystories    DATA_DIR/tinystories/train.txt and heldout.txt
    text8          DATA_DIR/text8/text8, split 90 : 5 : 5, the last left for tests
    text:PATH      a .txt file or a folder of them, the last tenth is held out
    parquet:PATH   a file, or a folder with train* and validation* files
    hf:OWNER/NAME  a dataset of the Hugging Face Hub

A named corpus may also be parquet files in its folder, and without files it comes from the Hub.
`<|endoftext|>` in a file parts documents. A new corpus is a Source: a function from its files to
its documents.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data import hub, names, parquet, stories

SEPARATOR = "<|endoftext|>"
STORIES = {"train": (0, 100_000), "valid": (1, 2_000)}  # seed, stories
OPTIONS = ("text", "config", "train", "test", "revision")  # of a corpus in parquet files
Documents = tuple[list[str], list[str]]  # to train on, held out


class Source(NamedTuple):
    """A corpus's files, how they are read, and how its rows are made unless told otherwise."""

    files: tuple[str, ...]
    read: Callable[[list[str]], Documents]  # the files' texts -> documents
    tokenizer: str
    pack: bool
    repo: str = ""  # on the Hub
    whole: bool = False  # there it is one text, cut into splits
    hint: str = ""


class Found(NamedTuple):
    """A corpus that is found, but not yet read."""

    kind: str
    source: Source
    read: Callable[[], Documents]
    stamp: list  # changes when the corpus does
    where: str


def find(name: str, data_dir: Path, hub_documents: int = 0) -> Found:
    """The corpus of a name.

    Args:
        name: see the module's first lines.
        data_dir: where named corpora live, each in a folder of its name.
        hub_documents: of one that comes from the Hub, read the first so many there and a tenth of
            that to hold out; 0 downloads all.

    Raises:
        ValueError: no such corpus.
        FileNotFoundError: files are missing; the message says which, and where to get them.
    """
    kind, path, options = names.find(name, SOURCES, PATHS, "text corpus")
    source, place = SOURCES[kind], Path(path).expanduser() if path else data_dir / kind
    names.suited(OPTIONS, options, name)
    found = lambda read, stamp, where: Found(kind, source, read, [kind, stamp], str(where))
    if kind == "stories":
        grammar = hashlib.sha256(stories.STORY.encode()).hexdigest()
        return found(told, [grammar, STORIES], kind)
    if kind == "hf":
        return found(*on_hub(source, path, options, hub_documents))
    tables = {} if kind == "text" else hub.local(place) if place.exists() else {}
    if tables:
        get = lambda paths: [tables[path] for path in paths]
        read = lambda: from_tables(source, tables, get, str(place), options)
        return found(read, [stamp([f.open() for f in tables.values()]), options], place)
    if options:
        raise ValueError(f"{name!r} has no use for options; they are for parquet files")
    files = sorted(place.rglob("*.txt")) if place.is_dir() else [place]
    if source.files:
        files = [place / file for file in source.files]
    missing = [file.name for file in files if not file.is_file()]
    if source.repo and len(missing) == len(files):
        try:
            return found(*on_hub(source, source.repo, options, hub_documents))
        except hub.HubError as error:
            raise lacking(name, source, missing, place, f", and {error}") from error
    if missing or not files:
        raise lacking(name, source, missing, place)
    return found(lambda: source.read(read_texts(name, files)), stamp(files), place)


def lacking(name, source, missing, place, why="") -> FileNotFoundError:
    """The error that says which files a corpus wants."""
    if not source.files:
        what = (
            "parquet files" if name.startswith("parquet") else "a .txt file, or a folder with some,"
        )
        return FileNotFoundError(
            f"text corpus {name!r} wants {what} at {place.absolute()}, where there is none"
        )
    return FileNotFoundError(
        f"text corpus {name!r} wants {' and '.join(missing)} in {place.absolute()}, where there is "
        f"none{why}; put it there ({source.hint}), or say where with --data_dir"
    )


def stamp(files: list[Path]) -> list:
    """What changes when one of them does."""
    return [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]


def read_texts(name: str, files: list[Path]) -> list[str]:
    try:
        return [file.read_text(encoding="utf-8") for file in files]
    except UnicodeDecodeError as error:
        raise ValueError(f"text corpus {name!r} is not UTF-8 text: {error}") from error


def documents(name: str, found: Found) -> Documents:
    """What to train on and what is held out, with nothing in both."""
    train, valid = found.read()
    held_out = set(valid)
    train = [document for document in train if document not in held_out]
    for part, texts in (("train on", train), ("hold out", valid)):
        if not any(texts):
            raise ValueError(f"text corpus {name!r} has no text to {part}: {found.where}")
    return train, valid


def parted(text: str) -> list[str]:
    """The documents of a file."""
    return [d for d in (piece.strip() for piece in text.split(SEPARATOR)) if d]


def cut(texts: list[str], *at: float) -> list[list[str]]:
    """Every text cut in the same places, given as shares of it."""
    points = [[0, *(int(share * len(t)) for share in at), len(t)] for t in texts]
    pairs = list(zip(texts, points, strict=True))
    return [[t[p[i] : p[i + 1]] for t, p in pairs] for i in range(len(at) + 1)]


def last_tenth(texts: list[str]) -> Documents:
    """Of the documents where there are ten, else of each document."""
    found = [document for text in texts for document in parted(text)]
    n = len(found) - len(found) // 10
    return (found[:n], found[n:]) if n < len(found) else tuple(cut(found, 0.9))


def told(_=None) -> Documents:
    """The embedded stories."""
    return tuple(stories.sample(np.random.default_rng(s), n) for s, n in STORIES.values())


def on_hub(source: Source, repo: str, options: dict, most: int):
    """(read, stamp, where) of a repository on the Hub; nothing is downloaded yet."""
    listing = hub.listing(repo, options.pop("revision", None))
    fetch = hub.afar if most and not source.whole else hub.downloaded
    get = lambda paths: fetch(listing, paths)
    read = lambda: from_tables(source, listing.files, get, repo, options, most)
    return read, [listing.repo, listing.commit, options, most], repo


def from_tables(source: Source, paths, get, where: str, options: dict, most: int = 0) -> Documents:
    """The documents in parquet files, one a row; `get` gives Files of some of the paths."""
    column = options.get("text")
    if source.whole:
        splits = next(iter(parquet.splits(list(paths)).values()))
        pieces = [s for s in (*parquet.TRAIN, *parquet.HELD_OUT) if s in splits]
        files = get([path for split in pieces for path in splits[split]])
        return source.read(["".join(parquet.texts(files, column))])
    which = {k: v for k, v in options.items() if k in ("config", "train", "test")}
    many = {"train": most, "test": -(-most // 10)}
    found = {
        part: parquet.texts(get(chosen), column, many[part])
        for part, chosen in parquet.choose(paths, where, **which).items()
    }
    found = {part: [t for t in map(str.strip, texts) if t] for part, texts in found.items()}
    return (found["train"], found["test"]) if "test" in found else last_tenth(found["train"])


SOURCES = {
    "stories": Source((), told, "words", pack=False),
    "shakespeare": Source(
        ("input.txt",), lambda texts: cut(texts, 0.9), "characters", True,
        "karpathy/tiny_shakespeare", True, "it is tinyshakespeare of github.com/karpathy/char-rnn",
    ),
    "tinystories": Source(
        ("train.txt", "heldout.txt"), lambda texts: map(parted, texts), "bpe", True,
        "roneneldan/TinyStories", False, "documents parted by <|endoftext|>",
    ),
    "text8": Source(
        ("text8",), lambda texts: cut(texts, 0.9, 0.95)[:2], "characters", True,
        "afmck/text8", True, "it is in mattmahoney.net/dc/text8.zip",
    ),
    "text": Source((), last_tenth, "bpe", pack=True),
    "parquet": Source((), last_tenth, "bpe", pack=True),
    "hf": Source((), last_tenth, "bpe", pack=True),
}  # fmt: skip
PATHS = {"text", "parquet", "hf"}  # named with a path: "text:PATH"
