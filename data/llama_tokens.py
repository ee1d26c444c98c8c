"""The tokenizers of llama2.c: pieces with scores, the best of which are put together first.

File layout and algorithm are those of github.com/karpathy/llama2.c (tokenizer.py, run.c), which
are those of sentencepiece's BPE. Tokens 0 to 2 are unknown, BOS and EOS, 3 to 258 the bytes.
"""

import heapq
import struct
from collections.abc import Iterable
from pathlib import Path

UNK, BOS, EOS = range(3)
BYTES = 3  # id of byte 0
PIECES = BYTES + 256  # id of the first piece of text


class LlamaTokens:
    """Text to ids and back.

    Attributes:
        pieces, scores: bytes and number of each id.
        size: V, ids are 0..V-1.
    """

    def __init__(self, pieces: list[bytes], scores: list[float]):
        self.pieces, self.scores, self.size = pieces, scores, len(pieces)
        # special tokens and bytes are left out, so that no text can name them
        self.ids = {pieces[i]: i for i in reversed(range(PIECES, self.size))}

    def encode(self, text: str) -> list[int]:
        """Ids of a text with a space put before it, without BOS and EOS; "" has none."""
        ids = []
        for character in " " + text if text else "":
            raw = character.encode()
            known = self.ids.get(raw)
            ids += [BYTES + byte for byte in raw] if known is None else [known]
        return self.merge(ids)

    def merge(self, ids: list[int]) -> list[int]:
        """Joins the neighbours that make the best-scored piece, leftmost first, until none do."""
        ids, end = list(ids), len(ids)
        before, after = list(range(-1, end - 1)), list(range(1, end + 1))
        heap = []

        def offer(i):
            if i < 0 or after[i] >= end:
                return
            left, right = ids[i], ids[after[i]]
            joined = self.ids.get(self.pieces[left] + self.pieces[right])
            if joined is not None:
                heapq.heappush(heap, (-self.scores[joined], i, left, right, joined))

        for i in range(end):
            offer(i)
        while heap:
            _, i, left, right, joined = heapq.heappop(heap)
            j = after[i]
            if ids[i] != left or j >= end or ids[j] != right:
                continue  # one of the two has been joined to another meanwhile
            ids[i], ids[j], after[i] = joined, None, after[j]
            if after[i] < end:
                before[after[i]] = i
            offer(before[i])
            offer(i)
        return [i for i in ids if i is not None]

    def decode(self, ids: Iterable[int]) -> str:
        """The text, without the space before it; special tokens leave nothing behind.

        Bytes that make no character become U+FFFD.

        Raises:
            ValueError: an id that is none.
        """
        found = b"".join(map(self.surface, map(int, ids)))
        return found.decode(errors="replace").removeprefix(" ")

    def surface(self, i):
        """What one id stands for in a text, in bytes."""
        if not 0 <= i < self.size:
            raise ValueError(f"no token {i}; there are 0 to {self.size - 1}")
        if i >= PIECES:
            return self.pieces[i]
        return bytes([i - BYTES]) if i >= BYTES else b""


def read(path: str | Path, vocab_size: int) -> LlamaTokens:
    """A tokenizer file of llama2.c, for a model of so many tokens.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it does not hold that many tokens, no more and no less, or not the bytes
            where they belong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no tokenizer at {path}; wanted a .bin of llama2.c")
    if vocab_size < PIECES:
        raise ValueError(f"vocab_size is {vocab_size}; llama2.c's tokenizers have over {PIECES}")
    raw, at = path.read_bytes(), 4
    pieces, scores = [], []
    longest = struct.unpack_from("<i", raw)[0] if len(raw) >= 4 else 0
    for i in range(vocab_size):
        if len(raw) < at + 8:
            raise ValueError(f"{path} ends after {i} tokens; wanted {vocab_size}")
        score, length = struct.unpack_from("<fi", raw, at)
        if not 0 <= length <= longest:
            raise ValueError(f"{path} has a token {i} of {length} bytes; the longest has {longest}")
        at += 8 + length
        if len(raw) < at:
            raise ValueError(f"{path} ends within token {i}; wanted {vocab_size}")
        pieces.append(raw[at - length : at])
        scores.append(score)
    if len(raw) > at:
        raise ValueError(f"{path} has {len(raw) - at} bytes after token {vocab_size - 1}, the last")
    for byte in range(256):
        if (piece := pieces[BYTES + byte]) != b"<0x%02X>" % byte:
            raise ValueError(f"{path} has {piece} as token {BYTES + byte}; wanted <0x{byte:02X}>")
    return LlamaTokens(pieces, scores)
