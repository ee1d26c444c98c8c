"""Several processes that do the work of one, on this machine, over its loopback."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(processes, devices, *words, last=None):
    """Starts `python WORDS` as often, each with so many simulated devices, told of each other.

    last: variables of the last one's environment.
    """
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    env["XLA_FLAGS"] = f"{env['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    where = f"127.0.0.1:{free_port()}"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = []
    for i in range(processes):
        peers = ["--coordinator", where, "--num_processes", processes, "--process_id", i]
        command = [sys.executable, *words, *(peers if processes > 1 else [])]
        own = env | (last or {}) if i == processes - 1 else env
        started.append(subprocess.Popen(list(map(str, command)), env=own, cwd=ROOT, **pipes))
    return started


def finished(runs) -> list[str]:
    """What each said, once all have ended well."""
    said = []
    for run in runs:
        said.append(run.communicate(timeout=300)[0])
        assert run.returncode == 0, said[-1]
    return said
