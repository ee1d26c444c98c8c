"""What processes.py found, as a picture of two panels. matplotlib."""

import textwrap
from pathlib import Path

from bench import table_processes

# Okabe and Ito's colours, told apart by every eye.
COLOURS = {
    "ar": "#000000",
    "masked": "#0072B2",
    "uniform": "#D55E00",
    "sparse2": "#56B4E9",
    "sparse8": "#009E73",
    "sdd_m": "#CC79A7",
    "embedding": "#E69F00",
}
PANEL, MARGIN = (300.0, 240.0), 0.15  # size of one in points, and what is free beside the data
PLACES = [(side, rise) for rise in (5, -13, 17, -25, 29, -37) for side in (1, -1)]  # of a name


def save(path, results: dict):
    """Writes a PNG."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure(results).savefig(path, dpi=150)


def figure(results: dict):
    """The bound of each process; and how good, against how varied, is what it writes."""
    from matplotlib.figure import Figure

    rows = results["rows"]
    drawers = [bounds]
    drawers += [stories] if any(r["true_entropy"] for r in rows) else []
    drawers += [judged] if any(r["judge"] for r in rows) and len(drawers) == 1 else []
    fig = Figure(figsize=(5.75 * len(drawers), 4.6), layout="constrained")
    for axes, draw in zip(fig.subplots(1, len(drawers), squeeze=False)[0], drawers, strict=True):
        draw(axes, rows)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    facts = textwrap.fill(table_processes.headline(results["facts"]), 80 * len(drawers))
    fig.suptitle(facts, fontsize=9, color="0.35")
    return fig


def colour_of(row) -> str:
    return COLOURS.get(row["name"], "#777777")


def bounds(axes, rows):
    """Nats a token with their standard errors; hollow points are bounds, full ones exact."""
    for k, r in enumerate(rows):
        colour = colour_of(r)
        fill = colour if r["kind"] == "exact" else "white"
        axes.errorbar(
            k, r["nats_per_token"], yerr=r["standard_error"], fmt="o", markersize=8, capsize=4,
            color=colour, markerfacecolor=fill, markeredgewidth=1.8,
        )  # fmt: skip
        axes.annotate(
            f"{r['nats_per_token']:.3f}", (k, r["nats_per_token"]), (9, 0),
            textcoords="offset points", va="center", fontsize=8, color=colour,
        )  # fmt: skip
    if true := rows[0]["true_nats_per_token"]:
        axes.axhline(true, linestyle="--", linewidth=1, color="0.35")
        axes.annotate(
            f"entropy {true:.4f}", (1, true), (0, -3), xycoords=axes.get_yaxis_transform(),
            textcoords="offset points", ha="right", va="top", fontsize=8, color="0.35",
        )  # fmt: skip
    axes.set_xticks(range(len(rows)), [r["name"] for r in rows], fontsize=9)
    axes.set_xlim(-0.5, len(rows) - 0.2)
    axes.margins(y=0.12)
    axes.set_ylabel("-log p of held-out text, nats/token (less is better)")
    axes.set_title("full: exact; hollow: a bound from above; bars: standard error", fontsize=9)


def stories(axes, rows):
    """Of what was drawn, the share that are stories, and how likely those are."""
    n = max(r["samples"] or 0 for r in rows)
    error = lambda r: (r["valid"] * (1.0 - r["valid"]) / r["samples"]) ** 0.5
    points(axes, rows, "nats_a_story", "valid", error)
    true = rows[0]["true_entropy"]
    axes.axvline(true, linestyle="--", linewidth=1, color="0.35")
    axes.annotate(
        f"entropy {true:.2f}", (true, 0), (-3, 4), xycoords=axes.get_xaxis_transform(),
        textcoords="offset points", rotation=90, ha="right", va="bottom", fontsize=8, color="0.35",
    )  # fmt: skip
    axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:.0f} %")
    axes.set_xlabel("nats a valid story (less than the entropy: only the likely ones)")
    axes.set_ylabel(f"valid, of {n} samples (more is better)")
    none = [r["name"] for r in rows if r["nats_a_story"] is None]
    note = f"; no valid story: {', '.join(none)}" if none else ""
    axes.set_title(f"samples{note}", fontsize=9)


def judged(axes, rows):
    """Of what was drawn, the judge's perplexity against the entropy; a star is held-out text."""
    real = rows[0]
    star = (real["real_entropy"], real["real_perplexity"])
    points(axes, rows, "entropy", "perplexity", lambda r: None, star)
    axes.set_xlabel("entropy of the samples' tokens, nats")
    axes.set_ylabel(f"perplexity under {real['judge']}")
    axes.set_title("samples", fontsize=9)


def points(axes, rows, x: str, y: str, error, star=(None, None)):
    """A named point a row, as far as both numbers are there, and a star for held-out text."""
    named = []
    for r in rows:
        colour = colour_of(r)
        if r[x] is not None and r[y] is not None:
            axes.errorbar(r[x], r[y], yerr=error(r), fmt="o", markersize=7, capsize=3, color=colour)
            named.append((r["name"], r[x], r[y], colour))
    if None not in star:
        axes.plot(*star, "*", markersize=13, color="0.35")
        named.append(("held-out text", *star, "0.35"))
    axes.margins(MARGIN)
    if named:
        label(axes, named)


def label(axes, named):
    """Writes (name, x, y, colour) beside their points, where no other name or point is yet."""
    spans = [
        (min(v), max(v) - min(v) or 1.0) for v in ([n[1] for n in named], [n[2] for n in named])
    ]
    at = lambda v, k: (v - spans[k][0]) / spans[k][1] / (1.0 + 2.0 * MARGIN) * PANEL[k]
    taken = [(at(x, 0) - 4, at(y, 1) - 4, at(x, 0) + 4, at(y, 1) + 4) for _, x, y, _ in named]
    at_margin = MARGIN / (1.0 + 2.0 * MARGIN) * PANEL[0]
    apart = lambda a, b: a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]
    for name, x, y, colour in named:
        boxes = []
        for side, rise in PLACES:
            near, far = at(x, 0) + 8 * side, at(x, 0) + (8 + 5.5 * len(name)) * side
            boxes.append((min(near, far), at(y, 1) + rise - 1, max(near, far), at(y, 1) + rise + 9))
        inside = [box[0] > -at_margin and box[2] < PANEL[0] - at_margin for box in boxes]
        free = [
            within and all(apart(box, other) for other in taken)
            for box, within in zip(boxes, inside, strict=True)
        ]
        chosen = free.index(True) if any(free) else 0
        side, rise = PLACES[chosen]
        taken.append(boxes[chosen])
        axes.annotate(
            name, (x, y), (8 * side, rise), textcoords="offset points", color=colour, fontsize=9,
            ha="left" if side > 0 else "right",
        )  # fmt: skip
