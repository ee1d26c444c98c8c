"""Arrays that are made piece by piece."""

import json
import threading

import numpy as np
import pytest

from data import store


def make(folder, pieces, stop=None):
    with store.making(folder) as work:
        if work is None:
            return False
        for i in range(work.done.get("x", 0), pieces):
            if i == stop:
                raise KeyboardInterrupt
            work.add("x", i + 1, x=np.full((3, 2), i, np.uint16), y=np.arange(i, dtype=np.int32))
        work.finish(about="numbers")
    return True


def test_what_is_written_is_mapped_and_described(tmp_path):
    assert make(tmp_path / "a", 4)
    arrays, facts = store.read(tmp_path / "a")
    assert isinstance(arrays["x"], np.memmap) and store.place(arrays["x"]) == tmp_path / "a"
    np.testing.assert_array_equal(arrays["x"], np.repeat(np.arange(4), 6).reshape(12, 2))
    assert arrays["y"].tolist() == [0, 0, 1, 0, 1, 2] and facts["about"] == "numbers"
    assert not make(tmp_path / "a", 9), "it is there"
    store.verify(tmp_path / "a")


def test_a_half_written_piece_is_written_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "a", 5, stop=3)
    with (tmp_path / "a.part" / "x.bin").open("ab") as file:
        file.write(b"half")
    (tmp_path / "a.part" / "z.bin").write_bytes(b"of a piece that was not noted")
    assert make(tmp_path / "a", 5) and make(tmp_path / "b", 5)
    assert store.read(tmp_path / "a")[1] == store.read(tmp_path / "b")[1]
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"x.bin", "y.bin", "manifest.json"}


def test_a_folder_that_only_lacked_its_name_gets_it(tmp_path):
    make(tmp_path / "a", 4)
    (tmp_path / "a").rename(tmp_path / "b.part")
    assert not make(tmp_path / "b", 4, stop=0), "nothing is made again"
    assert len(store.read(tmp_path / "b")[0]["x"]) == 12


def test_progress_whose_files_are_gone_is_not_believed(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "a", 5, stop=3)
    (tmp_path / "a.part" / "x.bin").write_bytes(b"")
    assert make(tmp_path / "a", 5) and make(tmp_path / "b", 5)
    assert store.read(tmp_path / "a")[1] == store.read(tmp_path / "b")[1]


def test_work_that_fails_at_once_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "a", 5, stop=0)
    assert not list(tmp_path.glob("[!.]*"))


def test_a_second_process_waits_for_the_first(tmp_path, capsys):
    began, go_on, made = threading.Event(), threading.Event(), []

    def first():
        with store.making(tmp_path / "a") as work:
            began.set()
            go_on.wait(10)
            work.add("x", 1, x=np.zeros(3))
            work.finish()
            made.append("first")

    def second():
        with store.making(tmp_path / "a") as work:
            made.append(work)

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    began.wait(10)
    threads[1].start()
    threads[1].join(0.2)
    assert made == [], "it does not make its own"
    go_on.set()
    [t.join(10) for t in threads]
    assert made == ["first", None] and "waiting for it" in capsys.readouterr().err


def test_damage_is_named_with_what_to_do(tmp_path):
    make(tmp_path / "a", 4)
    file = tmp_path / "a" / "x.bin"
    raw = file.read_bytes()
    file.write_bytes(raw[:10] + bytes([raw[10] ^ 1]) + raw[11:])
    store.read(tmp_path / "a")
    with pytest.raises(ValueError, match="x in the cache .*/a is damaged; remove that folder"):
        store.verify(tmp_path / "a")
    file.write_bytes(raw[:-1])
    with pytest.raises(ValueError, match="x in the cache .*/a is damaged"):
        store.read(tmp_path / "a")
    (tmp_path / "a" / "manifest.json").write_text(json.dumps({}))
    with pytest.raises(ValueError, match="manifest.json in the cache .*/a is damaged"):
        store.read(tmp_path / "a")
