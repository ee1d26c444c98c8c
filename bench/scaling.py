"""How the time of a training step grows with what is asked of it.

    python -m bench.scaling            about five minutes on one core
    python -m bench.scaling --tiny     seconds; --threads 2, --rounds 3, --out FOLDER

Masked text diffusion, one thing changed at a time. Each line of OUT/scaling.png is fitted by a
power law over all its points; below it is the roof, the step's matrix products at the speed of one
large product measured in the same run. A vocabulary costs little until it outweighs the layers.
"""

from functools import partial

import numpy as np

from bench import harness, own_step, report
from bench.harness import Contest, Contestant

BASE = dict(depth=4, width=256, length=128, batch=8, vocabulary=512)
AXES = {
    "depth": (2, 4, 8),
    "width": (128, 256, 512),
    "length": (64, 128, 256, 512),
    "batch": (4, 8, 16, 32),
    "vocabulary": (512, 2048, 8192, 32768),
}
TINY = dict(depth=1, width=16, length=16, batch=2, vocabulary=32)
PRODUCT = "matrix product"  # title of the contest that is the roof


def contests(tiny: bool) -> list[Contest]:
    base, axes = (TINY, {"batch": (2, 8)}) if tiny else (BASE, AXES)
    side = 128 if tiny else 2048
    roof = Contest(PRODUCT, [Contestant(str(side), partial(product, side), own_step.ENV)], "run")
    return [roof, *(axis(base, name, values) for name, values in axes.items())]


def axis(base: dict, name: str, values) -> Contest:
    rows = []
    for value in values:
        size = base | {name: value}
        rows.append(Contestant(f"{name} {value}", partial(step, size), own_step.ENV))
    return Contest(name, rows, "step")


def step(size: dict):
    """run() of a training step; it finds its floating-point operations."""
    width = size["width"]
    run = own_step.text(
        size["vocabulary"], size["batch"], size["length"], model__preset=None,
        model__hidden_size=width, model__depth=size["depth"], model__num_heads=max(width // 64, 1),
        model__d_ff=4 * width,
    )  # fmt: skip
    return lambda: run() and float(operations(**size))


def operations(depth, width, length, batch, vocabulary) -> int:
    """Of a step's matrix products: a multiplication and an addition for each weight and token
    forward, and twice that backward; attention; the vocabulary for the half that is hidden."""
    a_token = depth * (12 * width**2 + 2 * length * width) + width * vocabulary // 2
    return 6 * a_token * batch * length


def product(side: int):
    """run() of a product of two square matrices in float32; it finds its operations."""
    import jax

    keys = jax.random.split(jax.random.key(0))
    a, b = (jax.random.normal(key, (side, side)) for key in keys)
    multiply = jax.jit(lambda a, b: a @ b)
    return lambda: jax.block_until_ready(multiply(a, b)) is None or 2.0 * side**3


def laws(results: dict) -> list[dict]:
    """{"axis", "sizes", "seconds", "roof": seconds, "exponent"} of each axis; a size's roof is its
    operations by those a second of the product."""
    roof, *axes = results["contests"]
    peak = roof["rows"][0]["value"] / roof["rows"][0]["seconds"]["median"]
    found = []
    for contest in axes:
        sizes = [int(row["name"].split()[-1]) for row in contest["rows"]]
        seconds = [row["seconds"]["median"] for row in contest["rows"]]
        least = [row["value"] / peak for row in contest["rows"]]
        slope = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
        found.append(
            {"axis": contest["title"], "sizes": sizes, "seconds": seconds, "roof": least}
            | {"exponent": slope}
        )
    return found


def save(path, results: dict):
    """As report.save, with the laws in JSON, in words and as the picture."""
    import importlib.util

    results["laws"] = laws(results)
    report.save(path, results)
    for law in results["laws"]:
        share = [f"{r / s:.0%}" for r, s in zip(law["roof"], law["seconds"], strict=True)]
        print(
            f"time ~ {law['axis']}^{law['exponent']:.2f} at {law['sizes']}; "
            f"of the roof {', '.join(share)}"
        )
    if importlib.util.find_spec("matplotlib"):
        figure(results).savefig(path.with_suffix(".png"), dpi=150)


def figure(results: dict):
    """A panel for each axis, both scales logarithmic."""
    from matplotlib.figure import Figure

    found = results["laws"]
    fig = Figure(figsize=(2.6 * len(found) + 0.6, 3.2), layout="constrained")
    panels = fig.subplots(1, len(found), squeeze=False, sharey=True)[0]
    for axes, law in zip(panels, found, strict=True):
        axes.loglog(law["sizes"], law["seconds"], "o-", color="#0072B2", label="step")
        axes.loglog(law["sizes"], law["roof"], "--", color="0.35", label="roof")
        axes.set_title(f"{law['axis']}: exponent {law['exponent']:.2f}", fontsize=9, loc="left")
        axes.set_xticks(law["sizes"], [f"{n:,}" for n in law["sizes"]], fontsize=7)
        axes.minorticks_off()
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("seconds a step")
    panels[0].legend(fontsize=8, frameon=False)
    fig.suptitle(report.headline(results), fontsize=5, color="0.35")
    return fig


if __name__ == "__main__":
    harness.command("scaling", __doc__, contests, save=save)
