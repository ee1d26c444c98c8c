"""What a bench found: medians and ratios, as a table, as JSON and as a picture."""

import importlib.util
import json
import statistics
import textwrap
from pathlib import Path

TICK = 1e-6  # seconds


def judged(contest: dict) -> dict:
    """A contest with the numbers that its table has, on top of the turns.

    Each row gains "seconds" and "cpu_seconds" (of a run), "ratio" and "cpu_ratio" (its time by that
    of the first row, in the same round), all as `spread`; "rate", units a second; "difference", of
    its value from the first row's, relative; and where the contest tells its operations, "flops" a
    second and "mfu", the share of the peak.
    """
    rows = contest["rows"]
    for row in rows:
        ours = rows[0]
        row["seconds"], row["cpu_seconds"] = spread(row["wall"]), spread(row["cpu"])
        row["ratio"] = spread(quotients(row["wall"], ours["wall"]))
        row["cpu_ratio"] = spread(quotients(row["cpu"], ours["cpu"]))
        row["rate"] = contest["amount"] / row["seconds"]["median"]
        row["difference"] = None
        if row["value"] is not None and ours["value"]:
            row["difference"] = abs(row["value"] / ours["value"] - 1.0)
        if contest["operations"]:
            row["flops"] = contest["operations"] / row["seconds"]["median"]
            row["mfu"] = row["flops"] / contest["peak"] if contest["peak"] else None
    if contest.get("at_most"):
        contest["held"] = all(row["ratio"]["median"] <= contest["at_most"] for row in rows)
    return contest


def quotients(theirs: list[float], ours: list[float]) -> list[float]:
    """Of seconds, round by round; nothing takes less than a tick of the clock."""
    return [x / max(y, TICK) for x, y in zip(theirs, ours, strict=True)]


def spread(values: list[float]) -> dict[str, float]:
    """The median, and quartiles as "low" and "high"."""
    if len(values) == 1:
        return dict.fromkeys(("low", "median", "high"), values[0])
    quartiles = statistics.quantiles(values, n=4, method="inclusive")
    return dict(zip(("low", "median", "high"), quartiles, strict=True))


def short(number: float) -> str:
    """Three digits, and no exponent where a person reads a time or a ratio."""
    return f"{number:,.0f}" if number >= 999.5 else f"{number:#.3g}".rstrip(".")


def with_quartiles(s: dict) -> str:
    return f"{short(s['median'])} [{short(s['low'])}, {short(s['high'])}]"


def markdown(results: dict) -> str:
    """A line of facts, then a table for each contest."""
    parts = [headline(results)]
    for contest in results["contests"]:
        units = f"{contest['unit']}s/s"
        head = ["", "seconds", "CPU s", "times the first", "by CPU", units, "MiB", "difference"]
        counted = contest["operations"] > 0
        head += ["TFLOP/s", "MFU"] if counted else []
        table = [head, ["---"] * len(head)]
        for row in contest["rows"]:
            cells = [row["name"], with_quartiles(row["seconds"])]
            cells += [short(row["cpu_seconds"]["median"]), with_quartiles(row["ratio"])]
            cells += [short(row["cpu_ratio"]["median"]), short(row["rate"])]
            cells.append("-" if row["memory"] is None else f"{row['memory']:,.0f}")
            cells.append("-" if row["difference"] is None else f"{row['difference']:.1e}")
            if counted:
                mfu = "-" if row["mfu"] is None else f"{row['mfu']:.1%}"
                cells += [short(row["flops"] / 1e12), mfu]
            table.append(cells)
        lines = [f"| {' | '.join(cells)} |" for cells in table]
        if contest.get("at_most"):
            held = "holds" if contest["held"] else "DOES NOT HOLD"
            lines.append(f"\nat most {contest['at_most']} times as long as the first: {held}")
        lines += [f"\nnot here: {name}: {why}" for name, why in contest["absent"].items()]
        if counted and not contest["peak"]:
            lines.append("\nno MFU: the peak of this device is not known")
        parts.append("\n".join([f"**{contest['title']}**\n", *lines]))
    return "\n\n".join(parts)


def headline(results: dict) -> str:
    f = results["facts"]
    made_of = ", ".join(f"{name} {version}" for name, version in f["versions"].items())
    return (
        f"bench.{results['bench']}{' --tiny' if f['tiny'] else ''}: {f['cpu']}, {f['threads']} of "
        f"{f['machine_cores']} cores, median [quartiles] of {f['rounds']} rounds, load "
        f"{f['load_before']:.1f} to {f['load_after']:.1f}; {f['date']}, commit {f['commit']}; "
        f"{made_of}"
    )


def save(path: Path, results: dict):
    """Writes PATH.json and PATH.png (given matplotlib), and prints the tables."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(results, indent=1))
    print(f"\n{markdown(results)}\n\nin {path.with_suffix('.json')}")
    if importlib.util.find_spec("matplotlib") and any(c["rows"] for c in results["contests"]):
        figure(results).savefig(path.with_suffix(".png"), dpi=150)
        print(f"and {path.with_suffix('.png')}")
    else:
        print("no picture: it wants rows, and matplotlib (this project's [bench] extra)")


def figure(results: dict):
    """Ratios with their quartiles, a panel for each contest; right of 1 is slower."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    contests = [c for c in results["contests"] if c["rows"]]
    heights = [len(c["rows"]) + 1.2 for c in contests]
    fig = Figure(figsize=(8, 0.34 * sum(heights) + 0.9), layout="constrained")
    panels = fig.subplots(len(contests), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, contest in zip(panels, contests, strict=True):
        panel(axes, contest)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panels[-1].set_xlabel("times as long as the first, by the wall clock; hollow: processor time")
    fig.suptitle(textwrap.fill(headline(results), 120), fontsize=7, color="0.35")
    return fig


def panel(axes, contest: dict):
    rows = contest["rows"]
    for k, row in enumerate(rows):
        s = row["ratio"]
        error = [[s["median"] - s["low"]], [s["high"] - s["median"]]]
        colour = "#D55E00" if k else "#0072B2"
        axes.errorbar(s["median"], k, xerr=error, fmt="o", capsize=3, markersize=6, color=colour)
        cpu = row["cpu_ratio"]["median"]
        axes.plot(cpu, k, "o", markersize=9, color=colour, fillstyle="none")
        axes.annotate(
            f"{short(s['median'])}x, {short(row['seconds']['median'])} s", (s["median"], k),
            (0, 6), textcoords="offset points", ha="center", fontsize=8, color="0.35",
        )  # fmt: skip
    axes.axvline(1.0, linewidth=1, linestyle="--", color="0.35")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.xaxis.set_minor_formatter(lambda x, _: "")
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.9)
    axes.margins(x=0.12)
    axes.set_title(contest["title"], fontsize=10, loc="left")
    axes.grid(alpha=0.25, linewidth=0.6, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
