"""Folders elsewhere: everything but the wire in memory, checkpoints in a stand-in for gs://."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import fsspec
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from utils import checkpoint, files, places
from utils.train_state import State

BUCKET = Path(__file__).resolve().parent.parent / "bucket.py"
NEEDED = ("gcsfs", "gcp_storage_emulator")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def far():
    """An empty folder elsewhere: its name, and the file system it is on."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    return "memory://bucket/run", memory


def test_a_folder_of_this_machine_is_its_own_copy(tmp_path):
    mirror = places.Mirror(tmp_path / "run")
    assert mirror.fetch() == mirror.folder == tmp_path / "run"
    mirror.send()
    assert not (tmp_path / "run").exists(), "nothing was made"
    assert places.run("runs/x", 3) == "runs/x"
    assert mirror / "checkpoints" == str(tmp_path / "run" / "checkpoints")


def test_what_is_sent_is_fetched_elsewhere(far, tmp_path, monkeypatch):
    name, memory = far
    here = places.Mirror(name)
    (here.fetch() / "samples").mkdir(parents=True)
    (here.folder / "samples" / "1.txt").write_text("once")
    (here.folder / "metrics.jsonl").write_text("a line\n")
    here.send()
    assert sorted(memory.find("/bucket")) == [
        "/bucket/run/metrics.jsonl", "/bucket/run/samples/1.txt",
    ]  # fmt: skip
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path / "another"))
    there = places.Mirror(name)
    assert (there.fetch() / "samples" / "1.txt").read_text() == "once"
    assert there.folder.is_relative_to(tmp_path / "another")


def test_nothing_travels_twice(far, monkeypatch):
    name, memory = far
    memory.pipe({"/bucket/run/a": b"1", "/bucket/run/b": b"2"})
    travelled = []
    put, get = memory.put_file, memory.get
    monkeypatch.setattr(memory, "put_file", lambda a, b: (travelled.append(b), put(a, b)))
    monkeypatch.setattr(memory, "get", lambda a, b: (travelled.extend(a), get(a, b)))
    mirror = places.Mirror(name)
    mirror.fetch()
    mirror.fetch()
    mirror.send()
    assert sorted(travelled) == ["/bucket/run/a", "/bucket/run/b"]
    (mirror.folder / "a").write_text("changed")
    mirror.send()
    mirror.send()
    mirror.fetch()
    assert travelled[2:] == ["/bucket/run/a"]


def test_what_is_there_is_right(far):
    """A run that was killed after its last checkpoint has written lines that never happened."""
    name, memory = far
    memory.pipe({"/bucket/run/metrics.jsonl": b"1\n", "/bucket/run/old": b""})
    mirror = places.Mirror(name)
    log = mirror.fetch() / "metrics.jsonl"
    log.write_text("1\n2\n")
    memory.rm("/bucket/run/old")
    mirror.fetch()
    assert log.read_text() == "1\n" and not (mirror.folder / "old").exists()
    memory.pipe("/bucket/run/metrics.jsonl", b"1\n2\n3\n")
    mirror.fetch()
    assert log.read_text() == "1\n2\n3\n"


def test_a_run_comes_with_its_newest_whole_checkpoint(far):
    name, memory = far
    for step in (5, 10, 15):
        memory.pipe(f"/bucket/run/checkpoints/{step}/meta/metadata", b"{}")
        if step < 15:
            memory.pipe(f"/bucket/run/checkpoints/{step}/commit_success.txt", b"")
    memory.pipe({"/bucket/run/tokenizer.json": b"{}", "/bucket/run/samples/1.txt": b"long"})
    folder = places.run(name)
    whole = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    assert sorted(whole) == [
        ".mirror.json", "checkpoints/10/commit_success.txt", "checkpoints/10/meta/metadata",
        "tokenizer.json",
    ]  # fmt: skip
    assert (places.run(name, 5) / "checkpoints/5/meta/metadata").exists()
    assert checkpoint.steps_in(folder / "checkpoints")[-1] == 5
    with pytest.raises(FileNotFoundError, match=r"no checkpoint 15.*there are \[5, 10\]"):
        places.run(name, 15)
    with pytest.raises(FileNotFoundError, match=r"memory://bucket/none has no checkpoint;"):
        places.run("memory://bucket/none")


def test_what_is_missing_is_named(monkeypatch):
    def refuse(path):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(ImportError, match=r"gs://b/run: .*gcsfs.*\[gcs\] extra"):
        places.Mirror("gs://b/run")


@pytest.fixture
def bucket(monkeypatch):
    """A bucket that tensorstore, orbax and gcsfs take for Cloud Storage."""
    if MISSING:
        pytest.skip(f"wants {' and '.join(MISSING)}; `make .venv/cloud` installs them")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([sys.executable, BUCKET], text=True, **pipes)
    address = server.stdout.readline().strip()
    for name in ("STORAGE_EMULATOR_HOST", "TENSORSTORE_GCS_HTTP_URL"):
        monkeypatch.setenv(name, address)
    monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "none")
    yield "gs://bucket/run"
    server.stdin.close()
    server.wait()


def test_checkpoints_live_on_gs(bucket):
    def state(step):
        one = {"w": jnp.full(300, float(step)), "b": jnp.arange(3)}
        return State(jnp.int32(step), one, one, (), jax.random.key(0))

    with checkpoint.Checkpoints(f"{bucket}/checkpoints", keep=2) as saves:
        assert saves.restore(state(0)) is None
        for step in (1, 2, 3):
            saves.save(state(step), {"lr": 1.0}, {"position": step})
    with checkpoint.Checkpoints(f"{bucket}/checkpoints", keep=2) as saves:
        found, meta = saves.restore(state(0))
        assert meta["data"] == {"position": 3}
    np.testing.assert_array_equal(found.params["w"], 3.0)

    places.Mirror(bucket).fs.rm("bucket/run/checkpoints/3/state/manifest.ocdbt")
    with checkpoint.Checkpoints(f"{bucket}/checkpoints", keep=2) as saves:
        found, _ = saves.restore(state(0))
    np.testing.assert_array_equal(found.params["w"], 2.0)

    like = lambda meta: {"w": jax.ShapeDtypeStruct((300,), jnp.float32), "b": state(0).ema["b"]}
    ema, _ = checkpoint.read_ema(places.run(bucket), like)
    np.testing.assert_array_equal(ema["w"], 2.0)


def test_single_files_go_to_gs_and_come_from_there(bucket, tmp_path):
    with files.written(f"{bucket}/stats/a.npz") as here:
        here.write_bytes(b"1")
    copy = files.fetched(f"{bucket}/stats/a.npz")
    assert copy.read_bytes() == b"1" and files.fetched(f"{bucket}/stats/a.npz") == copy
    with files.written(f"{bucket}/stats/a.npz") as here:
        here.write_bytes(b"22")
    assert files.fetched(f"{bucket}/stats/a.npz").read_bytes() == b"22"
    assert (files.fetched(f"{bucket}/stats") / "a.npz").read_bytes() == b"22"
    with pytest.raises(FileNotFoundError, match="there is nothing at gs://bucket/run/none"):
        files.fetched(f"{bucket}/none")
