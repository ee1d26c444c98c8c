"""Text that fills in before one's eyes, step by step."""

import itertools
import shutil
import sys
import textwrap
import time

import numpy as np

from data.tokenizer import EOS, MASK, PAD
from utils import writing

FRAME_SECONDS = 0.12  # at most; long films run faster
FILM_SECONDS = 6.0
ON, OFF = "\x1b[1;32m", "\x1b[0m"  # what is new stands out


def show(run: writing.Run, path, first: int, total: int):
    """Shows i32[T + 1, B, L] text by text: hidden tokens are blocks, new ones stand out.

    On a terminal a text fills in where it stands; elsewhere five of its states are printed.
    """
    pieces, live = run.tokenizer.pieces(), sys.stdout.isatty()
    few = np.unique(np.linspace(0, len(path) - 1, 5, dtype=int))
    columns = max(20, shutil.get_terminal_size().columns - 1)
    for number in range(path.shape[1]):
        states, lines = path[:, number], 0
        print(f"[{first + number + 1}/{total}]")
        for t in range(len(states)) if live else few:
            text, fresh = frame(run.tokenizer, states[t], states[max(t - 1, 0)], pieces)
            if not live:
                print(text, flush=True)
                continue
            if lines:
                print(f"\x1b[{lines}F\x1b[J", end="")
            shown = lit(text, fresh, columns)
            print("\n".join(shown), flush=True)
            lines = len(shown)
            time.sleep(min(FRAME_SECONDS, FILM_SECONDS / len(path)))
        print()


def frame(tokenizer, row, before, pieces) -> tuple[str, list[bool]]:
    """A row as text, a block for each hidden place, and of each letter whether `before` did not
    have it yet. A finished row is as it is decoded, letters made of several tokens and all."""
    if MASK not in row and (row == before).all():
        text = "\n".join(writing.documents(tokenizer, row))
        return text, [False] * len(text)
    block, letters, fresh = "░" if tokenizer.by_letter else " ░░░", "", []
    for i, old in zip(map(int, row), map(int, before), strict=True):
        text = {MASK: block, EOS: "\n", PAD: ""}.get(i, pieces[i] or "")
        letters += text
        fresh += [i not in (MASK, old)] * len(text)
    room = len(letters) - len(letters.lstrip())
    return letters.strip(), fresh[room:]


def lit(text: str, fresh: list[bool], columns: int) -> list[str]:
    """Lines of at most `columns` letters, with marks around what is fresh."""
    lines, at = [], 0
    for paragraph in text.split("\n"):
        options = {"expand_tabs": False, "replace_whitespace": False}
        for line in textwrap.wrap(paragraph, columns, **options) or [""]:
            at = text.index(line, at)
            marked = itertools.groupby(range(at, at + len(line)), lambda k: fresh[k])
            parts = ((new, "".join(text[k] for k in some)) for new, some in marked)
            lines.append("".join(f"{ON}{part}{OFF}" if new else part for new, part in parts))
            at += len(line)
    return lines
