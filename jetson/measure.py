"""How fast one backend of an export is, in one precision: times, calls, memory, watts.

A backend that draws step by step is timed at each call of the network. One that draws whole
generations (captured.py) is one call, of which no part can be timed apart.
"""

import time
from pathlib import Path

import numpy as np

from data.tokenizer import BOS
from jetson import device, draw, prompts
from jetson.opening import opened, started
from jetson.power import Meter

LEAST = 5  # generations that are timed, for each number of steps
GPUS = {"CUDAExecutionProvider", "TensorrtExecutionProvider"}  # of onnxruntime


def measure(folder, backend, precision, counts, n, seconds, knobs):
    """[row] for each number of steps, see report.COLUMNS; times in ms, of n samples at once.

    knobs: of the generation, in place of the config's: draw.tokens' or draw.images'.
    """
    package = opened(folder)
    network = started(package, backend, precision)
    whole = hasattr(network, "recordings")
    watch = network if whole else Watch(network)
    text = package.config["kind"] == "text"
    generate = text_generation if text else image_generation
    rows = []
    for count in counts:
        once = lambda seed, ask=knobs | {"steps": count}: generate(package, watch, n, seed, ask)
        once(0)  # what is prepared at the first call
        if not whole:
            watch.clear()
        taken = []
        with Meter() as meter:
            while len(taken) < LEAST or sum(taken) < seconds:
                start = time.perf_counter()
                once(len(taken))
                taken.append(time.perf_counter() - start)
        of = recorded(network) if whole else watch.told(len(taken))
        units = n * (package.config["shape"][0] if text else 1)
        p50, p95 = np.percentile(taken, [50, 95])
        rows.append({
            "backend": backend, "precision": precision, "steps": count, "samples": n,
            "length": package.config["shape"][0] if text else None, "rate": units / p50,
            "ms_p50": 1e3 * p50, "ms_p95": 1e3 * p95, "ms_step": 1e3 * p50 / count,
            "ms_network": of["seconds"] and 1e3 * of["seconds"] / count,
            "generations": len(taken), "calls": of["calls"], "batch": of["batch"],
            "why": of["why"], "watts": meter.watts,
            "joules": meter.watts and meter.watts * np.mean(taken) / units,
            "gpu": on_gpu(backend), "mib": peak(), "gpu_mib": gpu_peak(),
        })  # fmt: skip
    return rows


class Watch:
    """A denoiser whose calls are timed."""

    def __init__(self, network):
        self.network = network
        self.clear()

    def clear(self):
        self.spent, self.rows = [], []

    def __call__(self, *inputs):
        start = time.perf_counter()
        out = self.network(*inputs)
        self.spent.append(time.perf_counter() - start)
        self.rows.append(len(inputs[0]))
        return out

    def told(self, generations):
        """Of one generation: calls, rows of each, seconds in them."""
        return {
            "calls": len(self.rows) / generations, "batch": int(np.mean(self.rows)),
            "seconds": sum(self.spent) / generations, "why": "",
        }  # fmt: skip


def recorded(network):
    """The same of the newest generation of a captured.Backend."""
    last, why = network.last, [network.why, network.last.why]
    return {
        "calls": last.calls, "batch": last.rows, "seconds": None,
        "why": "; ".join(filter(None, why)),
    }  # fmt: skip


def text_generation(package, denoise, n, seed, knobs):
    known = np.full((n, *package.config["shape"]), -1)
    if package.config["rows"]["begin"]:
        known[:, 0] = BOS
    return draw.tokens(package, denoise, np.arange(n), known, seed=seed, **knobs)


def image_generation(package, denoise, n, seed, knobs):
    return prompts.pictures(package, denoise, None, n, seed=seed, **knobs)


def on_gpu(backend):
    """Whether a backend of this process computes on a GPU."""
    if backend == "trt":
        return True
    if backend == "onnxruntime":
        import onnxruntime

        return bool(GPUS & set(onnxruntime.get_available_providers()))
    import torch

    return torch.cuda.is_available()


def peak():
    """MiB that this process had at most; None where there is no /proc."""
    found = [
        line for line in device.text(Path("/proc/self/status")).splitlines() if "VmHWM" in line
    ]
    return int(found[0].split()[1]) / 1024 if found else None


def gpu_peak():
    """MiB that torch held on the GPU at most; on a Jetson they are part of the one memory."""
    import sys

    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return torch.cuda.max_memory_reserved() / 2**20
