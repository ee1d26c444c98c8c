"""A trained run as something that writes: what generate.py, eval_text.py and the judge share."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from data import language, template, tokenizer
from data.tokenizer import BOS, EOS, PAD
from utils import devices, hosts, recipe_text, sampling
from utils.recipe_process import rewrites

SAMPLER = ("solver", "denoise_timesteps", "temperature", "top_k", "top_p", "block_size", "rounds")


class Run(NamedTuple):
    """A checkpoint, rebuilt from its own config."""

    name: str  # "runs/stories, step 800"
    recipe: recipe_text.Recipe
    ema: Any  # averaged weights, on all devices
    config: Any  # ConfigDict
    tokenizer: tokenizer.Tokenizer
    facts: dict  # of the data it was trained on: "rows" is what `describe` said


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


def restored(load_dir, step=None) -> Run:
    """The newest checkpoint of a run, or that of `step`.

    Raises:
        FileNotFoundError, ValueError: no checkpoint or tokenizer, a foreign or a damaged one, or
            two that do not belong together.
    """
    known = {}

    def build(config, facts):
        known["tokenizer"] = words = own_tokenizer(load_dir, facts["tokenizer"])
        padded = ends_in_padding(facts["rows"], config.max_seq_len)
        return recipe_text.text(config, words.size, padded)._replace(ends=sentence_ends(words))

    name, built, ema, config, facts = sampling.rebuilt(
        load_dir, step, build, recipe_text.initial, "train_text.py"
    )
    return Run(name, built, ema, config, known["tokenizer"], facts)


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


def changed(run: Run, patterns=(), **sampler) -> Run:
    """The same weights with another sampler.

    Args:
        patterns: regular expressions that every sample has to match, see data/language.py.
        **sampler: overrides of config.sampler; None keeps what is there.

    Raises:
        ValueError: no such solver or value, or one that means nothing to this process; no text
            that fits the patterns.
    """
    config, kind = run.config.copy_and_resolve_references(), run.config.process.name
    given = {k: v for k, v in sampler.items() if v is not None}
    for name in ("solver", "block_size"):
        if kind != "masked" and name in given:
            raise ValueError(f"--{name} wants a masked model; {run.name} is {kind}")
    if given.get("rounds", 1) != 1 and not rewrites(config.process):
        raise ValueError(
            f"--rounds wants masked text, or sparse or embedding text trained with "
            f"process.spread; {run.name} is {kind}"
        )
    if patterns and kind != "masked":
        raise ValueError(f"constraints want a masked model; {run.name} is {kind}")
    config.sampler.update(given)
    table, rows = None, run.facts["rows"]
    if patterns:
        table = language.automaton(patterns, run.tokenizer, packed=not rows["begin"])
    padded = ends_in_padding(rows, config.max_seq_len)
    built = recipe_text.text(config, run.tokenizer.size, padded, table)
    return run._replace(recipe=built._replace(ends=run.recipe.ends), config=config)


def sentence_ends(run_tokenizer):
    """bool[V], tokens behind which a sentence begins: those that end with a mark, and those
    before and behind a document."""
    ends = [(piece or "").strip().endswith((".", "!", "?")) for piece in run_tokenizer.pieces()]
    return np.array([end or i in (BOS, EOS) for i, end in enumerate(ends)])


def agree(run: Run, expert: Run):
    """Raises ValueError if `expert` is no autoregressive model on the tokens and rows of `run`."""
    kinds = [r.config.process.name for r in (run, expert)]
    if kinds[0] == "autoregressive":
        raise ValueError(f"--mode guided wants a diffusion model; {run.name} is autoregressive")
    if kinds[1] != "autoregressive":
        raise ValueError(f"--ar_dir wants an autoregressive model; {expert.name} is {kinds[1]}")
    for what, of in (
        ("tokenizer", lambda r: r.facts["tokenizer"]), ("row length", lambda r: r.recipe.shape[0]),
        ("kind of rows", lambda r: "a document each" if r.facts["rows"]["begin"] else "packed"),
    ):  # fmt: skip
        if of(run) != of(expert):
            raise ValueError(
                f"--ar_dir wants the {what} of {run.name}, {of(run)}; {expert.name} has "
                f"{of(expert)}"
            )


def sampler_of(run: Run) -> dict:
    """What draws a run's samples, by name; steps of a model that writes on are its tokens."""
    out = dict(run.config.sampler)
    kind = run.config.process.name
    if kind != "masked":
        own = "next token" if kind == "autoregressive" else "resample"
        out |= {"solver": own, "block_size": 0}
    if kind == "autoregressive":
        out["denoise_timesteps"] = run.recipe.shape[0]
    return out


def asked(run: Run, prompt: str, n: int, seed: int = 0, fixed: int | None = None):
    """(known i32[n, L], allowed bool[L, V] or None): a prompt or template, n times.

    Where rows of several lengths were learnt, they are drawn as those were spread, among those
    that have room for the prompt and can satisfy the constraint; sample i's by (seed, i).

    Args:
        fixed: one length for all.

    Raises:
        ValueError: see data/template.py; a length that was not learnt; a constraint that no row
            with this prompt satisfies.
    """
    if seed < 0:
        raise ValueError(f"--seed wants 0 or more; got {seed}")
    length, rows = run.recipe.shape[0], run.facts["rows"]
    wish = template.read(prompt, run.tokenizer, lasting(run, fixed), rows["begin"])
    lengths = np.array([lasting(run, fixed)] if fixed or wish.whole else rows["lengths"])
    if run.config.process.name == "autoregressive":
        lengths = np.array([length])  # it ends where it says EOS
    fits = lengths[lengths > wish.size]
    lengths = fits if len(fits) else np.array([length])
    known = np.tile(np.pad(wish.known, (0, length - len(wish.known)), constant_values=-1), (n, 1))
    allowed = None
    if wish.options:
        allowed = template.allowed(wish.options, length, run.tokenizer.size)
    if run.recipe.language is not None:
        distinct = np.unique(lengths)
        trial = np.where(np.arange(length) >= distinct[:, None], PAD, known[:1])
        can = np.asarray(run.recipe.language.feasible(length, trial, allowed))
        lengths = lengths[np.isin(lengths, distinct[can])]
        if not len(lengths):
            also = " and has this prompt" if prompt else ""
            raise ValueError(
                f"no text of this model's {length} tokens satisfies the constraint{also}"
            )
    return np.where(behind(lengths, length, n, seed), PAD, known), allowed


def behind(lengths, length: int, n: int, seed: int):
    """What lies behind the ends of n rows, bool[n, length]; lengths drawn from those given."""
    shares = [np.random.default_rng((seed, i)).random() for i in range(n)]
    ends = np.array([lengths[int(share * len(lengths))] for share in shares])
    return np.arange(length) >= ends[:, None]


def blank(rows: dict, length: int):
    """A row of `length` with nothing given but a BOS, if rows begin with one, i32[length]."""
    known = np.full(length, template.FREE, np.int32)
    known[0] = BOS if rows["begin"] else template.FREE
    return known


def lasting(run: Run, fixed: int | None) -> int:
    """The length of a row, or the one asked for."""
    length, lengths = run.recipe.shape[0], run.facts["rows"]["lengths"]
    if fixed is None:
        return length
    if not ends_in_padding(run.facts["rows"], length):
        raise ValueError(f"--length: {run.name} learnt rows of one length, {length} tokens")
    if not lengths[0] <= fixed <= length:
        raise ValueError(f"--length {fixed}: {run.name} learnt rows of {lengths[0]} to {length}")
    return fixed


def writer(
    run: Run, *, steps=None, batch_size=64, guide=False, expert: Run | None = None, trajectory=False
):
    """A function (known i32[N, L], allowed, seed, scale, alpha) -> batches of ids, N rows in all.

    Sample i is a function of (seed, i, what is known) alone. With `guide` the prompt guides by
    `scale`. With an expert, an autoregressive run, each step asks both models, and `alpha` is the
    share of `run`. With `trajectory` each batch is [T, B, L], hidden places holding MASK. Behind
    the EOS of a row that is one document, all is PAD.

    Raises:
        ValueError: steps or batch_size below 1, guidance of a model that has no <MASK>, or an
            expert that does not fit.
    """
    kind, rows = run.config.process.name, run.facts["rows"]
    steps = run.config.sampler.denoise_timesteps if steps is None else steps
    if guide and kind != "masked":
        raise ValueError(f"--prompt_scale wants a masked model; {run.name} is {kind}")
    if expert:
        agree(run, expert)
    for name, value in (("denoise_timesteps", steps), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"--{name} wants at least 1; got {value}")
    rounds = getattr(run.recipe.solver, "again", 0) + 1
    if steps < rounds:
        raise ValueError(f"--rounds {rounds} wants as many steps; --denoise_timesteps is {steps}")
    batch_size = devices.filled(batch_size)
    other, other_ema = (expert.recipe, expert.ema) if expert else (None, None)
    draw = recipe_text.drawer(run.recipe, steps, guide=guide, expert=other, trajectory=trajectory)

    def write(known, allowed=None, seed=0, scale=1.0, alpha=1.0):
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"--alpha wants 0 to 1; got {alpha}")
        width = min(batch_size, devices.filled(len(known)))
        for first in range(0, len(known), width):
            some = known[first : first + width]
            full = np.resize(some, (width, known.shape[1]))  # the last batch is filled up and cut
            index = np.arange(first, first + width)
            key = jax.random.key(seed)
            own = hosts.share(width)
            mine = devices.spread((index[own], full[own]))
            out = draw(run.ema, key, *mine, scale, allowed, other_ema, alpha)
            out = hosts.together(out[1] if trajectory else out, axis=int(trajectory))
            out = np.array(out[..., : len(some), :])
            if rows["begin"]:
                last = out[-1] if trajectory else out
                last[np.cumsum(last == EOS, -1) > (last == EOS)] = PAD
            yield out

    return write


def documents(run_tokenizer, row) -> list[str]:
    """The documents in a row of ids, the last perhaps cut short; none is empty."""
    return [said for part in parted(row) if (said := run_tokenizer.decode(part).strip())]


def parted(row) -> list[np.ndarray]:
    """A row of ids, cut behind every EOS."""
    return np.split(np.asarray(row), np.flatnonzero(np.asarray(row) == EOS) + 1)


def texts(run_tokenizer, ids, first=False) -> list[str]:
    """Rows of ids as text, a document a line.

    first: only the first document, to the letter: what a constraint speaks of.
    """
    if first:
        return [run_tokenizer.decode(parted(row)[0]) for row in ids]
    return ["\n".join(documents(run_tokenizer, row)) for row in ids]
