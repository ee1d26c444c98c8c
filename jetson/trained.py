"""A checkpoint as what the export needs of it: the one file of jetson/ that knows the rest.

It runs where the network was trained, and so does export.py; no other file here needs JAX.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import models
from data.tokenizer import MASK, PAD
from diffusion import schedules, survival
from diffusion.sparse import Beliefs
from jetson import convert
from jetson.models import NETWORKS, fields_of
from utils import checkpoint, recipe, recipe_text, sampling, writing
from utils.recipe_process import rewrites

OF_CANDIDATES = {"transformer": "candidates", "bilateral": "bilateral"}  # what torch calls them
EXACT = {"dtype": "float32", "attention": "xla"}  # what the exported network is held against


class Trained(NamedTuple):
    """A run that can be exported.

    config: what config.json will say. params: {"a/b/kernel": f32 array}. levels: {"alpha": ...}
    of times f32[S + 1], and of masked text the times f32[L + 1] when 0 to L tokens are hidden.
    apply: Flax's own network, (x, t f32[B], label i32[B]) -> f32[B, ...]; x of sparse text is two
    arrays, ids and probs.
    """

    name: str
    config: dict
    params: dict[str, np.ndarray]
    levels: dict[str, np.ndarray]
    apply: Callable[..., jax.Array]
    tokenizer: Any = None


def trained(load_dir, step=None, steps=None) -> Trained:
    """The newest checkpoint of a run, or that of `step`.

    Args:
        steps: of sampling, each of which gets a row of the schedule; None: as the config has it.

    Raises:
        FileNotFoundError, ValueError: no checkpoint, a damaged one, or one of a kind that has no
            network in torch.
    """
    if steps is not None and steps < 1:
        raise ValueError(f"--denoise_timesteps wants at least 1; got {steps}")
    text = "max_seq_len" in checkpoint.config_of(load_dir, step)
    return (of_text if text else of_images)(load_dir, step, steps)


def of_images(load_dir, step, steps):
    run = sampling.restored(load_dir, step)
    run.config.model.update(EXACT)
    shape, classes = tuple(run.recipe.shape), run.recipe.num_classes
    built = recipe.image(run.config, shape, classes)
    config = {
        "kind": "images",
        "shape": shape,
        "num_classes": classes,
        "network": network(run, shape=shape, num_classes=classes),
        "target": run.config.process.target,
    }

    def apply(x, t, label):
        return built.model.apply(run.ema, x, t, {"label": label} if classes else {})

    return finished(run, config, built.process.schedule, apply, steps)


def of_text(load_dir, step, steps):
    run = writing.restored(load_dir, step)
    kind, again = run.config.process.name, run.config.process.get("self_conditioning", "none")
    if kind not in TEXTS or again != "none":
        also = f" with self_conditioning {again}" if again != "none" else ""
        raise ValueError(
            f"{run.name} is {kind} text{also}; what can be exported is {' and '.join(TEXTS)} text"
        )
    run.config.model.update(EXACT)
    size, length = run.tokenizer.size, run.recipe.shape[0]
    padded = writing.ends_in_padding(run.facts["rows"], length)
    built = recipe_text.text(run.config, size, padded)
    pad_id = PAD if padded else None
    fields = {"features": size, "vocab_size": size, "max_seq_len": length, "pad_id": pad_id}
    config = {
        "kind": "text",
        "shape": (length,),
        "num_classes": 0,
        "network": network(run, **fields),
        "mask_id": MASK,
        "pad_id": PAD,
        "tokenizer": run.tokenizer.hash,
        "rows": run.facts["rows"],
    }
    return TEXTS[kind](run, config, built, steps)


def masked(run, config, built, steps):
    apply = lambda x, t, label: built.apply(run.ema, x, t, {})
    done = finished(run, config, built.process.schedule, apply, steps)
    (length,) = config["shape"]
    shares = jnp.arange(length + 1) / jnp.float32(length)
    when = np.asarray(survival.invert(built.process.schedule, shares))
    return done._replace(levels=done.levels | {"hidden_times": when})


def sparse(run, config, built, steps):
    """What is exported is the network behind `show`, in front of the evidence: see resample.py."""
    own, process = run.config.process, built.process
    config["process"] = {
        "name": "sparse", "candidates": process.candidates, "spread": process.spread,
        "schedule": own.schedule, "shift": float(own.shift or process.candidates),
    }  # fmt: skip
    config["network"]["name"] = OF_CANDIDATES[run.config.model.name]
    config["sampler"] = writing.sampler_of(run)
    if not rewrites(own):
        config["sampler"]["rounds"] = 1
    pad_id = config["network"]["pad_id"]

    def apply(ids, probs, t, label):
        cond = {} if pad_id is None else {"mask": recipe_text.present(Beliefs(ids, probs))}
        return built.model.apply(run.ema, Beliefs(ids, probs), t, cond)

    return finished(run, config, process.schedule, apply, steps)


TEXTS = {"masked": masked, "sparse": sparse}


def network(run, **fields):
    """The fields of a run's network in torch, and its name."""
    name, preset = run.config.model.name, run.config.model.preset
    if name not in NETWORKS:
        raise ValueError(f"{run.name} is a {name}; in torch there are {', '.join(NETWORKS)}")
    known = fields_of(name)
    chosen = models.MODULES[name][1][preset] if preset else {}
    chosen = chosen | {k: v for k, v in run.config.model.items() if v is not None} | fields
    return {"name": name} | {k: v for k, v in chosen.items() if k in known and k != "name"}


def finished(run, config, schedule, apply, steps):
    """What all kinds have in common."""
    sampler = config.get("sampler") or run.config.sampler.to_dict()
    steps = steps or sampler["denoise_timesteps"]
    config |= {"run": run.name, "sampler": sampler | {"denoise_timesteps": steps}}
    times = jnp.linspace(1.0, 0.0, steps + 1)
    levels = schedules.levels(schedule, times)._asdict() | {"times": times}
    levels = {name: np.asarray(value, np.float32) for name, value in levels.items()}
    params = convert.flat(jax.device_get(run.ema))
    tokenizer = getattr(run, "tokenizer", None)
    return Trained(run.name, config, params, levels, jax.jit(apply), tokenizer)
