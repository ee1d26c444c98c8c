"""Samples of an export, by any backend: what diffusion/sample.py draws, number by number.

Sample i is a function of (seed, i, what is asked for) alone, and the same as generate.py's as far
as float32 allows: two tokens that are equally likely to the last bits may change places.
"""

import numpy as np

from data.tokenizer import MASK
from jetson import resample, solvers, threefry, unmask
from jetson.logits import categorical, filters

LEVELS = ("alpha", "sigma", "dalpha", "dsigma")
KNOBS = {  # of text: (what an export says that has none, the least)
    "solver": ("ancestral", None),
    "temperature": (1.0, 0.0),
    "top_k": (0, 0),
    "top_p": (1.0, 0.0),
    "block_size": (0, 0),
    "rounds": (1, 1),
}


def keys(seed, index):
    """Keys of examples i64[B]: (for the prior, for the steps)."""
    return threefry.split(threefry.fold(threefry.key(seed), index))


def limited(package):
    """Whether a sample's noise levels have to be among those exported."""
    return "modulation" in package.schedule


def counted(package, steps=None):
    """How many steps; None: those exported.

    Raises:
        ValueError: none, or more than were exported where those are all there are.
    """
    most = len(package.schedule["times"]) - 1
    steps = most if steps is None else steps
    if steps < 1:
        raise ValueError(f"--num_steps wants at least 1; got {steps}")
    if steps > most and limited(package):
        raise ValueError(
            f"--num_steps {steps}: this export has the noise levels of {most} steps; on the "
            f"workstation, python jetson/export.py --load_dir RUN --denoise_timesteps {steps}"
        )
    return steps


def picked(package, steps=None):
    """(rows i64[steps + 1] of the export's schedule, the solvers.Schedule that they are).

    Where `steps` divide those exported they are as even as those; else each is the nearest that
    was exported. It raises what `counted` does.
    """
    schedule, steps = package.schedule, counted(package, steps)
    rows = np.round(np.linspace(0, len(schedule["times"]) - 1, steps + 1)).astype(int)
    levels = (schedule[name][rows] for name in LEVELS)
    return rows, solvers.Schedule(*levels, target=package.config.get("target", "x0"))


def images(package, denoise, index, labels, *, seed=0, steps=None, scale=None, solver=None):
    """f32[B, H, W, C] in [-1, 1].

    Args:
        package: package.Package of images.
        denoise: package.denoiser(...).
        index, labels: i32[B]; which samples of the seed, and of which classes (0 without classes).
        steps: as `picked` has it.
        scale: of guidance; 1: none; None: the config's.
        solver: a key of solvers.SOLVERS; None: the config's.

    Raises:
        ValueError: a class that was not exported, or no such solver.
    """
    if hasattr(denoise, "images"):  # it draws whole generations, see captured.py
        ask = {"seed": seed, "steps": steps, "scale": scale, "solver": solver}
        return denoise.images(index, labels, **ask)
    sampler, (rows, levels) = package.config["sampler"], picked(package, steps)
    scale = np.float32(sampler["cfg_scale"] if scale is None else scale)
    name = solver or sampler["solver"]
    if name not in solvers.SOLVERS:
        there = ", ".join(solvers.SOLVERS)
        raise ValueError(f"no solver {name!r} on a device; there are {there}: --solver takes one")
    knobs = {
        "ddim": {"eta": sampler["eta"], "clip": sampler["clip"]},
        "dpm2m": {"clip": sampler["clip"]},
    }
    knobs["heun"] = {"times": package.schedule["times"][rows]}
    none = np.full(len(index), package.config["num_classes"])
    guided = package.config["num_classes"] and scale != 1.0

    def predict(x, i):
        if not guided:
            return denoise(x, package.modulation(rows[i], labels))
        both = package.modulation(rows[i], np.concatenate([labels, none]))
        with_class, free = np.split(denoise(np.concatenate([x, x]), both), 2)
        return free + scale * (with_class - free)

    keys_prior, keys_steps = keys(seed, index)
    x = levels.sigma[0] * threefry.normal(keys_prior, tuple(package.config["shape"]))
    memory = None
    for i in range(len(rows) - 1):
        step_keys = threefry.fold(keys_steps, i)
        x, memory = solvers.SOLVERS[name](predict, levels, step_keys, x, i, memory, **knobs[name])
    return x


def tokens(package, denoise, index, known, *, seed=0, steps=None, allowed=None, **knobs):
    """i64[B, L] of text.

    Args:
        index: i32[B], which samples of the seed.
        known: i64[B, L], given tokens, -1 where nothing is given.
        steps: as `picked` has it.
        allowed: bool[L, V], ids that may stand at each place; None: all.
        knobs: of KNOBS, in place of the config's; None keeps that one.

    Raises:
        ValueError: no such solver, a knob that means nothing, or one that wants what the export
            does not have.
    """
    if hasattr(denoise, "tokens"):
        ask = {"seed": seed, "steps": steps, "allowed": allowed}
        return denoise.tokens(index, known, **ask, **knobs)
    steps, own = counted(package, steps), text_knobs(package, knobs)
    keepers = filters(own["temperature"], own["top_k"], own["top_p"])
    if own["rounds"] > steps:
        raise ValueError(f"--rounds {own['rounds']} wants as many steps; --num_steps is {steps}")
    write = PROCESSES[package.process]
    return write(package, denoise, keys(seed, index), known, steps, own, keepers, allowed)


def masked(package, denoise, keys, known, steps, own, keepers, allowed=None):
    """`tokens` of masked text, see resample.tokens for what comes in."""
    _, keys_steps = keys
    rows, levels = picked(package, steps)
    times = package.schedule["times"][rows]
    solver = unmask.solver(own["solver"], times, own["block_size"], own["rounds"])
    silent = [package.config["mask_id"], package.config["pad_id"]]
    nobody = np.zeros(len(known), int)

    def ask(keys, x, i, power=1.0):
        hidden = x == MASK
        if i is None:
            seen = package.schedule["hidden"][hidden.sum(-1), 0]
        else:
            seen = package.modulation(rows[i], nobody)
        logits = denoise(x, seen)[hidden] * np.float32(power)
        logits[:, silent] = -np.inf
        if allowed is not None:
            logits[~np.broadcast_to(allowed, (*x.shape, allowed.shape[-1]))[hidden]] = -np.inf
        kept = logits
        for keep in keepers:
            kept = keep(kept)
        u, drawn = threefry.uniform(keys, x.shape[1:]), x.copy()
        drawn[hidden] = categorical(u[hidden], kept)
        return drawn, logits

    x = np.where(known < 0, MASK, known).astype(np.int64)
    for i in range(len(rows) - 1):
        x = solver(ask, levels, threefry.fold(keys_steps, i), x, i, i + 1)
        x = np.where(known < 0, x, known)
    return x


PROCESSES = {"masked": masked, "sparse": resample.tokens}


def text_knobs(package, given):
    """{knob: value} for all of KNOBS: what is given, else the config's.

    Raises:
        ValueError: a value that means nothing, or one that this export cannot do.
    """
    sampler = package.config["sampler"]
    own = {k: sampler.get(k, start) for k, (start, _) in KNOBS.items()}
    own |= {k: value for k, value in given.items() if value is not None}
    for name, (_, least) in KNOBS.items():
        if least is not None and not own[name] >= least:
            raise ValueError(f"--{name} wants {least} or more; got {own[name]}")
    if not 0.0 < own["top_p"] <= 1.0:
        raise ValueError(f"--top_p wants a share above 0, at most 1; got {own['top_p']}")
    if package.process == "sparse":
        resample.refuse(package.config["process"], own)
        return own
    for name, neutral in (("block_size", 0), ("rounds", 1)):
        if own[name] != neutral and "hidden" not in package.schedule:
            raise ValueError(
                f"--{name} {own[name]} wants an export that has a row for each number of hidden "
                f"tokens, and this one has none: export it again, or take --{name} {neutral}"
            )
    return own
