"""How the time of generating text grows with steps, length and batch.

    python -m bench.scaling_samples             about three minutes on one core
    python -m bench.scaling_samples --tiny      seconds; --threads 2, --rounds 3, --out FOLDER

The network and the call are those of bench.sample_text, at 64 tokens; one of the three grows while
the others stay at 32 steps, 128 places, a batch of 1. For each there is a power law, fitted by
least squares to the logarithms, and the roof: the seconds that the arithmetic alone would take at
the rate of a large matrix product, measured in the same process. A step that reveals nothing does
not call the network, so beyond as many steps as places more of them cost next to nothing.
"""

import argparse
import datetime
import functools
import importlib.util
import json
import os
import statistics
import time
from pathlib import Path

from bench import child, machine, report
from bench.sample_text import Size, ours

BASE = Size(64, 1)
GROWTH = {
    "steps": (8, 16, 32, 64, 128, 256, 512, 1024),
    "length": (32, 64, 128, 256, 512),
    "batch": (1, 2, 4, 8, 16),
}


def sizes(tiny: bool) -> dict[str, list[Size]]:
    """What is timed, by what grows."""
    base = Size(64, 1, 8, 4, 32, 2) if tiny else BASE
    return {
        name: [base._replace(**{name: value}) for value in (values[:2] if tiny else values)]
        for name, values in GROWTH.items()
    }


def timed(run, rounds: int) -> dict[str, list[float]]:
    """Seconds by the wall clock and of the processor; the first run, which compiles, is not in."""
    run()
    wall, cpu = [], []
    for _ in range(rounds):
        began, spent = time.perf_counter(), machine.processor()
        run()
        wall.append(time.perf_counter() - began)
        cpu.append(machine.processor() - spent)
    return {"wall": wall, "cpu": cpu}


def work(size: Size) -> float:
    """Operations of a generation's matrix products, on average.

    A place is revealed in each step alike, so a step calls the network with probability
    1 - (1 - 1 / steps)^(B L), for all places; the last block's second half and the product with
    the vocabulary are only due once for each place.
    """
    d, length = size.width, size.length
    places = size.batch * length
    calls = size.steps * (1.0 - (1.0 - 1.0 / size.steps) ** places)
    first, rest = 6 * d * d, 4 * length * d + 2 * d * d + 16 * d * d
    every = (size.depth - 1) * (first + rest) + first
    return calls * places * every + places * (rest + 2 * d * size.vocabulary)


def peak(side: int) -> float:
    """Operations a second of a product of two square matrices, the best of five."""
    import jax
    import jax.numpy as jnp

    a, times = jnp.ones((side, side)), []
    product = jax.jit(jnp.matmul)
    for _ in range(6):
        began = time.perf_counter()
        jax.block_until_ready(product(a, a))
        times.append(time.perf_counter() - began)
    return 2 * side**3 / min(times[1:])


def exponent(x, seconds) -> float:
    """p of seconds ~ x^p."""
    import numpy as np

    return float(np.polyfit(np.log(x), np.log(seconds), 1)[0])


def measured(tiny: bool, rounds: int) -> list[dict]:
    """{"grows", "values", "wall", "cpu" (medians), "roof", "exponent"} for each that grows."""
    rate = functools.cache(peak)(256 if tiny else 2048)
    runs = functools.cache(lambda size: timed(ours(size, "ancestral"), rounds))
    curves = []
    for name, some in sizes(tiny).items():
        median = lambda which, some=some: [statistics.median(runs(s)[which]) for s in some]
        curve = {"grows": name, "values": [getattr(s, name) for s in some]}
        curve |= {"wall": median("wall"), "cpu": median("cpu")}
        curve |= {"roof": [work(s) / rate for s in some]}
        curve["exponent"] = exponent(curve["values"], curve["wall"])
        curves.append(curve)
        print(told(curve), flush=True)
    return curves


def told(curve: dict) -> str:
    points = (
        f"{value}: {report.short(wall)} s ({roof / wall:.0%} of the roof)"
        for value, wall, roof in zip(curve["values"], curve["wall"], curve["roof"], strict=True)
    )
    return f"{curve['grows']} to the power {curve['exponent']:.2f}: {', '.join(points)}"


def figure(curves: list[dict]):
    """A panel for each: seconds, the fit and the roof."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, curve in zip(fig.subplots(1, len(curves), sharey=True), curves, strict=True):
        axes.plot(curve["values"], curve["wall"], "o-", color="#0072B2", label="wall clock")
        axes.plot(curve["values"], curve["cpu"], "o", color="#0072B2", fillstyle="none",
                  label="processor")  # fmt: skip
        axes.plot(curve["values"], curve["roof"], "--", color="0.35", label="arithmetic alone")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(curve["values"], curve["values"])
        axes.set_title(f"{curve['grows']}, power {curve['exponent']:.2f}", fontsize=10)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    fig.axes[0].set_ylabel("seconds a generation")
    fig.axes[0].legend(frameon=False, fontsize=8)
    return fig


def main(words=None) -> list[dict]:
    parser = argparse.ArgumentParser(
        prog="bench.scaling_samples", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--threads", type=int, default=1, help="cores and threads (%(default)s)")
    add("--rounds", type=int, default=3, help="runs of each size (%(default)s)")
    add("--tiny", action="store_true", help="small sizes, to see in seconds that all of it runs")
    add("--out", type=Path, default=Path("runs/bench"), help="a folder (%(default)s)")
    args = parser.parse_args(words)
    facts = child.hardware() | {"threads": args.threads, "rounds": args.rounds, "tiny": args.tiny}
    facts |= {"date": datetime.date.today().isoformat(), "commit": child.commit()}
    machine.confine(args.threads)
    facts |= {"versions": machine.versions(), "load_before": os.getloadavg()[0]}
    curves = measured(args.tiny, args.rounds)
    facts["load_after"] = os.getloadavg()[0]
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "scaling_samples.json"
    path.write_text(json.dumps({"facts": facts, "curves": curves}, indent=1))
    if importlib.util.find_spec("matplotlib"):
        figure(curves).savefig(path.with_suffix(".png"), dpi=150)
    print(f"in {path}")
    return curves


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        raise SystemExit(f"bench.scaling_samples: {error}") from None
