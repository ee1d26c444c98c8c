"""Text corpora by name, each as rows of token ids: tokenised once, memory-mapped ever after.

    stories, shakespeare, tinystories, text8, text:PATH, parquet:PATH, hf:OWNER/NAME

What they are is said in documents.py. A padded row is BOS, one document, EOS, PAD...; packed rows
are cut from the documents in their order, an EOS behind each. Nothing is shuffled here.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data import documents, store
from data.cache import cache_dir
from data.tokenizer import BOS, EOS, PAD, TRAINERS, Tokenizer
from data.tokenizer import load as load_tokenizer

FORMAT = 3  # raise it where rows change, and older caches are left alone
CHUNK = 10_000  # documents that are encoded at once, for what that takes


class Corpus(NamedTuple):
    """Text as rows of token ids, in the order of the documents."""

    name: str
    train: np.ndarray  # u16[N, L]
    valid: np.ndarray  # u16[M, L], with no document that is in train
    tokenizer: Tokenizer
    chars_per_token: float  # of held-out rows, BOS and EOS being tokens:
    bytes_per_token: float  # bits/char = nats/token / chars_per_token / ln 2
    hash: str  # of all rows, 8 hexadecimal digits


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
    if max_seq_len < 3:
        raise ValueError(f"max_seq_len is {max_seq_len}; wanted 3 at least: BOS, a token, EOS")
    found = documents.find(name, Path(data_dir), hub_documents)
    maker = choose(found.source.tokenizer if tokenizer is None else tokenizer)
    pack = found.source.pack if pack is None else pack
    made_by = [maker, vocab_size * (maker == "bpe")] if isinstance(maker, str) else maker.hash
    key = json.dumps([FORMAT, found.stamp, made_by, max_seq_len, pack])
    folder = cache_dir() / f"{found.kind}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    write(folder, name, found, maker, vocab_size, max_seq_len, pack)
    rows, facts = store.read(folder)
    return Corpus(
        name,
        rows["train"],
        rows["valid"],
        load_tokenizer(folder / "tokenizer.json"),
        *(facts[k] for k in ("chars_per_token", "bytes_per_token", "hash")),
    )


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


def choose(tokenizer: str | Path | Tokenizer) -> str | Tokenizer:
    """The name of a trainer, or a tokenizer that is there."""
    if isinstance(tokenizer, Tokenizer) or tokenizer in TRAINERS:
        return tokenizer
    if isinstance(tokenizer, Path) or Path(tokenizer).suffix or os.sep in tokenizer:
        return load_tokenizer(tokenizer)
    names = ", ".join(TRAINERS)
    raise ValueError(f"no tokenizer {tokenizer!r}; there are {names}, or the path of a saved one")


def trained(maker: str, vocab_size: int, train: list[str], valid: list[str]) -> Tokenizer:
    """Learned from what is trained on; but an alphabet is no secret, so all of it is known."""
    if maker == "bpe":
        return TRAINERS[maker](train[:: 1 + len(train) // 200_000], vocab_size)
    return TRAINERS[maker](train + valid if maker == "characters" else train)


def write(folder, name, found, maker, vocab_size, length, pack):
    """Makes the cache's folder, unless it is there; goes on where an earlier call was cut off."""
    with store.making(folder) as work:
        if work is None:
            return
        texts = dict(zip(("train", "valid"), documents.documents(name, found), strict=True))
        known = work.folder / "tokenizer.json"
        if isinstance(maker, str):
            maker = load_tokenizer(known) if known.exists() else trained(maker, vocab_size, **texts)
        maker.save(known)
        for part in texts:
            add(work, part, texts[part], maker, length, pack)
            if not work.arrays[part]["shape"][0]:
                work.done.clear()
                raise ValueError(
                    f"text corpus {name!r}: {len(work.notes[part])} tokens in its {part} part are "
                    f"less than a row of {length}; give it more text, or take a smaller "
                    "max_seq_len or pack=False"
                )
        some = work.read("valid")[:2000]
        said, real = [maker.decode(row) for row in some], (some != PAD).sum()
        files = [work.folder / f"{part}.bin" for part in texts]
        work.finish(
            source=name,
            chars_per_token=float(sum(map(len, said)) / real),
            bytes_per_token=float(sum(len(text.encode()) for text in said) / real),
            hash=store.digest(files)[:8],
        )


def add(work: store.Work, part: str, texts: list[str], tokenizer, length: int, pack: bool):
    """Rows of one part; what does not fill a row waits in the work's notes."""
    sizes = [len(texts[i : i + CHUNK]) for i in range(0, len(texts), CHUNK)]
    for chunk in store.counted(sizes, work.done.get(part, 0), f"{part} documents", "doc"):
        ids = tokenizer.encode_batch(texts[chunk * CHUNK : (chunk + 1) * CHUNK])
        rows, rest = (padded(ids, length), np.zeros(0, np.uint16))
        if pack:
            rows, rest = packed(np.array(work.notes.get(part, []), np.uint16), ids, length)
        work.notes[part] = rest.tolist()
        work.add(part, chunk + 1, **{part: rows})


def packed(rest, ids: list[np.ndarray], length: int):
    """(u16[N, length], u16[n]): all documents in a line behind `rest`, EOS behind each, and what
    is over."""
    end = np.array([EOS], np.uint16)
    line = np.concatenate([rest, *(part for document in ids for part in (document, end))])
    n = len(line) // length
    return line[: n * length].reshape(n, length), line[n * length :]


def padded(ids: list[np.ndarray], length: int) -> np.ndarray:
    """u16[N, length]: BOS, document, EOS, PAD...; a long one loses its end and its EOS."""
    rows = np.full((len(ids), length), PAD, np.uint16)
    for row, document in zip(rows, ids, strict=True):
        line = [BOS, *document[: length - 1], EOS][:length]
        row[: len(line)] = line
    return rows
