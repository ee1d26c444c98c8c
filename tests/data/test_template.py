"""Prompts and templates: where given tokens come to stand, and what is refused."""

import numpy as np
import pytest

from data import template, tokenizer
from data.template import FREE
from data.tokenizer import BOS, EOS

WORDS = tokenizer.train_words(["Lily had a red kite. Tom had a blue ball, too."])
LETTERS = tokenizer.train_characters(["Lily had a red kite. [2]"])


def words(known):
    """Ids as words, "_" for what is free."""
    return ["_" if i == FREE else (WORDS.decode([i]) or str(i)) for i in map(int, known)]


def test_a_prompt_is_the_beginning_of_a_row():
    made = template.read("Lily had", WORDS, 6)
    assert words(made.known) == ["Lily", "had", "_", "_", "_", "_"]
    made = template.read("Lily had ", WORDS, 6, begin=True)
    assert made.known[0] == BOS and words(made.known)[1:] == ["Lily", "had", "_", "_", "_"]


def test_without_a_prompt_all_is_free():
    assert (template.read("", WORDS, 5).known == FREE).all()


def test_gaps_take_the_space_before_them_and_leave_the_marks_behind_them():
    made = template.read("Lily had [2] kite. Tom had [1].", WORDS, 12)
    expected = ["Lily", "had", "_", "_", "kite", ".", "Tom", "had", "_", "."]
    assert words(made.known) == [*expected, "_", "_"]
    whole = WORDS.encode("Lily had a red kite. Tom had a.")
    kept = made.known[:10] != FREE
    np.testing.assert_array_equal(made.known[:10][kept], np.array(whole)[kept])


def test_a_gap_may_come_first():
    made = template.read("[1] had a kite", WORDS, 5)
    assert words(made.known) == ["_", "had", "a", "kite", "_"]


def test_a_star_takes_all_the_room_there_is():
    made = template.read("Lily [*] kite.", WORDS, 8)
    assert words(made.known) == ["Lily", "_", "_", "_", "_", "_", "kite", "."]
    made = template.read("[*] kite.", WORDS, 6, begin=True)
    assert made.known[[0, -1]].tolist() == [BOS, EOS]


def test_choices_are_ids_that_may_stand_in_one_place():
    made = template.read("Lily had a {red|blue} [1].", WORDS, 6)
    assert words(made.known) == ["Lily", "had", "a", "_", "_", "."]
    table = template.allowed(made.options, 6, WORDS.size)
    assert [WORDS.decode([i]) for i in np.flatnonzero(table[3])] == ["blue", "red"]
    assert table[4].all()


def test_characters_keep_their_spaces_and_escaped_marks_are_letters():
    made = template.read("a [2]t", LETTERS, 6)
    assert made.known.tolist() == [*LETTERS.encode("a "), FREE, FREE, *LETTERS.encode("t"), FREE]
    assert template.read(r"\[2]", LETTERS, 3).known.tolist() == LETTERS.encode("[2]")


@pytest.mark.parametrize(
    "text, message",
    [
        ("Lily had a dragon", "does not know 'dragon'"),
        ("a dragon, a wizard", "knows neither 'dragon', 'wizard'"),
        ("Lily had a red kite. Tom", "has 7 tokens, and a row of this model 5"),
        ("[9]", "has 9 tokens"),
        ("[*] had [*]", "there can be one; got 2"),
        ("Lily had {a red|a blue} kite", "one token each; 'a red' has 2"),
        ("Lily had a {red|green} kite", "does not know 'green'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(text, message):
    with pytest.raises(ValueError, match=message):
        template.read(text, WORDS, 5)
