"""Patterns over tokens, held against Python's `re` on texts."""

import re

import numpy as np
import pytest

from data import language, regex, tokenizer
from data.tokenizer import BOS, EOS, MASK, PAD, UNK

TEXTS = [
    "The cat sat on a mat. A dog, a big dog, ran! Is it Tom's dog?",
    "the cat and the dog ate 12 cakes; they ran away.\nThe end.",
    " tab, tac and the ca ca cat: a naïve café",
]
TOKENIZERS = {
    "characters": tokenizer.train_characters(TEXTS),
    "words": tokenizer.train_words(TEXTS),
    "bpe": tokenizer.train_bpe(TEXTS * 3, 330),
}
PATTERNS = [
    r"(the|The) (cat|dog).*",
    r".*\d+.*",
    r"(?s:.*)",
    r"(?i)the( [a-z]+)*\.?",
    r"\s*(\w[ .,!?']*)+",
    r" ?[^aeiou]*[aeiou][^aeiou]*",
    r"(a|ab|abc)*|\W{1,3}|",
    r"[ ]?(?:[tT]|\x61)\w{1,5}(?P<rest>\W.*)?",
    r"( ?ca(?:t|fé)?){2,}",
    r"^(?:\u0074ab|[]\-t]ac)?[^]]{,9}$",
]
ORDINARY = UNK + 1


def accepts(machine, ids):
    step, final = machine
    state = 0
    for i in ids:
        state = step[state, i] if state < len(final) else state
    return bool(np.append(final, False)[state])


def sequences(tok, machine, n, seed):
    """Rows of ordinary ids: random ones, and walks that the machine likes."""
    rng = np.random.default_rng(seed)
    step, final = machine
    for number in range(n):
        row, state = [], 0
        for _ in range(rng.integers(0, 14)):
            live = ORDINARY + np.flatnonzero(step[state, ORDINARY:] < len(final))
            astray = number % 3 == 0 and rng.random() < 0.4
            token = int(
                rng.integers(ORDINARY, tok.size) if astray or not len(live) else rng.choice(live)
            )
            row.append(token)
            state = step[state, token]
            if state == len(final):
                break
        yield row
    for text in TEXTS:
        ids = tok.encode(text)
        yield from (ids[a:b] for a in range(0, 12, 3) for b in range(a, a + 9))


# -- ids against texts


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_rows_are_accepted_where_python_matches_their_text(kind):
    tok = TOKENIZERS[kind]
    whole = [piece is not None for piece in tok.pieces()]
    for seed, pattern in enumerate(PATTERNS):
        machine = language.automaton(pattern, tok)
        match = re.compile(pattern).fullmatch
        verdicts = []
        for ids in sequences(tok, machine, 200, seed):
            wanted = all(whole[i] for i in ids) and bool(match(tok.decode(ids)))
            assert accepts(machine, ids) == wanted, (pattern, ids, tok.decode(ids))
            verdicts.append(wanted)
        assert sum(verdicts) > 5, pattern


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_pieces_in_a_row_are_what_is_decoded(kind):
    tok = TOKENIZERS[kind]
    pieces = tok.pieces()
    assert len(pieces) == tok.size and pieces[:ORDINARY] == [None] * ORDINARY
    whole = [i for i, piece in enumerate(pieces) if piece is not None]
    rng = np.random.default_rng(0)
    for _ in range(100):
        ids = rng.choice(whole, 6)
        text = "".join(pieces[i] for i in ids)
        assert tok.decode(ids) == (text.removeprefix(" ") if kind == "words" else text)
    halves = [tok.encode("é")[0]] if kind == "bpe" and len(tok.encode("é")) == 2 else []
    assert all(pieces[i] is None for i in halves)


def test_bytes_that_are_no_character_stay_out_of_the_text():
    tok = TOKENIZERS["bpe"]
    ids = tok.encode("☃")
    assert len(ids) == 3 and tok.decode(ids) == "☃"
    assert not accepts(language.automaton("(?s:.*)", tok), ids)
    assert accepts(language.automaton("(?s:.*)", tok), [EOS, *ids]), "but after it they may stand"


def test_special_tokens_stand_where_they_may():
    tok = TOKENIZERS["words"]
    machine = language.automaton("The cat sat|The", tok)
    the, cat, sat = tok.encode("The cat sat")
    for row in (
        [the, cat, sat], [BOS, the, cat, sat], [BOS, the], [BOS, the, EOS], [the, EOS, sat, sat],
        [the, EOS, sat, EOS, cat, EOS], [the, EOS, PAD, PAD], [the, PAD, PAD], [the, EOS, sat, PAD],
    ):  # fmt: skip
        assert accepts(machine, row), row
    for row in (
        [], [BOS], [EOS], [BOS, EOS], [the, cat], [the, cat, EOS], [the, cat, PAD, sat], [cat, sat],
        [the, BOS], [BOS, BOS, the], [the, MASK], [MASK, the], [UNK], [the, UNK], [the, PAD, sat],
        [the, EOS, MASK], [the, EOS, UNK], [the, EOS, BOS, the], [the, EOS, PAD, sat],
        [the, PAD, EOS], [PAD, the],
    ):  # fmt: skip
        assert not accepts(machine, row), row
    whole = language.automaton("The cat sat|The", tok, packed=False)
    assert accepts(whole, [BOS, the, EOS, PAD, PAD]) and accepts(whole, [the, cat, sat])
    assert not accepts(whole, [the, EOS, sat]) and not accepts(whole, [the, EOS, EOS])
    empty = language.automaton("(The)?", tok)
    assert accepts(empty, [BOS, EOS]) and accepts(empty, []) and accepts(empty, [EOS])


def test_the_space_before_the_first_word_belongs_to_no_text():
    tok = TOKENIZERS["words"]
    spaced, bare = tok.encode("the"), tok.encode_part("the", False)
    assert spaced != bare == [UNK]
    assert accepts(language.automaton("the", tok), spaced)
    assert not accepts(language.automaton(" the|dog", tok), spaced)
    assert accepts(language.automaton("the dog", tok), tok.encode("the dog"))
    assert accepts(language.automaton(r"\.? ?dog", tok), tok.encode("dog"))


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_what_a_network_without_knowledge_writes_matches(kind):
    import jax

    from diffusion import Ancestral, Masked, sample
    from diffusion.constraints import Automaton

    tok = TOKENIZERS[kind]
    patterns = [r"(?s).*(cat|dog)[ .,!?].*", r"[^,\d]+"]
    step, final = language.automaton(patterns, tok)
    solver = Ancestral(language=Automaton(step=step, final=final))
    rows = jax.jit(lambda key: sample(
        Masked(mask_id=MASK, pad_id=PAD), solver, lambda x, t: 3.0 * jax.random.normal(key, (*x.shape, tok.size)),
        key, jax.numpy.arange(60), (24,), steps=3,
    ))(jax.random.key(0))  # fmt: skip
    texts = [tok.decode([*row, EOS][: [*row, EOS].index(EOS)]) for row in np.asarray(rows).tolist()]
    assert len({*texts}) > 50
    assert all(re.fullmatch(pattern, text) for pattern in patterns for text in texts)


# -- wishes


def test_only_leaves_these_words_and_marks():
    words = ["the", "cat", "ran", "Tom's"]
    match = re.compile(language.only(words)).fullmatch
    for text in ("the cat ran.", "The cat, the cat", '"Cat!" Ran? Tom\'s', "'the\n"):
        assert match(text), text
    for text in (
        "",
        "...",
        "the dog",
        "thecat",
        "cats",
        "THE",
        "ca",
        "Tom",
        "the cat; ran",
        "tom's",
    ):
        assert not match(text), text
    tok = TOKENIZERS["words"]
    step, final = language.automaton(language.only(["cat", "dog", "the"]), tok)
    pieces = tok.pieces()
    said = {
        pieces[i].strip(" ") for i in ORDINARY + np.flatnonzero(step[1, ORDINARY:] < len(final))
    }
    assert {"cat", "dog", "the", "The", ".", ",", "!"} <= said
    assert said <= {"cat", "dog", "the", "The", *" \n.,!?'"}


def test_containing_several_words_is_containing_each():
    wishes = ["dog", "the", "it"]
    for kind, tok in TOKENIZERS.items():
        machine = language.automaton([language.contains(word) for word in wishes], tok)
        for text, wanted in (
            ("the dog ate it", True),
            ("it, the dog", True),
            ("Is the cat on it? A dog!", True),
            ("The end. It ran\naway. dog", True),
            ("the dogs ate it", False),
            ("the dog ate", False),
            ("they ate it. dog", False),
            ("", False),
        ):
            if UNK not in (ids := tok.encode(text)):
                assert accepts(machine, ids) == wanted, (kind, text)


def test_words_come_from_a_list_or_a_file(tmp_path):
    assert language.word_list("red,kite, big") == ["red", "kite", "big"]
    (tmp_path / "words.txt").write_text("red\nkite big,\n")
    assert language.word_list(str(tmp_path / "words.txt")) == ["red", "kite", "big"]
    with pytest.raises(ValueError, match="no words in ' ,'"):
        language.word_list(" ,")


# -- refusals


def test_what_is_no_regular_expression_is_refused_with_its_place():
    for pattern, message in (
        ("the (cat", "missing ), unterminated subpattern at position 4"),
        ("*", "nothing to repeat at position 0"),
        ("a(?=b)", r"has '(?=' at position 1"),
        (r"(a)\1", r"has '\\1' at position 3"),
        (r"a\b", r"has '\\b' at position 1"),
        ("a$b", "has '$' at position 1"),
        ("a*+", "has '*+' at position 1"),
        ("(?>a)", "has '(?>' at position 0"),
        (".*a.{20}", "takes more than 10000 states"),
        ("a{999999999999}", "nested too deeply"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)) as error:
            language.automaton(pattern, TOKENIZERS["characters"])
        assert "\n" not in str(error.value)


def test_a_wish_that_no_text_fulfils_is_refused():
    for wish in (r"ostrich.*", r"[^\s\S]", ["the cat", "the dog"]):
        with pytest.raises(ValueError, match="no text that this tokenizer can write matches"):
            language.automaton(wish, TOKENIZERS["words"])
    with pytest.raises(ValueError, match=r"matches 'ostrich'$"):
        language.automaton([".*", "ostrich"], TOKENIZERS["words"])


def test_a_wish_that_takes_too_many_states_is_refused():
    with pytest.raises(ValueError, match="more than 2000 states"):
        language.automaton("(?s).{2500}", TOKENIZERS["characters"])
    words = ["cat", "dog", "mat", "the", "tab", "tac", "and", "ate", "ran"]
    many = [language.contains(word) for word in words]
    with pytest.raises(ValueError, match="more than 2000 states") as error:
        language.automaton(many, TOKENIZERS["characters"])
    assert len(str(error.value)) < 1000
    with pytest.raises(ValueError, match=r"'(at){38}a\.\.\.' takes more than 10000 states"):
        language.automaton("at" * 6000, TOKENIZERS["characters"])


# -- regular expressions by themselves


def test_random_expressions_match_what_python_matches():
    rng = np.random.default_rng(0)
    alphabet = "abA]{"
    atoms = ["a", "b", ".", "[ab]", "[^a]", "[]a]", "(?i:A)", r"\w", r"\x61", "{", "", "a{}"]
    repeats = ["*", "+", "?", "{2}", "{1,2}", "{,2}", "{2,}", "*?", "{0,1}?"]

    def grown(depth):
        kind = rng.integers(4) if depth else 0
        if kind == 0:
            return str(rng.choice(atoms))
        if kind == 1:
            return grown(depth - 1) + grown(depth - 1)
        if kind == 2:
            return f"({grown(depth - 1)}|{grown(depth - 1)})"
        return f"(?:{grown(depth - 1)}){rng.choice(repeats)}"

    texts = ["".join(rng.choice(list(alphabet), n)) for n in (0, 1, 2, 3, 4, 5) for _ in range(20)]
    for _ in range(250):
        pattern = grown(3)
        step, final = regex.compiled(pattern, alphabet)
        for text in texts:
            state = 0
            for character in text:
                state = step[state, alphabet.index(character)]
            assert final[state] == bool(re.fullmatch(pattern, text)), (pattern, text)


def test_states_are_as_few_as_there_can_be():
    for pattern, states in (
        ("a{3}", 4),
        ("(a|b)*", 1),
        ("a|b|ab|bb", 3),
        ("a?b?", 3),
        ("(a*b*)*c?", 2),
    ):
        step, final = regex.compiled(pattern, "abc")
        assert len(final) == states + 1, pattern
        assert (step[-1] == states).all() and not final[-1]
