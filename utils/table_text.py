"""What report_text.py measured, for reading."""


def table(r: dict) -> str:
    """All parts that are there, a line or some each."""
    lines = [f"{r['run']}, {r['weights']} weights, seed {r['seed']}", *bound(r["bound"])]
    if "samples" in r:
        s = r["sampler"]
        lines.append(
            f"{s['n']} samples: {s['solver']} {s['denoise_timesteps']} steps, temperature "
            f"{s['temperature']}, top_k {s['top_k']}, top_p {s['top_p']}"
            + (f", {s['rounds']} rounds" if s.get("rounds", 1) > 1 else "")
        )
        lines += compared(flat(r["samples"]), flat(r["held_out"]))
        lines += [f"  {text!r}" for text in r["samples"]["first"][:1]]
    for t in r.get("latency", ()):
        lines.append(
            f"length {t['length']:4d}  steps {t['steps']:4d}  batch {t['batch']:3d}  "
            f"{1e3 * t['seconds']:9.1f} ms [{1e3 * t['fastest']:.1f}..{1e3 * t['slowest']:.1f}]  "
            f"{t['tokens_per_second']:9.0f} tokens/s"
        )
    return "\n".join(lines)


def bound(b: dict) -> list[str]:
    true, unknown = b["true_nats_per_token"], b["unknown"]
    true = f"  true entropy {true:.4f}" if true else ""
    unknown = f", {unknown:.1%} of them unknown words" if unknown else ""
    named = lambda rate: "next token" if rate is None else f"{rate:.2f}"
    return [
        f"{b['kind']} of {b['corpus']}, held out: {b['nats_per_token']:.4f} +- "
        f"{b['standard_error']:.4f} nats/token{true}",
        f"  perplexity {b['perplexity']:.3f}  {b['bits_per_char']:.4f} bits/char  "
        f"{b['bits_per_byte']:.4f} bits/byte  ({b['rows']} rows, {b['tokens']} tokens{unknown}, "
        f"{b['levels']} noise levels a row)",
        "  accuracy by noise rate  "
        + "  ".join(f"{named(rate)}: {right:.1%}" for rate, right in b["accuracy"]),
    ]


def flat(groups: dict, front: str = "") -> dict:
    """Numbers of nested groups, under their names."""
    out = {}
    for name, value in groups.items():
        if isinstance(value, dict):
            out |= flat(value, f"{name} ")
        elif isinstance(value, int | float) or value is None:
            out[front + name] = value
    return out


def compared(ours: dict, real: dict) -> list[str]:
    """A row a number: of samples, and of held-out text."""

    def told(v):
        return "-" if v is None else f"{v:d}" if isinstance(v, int) else f"{v:.4f}"

    names = list(dict.fromkeys([*ours, *real]))
    rows = [f"  {n:26s}{told(ours.get(n)):>12s}{told(real.get(n)):>12s}" for n in names]
    return [f"  {'':26s}{'samples':>12s}{'held out':>12s}", *rows]
