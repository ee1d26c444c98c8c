"""Tokenizers: text in, the same text out."""

import json

import numpy as np
import pytest

from data import stories, tokenizer
from data.tokenizer import BOS, EOS, MASK, PAD, SPECIALS, UNK

TEXTS = stories.sample(np.random.default_rng(0), 300)
ODD = ["", " a", "a\n\n b\t", "Ünïcode, 日本 [MASK] <|endoftext|>", "it's  two   spaces", "\u2019"]
MAKERS = {
    "bpe": lambda: tokenizer.train_bpe(TEXTS, 512),
    "words": lambda: tokenizer.train_words(TEXTS),
    "characters": lambda: tokenizer.train_characters(TEXTS),
}


@pytest.fixture(scope="module", params=MAKERS)
def made(request):
    return MAKERS[request.param]()


def test_stories_come_back_as_they_were(made):
    ids = made.encode_batch(TEXTS)
    assert [made.decode(row) for row in ids] == TEXTS
    assert all(row.dtype == np.uint16 and row.min() > UNK and row.max() < made.size for row in ids)
    assert made.encode(TEXTS[0]) == ids[0].tolist()


def test_decoding_drops_special_tokens(made):
    ids = made.encode(TEXTS[0])
    assert made.decode([BOS, *ids, EOS, MASK, UNK, PAD, PAD]) == TEXTS[0]
    assert made.decode(np.array([PAD, BOS], np.uint16)) == ""


def test_special_tokens_come_first_and_text_cannot_name_them(made):
    assert (PAD, BOS, EOS, MASK, UNK) == (0, 1, 2, 3, 4)
    assert not {PAD, BOS, EOS, MASK} & set(made.encode("a [MASK] [PAD][BOS] [EOS]"))


def test_a_saved_tokenizer_is_the_same(made, tmp_path):
    path = tmp_path / "new" / "tokenizer.json"
    made.save(path)
    again = tokenizer.load(path)
    assert (again.hash, again.size, type(again)) == (made.hash, made.size, type(made))
    assert [p.name for p in path.parent.iterdir()] == ["tokenizer.json"]
    assert len(made.hash) == 8 and int(made.hash, 16) >= 0
    for left, right in zip(made.encode_batch(TEXTS), again.encode_batch(TEXTS), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("kind", MAKERS)
def test_training_twice_makes_one_tokenizer(kind):
    assert MAKERS[kind]().hash == MAKERS[kind]().hash


def test_bytes_hold_any_text():
    bpe = tokenizer.train_bpe(TEXTS, 300)
    for text in ODD:
        assert bpe.decode(bpe.encode(text)) == text
        assert bpe.unknown(text) == []


@pytest.mark.parametrize("train", [tokenizer.train_words, tokenizer.train_characters])
def test_odd_texts_come_back_when_they_were_seen(train):
    made = train(ODD)
    for text in ODD:
        assert made.unknown(text) == []
        want = text.removeprefix(" ") if train is tokenizer.train_words else text
        assert made.decode(made.encode(text)) == want


def test_what_is_unknown_is_named():
    words, characters = MAKERS["words"](), MAKERS["characters"]()
    assert words.unknown("Lily saw a zebra and a Zoo, zebra") == ["zebra", "Zoo"]
    assert words.encode("a zebra")[1:] == [UNK]
    assert characters.unknown("a%日b%\U0001f600") == ["%", "日", "\U0001f600"]
    assert characters.encode("%a")[0] == UNK


def test_a_story_is_as_many_tokens_as_words():
    counts = [len(stories.words(text)) for text in TEXTS]
    for made in (tokenizer.train_words(TEXTS), tokenizer.train_bpe(TEXTS, 1200)):
        assert [len(row) for row in made.encode_batch(TEXTS)] == counts


def test_bad_requests_get_one_line(tmp_path):
    with pytest.raises(ValueError, match="vocab_size is 100; BPE wants at least 261"):
        tokenizer.train_bpe(TEXTS, 100)
    with pytest.raises(ValueError, match="70000 tokens; ids are 16 bits, so at most 65535"):
        tokenizer.train_bpe(TEXTS, 70_000)
    with pytest.raises(ValueError, match="70005 tokens"):
        tokenizer.Words(map(str, range(70_000)))
    for train in tokenizer.TRAINERS.values():
        with pytest.raises(ValueError, match="no text"):
            train(["", ""])
    with pytest.raises(FileNotFoundError, match="no tokenizer at"):
        tokenizer.load(tmp_path / "none.json")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"type": "words"}', "\udcff"])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match="is not a tokenizer"):
        tokenizer.load(path)


def test_foreign_special_tokens_are_refused(tmp_path):
    content = json.loads(MAKERS["bpe"]().json)
    vocab = content["model"]["vocab"]
    vocab["<pad>"] = vocab.pop(SPECIALS[0])
    content["added_tokens"] = content["added_tokens"][1:]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="<pad>"):
        tokenizer.load(path)
