"""Text corpora by name, each as rows of token ids: tokenised once, memory-mapped ever after.

    stories        the embedded grammar's (data/stories.py); words, a story a row
    shakespeare    DATA_DIR/shakespeare/input.txt; characters, the last tenth is held out
    tinystories    DATA_DIR/tinystories/train.txt and heldout.txt, else from Hugging Face; BPE
    text8          DATA_DIR/text8/text8; characters, split 90 : 5 : 5, the last left for tests
    text:PATH      a .txt file or a folder of them; BPE, the last tenth is held out

`<|endoftext|>` in a file parts documents. A padded row is BOS, one document, EOS, PAD...; packed
rows are cut from the documents in their order, an EOS behind each. Nothing is shuffled here.
A new corpus is a Source: a function from its files to its documents.
"""

import difflib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data import stories
from data.cache import cache_dir
from data.tokenizer import BOS, EOS, PAD, TRAINERS, Tokenizer
from data.tokenizer import load as load_tokenizer

SEPARATOR = "<|endoftext|>"
FORMAT = 2  # raise it where rows change, and older caches are left alone
STORIES = {"train": (0, 100_000), "valid": (1, 2_000)}  # seed, stories
HUB = {"tinystories": "roneneldan/TinyStories"}
HINTS = {
    "shakespeare": "it is tinyshakespeare of github.com/karpathy/char-rnn",
    "tinystories": "or install `datasets`, and it is downloaded",
    "text8": "it is in mattmahoney.net/dc/text8.zip",
}
Documents = tuple[list[str], list[str]]  # to train on, held out


class Corpus(NamedTuple):
    """Text as rows of token ids, in the order of the documents."""

    name: str
    train: np.ndarray  # u16[N, L]
    valid: np.ndarray  # u16[M, L], with no document that is in train
    tokenizer: Tokenizer
    chars_per_token: float  # of held-out rows, BOS and EOS being tokens:
    bytes_per_token: float  # bits/char = nats/token / chars_per_token / ln 2
    hash: str  # of all rows, 8 hexadecimal digits


class Source(NamedTuple):
    """A corpus's files, how they are read, and how its rows are made unless told otherwise."""

    files: tuple[str, ...]
    read: Callable[[list[str]], Documents]  # the files' texts -> documents
    tokenizer: str
    pack: bool


def load(
    name: str,
    data_dir: str | Path = "datasets",
    *,
    max_seq_len: int = 256,
    tokenizer: str | Path | Tokenizer | None = None,
    vocab_size: int = 8192,
    pack: bool | None = None,
    hub_documents: int = 0,
) -> Corpus:
    """A corpus; from its cache, where it has been made in the same way before.

    Args:
        name: see the module's first lines.
        data_dir: where named corpora live, each in a folder of its name.
        max_seq_len: L, tokens a row, with BOS and EOS.
        tokenizer: "bpe", "words" or "characters" trains one on the corpus; a Tokenizer, or the
            path of one, is taken as it is; None is the corpus's own choice.
        vocab_size: of a BPE that is trained here.
        pack: rows full of text, or a document a row (long ones are cut); None as above.
        hub_documents: of a corpus that comes from Hugging Face, stream the first so many and a
            tenth of that to hold out; 0 downloads all.

    Raises:
        ValueError: no such corpus or tokenizer, no text, or less of it than a row.
        FileNotFoundError: files are missing; the message says which, and where to get them.
    """
    kind, path = find(name, Path(data_dir))
    source = SOURCES[kind]
    if max_seq_len < 3:
        raise ValueError(f"max_seq_len is {max_seq_len}; wanted 3 at least: BOS, a token, EOS")
    maker = choose(source.tokenizer if tokenizer is None else tokenizer)
    pack = source.pack if pack is None else pack
    files = present(name, kind, path)
    made_by = [maker, vocab_size * (maker == "bpe")] if isinstance(maker, str) else maker.hash
    key = [FORMAT, stamp(kind, files), made_by, max_seq_len, pack]
    if kind in HUB and not files:
        key.append(hub_documents)
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    folder = cache_dir() / f"{kind}-{digest}"
    if not folder.exists():
        train, valid = documents(name, kind, files, hub_documents)
        if isinstance(maker, str):
            maker = trained(maker, vocab_size, train, valid)
        write(folder, name, train, valid, maker, max_seq_len, pack)
    rows = {part: np.load(folder / f"{part}.npy", mmap_mode="r") for part in ("train", "valid")}
    facts = json.loads((folder / "facts.json").read_text())
    return Corpus(name, **rows, tokenizer=load_tokenizer(folder / "tokenizer.json"), **facts)


def of(config, data_dir: str | Path | None = None) -> Corpus:
    """The corpus of a config like configs/text.py's."""
    return load(
        config.dataset_name,
        data_dir or config.data_dir,
        max_seq_len=config.max_seq_len,
        tokenizer=config.tokenizer,
        vocab_size=config.vocab_size,
        pack=config.pack,
        hub_documents=config.hub_documents,
    )


def find(name: str, data_dir: Path) -> tuple[str, Path]:
    """The kind of a corpus and the path of its files."""
    kind, _, path = name.partition(":")
    if kind not in SOURCES or bool(path) != (kind == "text"):
        names = [f"{k}:PATH" if k == "text" else k for k in SOURCES]
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"no text corpus {name!r}{hint}; there are {', '.join(names)}")
    return kind, Path(path).expanduser() if path else data_dir / kind


def choose(tokenizer: str | Path | Tokenizer) -> str | Tokenizer:
    """The name of a trainer, or a tokenizer that is there."""
    if isinstance(tokenizer, Tokenizer) or tokenizer in TRAINERS:
        return tokenizer
    if isinstance(tokenizer, Path) or Path(tokenizer).suffix or os.sep in tokenizer:
        return load_tokenizer(tokenizer)
    names = ", ".join(TRAINERS)
    raise ValueError(f"no tokenizer {tokenizer!r}; there are {names}, or the path of a saved one")


def present(name: str, kind: str, path: Path) -> list[Path]:
    """The files of a corpus; none where it is embedded, or has to come from the hub."""
    if kind == "text":
        files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
        if not files or not files[0].is_file():
            raise FileNotFoundError(
                f"text corpus {name!r} wants a .txt file, or a folder with some, at "
                f"{path.absolute()}, where there is none"
            )
        return files
    files = [path / file for file in SOURCES[kind].files]
    missing = [file.name for file in files if not file.is_file()]
    if kind in HUB and len(missing) == len(files):
        return []
    if missing:
        raise FileNotFoundError(
            f"text corpus {name!r} wants {' and '.join(missing)} in {path.absolute()}, where there "
            f"is none; put it there ({HINTS[kind]}), or say where with --data_dir"
        )
    return files


def stamp(kind: str, files: list[Path]) -> list:
    """What changes when the corpus does."""
    if kind == "stories":
        return [kind, hashlib.sha256(stories.STORY.encode()).hexdigest(), STORIES]
    facts = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return [kind, facts or HUB[kind]]


def documents(name: str, kind: str, files: list[Path], hub_documents: int = 0) -> Documents:
    """What to train on and what is held out, with nothing in both."""
    try:
        texts = [file.read_text(encoding="utf-8") for file in files]
    except UnicodeDecodeError as error:
        raise ValueError(f"text corpus {name!r} is not UTF-8 text: {error}") from error
    hub = kind in HUB and not files
    train, valid = from_hub(kind, hub_documents) if hub else SOURCES[kind].read(texts)
    held_out = set(valid)
    train = [document for document in train if document not in held_out]
    for part, found in (("train on", train), ("hold out", valid)):
        if not any(found):
            sizes = ", ".join(f"{f} ({f.stat().st_size} bytes)" for f in files[:3])
            raise ValueError(f"text corpus {name!r} has no text to {part}: {sizes or kind}")
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


def told(_) -> Documents:
    """The embedded stories."""
    return tuple(stories.sample(np.random.default_rng(s), n) for s, n in STORIES.values())


def from_hub(kind: str, most: int) -> Documents:
    """The same corpus from Hugging Face: streamed up to `most` documents, or downloaded whole."""
    try:
        from datasets import load_dataset

        def part(split, n):
            if not most:
                return load_dataset(HUB[kind], split=split)["text"]
            stream = load_dataset(HUB[kind], split=split, streaming=True)
            return [row["text"] for row in stream.take(n)]

        parts = [part("train", most), part("validation", -(-most // 10))]
    except Exception as error:  # not installed, no network, moved...: all of them end here
        said = str(error).strip().splitlines()
        raise FileNotFoundError(
            f"no {' and '.join(SOURCES[kind].files)} for text corpus {kind!r} in --data_dir, and "
            f"{HUB[kind]} did not come from Hugging Face: {type(error).__name__}: "
            f"{said[0][:200] if said else ''}"
        ) from error
    return tuple([d for d in map(str.strip, part) if d] for part in parts)


SOURCES = {
    "stories": Source((), told, "words", pack=False),
    "shakespeare": Source(("input.txt",), lambda texts: cut(texts, 0.9), "characters", pack=True),
    "tinystories": Source(("train.txt", "heldout.txt"), lambda t: map(parted, t), "bpe", pack=True),
    "text8": Source(("text8",), lambda texts: cut(texts, 0.9, 0.95)[:2], "characters", pack=True),
    "text": Source((), last_tenth, "bpe", pack=True),
}


def trained(maker: str, vocab_size: int, train: list[str], valid: list[str]) -> Tokenizer:
    """Learned from what is trained on; but an alphabet is no secret, so all of it is known."""
    if maker == "bpe":
        return TRAINERS[maker](train[:: 1 + len(train) // 200_000], vocab_size)
    return TRAINERS[maker](train + valid if maker == "characters" else train)


def write(folder, name, train, valid, tokenizer, length, pack):
    """Makes the cache's folder; it appears at once and whole."""
    rows = {}
    for part, texts in (("train", train), ("valid", valid)):
        ids = list(encoded(tokenizer, texts))
        tokens = sum(map(len, ids)) + len(ids)
        rows[part] = packed(ids, length) if pack else padded(ids, length)
        if not len(rows[part]):
            raise ValueError(
                f"text corpus {name!r}: {tokens} tokens in its {part} part are less than a row of "
                f"{length}; give it more text, or take a smaller max_seq_len or pack=False"
            )
    some = rows["valid"][:2000]
    said, real = [tokenizer.decode(row) for row in some], (some != PAD).sum()
    digest = hashlib.sha256(b"".join(rows[part].tobytes() for part in rows)).hexdigest()
    facts = {
        "chars_per_token": float(sum(map(len, said)) / real),
        "bytes_per_token": float(sum(len(text.encode()) for text in said) / real),
        "hash": digest[:8],
    }
    halfway = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    tokenizer.save(halfway / "tokenizer.json")
    (halfway / "facts.json").write_text(json.dumps(facts))
    for part in rows:
        np.save(halfway / f"{part}.npy", rows[part])
    try:
        os.replace(halfway, folder)
    except OSError:  # another process was faster
        shutil.rmtree(halfway)


def encoded(tokenizer: Tokenizer, texts: list[str], chunk: int = 10_000) -> Iterator[np.ndarray]:
    """u16[n] of each text; in chunks, for what an encoding takes while it is made."""
    from tqdm import tqdm

    starts = range(0, len(texts), chunk)
    quiet = None if len(starts) > 1 else True  # None: where nobody looks
    starts = tqdm(starts, desc="tokens", unit=f"x{chunk}", disable=quiet)
    return chain.from_iterable(tokenizer.encode_batch(texts[i : i + chunk]) for i in starts)


def packed(ids: list[np.ndarray], length: int) -> np.ndarray:
    """u16[N, length]: all documents in a line, EOS behind each, what is over left out."""
    end = np.array([EOS], np.uint16)
    stream = np.concatenate([part for document in ids for part in (document, end)])
    n = len(stream) // length
    return stream[: n * length].reshape(n, length)


def padded(ids: list[np.ndarray], length: int) -> np.ndarray:
    """u16[N, length]: BOS, document, EOS, PAD...; a long one loses its end and its EOS."""
    rows = np.full((len(ids), length), PAD, np.uint16)
    for row, document in zip(rows, ids, strict=True):
        line = [BOS, *document[: length - 1], EOS][:length]
        row[: len(line)] = line
    return rows
