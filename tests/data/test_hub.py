"""Datasets of the Hugging Face Hub: its own client, a Hub of our own (tests/hub.py)."""

import io
import time

import numpy as np
import pytest

from data import documents, images, stories, text
from data import hub as client
from tests.pixels import pictures, png

pa = pytest.importorskip("pyarrow", reason="parquet files want pyarrow")
import pyarrow.parquet as pq  # noqa: E402

DOCUMENTS = stories.sample(np.random.default_rng(3), 60)
X = pictures(60)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path / "cache"))


def parquet(rows=10, **columns):
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, row_group_size=rows)
    return out.getvalue()


def shown(x, name="image"):
    return parquet(
        **{
            name: [{"bytes": png(a), "path": None} for a in x],
            "label": [i % 5 for i in range(len(x))],
        }
    )


def told(texts, name="text"):
    return parquet(**{name: texts})


PICTURES = {
    "data/train-00000-of-00002.parquet": shown(X[:25]),
    "data/train-00001-of-00002.parquet": shown(X[25:40]),
    "data/valid-00000-of-00001.parquet": shown(X[40:]),
    "README.md": b"words",
}


def test_a_known_dataset_is_downloaded_once_and_stays_what_it_was(hub):
    hub.moved["Maysee/tiny-imagenet"] = "zh-plus/tiny-imagenet"
    hub.repos["zh-plus/tiny-imagenet"] = {"main": PICTURES}
    data = images.load("tiny-imagenet", "nowhere", size=8)
    np.testing.assert_array_equal(data["train"].x, X[:40])
    np.testing.assert_array_equal(data["test"].x, X[40:])
    assert not any("README" in line for line in hub.asked)
    hub.repos["zh-plus/tiny-imagenet"] = {"main": {"data/train.parquet": shown(X[50:])}}
    asked = len(hub.asked)
    np.testing.assert_array_equal(images.load("tiny-imagenet", "nowhere", 8)["train"].x, X[:40])
    assert images.load("tiny-imagenet", "nowhere", size=4)["train"].shape == (4, 4, 3)
    assert len(hub.asked) == asked, "the same files at another size want no network"


def test_a_stream_reads_only_what_it_needs_and_is_what_a_download_is(hub):
    files = {
        f"data/train-{i:05d}-of-00010.parquet": shown(pictures(40, 16, seed=i)) for i in range(10)
    }
    hub.repos["a/b"] = {"main": files | {"data/test-00000-of-00001.parquet": shown(X[40:])}}
    streamed = images.load("hf:a/b", stream=True, size=16)["train"]
    opened = hub.served
    batches = streamed.batches(4)
    first = [batches(i) for i in range(3)]
    assert hub.served - opened < 0.4 * sum(map(len, files.values()))
    for batch, again in zip(first, map(streamed.batches(4), range(3)), strict=True):
        np.testing.assert_array_equal(batch["x"], again["x"])
    known = {a.tobytes() for i in range(10) for a in pictures(40, 16, seed=i)}
    assert streamed.n == 400 and all(a.tobytes() in known for b in first for a in b["x"])
    assert len({a.tobytes() for b in first for a in b["x"]}) == 12


def test_an_interrupted_download_goes_on_with_the_file_it_was_at(hub):
    hub.repos["a/b"] = {"main": PICTURES}
    hub.gated.add("a/b")
    with pytest.raises(client.HubError, match="a/b wants its terms accepted: do so at .*HF_TOKEN"):
        images.load("hf:a/b")
    with pytest.raises(client.HubError, match="a/b wants its terms accepted"):
        images.load("hf:a/b", stream=True)
    hub.gated.clear()
    listing = client.listing("a/b")
    client.downloaded(listing, ["data/train-00000-of-00002.parquet"])
    asked = len(hub.asked)
    images.load("hf:a/b")
    assert not any("train-00000" in line for line in hub.asked[asked:])


def test_what_was_no_parquet_is_taken_as_the_hub_converted_it(hub):
    converted = {
        "default/train/0000.parquet": shown(X[:20]),
        "default/test/0000.parquet": shown(X[20:30]),
    }
    hub.repos["a/b"] = {"main": {"data.zip": b"zip"}, "refs/convert/parquet": converted}
    np.testing.assert_array_equal(images.load("hf:a/b")["test"].x, X[20:30])
    hub.repos["a/c"] = {"main": {"data.zip": b"zip"}}
    with pytest.raises(client.HubError, match="a/c on Hugging Face holds no parquet files"):
        images.load("hf:a/c")


@pytest.mark.parametrize(
    "name, message",
    [
        ("hf:a/none", "there is no dataset a/none on Hugging Face, or it is private"),
        ("hf:a/b,revision=v9", "a/b on Hugging Face has no revision v9"),
        (
            "hf:a/b,config=c",
            "a/b on Hugging Face has no parquet files of a config 'c'; it has default",
        ),
        ("hf:a/b,image=pic", "has no column 'pic'; it has image, label"),
        ("hf:a", "'a' is no repository on Hugging Face; wanted OWNER/NAME"),
    ],
)
def test_refusals_say_what_is_wrong(hub, name, message):
    hub.repos["a/b"] = {"main": PICTURES}
    with pytest.raises((ValueError, client.HubError), match=message):
        images.load(name)


@pytest.mark.parametrize("load", [images.load, text.load])
def test_without_a_network_one_line_says_at_once_what_to_do(load, tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody answers there
    began = time.monotonic()
    name = "cifar10" if load is images.load else "text8"
    with pytest.raises(
        FileNotFoundError,
        match=f"{name}.* and .* did not come from Hugging Face, which was not reached .*; put it there.*--data_dir",
    ) as said:
        load(name, str(tmp_path))
    assert "\n" not in str(said.value) and time.monotonic() - began < 5
    with pytest.raises(FileNotFoundError, match="a/b did not come from .*parquet:PATH"):
        load("hf:a/b")


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FileNotFoundError, match="pip install huggingface_hub pyarrow"):
        images.load("mnist", str(tmp_path))


def said(corpus, rows):
    return [corpus.tokenizer.decode(row) for row in rows]


def test_tiny_stories_are_downloaded_or_streamed(hub, tmp_path):
    hub.repos["roneneldan/TinyStories"] = {
        "main": {
            "data/train-00000-of-00002-2d5a.parquet": told(DOCUMENTS[:30]),
            "data/train-00001-of-00002-5852.parquet": told([*DOCUMENTS[30:50], " "]),
            "data/validation-00000-of-00001-869c.parquet": told(DOCUMENTS[50:]),
        }
    }
    how = {"max_seq_len": 128, "vocab_size": 600, "pack": False}
    whole = text.load("TinyStories", tmp_path, **how)
    some = text.load("TinyStories", tmp_path, **how, hub_documents=15)
    assert said(whole, whole.train) == DOCUMENTS[:50] and said(whole, whole.valid) == DOCUMENTS[50:]
    assert said(some, some.train) == DOCUMENTS[:15] and said(some, some.valid) == DOCUMENTS[50:52]


@pytest.mark.parametrize(
    "name, files", [("shakespeare", "shakespeare/input.txt"), ("text8", "text8/text8")]
)
def test_a_text_that_the_hub_has_in_pieces_is_the_one_of_the_file(hub, tmp_path, name, files):
    whole = " ".join(DOCUMENTS)
    pieces = {"train": whole[:-900], "validation": whole[-900:-400], "test": whole[-400:]}
    hub.repos[documents.SOURCES[name].repo] = {
        "main": {f"data/{k}-00000-of-00001.parquet": told([v]) for k, v in pieces.items()}
    }
    from_hub = text.load(name, tmp_path, max_seq_len=32)
    (tmp_path / files).parent.mkdir()
    (tmp_path / files).write_text(whole)
    from_file = text.load(name, tmp_path, max_seq_len=32)
    assert from_hub.hash == from_file.hash and from_hub.chars_per_token == from_file.chars_per_token


def test_any_corpus_of_the_hub_is_read_by_the_column_found_or_given(hub, tmp_path):
    hub.repos["a/b"] = {
        "main": {"train.parquet": parquet(text=DOCUMENTS, story=DOCUMENTS[::-1], n=list(range(60)))}
    }
    how = {"max_seq_len": 128, "vocab_size": 600, "pack": False}
    found = text.load("hf:a/b", tmp_path, **how)
    assert said(found, found.train) == DOCUMENTS[:54] and said(found, found.valid) == DOCUMENTS[54:]
    given = text.load("hf:a/b,text=story", tmp_path, **how)
    assert said(given, given.valid) == DOCUMENTS[:6][::-1]
    with pytest.raises(ValueError, match="has no column 'tale'; it has text, story, n"):
        text.load("hf:a/b,text=tale", tmp_path, **how)
    with pytest.raises(ValueError, match="no use for the option 'label'; it has text, config"):
        text.load("hf:a/b,label=n", tmp_path, **how)


def test_parquet_files_of_a_folder_are_a_corpus_too(tmp_path):
    for folder in ("tinystories", "mine"):
        (tmp_path / folder).mkdir()
        for part, some in (("train", DOCUMENTS[:50]), ("validation", DOCUMENTS[50:])):
            (tmp_path / folder / f"{part}-0.parquet").write_bytes(told(some, "content"))
    how = {"max_seq_len": 128, "vocab_size": 600, "pack": False}
    named = text.load("tinystories", tmp_path, **how)
    by_path = text.load(f"parquet:{tmp_path / 'mine'}", tmp_path, **how)
    assert named.hash == by_path.hash and said(named, named.valid) == DOCUMENTS[50:]
