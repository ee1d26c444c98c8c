"""Prompts and templates: which tokens of a row are given, and which may stand elsewhere.

    Once upon a time            the row begins with these words; the rest is free
    Lily had [3] kite.          three tokens are to be filled in
    Lily had a {red|blue} kite. one of these words
    Once [*] a friend.          as many tokens as the row has room for

A space before a gap belongs to what fills it, except where every character is a token. A
backslash takes the meaning from the mark behind it.
"""

import re
from typing import NamedTuple

import numpy as np

from data.tokenizer import BOS, EOS

FREE = -1  # stands for a token that is not given
GAP = re.compile(r"(?<!\\)(?:\[(\d+|\*)\]|\{([^{}]*)\})")


class Template(NamedTuple):
    """A row to be filled in."""

    known: np.ndarray  # i32[L], FREE where nothing is given
    options: dict[int, list[int]]  # place -> the ids that may stand there
    size: int  # tokens that it takes up at least
    whole: bool  # it takes up the row: there was a [*]


def read(text: str, tokenizer, length: int, begin: bool = False) -> Template:
    """The template of a text.

    Args:
        text: see the module's first lines; "" leaves all free.
        tokenizer: of the model.
        length: L, tokens of a row.
        begin: rows are BOS, one document, EOS (and not pieces of a stream). An EOS is then put
            behind a text with [*], which is all that its document says.

    Raises:
        ValueError: a word that the tokenizer does not know, a choice that is not one token, a
            second [*], or more tokens than a row has.
    """
    text = text if tokenizer.by_letter else text.rstrip(" ")
    items = [BOS] if begin else []  # ids, FREE, tuples of choices, and "*"
    at = 0
    for gap in GAP.finditer(text):
        before, at = text[at : gap.start()], gap.end()
        space = " " if before.endswith(" ") and not tokenizer.by_letter else ""
        items += encoded(before.removesuffix(space), tokenizer, gap.start() == len(before))
        first = not text[: gap.start()].strip()
        items += filling(gap, space, tokenizer, first)
    items += encoded(text[at:], tokenizer, at == 0)
    return laid_out(items, length, begin)


def encoded(text: str, tokenizer, first: bool) -> list[int]:
    """Ids of a piece of the text; `first` where nothing stands before it."""
    text = re.sub(r"\\([\[{])", r"\1", text)
    if not text:
        return []
    encode, unknown = tokenizer.encode_part, tokenizer.unknown
    if strange := unknown(text, first):
        known = "knows neither" if len(strange) > 1 else "does not know"
        raise ValueError(f"the tokenizer {known} {', '.join(map(repr, strange[:5]))}")
    return encode(text, first)


def filling(gap: re.Match, space: str, tokenizer, first: bool) -> list:
    """What a gap stands for, as items of `read`."""
    if gap[1] == "*":
        return ["*"]
    if gap[1]:
        return [FREE] * int(gap[1])
    choices = [encoded(space + word, tokenizer, first) for word in gap[2].split("|")]
    for word, ids in zip(gap[2].split("|"), choices, strict=True):
        if len(ids) != 1:
            raise ValueError(
                f"{gap[0]} wants choices of one token each; {word!r} has {len(ids)} "
                "(--regex knows longer ones)"
            )
    return [tuple(ids[0] for ids in choices)]


def laid_out(items: list, length: int, begin: bool) -> Template:
    """The items in a row of `length`; "*" takes what is left."""
    stars = items.count("*")
    if stars > 1:
        raise ValueError(f"[*] stands for all that is left, so there can be one; got {stars}")
    if stars and begin:
        items = [*items, EOS]
    wanted = len(items) - stars
    if wanted > length:
        raise ValueError(f"the prompt has {wanted} tokens, and a row of this model {length}")
    if stars:
        star = items.index("*")
        items = items[:star] + [FREE] * (length - wanted) + items[star + 1 :]
    known = np.full(length, FREE, np.int32)
    options = {}
    for place, item in enumerate(items):
        if isinstance(item, tuple):
            options[place] = list(item)
        else:
            known[place] = item
    return Template(known, options, 0 if stars else wanted, bool(stars))


def allowed(options: dict[int, list[int]], length: int, size: int) -> np.ndarray:
    """The ids that may stand at each place, bool[length, size]; all where nothing is said."""
    table = np.ones((length, size), bool)
    for place, ids in options.items():
        table[place] = False
        table[place, ids] = True
    return table
