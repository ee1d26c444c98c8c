"""A trained run as something that writes: what generate.py, eval_text.py and the judge share."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from data import language, template, tokenizer
from data.tokenizer import BOS, EOS, MASK, PAD
from utils import loop, recipe_text, sampling

ON, OFF = "\x1b[1;32m", "\x1b[0m"  # what is new in a half-finished text


class Run(NamedTuple):
    """A checkpoint, rebuilt from its own config."""

    name: str  # "runs/stories, step 800"
    recipe: recipe_text.Recipe
    ema: Any  # averaged weights, on all devices
    config: Any  # ConfigDict
    tokenizer: tokenizer.Tokenizer
    rows: dict  # what `describe` said of the rows that it was trained on


def describe(corpus) -> dict:
    """What sampling has to know of a corpus's rows; it travels in the checkpoint.

    begin: rows are BOS, one document, EOS. lengths: percentiles 0..100 of their tokens, which
    are all L where no row is padded.
    """
    some = corpus.train[:: 1 + len(corpus.train) // 20_000]
    lengths = np.percentile((some != PAD).sum(-1), np.arange(101)).round().astype(int)
    return {"begin": bool((some[:, 0] == BOS).all()), "lengths": lengths.tolist()}


def ends_in_padding(rows: dict, length: int) -> bool:
    return min(rows["lengths"]) < length


def restored(load_dir, step=None, *, patterns=(), **sampler) -> Run:
    """The newest checkpoint of a run (or that of `step`), with knobs of its sampler changed.

    Args:
        load_dir: workdir of train_text.py.
        step: of the checkpoint.
        patterns: regular expressions that every sample has to match, see data/language.py.
        **sampler: overrides of config.sampler; None keeps what is there.

    Raises:
        FileNotFoundError, ValueError: no checkpoint or tokenizer, a foreign or a damaged one, or
            two that do not belong together; no text that fits the patterns.
    """
    known = {}

    def build(config, facts):
        known["tokenizer"] = own_tokenizer(load_dir, facts["tokenizer"])
        config.sampler.update({k: v for k, v in sampler.items() if v is not None})
        words, packed, table = known["tokenizer"], not facts["rows"]["begin"], None
        if patterns:
            table = language.automaton(patterns, words, packed)
        padded = ends_in_padding(facts["rows"], config.max_seq_len)
        return recipe_text.text(config, words.size, padded, table)

    name, built, ema, config, facts = sampling.rebuilt(
        load_dir, step, build, recipe_text.initial, "train_text.py"
    )
    return Run(name, built, ema, config, known["tokenizer"], facts["rows"])


def own_tokenizer(load_dir, wanted: str):
    """The tokenizer that lies with a run, if it is the one that the run was trained with."""
    folder = Path(load_dir)
    folder = folder if (folder / "tokenizer.json").exists() else folder.parent
    found = tokenizer.load(folder / "tokenizer.json")
    if found.hash != wanted:
        raise ValueError(
            f"{folder / 'tokenizer.json'} is not what {load_dir} was trained with: its hash is "
            f"{found.hash}, wanted {wanted}"
        )
    return found


def blank(rows: dict, length: int, n: int, seed: int = 0, fixed: int | None = None):
    """n rows with nothing given but their ends, i32[n, length]: BOS, and PAD behind a length.

    Lengths are drawn as those of the training rows were spread, sample i's by (seed, i); `fixed`
    gives all one length.

    Raises:
        ValueError: a fixed length that the model has not learnt.
    """
    known = np.full((n, length), template.FREE, np.int32)
    if rows["begin"]:
        known[:, 0] = BOS
    drawn = [int(np.random.default_rng((seed, i)).integers(101)) for i in range(n)]
    lengths = [rows["lengths"][percentile] for percentile in drawn]
    if fixed is not None:
        if not 1 + rows["begin"] <= fixed <= length:
            raise ValueError(f"--length {fixed}: this model's rows are of 2 to {length} tokens")
        lengths = [fixed] * n
    known[np.arange(length) >= np.asarray(lengths)[:, None]] = PAD
    return known


def asked(run: Run, prompt: str, n: int, seed: int = 0, fixed: int | None = None):
    """(known i32[n, L], allowed bool[L, V] or None): a prompt or template, n times.

    Raises:
        ValueError: see data/template.py; a prompt that a constraint rules out.
    """
    length = run.recipe.shape[0]
    known = blank(run.rows, length, n, seed, fixed)
    if not prompt:
        return known, None
    room = length if "[*]" not in prompt or fixed is None else fixed
    wish = template.read(prompt, run.tokenizer, room, run.rows["begin"])
    given = np.pad(wish.known, (0, length - room), constant_values=template.FREE)
    last = np.flatnonzero(given != template.FREE)
    reach = max([*wish.options, *last, 0])
    short = (known == PAD) & (np.arange(length) <= reach)  # a short row grows to hold the prompt
    known[short] = template.FREE
    known = np.where(given == template.FREE, known, given)
    allowed = None
    if wish.options:
        allowed = template.allowed(wish.options, length, run.tokenizer.size)
    return known, allowed


def writer(run: Run, *, steps=None, scale=1.0, seed=0, batch_size=64, trajectory=False):
    """A function (known i32[N, L], allowed) -> batches of ids that add up to N rows.

    Sample i is a function of (seed, i, what is known) alone. With `trajectory` each batch is
    [steps + 1, B, L], hidden places holding MASK.

    Raises:
        ValueError: steps or batch_size below 1, guidance of a model that has no <MASK>, or a prompt
            and a constraint that exclude each other.
    """
    kind = run.config.process.name
    steps = run.config.sampler.denoise_timesteps if steps is None else steps
    if scale != 1.0 and kind != "masked":
        raise ValueError(f"--prompt_scale wants a masked model, to hide the prompt; got {kind}")
    for name, value in (("denoise_timesteps", steps), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"--{name} wants at least 1; got {value}")
    if run.recipe.language is not None and kind != "masked":
        raise ValueError(f"constraints want a masked model; got {kind}")
    if kind == "autoregressive":
        steps = run.recipe.shape[0]  # a given token is put back between any two
    devices = jax.device_count()
    batch_size = -(-batch_size // devices) * devices
    draw = recipe_text.drawer(run.recipe, steps, guide=scale != 1.0, trajectory=trajectory)
    key = jax.random.key(seed)

    def write(known, allowed=None):
        recipe_text.check_feasible(run.recipe, known, allowed)
        width = min(batch_size, -(-len(known) // devices) * devices)
        for first in range(0, len(known), width):
            some = known[first : first + width]
            full = np.resize(some, (width, known.shape[1]))  # the last batch is filled up and cut
            index = np.arange(first, first + width)
            out = draw(run.ema, key, *loop.spread((index, full)), scale, allowed)
            yield np.asarray(out[1])[:, : len(some)] if trajectory else np.asarray(out)[: len(some)]

    return write


def texts(run_tokenizer, ids, first=False) -> list[str]:
    """Rows of ids as text; an EOS ends a document, and what follows is another one.

    first: only the first, to the letter: what a constraint speaks of.
    """
    if first:
        upto = lambda row: row[: np.argmax(np.append(row, EOS) == EOS)]
        return [run_tokenizer.decode(upto(row)) for row in np.asarray(ids)]
    return ["\n".join(documents(run_tokenizer, row)) for row in np.asarray(ids)]


def documents(run_tokenizer, row) -> list[str]:
    """The documents in a row of ids, the last perhaps cut short; none is empty."""
    ends = np.flatnonzero(np.asarray(row) == EOS) + 1
    parts = (run_tokenizer.decode(part) for part in np.split(row, ends))
    return [text for part in parts if (text := part.strip())]


def shown(run_tokenizer, row, pieces, before=None) -> str:
    """A half-finished row as text, a block for each hidden place; what `before` did not have yet
    stands out."""
    block = "░" if run_tokenizer.by_letter else " ░░░"
    out = []
    for place, i in enumerate(map(int, row)):
        text = block if i == MASK else ("\n" if i == EOS else pieces[i] or "")
        fresh = before is not None and i != MASK and int(before[place]) != i
        out.append(f"{ON}{text}{OFF}" if fresh and text.strip() else text)
    return "".join(out).strip()
