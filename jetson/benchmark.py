"""How fast an export is here: over backends, precisions and numbers of steps.

    python jetson/inference.py --benchmark --load_dir runs/stories/jetson --num_steps 10,25

Each backend and precision has a process of its own, so that its memory is its own. A generation is
all of its steps, the drawing of tokens or noise included. LOAD_DIR/benchmark has benchmark.json,
.txt and .png; the text is also the last on the screen, a block to be pasted somewhere.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from jetson import device, draw, prompts, report, roofline
from jetson.measure import measure
from jetson.package import BACKENDS, PRECISIONS

KNOBS = {"text": tuple(draw.KNOBS), "images": ("solver",)}  # of a generation; None: the config's
USUAL = (10, 25)  # steps, besides all that were exported


def run(package, args):
    """All of it. args: inference.py's own.

    Raises:
        ValueError: steps or tokens that this export does not have, no such device, or nothing that
            could be measured.
    """
    facts = device.described()
    limits = device.limits(facts, args.device)
    counts, n = steps(package, args.num_steps), args.num_samples or 1
    knobs = {name: getattr(args, name) for name in KNOBS[package.config["kind"]]}
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
            asked = (package.folder, backend, precision, counts, n, args.seconds, knobs)
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
