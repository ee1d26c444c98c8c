"""Text to token ids and back; one json file holds all of a tokenizer.

    train_bpe(texts, vocab_size)    byte-level BPE: any text goes in and comes back as it was
    train_words(texts)              every word seen is a token, and every mark
    train_characters(texts)         every character seen is a token
    load(path)                      a saved one, of any kind

PAD, BOS, EOS, MASK and UNK are 0 to 4 in each. Text can name none of them: "[MASK]" in a text is
six letters and brackets like any others.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np

PAD, BOS, EOS, MASK, UNK = range(5)
SPECIALS = ["[PAD]", "[BOS]", "[EOS]", "[MASK]", "[UNK]"]
MOST = 65535  # ids are kept as uint16


class Tokenizer:
    """What both kinds share.

    Attributes:
        json: all there is to know of it, as saved.
        size: V, ids are 0..V-1.
        hash: 8 hexadecimal digits, equal where and only where `json` is.
        by_letter: every character is a token, the space too.
    """

    json: str
    size: int
    by_letter = False

    @cached_property
    def hash(self) -> str:
        return hashlib.sha256(self.json.encode()).hexdigest()[:8]

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without BOS and EOS; what is unknown becomes UNK."""
        return self.encode_batch([text])[0].tolist()

    def encode_part(self, text: str, first: bool) -> list[int]:
        """Ids of a piece of a text; `first` where nothing stands before it."""
        return self.encode(text)

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        """u16[n] of each text."""
        raise NotImplementedError

    def decode(self, ids: Iterable[int]) -> str:
        """The text; special tokens leave nothing behind."""
        raise NotImplementedError

    def unknown(self, text: str, first: bool = True) -> list[str]:
        """What of a text (or a piece of one) would become UNK, each once, in order."""
        raise NotImplementedError

    def pieces(self) -> list[str | None]:
        """The text of each id; None where it has none of its own: special tokens, bytes that are
        not a whole character. Texts without special tokens decode to their pieces in a row."""
        raise NotImplementedError

    def save(self, path: str | Path) -> None:
        """Writes the json; whoever reads meanwhile sees the old file or the new one, whole."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        halfway = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        halfway.write_text(self.json, encoding="utf-8")
        os.replace(halfway, path)


class Characters(Tokenizer):
    """One token a character."""

    by_letter = True

    def __init__(self, characters: str):
        self.characters = "".join(sorted(set(characters)))
        self.size = checked(len(SPECIALS) + len(self.characters))
        self.json = json.dumps({"type": "characters", "characters": self.characters})
        points = [ord(c) for c in self.characters]
        self.table = np.full(max(points, default=0) + 2, UNK, np.uint16)  # the last one: all beyond
        self.table[points] = np.arange(len(SPECIALS), self.size)

    def encode_batch(self, texts):
        return [self.ids(text) for text in texts]

    def ids(self, text):
        chunks = [text[i : i + 2**20] for i in range(0, len(text), 2**20)]  # 4 to 8 bytes a letter
        points = (np.frombuffer(c.encode("utf-32-le", "surrogatepass"), np.uint32) for c in chunks)
        found = [self.table[np.minimum(p, len(self.table) - 1)] for p in points]
        return np.concatenate(found or [np.zeros(0, np.uint16)])

    def decode(self, ids):
        first = len(SPECIALS)
        return "".join(self.characters[i - first] for i in map(int, ids) if i >= first)

    def pieces(self):
        return [None] * len(SPECIALS) + list(self.characters)

    def unknown(self, text, first=True):
        return [c for c in dict.fromkeys(text) if c not in self.characters]


class Words(Tokenizer):
    """One token a word, with the space before it, or a mark.

    The first word of a text looks like any other, so a space in front of all does not come back.
    """

    SPLIT = re.compile(r"'s| ?\w+| ?[^\w\s]|\s")

    def __init__(self, words: Iterable[str]):
        self.words = sorted(set(words))
        self.size = checked(len(SPECIALS) + len(self.words))
        self.json = json.dumps({"type": "words", "words": self.words})
        self.table = {word: i for i, word in enumerate(self.words, len(SPECIALS))}

    @classmethod
    def split(cls, text: str, first: bool = True) -> list[str]:
        return cls.SPLIT.findall(" " + text if first and not text.startswith(" ") else text)

    def encode_batch(self, texts):
        get = self.table.get
        return [np.array([get(w, UNK) for w in self.split(t)], np.uint16) for t in texts]

    def decode(self, ids):
        found = (self.words[i - len(SPECIALS)] for i in map(int, ids) if i >= len(SPECIALS))
        return "".join(found).removeprefix(" ")

    def pieces(self):
        """With the space that `decode` takes away at the beginning of a text."""
        return [None] * len(SPECIALS) + self.words

    def encode_part(self, text, first):
        return [self.table.get(word, UNK) for word in self.split(text, first)]

    def unknown(self, text, first=True):
        strange = (word for word in self.split(text, first) if word not in self.table)
        return list(dict.fromkeys(word.strip(" ") or word for word in strange))


class Bpe(Tokenizer):
    """Byte pairs, by the `tokenizers` package; nothing is unknown to a byte-level one."""

    def __init__(self, json_text: str):
        import tokenizers

        self.inner = tokenizers.Tokenizer.from_str(json_text)
        self.inner.encode_special_tokens = True
        self.json = json_text
        self.size = checked(self.inner.get_vocab_size())

    def encode_batch(self, texts):
        found = self.inner.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(f.ids, np.uint16) for f in found]

    def decode(self, ids):
        return self.inner.decode([int(i) for i in ids if i > UNK], skip_special_tokens=False)

    def pieces(self):
        texts = (self.decode([i]) for i in range(self.size))
        return [t if i > UNK and "\ufffd" not in t else None for i, t in enumerate(texts)]

    def unknown(self, text, first=True):
        found = self.inner.encode(text, add_special_tokens=False)
        spans = [span for i, span in zip(found.ids, found.offsets, strict=True) if i == UNK]
        return list(dict.fromkeys(text[a:b] for a, b in spans))


def train_bpe(texts: list[str], vocab_size: int = 8192) -> Bpe:
    """Byte-level BPE of at most `vocab_size` tokens, 256 of them the bytes.

    Raises:
        ValueError: no text, or a size that has no room for the bytes or none in 16 bits.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if checked(vocab_size) < len(SPECIALS) + len(alphabet):
        raise ValueError(
            f"vocab_size is {vocab_size}; BPE wants at least {len(SPECIALS) + len(alphabet)}, "
            "for the special tokens and all bytes"
        )
    if not any(map(str.strip, texts)):
        raise ValueError("no text to train a tokenizer on")
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIALS,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    return Bpe(inner.to_str())


def train_words(texts: list[str]) -> Words:
    """A token for each word and mark seen.

    Raises:
        ValueError: no text, or more than 65535 words.
    """
    if not any(map(str.strip, texts)):
        raise ValueError("no text to take words from")
    return Words(set().union(*map(Words.split, texts)))


def train_characters(texts: list[str]) -> Characters:
    """A token for each character seen.

    Raises:
        ValueError: no text, or more than 65535 characters.
    """
    if not any(texts):
        raise ValueError("no text to take characters from")
    return Characters("".join(set().union(*texts)))


TRAINERS = {"bpe": train_bpe, "words": train_words, "characters": train_characters}


def load(path: str | Path) -> Tokenizer:
    """A saved tokenizer.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is not one, or its special tokens are not at 0 to 4.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no tokenizer at {path}; wanted a tokenizer.json")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        if content.get("type") == "characters":
            return Characters(content["characters"])
        if content.get("type") == "words":
            return Words(content["words"])
        made = Bpe(text)
    except Exception as error:  # `tokenizers` raises bare Exceptions
        raise ValueError(f"{path} is not a tokenizer: {error}") from error
    found = [made.inner.id_to_token(i) for i in range(len(SPECIALS))]
    if found != SPECIALS:
        raise ValueError(f"{path} has {found} as tokens 0 to 4; wanted {SPECIALS}")
    return made


def checked(size: int) -> int:
    if size > MOST:
        raise ValueError(f"a vocabulary of {size} tokens; ids are 16 bits, so at most {MOST}")
    return size
