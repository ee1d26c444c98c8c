import resource
import shutil
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from utils import checkpoint
from utils.train_state import State

TREE = {"a": jnp.arange(12.0).reshape(3, 4), "b": jnp.ones(5, jnp.bfloat16), "n": jnp.int32(3)}


def test_a_fingerprint_sees_a_bit_a_swap_and_a_sign():
    whole = checkpoint.fingerprints(TREE)
    a = np.array(TREE["a"])
    bit = a.copy()
    bit.view(np.uint32)[1, 2] ^= 1
    for changed in (bit, a[::-1], -a, np.where(a == 0, -0.0, a)):
        assert checkpoint.fingerprints(TREE | {"a": jnp.asarray(changed)}) != whole
    assert checkpoint.fingerprints(TREE | {"a": jnp.asarray(a.copy())}) == whole


def test_a_fingerprint_takes_keys_and_switches():
    tree = {"key": jax.random.key(0), "on": jnp.array([True, False])}
    other = {"key": jax.random.key(1), "on": jnp.array([False, True])}
    one, two = checkpoint.fingerprints(tree), checkpoint.fingerprints(other)
    assert one["['key']"] != two["['key']"] and one["['on']"] != two["['on']"]


def test_a_wrong_array_is_named():
    marks = checkpoint.fingerprints(TREE)
    with pytest.raises(ValueError, match=r"1 arrays are not what was saved: \['a'\]"):
        checkpoint.check(TREE | {"a": TREE["a"] + 1}, marks)


def test_saving_twice_at_a_step_is_once_and_the_last_n_stay(tmp_path):
    def state(step):
        one = {"w": jnp.full(3, float(step))}
        return State(jnp.int32(step), one, one, (), jax.random.key(0))

    with checkpoint.Checkpoints(tmp_path, keep=2) as saves:
        assert saves.restore(state(0)) is None
        for step in (1, 2, 2, 3):
            saves.save(state(step), {"lr": 1.0}, {"position": step})
    assert checkpoint.steps_in(tmp_path) == [3, 2]
    with checkpoint.Checkpoints(tmp_path, keep=2) as saves:
        found, meta = saves.restore(state(0))
        with pytest.raises(ValueError, match="already has a later one"):
            saves.save(state(1), {}, {})
    np.testing.assert_array_equal(found.params["w"], 3.0)
    assert meta["data"] == {"position": 3} and meta["config"] == {"lr": 1.0}


@pytest.mark.slow
def test_twenty_kills_while_saving_lose_no_checkpoint_and_halve_none(process, tmp_path):
    run = process("tests/utils/saver.py", tmp_path, 20, 0)
    out = run.communicate()[0]
    assert run.returncode == 0 and "damaged" not in out, out
    found, kept, half = np.array([line.split() for line in out.splitlines()], int).T
    assert len(found) == 20 and found[0] == 0
    assert (found[1:] >= kept[:-1]).all(), "what was on disk stays"
    assert (found[1:] <= kept[:-1] + 1).all() and (kept > found).all()
    assert half.sum() >= 5, "these were killed in the middle of one"


def large(step):
    """A state of 1.6 MB that cannot be compressed."""
    words = np.random.default_rng(step).integers(0, 1 << 32, 200_000, np.uint32)
    one = {"w": jnp.asarray(words)}
    return State(jnp.int32(step), one, one, (), jax.random.key(0))


def short_of_room(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(9 << 20, 8 << 20, 1 << 20))
    return "it takes 1.5 MiB, and 1.0 MiB are free"


def full_at_once(monkeypatch):
    """As a quota that was not seen beforehand: no file can grow past 100 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    return "File too large"


@pytest.mark.parametrize("fill", [short_of_room, full_at_once])
def test_a_full_disk_is_one_line_and_leaves_what_was_whole(tmp_path, monkeypatch, fill):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError) as told, checkpoint.Checkpoints(tmp_path) as saves:
            saves.save(large(1), {}, {})
            saves.wait()
            why = fill(monkeypatch)
            saves.save(large(2), {}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    where = f"checkpoint 2 could not be written to {tmp_path}: {why}. Whole ones there: 1. "
    assert str(told.value).startswith(where) and "\n" not in str(told.value)
    assert [p.name for p in tmp_path.iterdir()] == ["1"], "nothing half-written"
    monkeypatch.undo()
    with checkpoint.Checkpoints(tmp_path) as saves:
        assert int(saves.restore(large(0))[0].step) == 1
        saves.save(large(2), {}, {})
    assert checkpoint.steps_in(tmp_path) == [2, 1]


def test_a_sharded_array_has_the_fingerprint_of_the_whole():
    mesh = Mesh(np.array(jax.devices()), ("data",))
    spread = jax.device_put(jnp.arange(16.0), NamedSharding(mesh, P("data")))
    assert checkpoint.fingerprints([spread]) == checkpoint.fingerprints([jnp.arange(16.0)])


@pytest.mark.parametrize("name", ["a[1]", "a*", "a?b"])
def test_a_folder_that_orbax_takes_for_a_pattern_is_read_but_not_written(tmp_path, name):
    """Of `a[1]` it writes checkpoints whose arrays are not there."""
    with checkpoint.Checkpoints(tmp_path / "a1") as saves:
        saves.save(large(1), {}, {})
    with pytest.raises(ValueError, match=r"has a . in its name, which orbax .* take a --workdir"):
        checkpoint.Checkpoints(tmp_path / name / "checkpoints")
    assert not (tmp_path / name).exists()
    shutil.copytree(tmp_path / "a1", tmp_path / name)
    like = lambda meta: {"w": jax.ShapeDtypeStruct((200_000,), jnp.uint32)}
    ema, _ = checkpoint.read_ema(tmp_path / name, like)
    np.testing.assert_array_equal(ema["w"], large(1).ema["w"])
