"""Where names become things, for images: knows configs, models, data and diffusion at once.

recipe_text.py is its twin for text, and no third file knows as much. train_flow.py, eval_fid.py
and generate.py all build through it, so the config inside a checkpoint is enough to rebuild
what made it.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import diffusion
import models
from models import look_up
from utils import recipe_space


class Recipe(NamedTuple):
    """Things that fit together, and the loss that binds them."""

    process: Any  # diffusion.process.Process
    solver: Any  # diffusion.process.Solver
    model: models.Model
    shape: tuple[int, ...]  # of one example
    num_classes: int  # 0: unconditional
    loss: Callable  # (params, key, batch) -> (f32[], metrics)
    space: recipe_space.Space  # of examples


def image(config, shape, num_classes, space=None) -> Recipe:
    """Flow matching, DDPM and their kin.

    Args:
        config: a ConfigDict like configs/flow.py's.
        shape: (H, W, C) of an example.
        num_classes: of the dataset.
        space: what examples are; None is pixels.

    Raises:
        ValueError: a name that is not there, or a pair that does not fit; tells what there is.
    """
    if config.model.use_stable_vae and space is None:
        raise ValueError("latents want their space, from recipe_space.restored")
    space = space or recipe_space.pixels(shape, config.flip)
    process = gaussian(config.process)
    solver = image_solver(config.sampler)
    classes = num_classes if config.model.class_conditional else 0
    model = network(config.model, classes)
    times = look_up(config.process.times, diffusion.TIMES, "process.times")
    draw_t = times(config.process.time_mean, config.process.time_scale)

    def loss(params, key, batch):
        key, key_read = jax.random.split(key)
        x0 = space.read(batch, diffusion.draws.fold(key_read, batch["index"]))
        known = ("index", "label") if classes else ("index",)
        batch = {"x": x0} | {k: batch[k] for k in known}
        return diffusion.diffusion_loss(
            process, model.apply, params, key, batch, draw_t=draw_t, total=config.batch_size,
            null_label=classes, drop=config.process.class_dropout_prob,
        )  # fmt: skip

    recipe = Recipe(process, solver, model, tuple(shape), classes, loss, space)
    jax.eval_shape(functools.partial(initial, recipe), jax.random.key(0))  # refuse misfits now
    return recipe


def gaussian(c) -> diffusion.Gaussian:
    """The process of a config's `process` group."""
    schedule = look_up(c.schedule, diffusion.SCHEDULES, "process.schedule")
    if c.shift != 1.0:
        schedule = diffusion.shifted(schedule, c.shift)
    look_up(c.target, diffusion.TARGETS, "process.target")
    weight = look_up(c.weight, diffusion.WEIGHTS, "process.weight")
    return diffusion.Gaussian(schedule=schedule, target=c.target, weight=weight)


def image_solver(c):
    """The solver of a config's `sampler` group, given those of its knobs that it has."""
    cls = look_up(c.solver, diffusion.SOLVERS, "solver")
    knobs = {"eta": c.eta, "clip": c.clip or None}
    return cls(**{k: v for k, v in knobs.items() if k in cls.__dataclass_fields__})


def network(c, classes) -> models.Model:
    """The network of a config's `model` group; knobs of other networks are left out."""
    cls, _ = look_up(c.name, models.MODULES, "model.name")
    fields = {k: v for k, v in c.items() if k in cls.__dataclass_fields__ and k != "name"}
    return models.create(c.name, c.preset, num_classes=classes, **fields)


def initial(recipe, key):
    """Fresh parameters."""
    x = jnp.zeros((1, *recipe.shape))
    return recipe.model.init(
        key, x, jnp.zeros(1), {"label": jnp.zeros(1, jnp.int32)} if recipe.num_classes else {}
    )


def drawer(recipe, steps: int, *, guide: bool, weak=None, trajectory=False):
    """(params, key, index, label, scale, interval, weak_params) -> images f32[B, H, W, C].

    index i32[B] says which samples of the key, label i32[B] of which class.

    Args:
        recipe: from `image`.
        steps: solver steps.
        guide: False calls the network once and not for both halves; `scale` is then ignored.
        weak: a Recipe to be guided away from (autoguidance), instead of "no class".
        trajectory: return every state, [steps + 1, B, H, W, C], instead of the last.
    """
    apply, null = recipe.model.apply, recipe.num_classes

    @jax.jit
    def draw(params, key, index, label, scale=1.0, interval=(0.0, 1.0), weak_params=None):
        cond = {"label": label} if recipe.num_classes else {}
        predict = diffusion.predictor(apply, params, cond)
        if weak is not None:
            bad = diffusion.predictor(weak.model.apply, weak_params, cond)
            predict = diffusion.autoguided(predict, bad, scale)
        elif guide and recipe.num_classes:
            free = {"label": jnp.full_like(label, null)}
            predict = diffusion.guided(apply, params, cond, free, scale, interval)
        x = diffusion.sample(
            recipe.process,
            recipe.solver,
            predict,
            key,
            index,
            recipe.shape,
            steps=steps,
            trajectory=trajectory,
        )
        return x[1] if trajectory else x

    return lambda *args: recipe.space.decode(draw(*args))


def validator(recipe, levels):
    """A jitted (params, key, batch) -> f32[len(levels)]: mean loss at each noise level."""

    @jax.jit
    def losses(params, key, batch):
        x0 = recipe.space.read(batch, None)
        cond = {"label": batch["label"]} if recipe.num_classes else {}
        keys = diffusion.draws.fold(key, batch["index"])
        at = lambda t: diffusion.loss_at(
            recipe.process, recipe.model.apply, params, keys, x0, cond, t
        ).mean()
        return jax.lax.map(at, jnp.asarray(levels))

    return losses
