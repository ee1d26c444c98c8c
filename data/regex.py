"""Regular expressions to deterministic automata over a given alphabet.

    compiled(pattern, alphabet)    (step i32[S + 1, K], final bool[S + 1]): from state 0 by the
                                   alphabet's K characters; the last state is the dead one
    minimal(step, final)           the same with as few states as there can be

The syntax, and which characters a piece of it stands for, are those of Python's `re`, which is
asked. What is more than a regular language (references, looking around, possessive repeats) is
refused, and so are anchors but at the ends, where they say nothing: all of a text is matched.

A pattern is read into nodes, and a state is the set of nodes that may still follow: its partial
derivatives (Antimirov 1996, doi:10.1016/0304-3975(95)00182-4).
"""

import re

import numpy as np

MOST_STATES = 10_000
MOST_NODES = 1_000_000  # in all states together: counts within counts make few states of many
EMPTY = 0  # the node that matches nothing at all
TOKEN = re.compile(
    r"""(?P<comment>\(\?\#[^)]*\))
    |(?P<flags>\(\?[aimsu]+\))
    |(?P<open>\((?!\?)|\(\?P<\w+>|\(\?[aimsu]*(?:-[ims]+)?:)
    |(?P<refused>\(\?P?.|\\[1-9](?![0-7]{2})[0-9]?|\\[AZbBz]|[\^$])
    |(?P<close>\))|(?P<bar>\|)
    |(?P<many>(?:[*+?]|\{(?:[0-9]+|[0-9]*,[0-9]*)\})[?+]?)
    |(?P<atom>\[\^?\]?(?:\\.|[^\]\\])*\]|\\x..|\\u.{4}|\\U.{8}|\\N\{[^}]*\}
        |\\0[0-7]{0,2}|\\[0-7]{3}|\\.|.)""",
    re.VERBOSE | re.DOTALL,
)


class Nodes:
    """Expressions as numbers, equal ones as equal numbers.

    A node is ("empty",), ("one", characters), ("then", node, node), ("or", nodes) or
    ("many", node, least, most); most is None where there is no end.
    """

    def __init__(self):
        self.all, self.ids, self.known = [], {}, {}
        self.node("empty")

    def node(self, *node) -> int:
        found = self.ids.setdefault(node, len(self.all))
        if found == len(self.all):
            self.all.append(node)
        return found

    def then(self, a: int, b: int) -> int:
        heads = []
        while self.all[a][0] == "then":  # what is first stands first: equal rests are then equal
            heads.append(self.all[a][1])
            a = self.all[a][2]
        for head in [*heads, a][::-1]:
            b = head or b if EMPTY in (head, b) else self.node("then", head, b)
        return b

    def either(self, nodes: list[int]) -> int:
        nodes = tuple(sorted(set(nodes)))
        return nodes[0] if len(nodes) == 1 else self.node("or", nodes)

    def many(self, a: int, least: int, most: int | None) -> int:
        if a == EMPTY or most == 0:
            return EMPTY
        return a if (least, most) == (1, 1) else self.node("many", a, least, most)

    def ends(self, a: int) -> bool:
        """Whether it matches the empty text."""
        while self.all[a][0] == "then":
            if not self.ends(self.all[a][1]):
                return False
            a = self.all[a][2]
        kind, *parts = self.all[a]
        if kind == "or":
            return any(map(self.ends, parts[0]))
        return kind == "empty" or (kind == "many" and (parts[1] == 0 or self.ends(parts[0])))

    def nexts(self, a: int) -> frozenset:
        """Pairs (characters, what may follow any of them)."""
        if a not in self.known:
            self.known[a] = frozenset(self.derived(a))
        return self.known[a]

    def derived(self, a):
        while self.all[a][0] == "then":
            _, head, rest = self.all[a]
            yield from ((c, self.then(more, rest)) for c, more in self.nexts(head))
            if not self.ends(head):
                return
            a = rest
        kind, *parts = self.all[a]
        if kind == "one":
            yield parts[0], EMPTY
        elif kind == "or":
            for part in parts[0]:
                yield from self.nexts(part)
        elif kind == "many":
            unit, least, most = parts
            rest = self.many(unit, max(least - 1, 0), most and most - 1)
            yield from ((c, self.then(more, rest)) for c, more in self.nexts(unit))


class Reader:
    """Reads a pattern that `re` has read before into a node.

    Attributes:
        sets: (flags, atom) -> the characters that it stands for.
    """

    def __init__(self, pattern: str, alphabet: str, nodes: Nodes):
        self.pattern, self.alphabet, self.nodes = pattern, alphabet, nodes
        self.sets = {}
        found = (token for token in TOKEN.finditer(pattern) if token.lastgroup != "comment")
        self.tokens = list(found)[::-1]

    def read(self) -> int:
        flags = ""
        while self.sees("flags"):
            flags += self.tokens.pop()[0].replace(")", ":")
        if self.tokens and self.tokens[-1][0] in ("^", r"\A"):
            self.tokens.pop()
        if self.tokens and self.tokens[0][0] in ("$", r"\Z"):
            self.tokens.pop(0)
        return self.choice(flags)

    def sees(self, *kinds) -> bool:
        return bool(self.tokens) and self.tokens[-1].lastgroup in kinds

    def choice(self, flags) -> int:
        options = [self.sequence(flags)]
        while self.sees("bar"):
            self.tokens.pop()
            options.append(self.sequence(flags))
        return self.nodes.either(options)

    def sequence(self, flags) -> int:
        parts = []
        while self.tokens and not self.sees("bar", "close"):
            parts.append(self.repeated(self.item(flags)))
        node = EMPTY
        for part in reversed(parts):
            node = self.nodes.then(part, node)
        return node

    def item(self, flags) -> int:
        token = self.tokens.pop()
        if token.lastgroup == "open":
            node = self.choice(flags + token[0] if token[0][-1] == ":" else flags)
            self.tokens.pop()
            return node
        if token.lastgroup != "atom":
            raise self.refusal(token)
        return self.nodes.node("one", self.characters(flags, token[0]))

    def repeated(self, node) -> int:
        while self.sees("many"):
            token = self.tokens.pop()
            if token[0].endswith("+") and len(token[0]) > 1:
                raise self.refusal(token)
            marks = {"*": (0, None), "+": (1, None), "?": (0, 1)}
            least, most = marks.get(token[0][0]) or counts(token[0])
            node = self.nodes.many(node, least, most)
        return node

    def characters(self, flags, atom) -> frozenset:
        if (flags, atom) not in self.sets:
            match = re.compile(flags + atom + ")" * flags.count("(")).fullmatch
            self.sets[flags, atom] = frozenset(c for c in self.alphabet if match(c))
        return self.sets[flags, atom]

    def refusal(self, token) -> ValueError:
        where = f"{token[0]!r} at position {token.start()}"
        return ValueError(
            f"regular expression {shown(self.pattern)} has {where}; "
            "there are characters, classes, groups, | and repeats, and all of a text is matched"
        )


def shown(pattern: str) -> str:
    """A pattern as a message names it."""
    return repr(pattern if len(pattern) <= 80 else pattern[:77] + "...")


def counts(text: str) -> tuple[int, int | None]:
    """The bounds of {n}, {n,}, {,m} or {n,m}."""
    least, comma, most = text[1 : text.index("}")].partition(",")
    return int(least or 0), int(most) if most else (None if comma else int(least))


def compiled(pattern: str, alphabet: str) -> tuple[np.ndarray, np.ndarray]:
    """See the module's first lines. Characters beyond the alphabet are as if they were not.

    Raises:
        ValueError: not a regular expression, one that is refused, or too many states.
    """
    try:
        re.compile(pattern)
        nodes = Nodes()
        reader = Reader(pattern, alphabet, nodes)
        start = reader.read()
        return minimal(*explored(nodes, start, pattern, alphabet, set(reader.sets.values())))
    except re.error as error:
        raise ValueError(f"regular expression {shown(pattern)}: {error}") from None
    except (RecursionError, OverflowError):
        raise ValueError(f"regular expression {shown(pattern)} is nested too deeply") from None


def explored(nodes, start, pattern, alphabet, sets):
    """All states that can be reached, each once."""
    alike = {}  # characters that no atom tells apart
    for character in alphabet:
        alike.setdefault(tuple(character in s for s in sets), []).append(character)
    first = [some[0] for some in alike.values()]
    number, rows, final = {frozenset([start]): 0}, [], []
    states, size = list(number), 0
    for state in states:  # which grows meanwhile
        size += len(state)
        if len(states) > MOST_STATES or size > MOST_NODES:
            raise ValueError(
                f"regular expression {shown(pattern)} takes more than {MOST_STATES} states, or "
                f"{MOST_NODES} nodes in them; make its counts or its choices fewer"
            )
        pairs = frozenset().union(*map(nodes.nexts, state))
        final.append(any(map(nodes.ends, state)))
        rows.append([])
        for character in first:
            after = frozenset(more for some, more in pairs if character in some)
            if after and after not in number:
                number[after] = len(states)
                states.append(after)
            rows[-1].append(number[after] if after else -1)
    column = {c: i for i, some in enumerate(alike.values()) for c in some}
    step = np.array([*rows, [-1] * len(first)], np.int32).reshape(len(rows) + 1, -1)
    step = np.where(step < 0, len(rows), step)
    return step[:, [column[c] for c in alphabet]], np.array([*final, False])


def minimal(step: np.ndarray, final: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """States that accept the same are one; those that accept nothing are the last one.

    Args:
        step: i[S + 1, K], from state 0; the last state is dead.
        final: bool[S + 1].
    """
    few = np.unique(step, axis=1)
    steps = [distance(few, final), distance(few, ~final)]  # most of the work, at once
    label = np.unique(np.column_stack(steps), axis=0, return_inverse=True)[1].ravel()
    while True:
        rows = np.column_stack([label, label[few]])
        finer = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
        if finer.max() == label.max():
            break
        label = finer
    order = dict.fromkeys(int(v) for v in label if v != label[-1])
    number = np.full(label.max() + 1, len(order))
    number[list(order)] = np.arange(len(order))
    _, first = np.unique(number[label], return_index=True)
    return number[label[step[first]]].astype(np.int32), final[first]


def distance(step, target) -> np.ndarray:
    """Steps from each state to the nearest one of a target bool[S], i[S]; S where there is none."""
    found = np.where(target, 0, len(target))
    while True:
        nearer = np.minimum(found, 1 + found[step].min(1, initial=len(target)))
        if (nearer == found).all():
            return found
        found = nearer
