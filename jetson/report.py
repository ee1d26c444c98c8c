"""Numbers of jetson/benchmark.py as a table, a block to be pasted, and a picture."""

import json
from importlib.util import find_spec

from jetson import roofline
from jetson.files import whole

COLORS = {"fp32": "C0", "fp16": "C1", "int8": "C2"}
COLUMNS = {  # title: (of a row, how it is written)
    "backend": ("backend", "{}"), "precision": ("precision", "{}"), "steps": ("steps", "{}"),
    "{}/s": ("rate", "{:.4g}"), "ms a step": ("ms_step", "{:.3f}"),
    "network's": ("ms_network", "{:.3f}"), "ms p50": ("ms_p50", "{:.2f}"),
    "ms p95": ("ms_p95", "{:.2f}"), "MiB": ("mib", "{:.0f}"), "GPU MiB": ("gpu_mib", "{:.0f}"),
    "W": ("watts", "{:.2f}"), "J/{}": ("joules", "{:.3g}"), "of roofline": ("share", "{:.1%}"),
}  # fmt: skip


def table(rows, unit):
    """Lines of a table; columns of which nothing is known are left out."""
    kept = [(k, f) for k, f in COLUMNS.items() if any(row[f[0]] is not None for row in rows)]
    cells = [[title.format(unit) for title, _ in kept]]
    for row in rows:
        cells.append([form.format(row[k]) if row[k] is not None else "-" for _, (k, form) in kept])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    line = lambda row: (
        "| " + " | ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) + " |"
    )
    return [
        line(cells[0]),
        "|" + "|".join("-" * (w + 2) for w in widths) + "|",
        *map(line, cells[1:]),
    ]


def block(package, results):
    """What is to be pasted."""
    config, rows, unit = package.config, results["rows"], unit_of(package)
    facts = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in results["facts"].items()}
    network = ", ".join(f"{k} {v}" for k, v in config["network"].items() if v is not None)
    out = ["-" * 20 + " tandem benchmark " + "-" * 20]
    out += [f"{name}: {value}" for name, value in facts.items()]
    out += [f"export: {config['run']}; {network}"]
    if work := roofline.work(package):
        out += [
            f"a call of it: {work.parameters / 1e6:.2f} M parameters, {work.flop / 1e9:.3f} GFLOP"
        ]
    row = rows[0]
    held = f"{row['length']} tokens a sample" if row["length"] else "images"
    out += [f"samples at once: {row['samples']}, {held}; at least {least(rows)} generations a row"]
    out += ["", *table(rows, unit), ""]
    out += dict.fromkeys(f"{kind(row)}: {row['why']}" for row in rows if row["why"])
    out += [f"not here: {name}: {why}" for name, why in results["absent"].items()]
    return "\n".join([*out, "-" * 58])


def least(rows):
    return min(row["generations"] for row in rows)


def unit_of(package):
    return "token" if package.config["kind"] == "text" else "image"


def save(package, results):
    """Writes benchmark.json, .txt and (given matplotlib) .png, and prints the block."""
    folder, text = package.folder / "benchmark", block(package, results)
    with whole(folder / "benchmark.json") as file:
        file.write((json.dumps(results, indent=1) + "\n").encode())
    with whole(folder / "benchmark.txt") as file:
        file.write((text + "\n").encode())
    if find_spec("matplotlib"):
        with whole(folder / "benchmark.png") as file:
            figure(package, results).savefig(file, dpi=150, format="png")
    else:
        print("no picture: it wants matplotlib")
    print(f"in {folder}\n\n{text}")


def figure(package, results):
    """Rate by backend and precision: bars of one number of steps, lines over several."""
    from matplotlib.figure import Figure

    rows, unit = results["rows"], f"{unit_of(package)}s a second"
    counts = sorted({row["steps"] for row in rows})
    few = len(counts) == 1
    fig = Figure(figsize=(7, 1.2 + 0.32 * len(rows) if few else 4.5), layout="constrained")
    axes = fig.subplots()
    draw, said = (bars, f", {counts[0]} steps") if few else (lines, "")
    draw(axes, rows, unit)
    machine, at_once = results["facts"]["machine"], rows[0]["samples"]
    fig.suptitle(f"{machine}, {at_once} at once{said}", size=9)
    return fig


def bars(axes, rows, unit):
    """The fastest at the top, each with its number."""
    rows = sorted(rows, key=lambda row: row["rate"])
    colors = [COLORS[row["precision"]] for row in rows]
    drawn = axes.barh([kind(row) for row in rows], [row["rate"] for row in rows], color=colors)
    axes.bar_label(drawn, [f"{row['rate']:.4g}" for row in rows], padding=3, size=8)
    axes.set(xlabel=unit)
    axes.margins(x=0.12, y=0.02)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def lines(axes, rows, unit):
    """A line for each backend and precision."""
    for name in dict.fromkeys(map(kind, rows)):
        own = [row for row in rows if kind(row) == name]
        x, y = [row["steps"] for row in own], [row["rate"] for row in own]
        axes.plot(x, y, "o-" if own[0]["precision"] == "fp32" else "o--", label=name)
    axes.set(xlabel="steps", ylabel=unit, xscale="log", yscale="log")
    counts = sorted({row["steps"] for row in rows})
    axes.set_xticks(counts, counts)
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.25, which="both")
    axes.legend(fontsize=8)


def kind(row):
    return f"{row['backend']} {row['precision']}"
