"""What a text may say, as an automaton over a tokenizer's ids; diffusion/constraints.py draws
samples that keep to it.

    automaton(patterns, tokenizer)    texts that match every one of some regular expressions
    only(words)                       a pattern: made of these words
    contains(word)                    a pattern: has this word
    word_list(text)                   "red,kite", or the words in a file

A text is what a row says up to its first EOS, or all of it, as `tokenizer.decode` gives it, and
all of it has to match. In ids:

    BOS                 in the first place only
    EOS                 where the text so far matches; in packed rows another text begins then,
                        which is free, in others nothing but PAD follows
    PAD                 where the text so far matches, or after EOS; nothing but PAD follows
    MASK, UNK           nowhere
    pieces of a character (bytes of a byte-level BPE): nowhere in the text; each character that
                        the expressions want is written by tokens that hold it whole
"""

import math
import re
from pathlib import Path

import numpy as np

from data.regex import compiled, minimal, shown
from data.tokenizer import BOS, EOS, PAD, UNK, Words

MOST_STATES = 2000
MARKS = r"""[ \n.,!?'"]"""


def word_list(text: str) -> list[str]:
    """The words of a list "red,kite", or of a file where there is one of that name.

    Raises:
        ValueError: none.
    """
    path = Path(text)
    source = path.read_text(encoding="utf-8") if path.is_file() else text
    words = [word for word in re.split(r"[\s,]+", source) if word]
    if not words:
        raise ValueError(f"no words in {text!r}; wanted a list such as red,kite or a file of words")
    return words


def only(words: list[str]) -> str:
    """A pattern: nothing but these words, between spaces and the marks . , ! ? ' and ".

    A word may also begin with a capital letter, as the first one of a sentence does.

    Raises:
        ValueError: no words.
    """
    if not words:
        raise ValueError("no words that a text may have; wanted one at least")
    word = "(?:" + "|".join(dict.fromkeys(form for w in words for form in forms(w))) + ")"
    return f"{MARKS}*{word}(?:{MARKS}+{word})*{MARKS}*"


def contains(word: str) -> str:
    """A pattern: this word is there, whole, itself or with a capital letter.

    Raises:
        ValueError: no word.
    """
    if not word:
        raise ValueError("no word that a text must have; wanted one letter at least")
    return rf"(?s:(?:.*\W)?(?:{'|'.join(forms(word))})(?:\W.*)?)"


def forms(word: str) -> list[str]:
    return [re.escape(w) for w in dict.fromkeys([word, word[:1].upper() + word[1:]])]


def automaton(
    patterns: str | list[str], tokenizer, packed: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Texts that match all of the patterns.

    Args:
        patterns: regular expressions, as data/regex.py reads them.
        tokenizer: one of data/tokenizer.py.
        packed: rows are cut from a stream of texts, and not a text each.

    Returns:
        (step i32[S, V], final bool[S]): the state after each token, S being dead, and where a
        row may end; it begins in state 0.

    Raises:
        ValueError: not a regular expression; no text matches; more than 2000 states.
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    if not patterns:
        raise ValueError("no pattern; wanted one at least")
    pieces = tokenizer.pieces()
    alphabet = "".join(sorted(set().union(*filter(None, pieces))))
    machines = [compiled(pattern, alphabet) for pattern in patterns]
    if isinstance(tokenizer, Words):
        machines = [after_a_space(*machine, alphabet) for machine in machines]
    table = spelled(pieces, alphabet)
    together = lambda some, said: minimal(*by_token(some, table, " and ".join(map(shown, said))))
    step, final = together(machines, patterns)
    if not final.any():
        pairs = zip(machines, patterns, strict=True)
        alone = [said for one, said in pairs if not together([one], [said])[1].any()]
        said = " and ".join(map(shown, alone[:1] or patterns))
        raise ValueError(f"no text that this tokenizer can write matches {said}")
    return with_specials(step, final, packed)


def after_a_space(step, final, alphabet):
    """Begins with the space that Words puts in front of a text and takes away again."""
    first = step[0].copy()
    if " " in alphabet:
        first[alphabet.index(" ")] = 0
    return np.vstack([first, step]) + 1, np.array([final[0], *final])


def spelled(pieces, alphabet) -> np.ndarray:
    """Each piece in places of the alphabet, i[V, M]: K stands behind its end, -1 for None."""
    place = {c: i for i, c in enumerate(alphabet)}
    table = np.full((len(pieces), max(map(len, filter(None, pieces)))), len(alphabet))
    for row, piece in zip(table, pieces, strict=True):
        row[: len(piece or "")] = [place[c] for c in piece or ""]
        row[:] = -1 if piece is None else row
    return table


def by_token(machines, spelled, said):
    """All machines at once, a token at a time: (step i[S + 1, V], final bool[S + 1])."""
    sizes = [len(final) for _, final in machines]
    number, states, rows, known = {0: 0}, [0], [], {}
    for code in states:  # which grows meanwhile
        if len(states) > MOST_STATES or math.prod(sizes) > 2**62:
            raise ValueError(
                f"{said} takes more than {MOST_STATES} states over tokens; ask for less at once"
            )
        after, dead = np.zeros(len(spelled), np.int64), np.zeros(len(spelled), bool)
        for i, state in enumerate(np.unravel_index(code, sizes)):
            if (i, state) not in known:
                known[i, state] = walked(machines[i][0], state, spelled)
            after = after * sizes[i] + known[i, state]
            dead |= known[i, state] == sizes[i] - 1
        found, column = np.unique(np.where(dead, -1, after), return_inverse=True)
        for new in found[found >= 0].tolist():
            if new not in number:
                number[new] = len(states)
                states.append(new)
        rows.append(np.array([number.get(new, -1) for new in found.tolist()])[column])
    parts = np.unravel_index(states, sizes)
    final = np.all([f[part] for (_, f), part in zip(machines, parts, strict=True)], 0)
    step = np.array([*rows, np.full(len(spelled), -1)])
    return np.where(step < 0, len(rows), step), np.append(final, False)


def walked(step, state, spelled) -> np.ndarray:
    """The state after each token, i[V]."""
    dead = len(step) - 1
    step = np.column_stack([step, np.arange(dead + 1), np.full(dead + 1, dead)])
    now = np.full(len(spelled), state)
    for column in spelled.T:
        now = step[now, column]
    return now


def with_specials(step, final, packed):
    """The table of the module's first lines around one for texts alone."""
    size = len(final) - 1
    begin, text, ended, padding, dead = 0, slice(1, 1 + size), size + 1, size + 2, size + 3
    table = np.full((dead, step.shape[1]), dead, np.int32)
    table[text] = np.where(step[:-1] == size, dead, 1 + step[:-1])
    may_end = 1 + np.flatnonzero(final)
    table[may_end, EOS], table[may_end, PAD] = ended, padding
    table[begin] = table[1]
    table[begin, BOS] = 1
    table[ended, PAD] = padding
    if packed:
        table[ended, EOS], table[ended, UNK + 1 :] = ended, ended
    table[padding, PAD] = padding
    return table, np.array([final[0], *final[:-1], True, True])
