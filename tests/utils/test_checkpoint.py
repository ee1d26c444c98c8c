import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from utils import checkpoint

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
    from utils.train_state import State

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


def test_a_sharded_array_has_the_fingerprint_of_the_whole():
    mesh = Mesh(np.array(jax.devices()), ("data",))
    spread = jax.device_put(jnp.arange(16.0), NamedSharding(mesh, P("data")))
    assert checkpoint.fingerprints([spread]) == checkpoint.fingerprints([jnp.arange(16.0)])
