"""Numbers of jetson/benchmark.py as a table, a block to be pasted, and a picture."""

import json
from importlib.util import find_spec

from jetson import roofline
from jetson.files import whole

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
    """Rate over steps, a line for each backend and precision."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(7, 4.5), layout="constrained")
    axes = fig.subplots()
    kinds = dict.fromkeys((row["backend"], row["precision"]) for row in results["rows"])
    for kind in kinds:
        rows = [row for row in results["rows"] if (row["backend"], row["precision"]) == kind]
        x, y = [row["steps"] for row in rows], [row["rate"] for row in rows]
        axes.plot(x, y, "o-" if kind[1] == "fp32" else "o--", label=" ".join(kind))
    axes.set(xlabel="steps", ylabel=f"{unit_of(package)}s a second", yscale="log")
    axes.set_title(
        f"{results['facts']['machine']}, {results['rows'][0]['samples']} at once", size=9
    )
    axes.grid(alpha=0.25, which="both")
    axes.legend(fontsize=8)
    return fig
