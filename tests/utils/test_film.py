"""Text that fills in: what a frame says, and how it is laid out on a terminal."""

import re
from types import SimpleNamespace

import numpy as np

from data import tokenizer
from data.tokenizer import EOS, MASK
from utils import film

LETTERS = tokenizer.train_characters(["abc "])
A, B, C = LETTERS.encode("abc")


def plain(line):
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


def test_a_frame_shows_blocks_for_what_is_hidden_and_knows_what_is_new():
    row, before = np.array([A, MASK, B, MASK]), np.array([A, MASK, MASK, MASK])
    text, fresh = film.frame(LETTERS, row, before, LETTERS.pieces())
    assert text == "a░b░" and fresh == [False, False, True, False]


def test_a_finished_row_is_as_it_is_decoded():
    row = np.array([A, B, EOS, C])
    assert film.frame(LETTERS, row, row, LETTERS.pieces())[0] == "ab\nc"


def test_lines_fit_the_terminal_and_marks_stand_around_what_is_new():
    text = "one two three\n" + "░" * 25 + " end"
    fresh = [4 <= place < 7 for place in range(len(text))]
    lines = film.lit(text, fresh, 10)
    assert [plain(line) for line in lines] == [
        "one two", "three", "░" * 10, "░" * 10, "░░░░░ end",
    ]  # fmt: skip
    assert lines[0] == f"one {film.ON}two{film.OFF}"


def test_on_a_terminal_a_text_is_drawn_over_itself(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr(film.time, "sleep", lambda seconds: None)
    path = np.array([[[MASK, MASK]], [[A, MASK]], [[A, B]]])
    film.show(SimpleNamespace(tokenizer=LETTERS), path, 0, 1)
    out = capsys.readouterr().out
    assert out.count("\x1b[1F\x1b[J") == 2, "each frame takes the place of the one before"
    assert plain(out.split("\x1b[J")[-1]).strip() == "ab"
