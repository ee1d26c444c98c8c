"""A score as people read it: lines that say all that it depends on, and a table of many."""

import itertools
import re

from utils import fid

FULL = 50_000  # images that published numbers are of
SWEPT = {"cfg_scale": float, "steps": int, "solver": str, "seed": int}


def lines(r: dict) -> str:
    """A few lines of a score that eval_fid.py made."""
    number = lambda name, form=".3f": format(r[name], form)
    floor = "floor unknown"
    if r["floor"] is not None:
        floor = f"floor={number('floor')} (held-out, n={r['floor_n']})"
    first = f"{r['score']} n={r['n']}  {fid.shown(r['value']):.3f}  {floor}"
    if r.get("class_accuracy") is not None:
        real = r["classifier_accuracy"]
        real = "unknown" if real is None else f"{real:.1%}"
        first += f"  class accuracy {r['class_accuracy']:.1%} (of real held-out images {real})"
    beside = [f"standard error {number('standard_error', '.2g')}"]
    beside += [f"FID_inf {number('limit')}"] if "limit" in r else []
    beside += [f"sFID {number('sfid')}"] if "sfid" in r else []
    if "kid" in r:
        beside.append(f"KID {r['kid']:.3g} +- {r['kid_std']:.2g} (subsets of {r['kid_subset']})")
    if "precision" in r:
        beside.append(f"precision {r['precision']:.3f}, recall {r['recall']:.3f}")
    if "inception_score" in r:
        own = "" if "inception@" in r["score"] else " by its own classes"
        beside.append(f"Inception Score{own} {number('inception_score')}")
    if "class_counts" in r:
        beside.append(classes(r))
    if "copies_ratio" in r:
        beside.append(copies(r))
    notes = [] if r["score"].startswith("FID") else ["not an FID"]
    notes += [f"n below {FULL:,d}: not comparable to published numbers"] if r["n"] < FULL else []
    made = [r["run"]]
    if "weights" in r:
        made = [f"{r['run']}, {r['weights']} weights, {r['solver']} {r['steps']} steps, "]
        made[0] += f"cfg_scale {r['cfg_scale']}, seed {r['seed']}"
    last = "; ".join([*notes, f"against {r['reference']}", f"resize {r['resize']}", *made])
    warned = [f"warning: {w}" for w in r["warnings"]]
    return "\n".join([first, "; ".join(beside), last, *warned])


def classes(r: dict) -> str:
    """How often each class comes, and how far that is from the reference's shares."""
    beside = ""
    if "held_out_class_chi2" in r:
        beside = f", held-out {r['held_out_class_chi2']:.1f}"
    counts = r["class_counts"]
    return f"classes {min(counts)} to {max(counts)} times (chi2 {r['class_chi2']:.1f}{beside})"


def copies(r: dict) -> str:
    """How near training images are, and in which class nearest."""
    known = {k: v for k, v in enumerate(r.get("copies_ratio_by_class", ())) if v is not None}
    nearest = min(known, key=known.get, default=None)
    which = "" if nearest is None else f" (class {nearest}: {known[nearest]:.2f})"
    return (
        f"nearest training image at {r['copies_ratio']:.2f} of a held-out image's distance{which}, "
        f"{r['copies_near']:.1%} as near as hardly any of those"
    )


def sweep(text: str) -> list[dict]:
    """All combinations of "cfg_scale=1,1.5 steps=10,25".

    Raises:
        ValueError: not such a text, or something that cannot be swept.
    """
    axes = {}
    for part in text.split():
        found = re.fullmatch(r"(\w+)=(\S+)", part)
        name = found and found[1].replace("denoise_timesteps", "steps")
        if name not in SWEPT:
            raise ValueError(f"--sweep wants NAME=VALUE,VALUE of {', '.join(SWEPT)}; got {part!r}")
        try:
            axes[name] = [SWEPT[name](value) for value in found[2].split(",")]
        except ValueError:
            raise ValueError(f"--sweep: {part!r} is no list of numbers") from None
    if not axes:
        raise ValueError("--sweep wants NAME=VALUE,VALUE; got nothing")
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def table(results: list[dict]) -> str:
    """Rows in markdown, the best distance in bold."""
    columns = ["cfg_scale", "solver", "steps", "seed", "value", "standard_error", "kid"]
    more = ("precision", "recall", "class_accuracy")
    columns += [c for c in more if results[0].get(c) is not None]
    best = min(r["value"] for r in results)

    def cell(r, c):
        text = format(r[c], ".4g") if isinstance(r[c], float) else str(r[c])
        return f"**{text}**" if c == "value" and r[c] == best else text

    head = [results[0]["score"] if c == "value" else c.replace("_", " ") for c in columns]
    rows = [head, ["---"] * len(columns)] + [[cell(r, c) for c in columns] for r in results]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def plot(path, results: list[dict]):
    """Distance against steps, a line each cfg_scale and solver, and the floor."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    groups = {}
    for r in results:
        groups.setdefault((r["cfg_scale"], r["solver"], r["seed"]), []).append(r)
    for (scale, solver, seed), rows in groups.items():
        rows.sort(key=lambda r: r["steps"])
        axes.errorbar(
            [r["steps"] for r in rows], [r["value"] for r in rows],
            [r["standard_error"] for r in rows],
            marker="o", capsize=2, label=f"cfg {scale:g}, {solver}, seed {seed}",
        )  # fmt: skip
    if results[0]["floor"] is not None:
        axes.axhline(results[0]["floor"], color="0.5", linestyle=":", label="held-out images")
    axes.set(
        xlabel="steps", ylabel=f"{results[0]['score']}, n = {results[0]['n']:,d}", yscale="log"
    )
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)
