"""Samples of an export, by any backend: what diffusion/sample.py draws, number by number.

Sample i is a function of (seed, i, what is asked for) alone, and the same as generate.py's as far
as float32 allows: two tokens that are equally likely to the last bits may change places.
"""

import numpy as np

from jetson import solvers, threefry
from jetson.solvers import Schedule

LEVELS = ("alpha", "sigma", "dalpha", "dsigma")


def keys(seed, index):
    """Keys of examples i64[B]: (for the prior, for the steps)."""
    return threefry.split(threefry.fold(threefry.key(seed), index))


def images(package, denoise, index, labels, *, seed=0, scale=None, solver=None):
    """f32[B, H, W, C] in [-1, 1].

    Args:
        package: package.Package of images.
        denoise: package.denoiser(...).
        index, labels: i32[B]; which samples of the seed, and of which classes (0 without classes).
        scale: of guidance; 1: none; None: the config's.
        solver: a key of solvers.IMAGES; None: the config's.

    Raises:
        ValueError: a class that was not exported, or no such solver.
    """
    sampler, schedule = package.config["sampler"], package.schedule
    levels = Schedule(*(schedule[k] for k in LEVELS), target=package.config["target"])
    scale = np.float32(sampler["cfg_scale"] if scale is None else scale)
    name = chosen(solver or sampler["solver"], solvers.IMAGES)
    knobs = {
        "ddim": {"eta": sampler["eta"], "clip": sampler["clip"]},
        "dpm2m": {"clip": sampler["clip"]},
    }
    knobs["heun"] = {"times": schedule["times"]}
    none = np.full(len(index), package.config["num_classes"])
    guided = package.config["num_classes"] and scale != 1.0

    def predict(x, i):
        if not guided:
            return denoise(x, package.modulation(i, labels))
        both = package.modulation(i, np.concatenate([labels, none]))
        with_class, free = np.split(denoise(np.concatenate([x, x]), both), 2)
        return free + scale * (with_class - free)

    keys_prior, keys_steps = keys(seed, index)
    x = schedule["sigma"][0] * threefry.normal(keys_prior, tuple(package.config["shape"]))
    memory = None
    for i in range(len(schedule["times"]) - 1):
        step_keys = threefry.fold(keys_steps, i)
        x, memory = solvers.IMAGES[name](predict, levels, step_keys, x, i, memory, **knobs[name])
    return x


def tokens(package, denoise, index, known, *, seed=0, solver=None, temperature=None):
    """i64[B, L] of masked text.

    Args:
        index: i32[B], which samples of the seed.
        known: i64[B, L], given tokens, -1 where nothing is given.
        solver: a key of solvers.TEXT; None: the config's.
        temperature: divides the logits; None: the config's.

    Raises:
        ValueError: no such solver, or a temperature that is not above 0.
    """
    config, schedule = package.config, package.schedule
    levels = Schedule(*(schedule[k] for k in LEVELS))
    step = solvers.TEXT[chosen(solver or config["sampler"]["solver"], solvers.TEXT)]
    temperature = config["sampler"]["temperature"] if temperature is None else temperature
    if not temperature > 0:
        raise ValueError(f"--temperature wants a number above 0; got {temperature}")
    silent = [config["mask_id"], config["pad_id"]]
    nobody = np.zeros(len(index), int)

    def guess(keys, x, i):
        logits = denoise(x, package.modulation(i, nobody))
        logits[..., silent] = -np.inf
        u = threefry.uniform(keys, x.shape[1:])
        return categorical(u, logits / np.float32(temperature)), logits

    _, keys_steps = keys(seed, index)
    x = np.where(known < 0, config["mask_id"], known).astype(np.int64)
    for i in range(len(schedule["times"]) - 1):
        x = step(guess, levels, threefry.fold(keys_steps, i), x, i, config["mask_id"])
    return x


def chosen(name, table):
    if name not in table:
        raise ValueError(f"no solver {name!r} on a device; there are {', '.join(table)}")
    return name


def categorical(u, logits, width=128):
    """Ids i64[...] by inverse CDF from uniforms f32[...], in two levels as diffusion/tokens.py."""
    size = logits.shape[-1]
    mass = np.exp(logits - logits.max(-1, keepdims=True))
    if size <= width:
        return first_above(u * mass.sum(-1), mass)[0]
    groups = -(-size // width)
    mass = np.pad(mass, [(0, 0)] * u.ndim + [(0, groups * width - size)])
    mass = mass.reshape(*u.shape, groups, width)
    held = mass.sum(-1)
    level = u * held.sum(-1)
    group, before = first_above(level, held)
    inside = np.take_along_axis(mass, group[..., None, None], -2)[..., 0, :]
    place, _ = first_above(np.maximum(level - before, 0.0), inside)
    return group * width + place


def first_above(level, mass):
    """The first place where the running sum of mass exceeds level, and the sum before it; the
    heaviest place where rounding leaves none."""
    upto = np.cumsum(mass, -1)
    fits = (upto > level[..., None]) & (mass > 0)
    place = np.where(fits.any(-1), fits.argmax(-1), mass.argmax(-1))
    at = lambda v: np.take_along_axis(v, place[..., None], -1)[..., 0]
    return place, at(upto) - at(mass)
