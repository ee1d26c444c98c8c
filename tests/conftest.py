"""Tests run on the CPU, compile fast rather than well, and share one compile cache."""

import os
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 " + os.environ.get("XLA_FLAGS", "")
shared = os.path.join(tempfile.gettempdir(), f"tandem-test-cache-{os.getuid()}")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", shared)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the real Hub; tests/hub.py stands for it

import runpy  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from bench import peers  # noqa: E402
from tests.hub import hub  # noqa: E402, F401

ROOT = Path(__file__).resolve().parent.parent
peers.importable()


@pytest.fixture
def script(monkeypatch, capfd):
    """Runs a top-level script in this process: script("train_flow.py", "--lr", "1") -> (refusal, out).

    `refusal` is "" on success, else the one line that a user sees.
    """

    def run(name, *words):
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        refusal = ""
        try:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        except SystemExit as end:
            refusal = "" if end.code in (0, None) else str(end.code)
        out, err = capfd.readouterr()
        return (
            err.strip().splitlines()[-1] if refusal == "2" else refusal
        ), out + err  # 2: argparse

    return run


@pytest.fixture
def process():
    """Runs a script in a process of its own, with as many simulated devices as asked."""

    def start(*words, devices=1, **kwargs):
        env = dict(os.environ, XLA_FLAGS=os.environ["XLA_FLAGS"])
        env["XLA_FLAGS"] += f" --xla_force_host_platform_device_count={devices}"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(
            [sys.executable, *map(str, words)], cwd=ROOT, env=env, **pipes, **kwargs
        )

    return start


@pytest.fixture(autouse=True)
def _own_caches(monkeypatch, tmp_path_factory):
    """No test reads or writes the user's caches of datasets."""
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path_factory.getbasetemp() / "datasets"))


@pytest.fixture(scope="module", autouse=True)
def _compiled_programs_are_dropped():
    """Each keeps memory maps, of which a process may have 65,530; past that XLA dies in C++."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """An npz of 64 images 8x8 in two classes, dark and bright: "npz:PATH"."""
    rng = np.random.default_rng(0)
    label = np.arange(64) % 2
    x = np.where(label[:, None, None, None] == 1, 200, 40) + rng.integers(-30, 30, (64, 8, 8, 1))
    path = tmp_path_factory.mktemp("toy") / "toy.npz"
    np.savez(path, x=x.astype(np.uint8), label=label.astype(np.int32))
    return f"npz:{path}"
