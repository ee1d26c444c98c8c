"""Tokenizer files as llama2.c writes them: merging, bytes, and files that are refused."""

import heapq
import re
import struct
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from data import llama_tokens, stories
from data.llama_tokens import BOS, EOS, PIECES, UNK

RESERVED = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % byte for byte in range(256))]
TEXTS = stories.sample(np.random.default_rng(0), 40)
ODD = [
    "a",
    " a",
    "  a  ",
    "a\n\n b\t",
    "Ünïcode, 日本 👋🏽",
    "<0x41> <s>\n</s>\n<unk>",
    "é\u0301\0",
]


def write(path, pieces, longest=None):
    """A file of (piece, score)s after the special tokens and the bytes."""
    every = [(piece, 0.0) for piece in RESERVED] + [(p.encode(), s) for p, s in pieces]
    raw = struct.pack("<i", longest or max(len(piece) for piece, _ in every))
    for piece, score in every:
        raw += struct.pack("<fi", score, len(piece)) + piece
    path.write_bytes(raw)
    return path


@pytest.fixture
def make(tmp_path):
    def make(pieces):
        path = write(tmp_path / "tok.bin", pieces)
        return llama_tokens.read(path, PIECES + len(pieces))

    return make


def trained(size=200):
    """Pieces by byte pairs from TEXTS, best first, then characters: as sentencepiece orders them."""
    words = [list(word) for text in TEXTS for word in re.findall(r" ?\S+", " " + text)]
    characters = sorted({c for word in words for c in word})
    pieces = []
    while len(pieces) < size:
        counts = {}
        for word in words:
            for pair in pairwise(word):
                counts[pair] = counts.get(pair, 0) + 1
        left, right = max(counts, key=counts.get)
        pieces.append(left + right)
        for word in words:
            for i in range(len(word) - 1, 0, -1):
                if word[i - 1 : i + 1] == [left, right]:
                    word[i - 1 : i + 1] = [left + right]
    pieces = list(dict.fromkeys(pieces)) + characters
    return [(piece, -float(rank)) for rank, piece in enumerate(pieces)]


def step_by_step(made, text):
    """What run.c does: look at all neighbours, join the best pair, look again."""
    ids = [made.ids[c.encode()] for c in " " + text]
    while True:
        pairs = [made.pieces[a] + made.pieces[b] for a, b in pairwise(ids)]
        known = [(made.scores[made.ids[p]], -i) for i, p in enumerate(pairs) if p in made.ids]
        if not known:
            return ids
        i = -max(known)[1]
        ids[i : i + 2] = [made.ids[pairs[i]]]


def test_texts_come_back_as_they_were(make):
    made = make(trained())
    for text in TEXTS + ODD:
        ids = made.encode(text)
        assert made.decode(ids) == text
        assert all(EOS < i < made.size for i in ids)
    assert sum(map(len, map(made.encode, TEXTS))) < sum(map(len, TEXTS)) / 2
    assert made.encode("") == [] and made.decode([]) == ""


def test_the_best_score_is_joined_first_and_then_the_leftmost(make):
    letters = [(c, -100.0) for c in " abc"]
    named = lambda made, text: [made.pieces[i].decode() for i in made.encode(text)]
    assert named(make([("ab", -2.0), ("bc", -1.0), *letters]), "abc") == [" ", "a", "bc"]
    assert named(make([("ab", -1.0), ("bc", -2.0), *letters]), "abc") == [" ", "ab", "c"]
    assert named(make([("aa", -1.0), *letters]), "aaa") == [" ", "aa", "a"]
    # a whole that no two known parts make is never found
    assert named(make([("abc", -1.0), *letters]), "abc") == [" ", "a", "b", "c"]
    assert named(make([("abc", -1.0), ("bc", -2.0), (" a", -3.0), *letters]), "abc") == [" ", "abc"]


def test_merging_is_what_looking_at_every_pair_each_time_gives(make):
    rng = np.random.default_rng(0)
    words = {"".join(rng.choice(list("ab "), rng.integers(2, 6))) for _ in range(60)}
    scores = rng.integers(-9, 0, len(words))  # with many ties
    made = make([*zip(sorted(words), map(float, scores), strict=True), *((c, -9.0) for c in "ab ")])
    for _ in range(50):
        text = "".join(rng.choice(list("ab "), 60))
        assert made.encode(text) == step_by_step(made, text)


def test_ids_are_those_of_the_tokenizers_package(make):
    tokenizers = pytest.importorskip("tokenizers", reason="the tokenizer held against is its")
    made = make(trained())
    known = {piece.decode(): i for i, piece in enumerate(made.pieces)}
    halves = lambda piece: [(piece[:i], piece[i:]) for i in range(1, len(piece))]
    merges = [pair for piece in list(known)[PIECES:] for pair in halves(piece)]
    merges = [pair for pair in merges if set(pair) <= known.keys()]
    theirs = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab=known, merges=merges, byte_fallback=True, unk_token="<unk>")
    )
    for text in TEXTS + ODD[:5]:
        assert made.encode(text) == theirs.encode(" " + text).ids


def test_unknown_characters_become_their_bytes(make):
    made = make([(" ", -1.0), ("a", -2.0)])
    assert made.encode("aé") == [PIECES, PIECES + 1, 3 + 0xC3, 3 + 0xA9]
    assert made.decode([3 + 0xC3]) == "\ufffd"  # half a character


def test_special_tokens_leave_nothing_behind_and_text_cannot_name_them(make):
    made = make([(" ", -1.0), *((c, -2.0) for c in "\n<s>/unk0x41")])
    assert made.decode([BOS, *made.encode("sun"), UNK, EOS]) == "sun"
    ids = made.encode("\n</s>\n\n<s>\n<unk><0x41>")
    assert min(ids) >= PIECES
    for i in (-1, made.size):
        with pytest.raises(ValueError, match=rf"no token {i}; there are 0 to {made.size - 1}"):
            made.decode([i])


def test_the_work_grows_with_a_text_as_the_text_does(make, monkeypatch):
    made, pushed = make(trained()), []
    counted = lambda heap, item: (pushed.append(item), heapq.heappush(heap, item))
    counting = SimpleNamespace(heappush=counted, heappop=heapq.heappop)
    monkeypatch.setattr(llama_tokens, "heapq", counting)
    for times in (1, 8):
        text, before = " ".join(TEXTS * times), len(pushed)
        assert made.decode(made.encode(text)) == text
        assert len(text) / 2 < len(pushed) - before < 3 * len(text)


def test_files_that_are_no_tokenizers_are_refused(tmp_path):
    path = write(tmp_path / "tok.bin", [(" ", -1.0), ("a", -2.0)])
    whole, size = path.read_bytes(), PIECES + 2

    def refused(raw, match, vocab_size=size):
        path.write_bytes(raw)
        with pytest.raises(ValueError, match=match):
            llama_tokens.read(path, vocab_size)

    refused(whole[:-1], f"ends within token {size - 1}; wanted {size}")
    refused(whole[:-5], f"ends after {size - 1} tokens; wanted {size}")
    refused(b"", f"ends after 0 tokens; wanted {size}")
    refused(whole, f"ends after {size} tokens; wanted 512", 512)
    refused(whole, f"has 9 bytes after token {size - 2}, the last", size - 1)
    refused(whole, "vocab_size is 32; llama2.c's tokenizers have over 259", 32)
    refused(whole.replace(b"<0x41>", b"<0x42>"), "has b'<0x42>' as token 68; wanted <0x41>")
    refused(struct.pack("<i", 5) + whole[4:], "a token 2 of 6 bytes; the longest has 5")
    with pytest.raises(FileNotFoundError, match="no tokenizer at .*wanted a .bin of llama2.c"):
        llama_tokens.read(tmp_path / "none.bin", size)
