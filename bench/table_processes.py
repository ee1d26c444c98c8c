"""What processes.py found, as a table in markdown."""

WRITES = 16  # rows at a time, of the timed generations


def summary(row: dict) -> dict:
    """A row's score by eval_text.py, as far as it goes into the table."""
    score = row["score"]
    bound, samples = score["bound"], score.get("samples", {})
    story, judge = samples.get("stories"), samples.get("judge")
    timed = [t for t in score.get("latency", ()) if t["batch"] == WRITES]
    speed = row.get("seconds_a_step")
    out = {"name": row["name"], "parameters": row["parameters"], "steps": row["max_steps"]}
    out["cpu_minutes"] = row["spent"] / 60.0
    out |= {k: bound[k] for k in ("nats_per_token", "standard_error", "true_nats_per_token")}
    out["kind"] = "exact" if bound["kind"] == "-log p" else "bound"
    out["samples"] = score.get("sampler", {}).get("n")
    out |= {k: story and story[k] for k in ("valid", "nats_a_story", "different", "true_entropy")}
    out |= {"judge": judge and judge["name"], "perplexity": judge and judge["perplexity"]}
    out["entropy"] = samples.get("entropy")
    real = score.get("held_out", {})
    out["real_perplexity"] = real.get("judge", {}).get("perplexity")
    out["real_entropy"] = real.get("entropy")
    out["train_tokens_per_second"] = row["tokens_a_step"] / speed if speed else None
    out["write_tokens_per_second"] = timed[0]["tokens_per_second"] if timed else None
    return out


def told(value, form: str) -> str:
    """A number, or a dash where there is none."""
    text = "-" if value is None else format(value, form)
    return f"{text[:-1]} %" if text.endswith("%") else text


STORY = {
    "valid": lambda r: told(r["valid"], ".1%"),
    "nats a story": lambda r: told(r["nats_a_story"], ".2f"),
    "different": lambda r: told(r["different"], ".1%"),
}
OTHER = {
    "judge's perplexity": lambda r: told(r["perplexity"], ".2f"),
    "entropy": lambda r: told(r["entropy"], ".3f"),
}
FRONT = {
    "process": lambda r: r["name"],
    "parameters": lambda r: r["parameters"],
    "steps": lambda r: told(r["steps"], ",d"),
    "CPU min": lambda r: told(r["cpu_minutes"], ".1f"),
    "nats/token": lambda r: f"{r['nats_per_token']:.4f} ± {r['standard_error']:.4f} ({r['kind']})",
}
BACK = {
    "learns, tokens/CPU s": lambda r: told(r["train_tokens_per_second"], ",.0f"),
    "writes, tokens/s": lambda r: told(r["write_tokens_per_second"], ",.0f"),
}


def markdown(results: dict) -> str:
    """A line of facts, the table, and what real text has instead."""
    facts, rows = results["facts"], results["rows"]
    columns = FRONT | (STORY if any(r["true_entropy"] for r in rows) else OTHER) | BACK
    table = [list(columns), ["---"] * len(columns)]
    table += [[column(r) for column in columns.values()] for r in rows]
    lines = [headline(facts), ""] + [f"| {' | '.join(line)} |" for line in table]
    return "\n".join([*lines, "", *real(rows)])


def headline(facts: dict) -> str:
    return (
        f"{facts['dataset']}, {facts['minutes']:g} CPU minutes each, seed {facts['seed']}; "
        f"{facts['cpu']}, {facts['cores']} cores, {facts['jobs']} at once; "
        f"{facts['date']}, commit {facts['commit']}"
    )


def real(rows: list[dict]) -> list[str]:
    """What text that nobody drew has in the same columns, and how many samples there were."""
    lines = []
    for r in rows[:1]:
        if r["true_entropy"]:
            lines.append(
                f"True entropy: {told(r['true_nats_per_token'], '.4f')} nats/token, "
                f"{r['true_entropy']:.2f} nats a story."
            )
        elif r["real_entropy"]:
            judged = r["judge"] and f", perplexity {r['real_perplexity']:.2f} under {r['judge']}"
            lines.append(f"Held-out text: entropy {r['real_entropy']:.3f}{judged or ''}.")
        if r["samples"]:
            lines.append(
                f"{r['samples']} samples a row; writing is timed by the wall clock, {WRITES} rows "
                "at a time."
            )
    return lines
