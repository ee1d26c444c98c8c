"""Corpora as rows of token ids."""

import numpy as np
import pytest

from data import documents, stories, text, tokenizer
from data.tokenizer import BOS, EOS, PAD

DOCUMENTS = stories.sample(np.random.default_rng(3), 60)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(documents, "STORIES", {"train": (0, 2000), "valid": (1, 40)})
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """A data folder with a small file for every name."""
    for name in ("tinystories", "shakespeare", "text8"):
        (tmp_path / name).mkdir()
    joined = f"\n{documents.SEPARATOR}\n".join
    (tmp_path / "tinystories/train.txt").write_text(joined(DOCUMENTS[:50]))
    (tmp_path / "tinystories/heldout.txt").write_text(joined(DOCUMENTS[48:]))
    (tmp_path / "shakespeare/input.txt").write_text("\n".join(DOCUMENTS))
    (tmp_path / "text8/text8").write_text("abc def " * 250)
    return tmp_path


def test_stories_are_one_a_row(cache):
    corpus = text.load("stories", max_seq_len=64)
    assert corpus.train.shape == (2000, 64) and corpus.valid.shape == (40, 64)
    assert corpus.train.dtype == corpus.valid.dtype == np.uint16
    assert isinstance(corpus.train, np.memmap)
    told = stories.sample(np.random.default_rng(1), 40)
    assert [corpus.tokenizer.decode(row) for row in corpus.valid] == told
    assert (corpus.train[:, 0] == BOS).all() and (corpus.train[:, 63] == EOS).all()
    assert (corpus.train[:, 1:63] > tokenizer.UNK).all()
    tokens = sum(len(stories.words(t)) + 2 for t in told)
    assert corpus.chars_per_token == sum(map(len, told)) / tokens == corpus.bytes_per_token


def test_held_out_stories_are_not_trained_on(monkeypatch):
    monkeypatch.setattr(documents, "STORIES", {"train": (5, 30), "valid": (5, 10)})
    corpus = text.load("stories", max_seq_len=64)
    assert len(corpus.train) == 20 and len(corpus.valid) == 10
    assert not {bytes(r) for r in corpus.train} & {bytes(r) for r in corpus.valid}


def test_held_out_documents_are_not_trained_on(folder):
    corpus = text.load("tinystories", folder, max_seq_len=128, vocab_size=600, pack=False)
    trained, held_out = (
        {corpus.tokenizer.decode(row) for row in rows} for rows in (corpus.train, corpus.valid)
    )
    assert held_out == set(DOCUMENTS[48:]) and trained == set(DOCUMENTS[:48])


def test_packed_rows_in_a_line_are_the_documents(folder):
    corpus = text.load("tinystories", folder, max_seq_len=32, vocab_size=600)
    want = [i for d in DOCUMENTS[:48] for i in (*corpus.tokenizer.encode(d), EOS)]
    got = corpus.train.ravel().tolist()
    assert got == want[: len(got)] and len(want) - len(got) < 32
    assert corpus.tokenizer.size <= 600


def test_long_documents_are_cut_when_padded():
    ids = [np.arange(10, 14, dtype=np.uint16), np.arange(10, 30, dtype=np.uint16)]
    rows = text.padded(ids, 6)
    assert rows.tolist() == [[BOS, 10, 11, 12, 13, EOS], [BOS, 10, 11, 12, 13, 14]]
    assert text.padded(ids[:1], 8).tolist() == [[BOS, 10, 11, 12, 13, EOS, PAD, PAD]]


def test_shakespeare_is_cut_at_nine_tenths(folder):
    corpus = text.load("shakespeare", folder, max_seq_len=64)
    whole = (folder / "shakespeare/input.txt").read_text()
    at = int(0.9 * len(whole))
    train, valid = ("".join(map(corpus.tokenizer.decode, r)) for r in (corpus.train, corpus.valid))
    assert whole[:at].startswith(train) and at - len(train) < 64
    assert whole[at:].startswith(valid) and len(whole) - at - len(valid) < 64
    assert corpus.chars_per_token == 1.0, "no EOS fell into a whole row"


def test_text8_leaves_its_last_twentieth_for_tests(folder):
    corpus = text.load("text8", folder, max_seq_len=20)
    assert corpus.train.shape == (90, 20) and corpus.valid.shape == (5, 20)
    assert corpus.tokenizer.size == 5 + len("abcdef ")


def test_a_local_file_or_folder_is_a_corpus(folder):
    one = text.load(f"text:{folder}/shakespeare/input.txt", max_seq_len=32, vocab_size=400)
    assert len(one.train) > len(one.valid) > 0
    for i, document in enumerate(DOCUMENTS[:20]):
        (folder / f"many/{i // 10}").mkdir(parents=True, exist_ok=True)
        (folder / f"many/{i // 10}/{i:02}.txt").write_text(document)
    many = text.load(f"text:{folder}/many", max_seq_len=300, tokenizer="characters", pack=False)
    assert [many.tokenizer.decode(row) for row in many.valid] == DOCUMENTS[18:20]
    assert [many.tokenizer.decode(row) for row in many.train] == DOCUMENTS[:18]


def test_the_second_time_nothing_is_read_or_tokenised(folder, monkeypatch, cache):
    first = text.load("tinystories", folder, max_seq_len=32, vocab_size=600)

    def never(*_, **__):
        raise AssertionError("the cache was not used")

    monkeypatch.setattr(documents, "documents", never)
    monkeypatch.setattr(tokenizer.Bpe, "encode_batch", never)
    again = text.load("tinystories", folder, max_seq_len=32, vocab_size=600)
    np.testing.assert_array_equal(first.train, again.train)
    assert first.tokenizer.hash == again.tokenizer.hash
    assert first[4:] == again[4:]
    with pytest.raises(AssertionError, match="not used"):
        text.load("tinystories", folder, max_seq_len=33, vocab_size=600)
    assert len(list(cache.glob("[!.]*"))) == 1, "what was cut off left nothing"


def test_a_changed_file_is_tokenised_anew(folder):
    first = text.load("shakespeare", folder, max_seq_len=64)
    (folder / "shakespeare/input.txt").write_text("to be or not to be " * 100)
    assert len(text.load("shakespeare", folder, max_seq_len=64).train) != len(first.train)


def test_a_given_tokenizer_is_taken_as_it_is(folder, tmp_path):
    mine = tokenizer.train_words(DOCUMENTS)
    mine.save(tmp_path / "tokenizer.json")
    by_path = text.load(
        "tinystories", folder, max_seq_len=32, tokenizer=tmp_path / "tokenizer.json"
    )
    by_value = text.load("tinystories", folder, max_seq_len=32, tokenizer=mine)
    assert by_path.tokenizer.hash == by_value.tokenizer.hash == mine.hash
    np.testing.assert_array_equal(by_path.valid, by_value.valid)


@pytest.mark.parametrize(
    "name, message",
    [
        ("storys", "no text corpus 'storys'; did you mean stories"),
        ("text", "text:PATH"),
        ("stories:x", "no text corpus 'stories:x'"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(name, message):
    with pytest.raises(ValueError, match=message):
        text.load(name)


def test_missing_files_are_named(tmp_path):
    for name, file in [("shakespeare", "input.txt"), ("text8", "text8.zip")]:
        with pytest.raises(FileNotFoundError, match=file):
            text.load(name, tmp_path)
    with pytest.raises(FileNotFoundError, match="a .txt file, or a folder"):
        text.load(f"text:{tmp_path}/none", tmp_path)
    (tmp_path / "tinystories").mkdir()
    (tmp_path / "tinystories/train.txt").write_text("half of it")
    with pytest.raises(FileNotFoundError, match="heldout.txt"):
        text.load("tinystories", tmp_path)


@pytest.mark.parametrize("pack", [True, False])
def test_tokenising_goes_on_where_it_was_cut_off(folder, monkeypatch, cache, pack):
    monkeypatch.setattr(text, "CHUNK", 7)
    how = {"max_seq_len": 32, "vocab_size": 600, "pack": pack}
    original, calls = tokenizer.Bpe.encode_batch, []

    def stopped(self, texts):
        calls.append(len(texts))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(self, texts)

    monkeypatch.setattr(tokenizer.Bpe, "encode_batch", stopped)
    with pytest.raises(KeyboardInterrupt):
        text.load("tinystories", folder, **how)
    monkeypatch.setattr(text, "trained", lambda *_, **__: pytest.fail("the tokenizer was there"))
    resumed = text.load("tinystories", folder, **how)
    assert calls == [7] * 5 + [7, 7, 6, 7, 5], "four pieces are not encoded again"
    monkeypatch.undo()
    monkeypatch.setenv("TANDEM_CACHE", str(cache / "other"))
    whole = text.load("tinystories", folder, **how)
    assert resumed.hash == whole.hash and resumed[4:] == whole[4:]


def test_bad_texts_are_refused_and_leave_nothing_behind(tmp_path, cache):
    file = tmp_path / "mine.txt"
    file.write_text(" \n")
    with pytest.raises(ValueError, match=r"no text to train on: .*mine.txt"):
        text.load(f"text:{file}")
    file.write_text("too short for a row")
    with pytest.raises(ValueError, match="less than a row of 256"):
        text.load(f"text:{file}", tokenizer="characters")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not UTF-8"):
        text.load(f"text:{file}")
    assert not list(cache.glob("[!.]*"))


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="no tokenizer 'bpee'; there are bpe, words, characters"):
        text.load("stories", tokenizer="bpee")
    with pytest.raises(ValueError, match="max_seq_len is 2; wanted 3"):
        text.load("stories", max_seq_len=2)
    with pytest.raises(FileNotFoundError, match="no tokenizer at"):
        text.load("stories", tokenizer="none/tokenizer.json")
