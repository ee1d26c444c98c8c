"""The processes and solvers of text by the names that configs give them."""

from functools import partial

import diffusion
from data.tokenizer import BOS, MASK, PAD
from models import look_up

PROCESSES = {  # (the config's process group, V, a survival schedule, a table) -> process
    "masked": lambda c, size, survival, table: diffusion.Masked(
        mask_id=MASK, pad_id=PAD, schedule=survival, form=c.form
    ),
    "uniform": lambda c, size, survival, table: diffusion.Uniform(
        vocab_size=size, pad_id=PAD, schedule=survival
    ),
    "sparse": lambda c, size, survival, table: diffusion.Sparse(
        vocab_size=size, pad_id=PAD, candidates=c.candidates, form=c.loss,
        spread=c.get("spread", 0.0),
        schedule=diffusion.shifted(survival, c.shift or c.candidates),
    ),
    "embedding": lambda c, size, survival, table: diffusion.Embedding(
        table=table, pad_id=PAD, form=c.loss, spread=c.get("spread", 0.0),
        schedule=diffusion.warped(mean=c.gamma_mean, scale=c.gamma_scale),
    ),
    "autoregressive": lambda c, size, survival, table: diffusion.Autoregressive(
        start_id=BOS, pad_id=PAD
    ),
}  # fmt: skip


SHOWS = {  # (asked once, asked twice): (process, candidates) -> show; None: x_t as it is
    "masked": (None, diffusion.candidates),
    "uniform": (None, diffusion.likeliest),
    "sparse": (lambda process, k: diffusion.believed(process), diffusion.likeliest),
    "embedding": (diffusion.likeliest, diffusion.likeliest),
    "autoregressive": (None, None),
}
OWN_SOLVERS = {  # of processes that have just one
    "autoregressive": diffusion.NextToken,
    "uniform": diffusion.Resample,
    "sparse": partial(diffusion.Resample, likeliest_last=True),
    "embedding": diffusion.Resample,
}
SOLVERS = {
    "ancestral": diffusion.Ancestral,
    "random": partial(diffusion.Ordered, order="random"),
    "confidence": partial(diffusion.Ordered, order="confidence"),
    "margin": partial(diffusion.Ordered, order="margin"),
    "entropy": partial(diffusion.Ordered, order="entropy"),
    "content": partial(diffusion.Ordered, order=diffusion.Content()),
    "openings": partial(diffusion.Ordered, order=diffusion.Openings()),
    "remask_cap": partial(diffusion.Remask, strategy="cap"),
    "remask_rescale": partial(diffusion.Remask, strategy="rescale", amount=0.2),
    "remask_loop": partial(diffusion.Remask, strategy="loop"),
    "first_hitting": diffusion.FirstHitting,
}
REWRITING = 2.0  # what is written again comes from the squared probabilities; EXPERIMENTS.md


def token_solver(process, c, language=None):
    """The solver that fits a config's `process` group, as its `sampler` group describes it; what
    of that means nothing to the process is left aside.

    Raises:
        ValueError: no such solver, or a value that means nothing at all.
    """
    rounds = c.get("rounds", 1)
    for name, value, least in (
        ("temperature", c.temperature, 0.0), ("top_k", c.top_k, 0), ("top_p", c.top_p, 0.0),
        ("block_size", c.block_size, 0), ("rounds", rounds, 1),
    ):  # fmt: skip
        if not value >= least:
            raise ValueError(f"--{name} wants {least} or more; got {value}")
    if not 0.0 < c.top_p <= 1.0:
        raise ValueError(f"--top_p wants a share above 0, at most 1; got {c.top_p}")
    filters = () if c.temperature == 1.0 else (diffusion.temperature(c.temperature),)
    filters += (diffusion.top_k(c.top_k),) if c.top_k else ()
    filters += (diffusion.top_p(c.top_p),) if c.top_p < 1.0 else ()
    again = {"rounds": rounds} if rewrites(process) and rounds > 1 else {}
    if process.name in OWN_SOLVERS:
        return OWN_SOLVERS[process.name](filters=filters, **again)
    solver = look_up(c.solver, SOLVERS, "solver")(filters=filters, language=language)
    solver = diffusion.Blocks(size=c.block_size, inner=solver) if c.block_size else solver
    if not again:
        return solver
    return diffusion.Rewrite(inner=solver, again=rounds - 1, power=REWRITING)


def rewrites(process) -> bool:
    """Whether a config's `process` group is one that can write a place more than once."""
    clocks = process.name in ("sparse", "embedding") and process.get("spread", 0.0) > 0.0
    return process.name == "masked" or clocks


def shown(c, process):
    """(show, ask) of a config's `process` group: show is (x_t, t, first answer or None) -> what the
    network sees, None if that is x_t itself; ask is `once` or `twice`, which wrap the network.

    Raises:
        ValueError: no such self-conditioning, or one that means nothing to this process.
    """
    again = c.get("self_conditioning", "none")
    number = look_up(again, {"none": 0, "topk": 1}, "process.self_conditioning")
    if number and c.name == "autoregressive":
        raise ValueError("process.self_conditioning topk wants diffusion; this is autoregressive")
    show = SHOWS[c.name][number]
    return show and show(process, c.candidates), (diffusion.once, diffusion.twice)[number]
