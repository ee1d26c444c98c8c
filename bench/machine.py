"""What a process spends, what it is kept to, and what it is made of."""

import importlib.metadata
import os
import platform
import re
from pathlib import Path

from bench import child

POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PACKAGES = ("jax", "jaxlib", "flax", "numpy", "scipy", "torch", "pytorch-fid", "diffusers")
PACKAGES += ("datasets", "tokenizers", "pyarrow")
PACKAGES += ("transformers", "denoising-diffusion-pytorch", "timm")


def processor() -> float:
    """Processor seconds of this process and of those that it waited for."""
    import resource

    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def peak() -> float | None:
    """MiB that this process, or the largest of those it waited for, had at most."""
    import resource

    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # elsewhere ru_maxrss has other units
        return None
    own = int(re.search(r"VmHWM:\s*(\d+) kB", status)[1])  # ru_maxrss has the parent's in it
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def confine(threads: int):
    """Keeps this process, and what it starts, to so many cores and threads.

    Raises:
        ValueError: there are not so many.
    """
    cores = child.cores()
    if not 1 <= threads <= len(cores):
        raise ValueError(f"--threads wants 1 to {len(cores)}, as many as cores; got {threads}")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores[:threads])
    os.environ.update(dict.fromkeys(POOLS, str(threads)))


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
