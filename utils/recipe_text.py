"""Where names become things, for text: the twin of recipe.py, and the second file that may."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import diffusion
import models
from data.tokenizer import BOS, MASK, PAD
from models import look_up


class Recipe(NamedTuple):
    """Things that fit together, and the loss that binds them."""

    process: Any  # diffusion.process.Process
    solver: Any  # diffusion.process.Solver
    model: models.Model
    shape: tuple[int]  # (L,) of one row
    loss: Callable  # (params, key, batch) -> (f32[], metrics)


def text(config, vocab_size: int) -> Recipe:
    """Masked, uniform-state or autoregressive text.

    Args:
        config: a ConfigDict like configs/text.py's.
        vocab_size: of the tokenizer, special ids included.

    Raises:
        ValueError: a name that is not there, or a pair that does not fit; tells what there is.
    """
    schedule = look_up(config.process.schedule, diffusion.SURVIVALS, "process.schedule")
    process = look_up(config.process.name, PROCESSES, "process.name")(config, vocab_size, schedule)
    solver = token_solver(config.process.name, config.sampler)
    fields = {k: v for k, v in config.model.items() if k not in ("name", "preset")}
    fields |= {"features": vocab_size, "vocab_size": vocab_size}
    fields |= {"causal": config.process.name == "autoregressive", "max_seq_len": config.max_seq_len}
    model = models.create(config.model.name, config.model.preset, **fields)
    masked = config.process.name == "masked"
    apply = diffusion.unprojected(model.apply) if masked else model.apply

    def loss(params, key, batch):
        batch = batch | {"x": batch["x"].astype(jnp.int32)}
        return diffusion.diffusion_loss(
            process, apply, params, key, batch, draw_t=diffusion.stratified, total=config.batch_size
        )

    recipe = Recipe(process, solver, model, (config.max_seq_len,), loss)
    jax.eval_shape(lambda: initial(recipe, jax.random.key(0)))  # refuse misfits now
    return recipe


PROCESSES = {
    "masked": lambda c, size, schedule: diffusion.Masked(
        mask_id=MASK, pad_id=PAD, schedule=schedule, form=c.process.form
    ),
    "uniform": lambda c, size, schedule: diffusion.Uniform(
        vocab_size=size, pad_id=PAD, schedule=schedule
    ),
    "autoregressive": lambda c, size, schedule: diffusion.Autoregressive(start_id=BOS, pad_id=PAD),
}


def token_solver(process: str, c):
    """The solver that fits a process, with the filters of a config's `sampler` group."""
    filters = () if c.temperature == 1.0 else (diffusion.temperature(c.temperature),)
    filters += (diffusion.top_k(c.top_k),) if c.top_k else ()
    filters += (diffusion.top_p(c.top_p),) if c.top_p < 1.0 else ()
    if process == "uniform":
        return diffusion.Resample(filters=filters)
    if process == "autoregressive":
        return diffusion.NextToken(filters=filters)
    solvers = {k: v for k, v in diffusion.UNMASKERS.items() if k != "blocks"}
    return look_up(c.solver, solvers, "solver")(filters=filters)


def initial(recipe, key):
    """Fresh parameters."""
    return recipe.model.init(key, jnp.zeros((1, *recipe.shape), jnp.int32), jnp.zeros(1), {})


def drawer(recipe, steps: int):
    """A jitted (params, key, index i32[B]) -> i32[B, L]."""

    @jax.jit
    def draw(params, key, index):
        predict = diffusion.predictor(recipe.model.apply, params, {})
        return diffusion.sample(
            recipe.process, recipe.solver, predict, key, index, recipe.shape, steps=steps
        )

    return draw


def bound(recipe):
    """A jitted (params, key, x i32[B, L]) -> nats per token f32[B]: each row's bound on -log p.

    One noise level a row, stratified over the rows, on all of (0, 1].
    """

    @jax.jit
    def nats(params, key, x):
        index = jnp.arange(len(x))
        keys_t, keys_x = diffusion.draws.split(diffusion.draws.fold(key, index))
        t = diffusion.everywhere(keys_t, index, len(x))
        xt, target = recipe.process.corrupt(keys_x, x, t)
        out = recipe.model.apply(params, xt, t, {}, None)
        return recipe.process.loss(out, target, t)[0]

    return nats
