"""The grammar of stories: exact probabilities, texts that read well."""

import math
import re
from itertools import pairwise

import numpy as np
import pytest

from data import stories
from data.grammar import Grammar, Slot, finish

TOY = """
text = {A kind} {child} {hero} had {a thing}. {story}
    | There {a child} {hero} saw {a thing}. {story}
kind = old | new | odd
child (he) = girl / she | boy / he
hero by child
    girl = Ann | Eve
    boy = Tom
thing (sort) = egg / food | kite / toy | orange / food
story by sort
    food = {He} ate the {thing} {meal}. | {Hero} gave it away.
    toy = {He} flew it. | The {thing} broke. | {Hero} lost the {kind} {thing}.
meal = now | at once
"""


def everything(grammar, agenda=None, state=None, raw="", p=1.0):
    """Every text with its probability, by plain recursion over the rules."""
    agenda = [grammar.start[0]] if agenda is None else agenda
    if not agenda:
        yield finish(raw), p
        return
    head, rest, state = agenda[0], agenda[1:], state or {}
    if not isinstance(head, Slot):
        yield from everything(grammar, rest, state, raw + head, p)
    elif head in state:
        yield from everything(grammar, [*state[head], *rest], state, raw, p)
    else:
        rule = grammar.rules[head]
        table = rule.tables["".join(state[rule.parent]) if rule.parent else None]
        weights = [1 / (3 + i) for i in range(len(table.binds))]
        for weight, bind in zip(weights, table.binds, strict=True):
            share = p * weight / sum(weights)
            yield from everything(grammar, agenda, {**state, **bind}, raw, share)


@pytest.fixture(scope="module")
def told():
    return stories.sample(np.random.default_rng(0), 2000)


@pytest.fixture(scope="module")
def parses(told):
    return [list(stories.STORIES.parses(text)) for text in told]


def test_probabilities_of_all_texts_of_a_small_grammar_sum_to_one():
    grammar = Grammar(TOY)
    texts = list(everything(grammar))
    assert len({text for text, _ in texts}) == len(texts) == stories.count(grammar)
    assert math.isclose(sum(p for _, p in texts), 1.0)
    for text, p in texts:
        assert math.isclose(stories.log_prob(text, grammar), math.log(p))
    assert "An old girl Ann had an egg. She ate the egg now." in dict(texts)


def test_entropy_and_lengths_of_a_small_grammar_are_those_of_its_texts():
    grammar = Grammar(TOY)
    texts = list(everything(grammar))
    n = [len(stories.words(text)) for text, _ in texts]
    assert math.isclose(stories.entropy(grammar), -sum(p * math.log(p) for _, p in texts))
    mean = sum(p * k for (_, p), k in zip(texts, n, strict=True))
    assert math.isclose(stories.mean_words(grammar), mean)
    assert stories.max_words(grammar) == max(n)


def test_texts_with_two_derivations_have_the_sum_of_both():
    grammar = Grammar("text = {x}b | a{y}\nx = a | c\ny = b | d")
    p = 4 / 7
    assert math.isclose(math.exp(stories.log_prob("ab", grammar)), p * p + (1 - p) * p)


def test_each_sample_parses_in_one_way(told, parses):
    assert all(len(found) == 1 for found in parses)
    for text, found in zip(told[:50], parses[:50], strict=True):
        assert math.isclose(found[0][0], stories.log_prob(text))


def test_parse_gives_the_choices_back(told):
    for text in told[:200]:
        choices = stories.parse(text)
        assert choices["hero"] in text
        assert choices["time"] in text
        assert choices["kind"] in text


def test_mean_of_minus_log_p_is_the_entropy(parses):
    nats = -np.array([found[0][0] for found in parses])
    error = nats.std() / len(nats) ** 0.5
    assert abs(nats.mean() - stories.entropy()) < 4 * error
    assert 25 < stories.entropy() < 45


def test_a_story_has_62_words_and_marks_in_six_sentences(told):
    assert stories.max_words() == 62  # 64 with BOS and EOS
    assert math.isclose(stories.mean_words(), 62)
    for text in told:
        assert len(stories.words(text)) == 62
        lengths = [len(stories.words(sentence)) + 1 for sentence in text[:-1].split(". ")]
        assert lengths == [12, 11, 9, 12, 8, 10], text


def test_there_are_billions_of_stories_and_few_words(told):
    assert stories.count() > 1e9
    assert 200 < len({word for text in told for word in stories.words(text)}) < 400


def test_one_wrong_word_makes_no_story_or_another_one(told):
    rng = np.random.default_rng(1)
    vocabulary = sorted({word for text in told for word in text.split()})
    broken = 0
    for text in told[:200]:
        words = text.split()
        at, other = rng.integers(len(words)), str(rng.choice(vocabulary))
        if other == words[at]:
            continue
        words[at] = other
        log_p = stories.log_prob(" ".join(words))
        assert log_p == -math.inf or (log_p < 0 and stories.parse(" ".join(words)))
        broken += log_p == -math.inf
    assert broken > 180


@pytest.mark.parametrize("change", ["", " ", "x", ".", "Once"])
def test_a_story_with_something_behind_it_or_missing_is_none(told, change):
    text = told[0] + change if change else told[0][:-1]
    assert stories.log_prob(text) == -math.inf
    assert stories.parse(text) is None


def test_the_wrong_pronoun_tool_or_moral_is_no_story():
    text = (
        "Once upon a time there was a kind girl named Lily. "
        "One day she took her red kite to the hill. But the kite got stuck in a tree. "
        "Lily felt sad, so her dear mom brought a ladder. Together they soon got the kite down. "
        "Then Lily learned that a family helps each other."
    )
    assert stories.log_prob(text) > -40
    for right, wrong in [
        ("she took", "he took"),
        ("the kite got stuck", "the ball got stuck"),
        ("a ladder", "a rope"),
        ("kite down", "kite out"),
        ("a family helps each other", "it is fun to share"),
        ("Lily felt", "Mia felt"),
    ]:
        assert text.count(right) == 1
        assert stories.log_prob(text.replace(right, wrong)) == -math.inf, wrong


def test_articles_and_capitals_agree(told):
    for text in told:
        words = re.findall(r"[\w']+|\.", text)
        for one, two in pairwise(words):
            if one.lower() in ("a", "an"):
                assert (one.lower() == "an") == (two[0] in "aeiou"), text
            if one == ".":
                assert two[0].isupper(), text
        assert text[0].isupper() and text[-1] == "." and "  " not in text
        assert not re.search(r"[{}^@/|]", text)


def test_pronouns_agree_with_the_hero(told):
    for text in told:
        choices = stories.parse(text)
        wrong = {"girl": "he", "boy": "she"}[choices["child"]]
        assert wrong not in text.lower().replace(".", "").split(), text


def test_the_thing_and_the_place_stay_the_same(told):
    heroes = set(stories.STORIES.rules["hero"].tables["girl"].texts)
    heroes |= set(stories.STORIES.rules["hero"].tables["boy"].texts)
    toys = stories.STORIES.rules["toy"].tables[None].texts
    for text in told:
        words = set(stories.words(text))
        assert len(words & heroes) == 1, text
        assert len(words & set(toys)) <= 1, text


def test_samples_depend_on_the_seed_alone():
    one, two = (stories.sample(np.random.default_rng(7), 5) for _ in range(2))
    assert one == two
    rng = np.random.default_rng(7)
    assert stories.sample(rng, 2) + stories.sample(rng, 3) == one


def test_a_grammar_with_a_wrong_line_says_which():
    with pytest.raises(ValueError, match="not a line of a grammar: 'oops'"):
        Grammar("text = a\noops")
    with pytest.raises(ValueError, match="wanted child / he in every option, got boy"):
        Grammar("text = {child}\nchild (he) = girl / she | boy")
