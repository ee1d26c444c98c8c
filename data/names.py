"""What the name of a dataset says: NAME, or KIND:PATH, and ,option=value as often as wanted.

    cifar100,label=coarse_label        hf:owner/name,text=story,revision=v2        parquet:PATH

    image, label, text    columns, where the right ones are not found; label=none: no classes
    train, test           splits to train on and to hold out
    config, revision      of a repository on the Hub
    mode                  L or RGB: grey or coloured images
    unreadable            share of images that may be unreadable and are skipped; 0.01 otherwise

Letters may be large or small, and - is _.
"""

import difflib
import inspect
import re
from typing import NamedTuple

OPTIONS = ("image", "label", "text", "train", "test", "config", "revision", "mode", "unreadable")


class Name(NamedTuple):
    """A name taken apart."""

    kind: str  # as the table spells it
    path: str  # "" of a dataset that is known by name
    options: dict[str, str]


def plain(kind: str) -> str:
    """What two spellings of a kind have in common."""
    return kind.lower().replace("_", "-")


def find(name: str, kinds, paths, what: str) -> Name:
    """A name, taken apart.

    Args:
        name: what a user wrote.
        kinds: all that there are; those in `paths` want a path behind a colon.
        what: "dataset", for the message.

    Raises:
        ValueError: no such kind or option; the message has the nearest, and what there is.
    """
    head, *rest = re.split(r",(?=[a-z]+=)", name)
    options = dict(part.split("=", 1) for part in rest)
    for option in options:
        if option not in OPTIONS:
            raise ValueError(f"no option {option!r} in {name!r}; there are {', '.join(OPTIONS)}")
    kind, _, path = head.partition(":")
    spelled = {plain(k): k for k in kinds}
    kind = spelled.get(plain(kind))
    if kind is None or bool(path) != (kind in paths):
        there = [f"{k}:PATH" if k in paths else k for k in kinds]
        near = difflib.get_close_matches(name, there, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"no {what} {name!r}{hint}; there are {', '.join(there)}")
    return Name(kind, path, options)


def taken(reader) -> tuple[str, ...]:
    """The options of a reader: its parameters behind the path."""
    return tuple(inspect.signature(reader).parameters)[1:]


def suited(takes: tuple[str, ...], options: dict[str, str], name: str) -> dict[str, str]:
    """The options, if all of them are taken; else a ValueError that says which are."""
    for option in options:
        if option not in takes:
            has = f"it has {', '.join(takes)}" if takes else "it has none"
            raise ValueError(f"{name!r} has no use for the option {option!r}; {has}")
    return options
