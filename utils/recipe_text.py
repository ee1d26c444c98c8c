"""Where names become things, for text: the twin of recipe.py; recipe_process.py has the names."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import diffusion
import models
from data.tokenizer import BOS, MASK, PAD
from models import look_up
from utils.recipe_process import PROCESSES, shown, token_solver


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
    show: Any = None  # (x_t, t, None) -> the network's input; None: x_t itself
    table: Any = None  # f32[V, D] that an embedding starts with
    bind: Any = None  # table -> what of this depends on it
    learned: bool = False  # whether the table is
    later: Any = None  # apply as a solver of unmask.py likes it best, if there is such a thing
    ends: Any = None  # bool[V], tokens that end a sentence; the solver "openings" asks for it


def text(config, vocab_size: int, padded: bool = False, language=None, table=None) -> Recipe:
    """Text by any of PROCESSES.

    Args:
        config: a ConfigDict like configs/text.py's.
        vocab_size: of the tokenizer, special ids included.
        padded: whether rows end in PAD, which attention then has to leave out.
        language: (step, final) of an automaton that every sample has to satisfy, as
            data/language.py makes it; None: anything goes.
        table: f32[V, D] that an embedding starts with, see recipe_table.py; None: one comes
            with the weights.

    Raises:
        ValueError: a name that is not there, or a pair that does not fit; tells what there is.
    """
    if language is not None:
        language = diffusion.Automaton(step=language[0], final=language[1])
    kind = config.process.name
    make = look_up(kind, PROCESSES, "process.name")
    survival = look_up(config.process.schedule, diffusion.SURVIVALS, "process.schedule")
    solver = token_solver(config.process, config.sampler, language)
    fields = {k: v for k, v in config.model.items() if k not in ("name", "preset")}
    fields |= {"features": vocab_size, "vocab_size": vocab_size}
    fields |= {"causal": kind == "autoregressive", "max_seq_len": config.max_seq_len}
    if fields["causal"]:
        fields["conditioning"] = "none"  # there is no noise to tell the level of
    model = models.create(config.model.name, config.model.preset, **fields)
    if kind == "embedding" and table is None:
        table = np.zeros((vocab_size, config.process.dim), np.float32)

    def bind(table):
        process = make(config.process, vocab_size, survival, table)
        show, ask = shown(config.process, process)
        apply = ask(model.apply, show) if show else model.apply
        if hasattr(process, "evidence"):
            apply = diffusion.informed(process, apply)
        if padded and not fields["causal"]:
            apply = unpadded(apply)
        masked = kind == "masked"
        scored = diffusion.unprojected(apply) if masked else apply
        later = diffusion.later(apply) if masked else None
        return {
            "process": process, "apply": apply, "scored": scored, "later": later, "show": show,
        }  # fmt: skip

    def loss(params, key, batch):
        batch = batch | {"x": batch["x"].astype(jnp.int32)}
        now, network = at(recipe, params)
        value, metrics = (diffusion.diffusion_loss if table is None else unjitted)(
            now.process, now.scored, network, key, batch,
            draw_t=diffusion.stratified, total=config.batch_size,
        )  # fmt: skip
        if table is not None and config.process.learned:
            keys = diffusion.draws.fold(jax.random.fold_in(key, 1), batch["index"])
            rounding = diffusion.rounding(now.process, batch["x"], keys).mean()
            value, metrics = value + rounding, metrics | {"rounding": rounding}
        return value, metrics

    recipe = Recipe(
        **bind(table), solver=solver, model=model, shape=(config.max_seq_len,), loss=loss,
        language=language, table=table, bind=bind, learned=config.process.get("learned", False),
    )  # fmt: skip
    jax.eval_shape(lambda: initial(recipe, jax.random.key(0)))  # refuse misfits now
    return recipe


unjitted = diffusion.diffusion_loss.__wrapped__  # a table that is a tracer is no static argument


def at(recipe, params):
    """The recipe with the table that lies in its parameters, and the network's own parameters;
    of all processes but `Embedding` both as they are."""
    if recipe.table is None:
        return recipe, params
    table = params["table"] if recipe.learned else jax.lax.stop_gradient(params["table"])
    table = table / jnp.linalg.norm(table, axis=-1, keepdims=True)
    return recipe._replace(**recipe.bind(table)), params["network"]


def unpadded(apply):
    """The same network, to which what is padding in x_t is not there."""

    def asked(params, x, t, cond, keys=None):
        return apply(params, x, t, cond | {"mask": present(x)}, keys)

    return asked


def present(x):
    """What of x_t is not padding, bool[B, L]."""
    if hasattr(x, "ids"):
        return (x.ids != PAD).any(-1)
    return x != PAD if x.ndim == 2 else (x != 0.0).any(-1)


def initial(recipe, key):
    """Fresh parameters; with an embedding's table beside the network's."""
    x, t = recipe.process.prior(key[None], recipe.shape), jnp.ones(1)
    x = recipe.show(x, t, None) if recipe.show else x
    network = recipe.model.init(key, x, t, {})
    return network if recipe.table is None else {"network": network, "table": recipe.table}


def with_memory(recipe):
    """A recipe's (solver, apply), which look at each token once if they write one by one."""
    if not isinstance(recipe.solver, diffusion.NextToken):
        return recipe.solver, recipe.apply
    remembering = diffusion.remembering(recipe.apply)
    return replace(recipe.solver, past=recipe.model.past), remembering


UNIGRAM_ROWS = 16  # of noise, from which a model's unigram is read


def drawer(recipe, steps: int, *, guide=False, expert=None, trajectory=False):
    """A jitted (params, key, index i32[B], known i32[B, L], scale, allowed, expert_params, alpha)
    -> i32[B, L].

    known: given tokens, -1 where nothing is given; scale f32[]: of guidance by them, with
    `guide`; allowed: bool[L, V], ids that may stand at each place, or None; alpha f32[]: the
    diffusion's share, with `expert`, the recipe of an autoregressive model on the same tokens.
    With `trajectory` a pair of that and i32[steps + 1, B, L].
    """
    if isinstance(recipe.solver, diffusion.NextToken):
        steps = recipe.shape[0]  # a given token is put back between any two

    @jax.jit
    def draw(params, key, index, known, scale=1.0, allowed=None, expert_params=None, alpha=1.0):
        now, params = at(recipe, params)
        process = now.process
        bent = guide or allowed is not None  # what bends logits wants those of all places
        solver, apply = (now.solver, now.apply) if bent else with_memory(now)
        predict = diffusion.predictor(apply, params, {})
        keys = diffusion.draws.fold(jax.random.key(0), jnp.arange(UNIGRAM_ROWS))
        common = partial(diffusion.unigram, process, predict, keys, recipe.shape)
        solver = diffusion.told(solver, log_unigram=common, ends=lambda: recipe.ends)
        if now.later is not None and not bent and expert is None:
            predict = diffusion.predictor(now.later, params, {})
        if guide:
            given = (known >= 0) & (known != PAD) & (known != BOS)
            forget = lambda x: jnp.where(given, MASK, x)
            predict = diffusion.prompted(predict, forget, scale)
        if allowed is not None:
            predict = diffusion.allowed(predict, allowed)
        if expert is not None:
            other = reading_along(expert, expert_params)
            predict = diffusion.blended(
                process, predict, other, partial(diffusion.visible, process, known), alpha, common()
            )
        return diffusion.sample(
            process, solver, predict, key, index, recipe.shape,
            steps=steps, clamp=diffusion.held(process, known), given=known >= 0,
            trajectory=trajectory,
        )  # fmt: skip

    return draw


def reading_along(recipe, params):
    """An autoregressive recipe as the second expert of `diffusion.blended`."""
    predict = diffusion.predictor(diffusion.remembering(recipe.apply), params, {})
    return diffusion.Expert(predict, recipe.model.past, recipe.process.start_id)


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
        now, network = at(recipe, params)
        process = now.process
        t = diffusion.clock(process, keys_x, recipe.shape)(t)
        if getattr(process, "form", "") == "cross_entropy":
            process = replace(process, form="bound")
        xt, target = process.corrupt(keys_x, x, t)
        return process.loss(now.scored(network, xt, t, {}, None), target, t)

    return score


def bits(nats: float, corpus) -> float:
    """Bits a character of a corpus's held-out text, from nats a token."""
    return nats / corpus.chars_per_token / math.log(2.0)
