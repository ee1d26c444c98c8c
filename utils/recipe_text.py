"""Where names become things, for text: the twin of recipe.py."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
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
    apply: Callable  # the model's, to which padding is not there
    scored: Callable  # the same as the loss likes it best
    shape: tuple[int]  # (L,) of one row
    loss: Callable  # (params, key, batch) -> (f32[], metrics)
    language: Any = None  # a diffusion.Automaton that every sample satisfies


def text(config, vocab_size: int, padded: bool = False, language=None) -> Recipe:
    """Masked, uniform-state or autoregressive text.

    Args:
        config: a ConfigDict like configs/text.py's.
        vocab_size: of the tokenizer, special ids included.
        padded: whether rows end in PAD, which attention then has to leave out.
        language: (step, final) of an automaton that every sample has to satisfy, as
            data/language.py makes it; None: anything goes.

    Raises:
        ValueError: a name that is not there, or a pair that does not fit; tells what there is.
    """
    if language is not None:
        language = diffusion.Automaton(step=language[0], final=language[1])
    schedule = look_up(config.process.schedule, diffusion.SURVIVALS, "process.schedule")
    process = look_up(config.process.name, PROCESSES, "process.name")(config, vocab_size, schedule)
    solver = token_solver(config.process.name, config.sampler, language)
    fields = {k: v for k, v in config.model.items() if k not in ("name", "preset")}
    fields |= {"features": vocab_size, "vocab_size": vocab_size}
    fields |= {"causal": config.process.name == "autoregressive", "max_seq_len": config.max_seq_len}
    if fields["causal"]:
        fields["conditioning"] = "none"  # there is no noise to tell the level of
    model = models.create(config.model.name, config.model.preset, **fields)
    apply = unpadded(model.apply) if padded and not fields["causal"] else model.apply
    scored = diffusion.unprojected(apply) if config.process.name == "masked" else apply

    def loss(params, key, batch):
        batch = batch | {"x": batch["x"].astype(jnp.int32)}
        return diffusion.diffusion_loss(
            process, scored, params, key, batch,
            draw_t=diffusion.stratified, total=config.batch_size,
        )  # fmt: skip

    recipe = Recipe(process, solver, model, apply, scored, (config.max_seq_len,), loss, language)
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


SOLVERS = {
    "ancestral": diffusion.Ancestral,
    "random": partial(diffusion.Ordered, order="random"),
    "confidence": partial(diffusion.Ordered, order="confidence"),
    "margin": partial(diffusion.Ordered, order="margin"),
    "entropy": partial(diffusion.Ordered, order="entropy"),
    "remask_cap": partial(diffusion.Remask, strategy="cap"),
    "remask_rescale": partial(diffusion.Remask, strategy="rescale", amount=0.2),
    "remask_loop": partial(diffusion.Remask, strategy="loop"),
    "first_hitting": diffusion.FirstHitting,
}


def token_solver(process: str, c, language=None):
    """The solver that fits a process, as a config's `sampler` group describes it.

    Raises:
        ValueError: no such solver, or a value that means nothing.
    """
    for name, least in (("temperature", 0.0), ("top_k", 0), ("top_p", 0.0), ("block_size", 0)):
        if not c[name] >= least:
            raise ValueError(f"--{name} wants {least} or more; got {c[name]}")
    if not 0.0 < c.top_p <= 1.0:
        raise ValueError(f"--top_p wants a share above 0, at most 1; got {c.top_p}")
    filters = () if c.temperature == 1.0 else (diffusion.temperature(c.temperature),)
    filters += (diffusion.top_k(c.top_k),) if c.top_k else ()
    filters += (diffusion.top_p(c.top_p),) if c.top_p < 1.0 else ()
    if process == "autoregressive":
        return diffusion.NextToken(filters=filters)
    if process == "uniform":
        return diffusion.Resample(filters=filters)
    solver = look_up(c.solver, SOLVERS, "solver")(filters=filters, language=language)
    return diffusion.Blocks(size=c.block_size, inner=solver) if c.block_size else solver


def unpadded(apply):
    """The same network, to which what is padding in x_t is not there."""

    def asked(params, x, t, cond, keys=None):
        return apply(params, x, t, cond | {"mask": x != PAD}, keys)

    return asked


def initial(recipe, key):
    """Fresh parameters."""
    return recipe.model.init(key, jnp.zeros((1, *recipe.shape), jnp.int32), jnp.zeros(1), {})


def with_memory(recipe):
    """A recipe's (solver, apply), which look at each token once if they write one by one."""
    if not isinstance(recipe.solver, diffusion.NextToken):
        return recipe.solver, recipe.apply
    remembering = diffusion.remembering(recipe.apply)
    return replace(recipe.solver, past=recipe.model.past), remembering


def drawer(recipe, steps: int, *, guide=False, trajectory=False):
    """A jitted (params, key, index i32[B], known i32[B, L], scale, allowed) -> i32[B, L].

    known: given tokens, -1 where nothing is given; scale f32[]: of guidance by them, with
    `guide`; allowed: bool[L, V], ids that may stand at each place, or None. With `trajectory`
    a pair of that and i32[steps + 1, B, L].
    """
    if isinstance(recipe.solver, diffusion.NextToken):
        steps = recipe.shape[0]  # a given token is put back between any two

    @jax.jit
    def draw(params, key, index, known, scale=1.0, allowed=None):
        bent = guide or allowed is not None  # what bends logits wants those of all places
        solver, apply = (recipe.solver, recipe.apply) if bent else with_memory(recipe)
        predict = diffusion.predictor(apply, params, {})
        if guide:
            given = (known >= 0) & (known != PAD) & (known != BOS)
            forget = lambda x: jnp.where(given, MASK, x)
            predict = diffusion.prompted(predict, forget, scale)
        if allowed is not None:
            predict = diffusion.allowed(predict, allowed)
        clamp = lambda x, t: jnp.where(known < 0, x, known)
        return diffusion.sample(
            recipe.process, solver, predict, key, index, recipe.shape,
            steps=steps, clamp=clamp, trajectory=trajectory,
        )  # fmt: skip

    return draw


def scorer(recipe):
    """A jitted (params, key, x i32[B, L], index i32[B], number, levels) -> (nats f32[B], metrics).

    Nats a token of each row, at a noise level in part `number` of `levels` equal parts of (0, 1]:
    the mean over the parts is the row's bound on -log p, without bias.
    """

    @jax.jit
    def score(params, key, x, index, number, levels):
        part = jax.random.fold_in(key, jnp.int32(number))
        keys_t, keys_x = diffusion.draws.split(diffusion.draws.fold(part, index))
        t = diffusion.everywhere(keys_t, number, levels)
        xt, target = recipe.process.corrupt(keys_x, x, t)
        return recipe.process.loss(recipe.scored(params, xt, t, {}, None), target, t)

    return score


def bits(nats: float, corpus) -> float:
    """Bits a character of a corpus's held-out text, from nats a token."""
    return nats / corpus.chars_per_token / math.log(2.0)
