"""Probabilistic grammars over words: they draw texts, parse them, and know their probability.

The notation is that of data/stories.py: `name = option | option`, a rule chooses once a text.
"""

import math
import re
from bisect import bisect
from collections.abc import Callable, Iterator
from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

SLOT = re.compile(r"\{(an? |An? )?(\w+)\}")
WORD = re.compile(r"'s|\w+|[^\w\s^]")  # a word or a mark; an article to come, @, is one as well


class Slot(str):
    """The name of a rule or of a form, standing where its words will be."""


class Table(NamedTuple):
    """The options of a rule, for one value of its parent."""

    texts: tuple[str, ...]  # as written
    binds: tuple[dict[str, tuple], ...]  # name and forms -> parts: literals and Slots
    probs: tuple[float, ...]
    edges: tuple[float, ...]  # in [0, 1): where option 1, 2, ... begins


class Rule(NamedTuple):
    name: str
    forms: tuple[str, ...]
    parent: str | None
    tables: dict[str | None, Table]


def parts(text: str) -> tuple:
    """Literals and Slots; ^ stands for a capital and @ for an article, both still to come."""
    found, at = [], 0
    for slot in SLOT.finditer(text):
        marks = "^" * slot[0][1].isupper() + "@" * bool(slot[1])
        found += [text[at : slot.start()] + marks, Slot(slot[2].lower())]
        at = slot.end()
    return tuple(part for part in (*found, text[at:]) if part)


def finish(raw: str) -> str:
    """The text with its articles and capitals."""
    raw = re.sub("@(.)", lambda m: ("an " if m[1] in "aeiou" else "a ") + m[1], raw)
    return re.sub(r"\^(.)", lambda m: m[1].upper(), raw)


def words(text: str) -> list[str]:
    """Words and punctuation marks, one string each."""
    return WORD.findall(text)


def table(names: tuple[str, ...], body: str) -> Table:
    rows = [[cell.strip() for cell in option.split(" / ")] for option in body.split(" | ")]
    if wrong := [row for row in rows if len(row) != len(names)]:
        raise ValueError(f"wanted {' / '.join(names)} in every option, got {' / '.join(wrong[0])}")
    weights = [1 / (2 + i) for i in range(1, len(rows) + 1)]
    probs = tuple(w / sum(weights) for w in weights)
    binds = tuple(dict(zip(names, map(parts, row), strict=True)) for row in rows)
    return Table(tuple(row[0] for row in rows), binds, probs, tuple(accumulate(probs))[:-1])


def read(text: str) -> dict[str, Rule]:
    """The rules of a grammar, under their names and under the names of their forms."""
    rules: dict[str, Rule] = {}
    rule = None
    for line in re.sub(r"\n +\| ", " | ", text.strip()).splitlines():
        if found := re.fullmatch(r"(\w+)(?: \(([\w ]+)\))?(?: by (\w+)| = (.+))", line):
            name, forms, parent, body = found.groups()
            rule = Rule(name, tuple((forms or "").split()), parent, {})
            rules |= dict.fromkeys((name, *rule.forms), rule)
        elif rule and (found := re.fullmatch(r" +(.+?) = (.+)", line)):
            parent, body = found.groups()
        elif line:
            raise ValueError(f"not a line of a grammar: {line!r}")
        if line and body:
            rule.tables[parent] = table((rule.name, *rule.forms), body)
    return rules


def push(items: tuple, agenda: tuple | None) -> tuple | None:
    for item in reversed(items):
        agenda = (item, agenda)
    return agenda


def advance(agenda: tuple | None, state: dict) -> tuple[str, tuple | None]:
    """Literals up to the next choice, and the agenda from there: (item, (item, ... None))."""
    raw = []
    while agenda:
        item, rest = agenda
        if type(item) is Slot:
            if item not in state:
                break
            agenda = push(state[item], rest)
        else:
            raw.append(item)
            agenda = rest
    return "".join(raw), agenda


def flatten(items: tuple, state: dict) -> tuple[int, tuple]:
    """How many words are certain already, and the slots that are not."""
    n, left = 0, []
    for item in items:
        inner = (len(words(item)), ()) if type(item) is not Slot else (0, (item,))
        if item in state and type(item) is Slot:
            inner = flatten(state[item], state)
        n, left = n + inner[0], [*left, *inner[1]]
    return n, tuple(left)


class Grammar:
    """Rules, the first of which is the whole text; the head of this file says how to write them."""

    def __init__(self, text: str):
        self.rules = read(text)
        self.start = (Slot(next(iter(self.rules))), None)
        self.parents = {rule.parent for rule in self.rules.values()} - {None}

    def table(self, name: str, state: dict) -> Table:
        rule = self.rules[name]
        return rule.tables[rule.parent and "".join(state[rule.parent])]

    def sample(self, rng: np.random.Generator) -> str:
        """One text."""
        raw, state, agenda = [], {}, self.start
        while True:
            literal, agenda = advance(agenda, state)
            raw.append(literal)
            if not agenda:
                return finish("".join(raw))
            options = self.table(agenda[0], state)
            state |= options.binds[bisect(options.edges, rng.random())]

    def parses(self, text: str) -> Iterator[tuple[float, dict[str, str]]]:
        """Every derivation of a text: its log-probability, and its choices as they are written."""

        def follow(rest, agenda, state, mark, log_p, made):
            literal, agenda = advance(agenda, state)
            raw = (mark + literal).rstrip("^@")  # a mark waits for the word that it is for
            mark, done = (mark + literal)[len(raw) :], finish(raw)
            if not rest.startswith(done):
                return
            rest = rest[len(done) :]
            if not agenda:
                if not rest:
                    yield log_p, made
                return
            name = self.rules[agenda[0]].name
            options = self.table(name, state)
            for choice, bind, p in zip(options.texts, options.binds, options.probs, strict=True):
                now, so_far = state | bind, made | {name: choice}
                yield from follow(rest, agenda, now, mark, log_p + math.log(p), so_far)

        yield from follow(text, self.start, {}, "", 0.0, {})

    def fold(self, leaf: Any, add: Callable[[int, Any], Any], mix: Callable[[list], Any]) -> Any:
        """A value computed over all derivations from their ends, equal futures once.

        Args:
            leaf: the value of an end.
            add: (n, value) -> value, where n words come before.
            mix: [(p, value) of each option] -> value of a choice.
        """
        memo = {}

        def walk(items, state):
            n, left = flatten(items, state)
            if not left:
                return add(n, leaf)
            known = [(k, state[k]) for k in self.ahead(left, frozenset(state))]
            key = left, tuple((k, v if k in self.parents else flatten(v, state)) for k, v in known)
            if key not in memo:
                options = self.table(left[0], state)
                values = [walk(left, state | bind) for bind in options.binds]
                memo[key] = mix(list(zip(options.probs, values, strict=True)))
            return add(n, memo[key])

        return walk(self.start[:1], {})

    @cache  # noqa: B019  (grammars live as long as the program)
    def ahead(self, left: tuple, bound: frozenset) -> tuple[str, ...]:
        """What is bound and still matters: to the choices to come, or to their words."""
        seen, todo = set(), list(left)
        while todo:
            name = todo.pop()
            if name not in seen and name not in bound:
                rule = self.rules[name]
                todo += [rule.parent] * (rule.parent in bound)
                binds = (bind for t in rule.tables.values() for bind in t.binds)
                todo += [i for b in binds for ps in b.values() for i in ps if type(i) is Slot]
            seen.add(name)
        return tuple(sorted(seen & bound))
