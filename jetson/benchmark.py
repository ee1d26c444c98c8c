"""How fast an export is here: over backends, precisions and numbers of steps.

    python jetson/inference.py --benchmark --load_dir runs/stories/jetson --num_steps 10,25

Each backend and precision has a process of its own, so that its memory is its own. A generation is
all of its steps, the drawing of tokens or noise included. LOAD_DIR/benchmark has benchmark.json,
.txt and .png; the text is also the last on the screen, a block to be pasted somewhere.
"""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from data.tokenizer import BOS
from jetson import device, draw, prompts, report, roofline
from jetson.opening import opened, started
from jetson.package import BACKENDS, PRECISIONS
from jetson.power import Meter

LEAST = 5  # generations that are timed, for each number of steps
USUAL = (10, 25)  # steps, besides all that were exported
GPUS = {"CUDAExecutionProvider", "TensorrtExecutionProvider"}  # of onnxruntime


def run(package, args):
    """All of it. args: inference.py's own.

    Raises:
        ValueError: steps or tokens that this export does not have, no such device, or nothing that
            could be measured.
    """
    facts = device.described()
    limits = device.limits(facts, args.device)
    counts, n = steps(package, args.num_steps), args.num_samples or 1
    lengths(package, args.seq_length)
    gigabytes, gigaflops = device.measured(min(args.seconds, 0.5))
    facts |= {"cpu GB/s": gigabytes, "cpu GFLOP/s": gigaflops}
    if limits:
        facts["device"] = f"{limits[2]}: {limits[0]:g} GB/s, {limits[1]:g} TFLOP/s of float16"
    of = {False: (gigabytes, gigaflops / 1000), True: limits and limits[:2]}
    there = [p for p in PRECISIONS if p != "int8" or list(package.folder.glob("*int8*"))]
    rows, absent = [], {}
    for backend in [args.backend] if args.backend else BACKENDS:
        for precision in [args.precision] if args.precision else there:
            asked = (package.folder, backend, precision, counts, n, args.seconds)
            try:
                found = apart(measure, *asked)
            except RuntimeError as why:
                absent[f"{backend} {precision}"] = str(why)
                print(f"{backend} {precision}: {why}", flush=True)
                continue
            for row in found:
                row["share"] = share(package, row, of[row["gpu"]])
                done = f"{row['steps']} steps, {row['rate']:.4g}/s"
                print(f"{backend} {precision}: {done}", flush=True)
            rows += found
    if not rows:
        raise ValueError("nothing could be measured, see above")
    report.save(package, {"facts": facts, "rows": rows, "absent": absent})


def steps(package, asked):
    """Numbers of steps [int] of "10,25"; None: USUAL and all that were exported.

    Raises:
        ValueError: more than were exported.
    """
    most = len(package.schedule["times"]) - 1
    counts = prompts.numbers("--num_steps", asked) if asked else [*USUAL, most]
    counts = counts if asked else [count for count in counts if count <= most]
    for count in counts:
        draw.counted(package, count)
    return sorted(set(counts))


def lengths(package, asked):
    """Tells which lengths asked for are those of another export.

    Raises:
        ValueError: none is this one's.
    """
    own = package.config["shape"][0]
    if package.config["kind"] != "text" or not asked:
        return
    others = [i for i in prompts.numbers("--seq_length", asked) if i != own]
    said = f"--seq_length {others}: the rows of an export have one length, here {own} tokens"
    if f"{own}" not in asked.split(","):
        raise ValueError(f"{said}; another is max_seq_len of a training")
    if others:
        print(said)


def apart(work, *args):
    """work(*args) in a process of its own.

    Raises:
        RuntimeError: any error there, in a line.
    """
    context = multiprocessing.get_context("spawn")  # a fork would take this one's memory along
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(work, *args).result()
        except BrokenProcessPool:
            raise RuntimeError("its process died; out of memory?") from None
        except Exception as error:
            line = str(error).strip().splitlines() or [type(error).__name__]
            raise RuntimeError(line[0]) from None


def measure(folder, backend, precision, counts, n, seconds):
    """[row] for each number of steps, see report.COLUMNS; times in ms, of n samples at once."""
    package = opened(folder)
    network = started(package, backend, precision)
    text, spent, calls = package.config["kind"] == "text", [], []

    def denoise(*inputs):
        start = time.perf_counter()
        out = network(*inputs)
        spent.append(time.perf_counter() - start)
        calls.append(len(inputs[0]))
        return out

    rows = []
    for count in counts:
        generate = text_generation if text else image_generation
        once = lambda seed, count=count, generate=generate: generate(
            package, denoise, n, count, seed
        )
        once(0)  # what is prepared at the first call
        spent.clear(), calls.clear()
        taken = []
        with Meter() as meter:
            while len(taken) < LEAST or sum(taken) < seconds:
                start = time.perf_counter()
                once(len(taken))
                taken.append(time.perf_counter() - start)
        units = n * (package.config["shape"][0] if text else 1)
        p50, p95 = np.percentile(taken, [50, 95])
        rows.append({
            "backend": backend, "precision": precision, "steps": count, "samples": n,
            "length": package.config["shape"][0] if text else None, "rate": units / p50,
            "ms_p50": 1e3 * p50, "ms_p95": 1e3 * p95, "ms_step": 1e3 * p50 / count,
            "ms_network": 1e3 * sum(spent) / len(taken) / count, "generations": len(taken),
            "calls": len(calls) / len(taken), "batch": int(np.mean(calls)), "watts": meter.watts,
            "joules": meter.watts and meter.watts * np.mean(taken) / units,
            "gpu": on_gpu(backend), "mib": peak(), "gpu_mib": gpu_peak(),
        })  # fmt: skip
    return rows


def text_generation(package, denoise, n, count, seed):
    known = np.full((n, *package.config["shape"]), -1)
    if package.config["rows"]["begin"]:
        known[:, 0] = BOS
    return draw.tokens(package, denoise, np.arange(n), known, seed=seed, steps=count)


def image_generation(package, denoise, n, count, seed):
    return prompts.pictures(package, denoise, None, n, seed=seed, steps=count)


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


def share(package, row, limits):
    """What part of a row's time the roofline explains, 1 at best; None where nothing is known.

    limits: (GB/s, TFLOP/s). A processor computes in float32 whatever the precision, so its limit
    is that of float32.
    """
    precision = row["precision"] if row["gpu"] else "fp32"
    if limits is None or (work := roofline.work(package, precision)) is None:
        return None
    least = row["calls"] * work.seconds(*limits, batch=row["batch"])
    return 1e3 * least / row["ms_p50"]
