import json

import pytest
from ml_collections import ConfigDict

from utils import hosts

POOLS = {"workerpool0": ["a:2222"], "workerpool1": ["b:2222", "c:2222"]}


def flags(coordinator="", num_processes=None, process_id=None):
    return ConfigDict(
        {"coordinator": coordinator, "num_processes": num_processes, "process_id": process_id}
    )


def spec(pool, index, cluster=POOLS):
    return json.dumps({"cluster": cluster, "task": {"type": pool, "index": index, "trial": "1"}})


@pytest.mark.parametrize(
    "pool, index, number", [("workerpool0", 0, 0), ("workerpool1", 0, 1), ("workerpool1", 1, 2)]
)
def test_vertex_pools_stand_one_behind_the_other(pool, index, number):
    assert hosts.cluster_spec(spec(pool, index)) == ("a:2222", 3, number)


def test_one_machine_of_vertex_and_none_are_one_process():
    assert hosts.cluster_spec(spec("workerpool0", 0, {"workerpool0": ["a:2222"]})) is None
    assert hosts.cluster_spec(None) is hosts.cluster_spec("") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"cluster": {}}', spec("workerpool0", "x")])
def test_another_cluster_spec_is_refused(text):
    with pytest.raises(ValueError, match=r"CLUSTER_SPEC wants \{cluster: .* got '"):
        hosts.cluster_spec(text)


def test_flags_by_hand_go_together():
    assert hosts.by_hand(flags()) is None
    assert hosts.by_hand(flags("h:1234", 2, 1)) == ("h:1234", 2, 1)
    for wrong in (("h", 2, 1), ("h:1", 2), ("h:1", None, 0), ("", 2, 0), ("h:1", 2, 2)):
        with pytest.raises(ValueError, match="--coordinator HOST:PORT --num_processes N"):
            hosts.by_hand(flags(*wrong))


@pytest.mark.parametrize(
    "environ, wanted",
    [
        ({}, None),
        ({"SLURM_STEP_NODELIST": "n1", "SLURM_NTASKS": "1"}, None),
        ({"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_NTASKS": "2"}, ()),
        ({"JOB_COMPLETION_INDEX": "0"}, ()),
        ({"CLUSTER_SPEC": spec("workerpool1", 1)}, ("a:2222", 3, 2)),
    ],
)
def test_jax_is_asked_only_where_there_may_be_others(monkeypatch, environ, wanted):
    asked = []
    monkeypatch.setattr(hosts.jax.distributed, "initialize", lambda *a, **k: asked.append(a))
    monkeypatch.setattr(hosts, "find_spec", lambda name: None)
    hosts.connect(flags(), environ)
    assert asked == ([] if wanted is None else [wanted])
