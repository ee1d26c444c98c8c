"""What XLA makes of the training step on four devices: what is sent when, and what is held twice."""

import json
import os
import re

import pytest

SENT = r"(all-reduce|reduce-scatter|all-gather|all-to-all|collective-permute)(?:-start)?\("
PARAMETERS = 4 * 2 * 4 * 256  # bytes of trainer.py's two matrices


@pytest.fixture(scope="module")
def programs(request, tmp_path_factory):
    """{(mode, accumulate): (program, {"state", "again", "more"} in bytes)}"""
    import subprocess
    import sys

    folder, root = tmp_path_factory.mktemp("programs"), request.config.rootpath
    names = ("pmap:1", "pmap:4", "fsdp:1", "fsdp:4", "unguided:4")
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=4"
    env = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(root)}
    command = [sys.executable, "tests/utils/compiled.py", str(folder), *names]
    done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    read = lambda name: (folder / name).read_text()
    found = {}
    for name in names:
        mode, accumulate = name.split(":")
        found[mode, int(accumulate)] = read(f"{name}.txt"), json.loads(read(f"{name}.json"))
    return found


def sent(program):
    """(what is sent once a step, what is sent as often as a loop turns), as lists of kinds."""
    blocks = re.split(r"\n(?=\S)", program)
    named = {m[1]: block for block in blocks if (m := re.match(r"(?:ENTRY )?%([\w.-]+) ", block))}
    called = lambda block, how: re.findall(rf"\b(?:{how})=%([\w.-]+)", block)
    inside, waiting = set(), [name for b in named.values() for name in called(b, "body|condition")]
    while waiting:
        if (name := waiting.pop()) not in inside:
            inside.add(name)
            waiting += called(named[name], "body|condition|calls|to_apply")
    kinds = lambda names: [kind for name in names for kind in re.findall(SENT, named[name])]
    return kinds(named.keys() - inside), kinds(inside)


def test_gradients_are_shared_once_whatever_the_number_of_micro_batches(programs):
    for accumulate in (1, 4):
        once, again = sent(programs["pmap", accumulate][0])
        assert (once, again) == (["all-reduce"], [])
    once, again = sent(programs["fsdp", 4][0])
    assert once.count("reduce-scatter") == once.count("all-gather") == 2, "one of each matrix"
    assert again == []


def test_xla_by_itself_would_share_them_with_every_micro_batch(programs):
    assert {"all-reduce", "reduce-scatter"} & set(sent(programs["unguided", 4][0])[1])


def test_the_new_state_is_written_into_the_old_and_parameters_are_not_held_twice(programs):
    for (mode, _), (_, size) in programs.items():
        assert size["state"] - size["again"] < 256, "but for the key and the batch"
        if mode == "pmap":  # which needs the gradients, before and behind the devices' mean
            assert size["more"] < 2.2 * PARAMETERS
    whole, cut = (programs[mode, 1][1]["state"] for mode in ("pmap", "fsdp"))
    assert cut < 0.3 * whole
