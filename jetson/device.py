"""Which machine this is, and what it could do at best.

DEVICES: GB/s of memory, and TFLOP/s of dense float16 at the GPU's highest clock in that mode:
512 FLOP a clock for each tensor core of an Orin, and of Thor an eighth of the sparse FP4 that
NVIDIA states. They are what was printed of a device, not what was measured on one.
"""

import importlib.metadata
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np

DEVICES = {  # name: (GB/s, TFLOP/s, pattern of /proc/device-tree/model, of the power mode)
    "Orin Nano 8GB, 15 W": (68.0, 10.2, r"Orin Nano", r"^(15W|7W)$"),
    "Orin Nano 8GB, Super": (102.0, 16.7, r"Orin Nano", r""),
    "Orin NX 16GB": (102.4, 15.0, r"Orin NX", r""),
    "Orin NX 16GB, Super": (102.4, 19.2, r"Orin NX", r"SUPER|40W"),
    "AGX Orin 32GB": (204.8, 26.7, r"AGX Orin.*32", r""),
    "AGX Orin 64GB": (204.8, 42.6, r"AGX Orin", r""),
    "AGX Thor T5000": (273.0, 258.8, r"Thor", r""),
}
JETPACK = {
    "36.3": "6.0", "36.4.0": "6.1", "36.4.3": "6.2", "36.4": "6.2.1", "36.5": "6.2.2",
    "38.2": "7.0", "38.4": "7.1", "39.2": "7.2",
}  # fmt: skip
PACKAGES = ("numpy", "torch", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tokenizers")


def described(root=Path("/"), run=None):
    """What a reader of numbers wants to know: {"machine", "jetpack", "mode", "python", ...}."""
    model = text(root / "proc/device-tree/model").rstrip("\0")
    cpu = re.search(r"model name\s*: (.*)", text(root / "proc/cpuinfo"))
    facts = {"machine": model or (cpu[1] if cpu else platform.machine())}
    release = text(root / "etc/nv_tegra_release")
    if found := re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", release):
        l4t = f"{found[1]}.{found[2]}"
        facts["jetpack"] = f"{jetpack(l4t)} (L4T {l4t})"
    said = (run or output)("nvpmodel", "-q")
    if mode := re.search(r"Power Mode: *(\S+)", said):
        facts["mode"] = mode[1]
    return facts | {"python": platform.python_version()} | versions()


def jetpack(l4t):
    """The JetPack of a Jetson Linux release: of the longest beginning that is known."""
    known = [k for k in JETPACK if l4t == k or l4t.startswith(f"{k}.")]
    return JETPACK[max(known, key=len)] if known else "unknown"


def text(path):
    try:
        return path.read_text()
    except OSError:
        return ""


def output(*words):
    """What a command prints; "" where there is none."""
    if not shutil.which(words[0]):
        return ""
    return subprocess.run(words, capture_output=True, text=True, timeout=10).stdout


def versions():
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def limits(facts, named=None):
    """(GB/s, TFLOP/s, what they are of) of a machine as `described` has it, or of a key of DEVICES;
    None where nothing is known of it.

    Raises:
        ValueError: no such key.
    """
    if named is not None and named not in DEVICES:
        raise ValueError(f"no device {named!r}; there are {'; '.join(DEVICES)}")
    name = named or recognised(facts)
    return None if name is None else (*DEVICES[name][:2], name)


def recognised(facts):
    """The key of DEVICES whose patterns fit, of several the one that asks for most."""
    fits = [
        (len(model) + len(mode), name)
        for name, (_, _, model, mode) in DEVICES.items()
        if re.search(model, facts["machine"]) and re.search(mode, facts.get("mode", ""))
    ]
    return max(fits)[1] if fits else None


def measured(seconds=0.5):
    """(GB/s, GFLOP/s of float32) of this processor through NumPy: a copy that no cache holds, and
    a product of matrices."""
    a = np.ones(2**25, np.float32)  # 128 MiB
    b = np.empty_like(a)
    copy = best(lambda: np.copyto(b, a), seconds)
    m = np.ones((1024, 1024), np.float32)
    product = best(lambda: m @ m, seconds)
    return 2 * a.nbytes / copy / 1e9, 2 * 1024**3 / product / 1e9


def best(run, seconds):
    """Seconds of the fastest of the runs that fit."""
    run()
    found, end = [], time.perf_counter() + seconds
    while not found or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)
