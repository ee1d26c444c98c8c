"""A trained run as something that draws: what generate.py and eval_fid.py have in common.

`rebuilt` serves runs of text as well (writing.py).
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from data import pipeline
from utils import checkpoint, devices, hosts, recipe, recipe_space


class Run(NamedTuple):
    """A checkpoint, rebuilt from its own config."""

    name: str  # "runs/digits, step 800"
    recipe: recipe.Recipe
    ema: Any  # averaged weights, on all devices
    config: Any  # ConfigDict


def restored(load_dir, step=None, vae=None, **sampler) -> Run:
    """The newest checkpoint of a run (or that of `step`), with knobs of its sampler changed.

    Args:
        load_dir: workdir of a train script.
        step: of the checkpoint.
        vae: where its autoencoder is, if not where the config says.
        **sampler: overrides of config.sampler; None keeps what is there.

    Raises:
        FileNotFoundError, ValueError: no checkpoint, a foreign or a damaged one.
    """

    def build(config, facts):
        config.sampler.update({k: v for k, v in sampler.items() if v is not None})
        space = recipe_space.restored(config, facts, vae)
        return recipe.image(config, facts["shape"], facts["num_classes"], space)

    name, built, ema, config, _ = rebuilt(load_dir, step, build, recipe.initial, "train_flow.py")
    return Run(name, built, ema, config)


def rebuilt(load_dir, step, build, initial, script):
    """A checkpoint and the recipe that its own config asks for.

    Args:
        load_dir, step: see `restored`.
        build: (config, facts saved about the data) -> a recipe.
        initial: (recipe, key) -> parameters, for their shapes.
        script: that trains such runs, for the message.

    Returns:
        (name, recipe, averaged weights on all devices, config, facts)
    """
    built = {}

    def like(meta):
        from ml_collections import ConfigDict

        try:
            config = ConfigDict(nested(meta["config"]))
            built.update(config=config, facts=meta["data"], recipe=build(config, meta["data"]))
        except (KeyError, AttributeError) as error:
            raise ValueError(
                f"{load_dir} was not trained by {script}: its config lacks {error}"
            ) from None
        return jax.eval_shape(lambda key: initial(built["recipe"], key), jax.random.key(0))

    ema, meta = checkpoint.read_ema(load_dir, like, step)
    name = f"{load_dir}, step {meta['data']['position']}"
    return name, built["recipe"], devices.everywhere(ema), built["config"], built["facts"]


def nested(flat: dict) -> dict:
    """{"a.b": 1} as {"a": {"b": 1}}."""
    out = {}
    for name, value in flat.items():
        *groups, leaf = name.split(".")
        node = out
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = value
    return out


def sampler(
    run: Run,
    *,
    steps=None,
    scale=None,
    interval=(0.0, 1.0),
    weak: Run | None = None,
    seed=0,
    batch_size=100,
):
    """A function labels i32[N], trajectory=False, first=0 -> batches of the images from `first`
    to N.

    Sample i is a function of (seed, i, its label) alone. Devices and processes share a batch.
    With `trajectory` each batch is [steps + 1, B, H, W, C].

    Raises:
        ValueError: steps or batch_size below 1, or a weak run of another kind of data.
    """
    sampling = run.config.sampler
    steps = sampling.denoise_timesteps if steps is None else steps
    scale = sampling.cfg_scale if scale is None else scale
    for name, value in (("denoise_timesteps", steps), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"--{name} wants at least 1; got {value}")
    if weak:
        agree(run, weak)
    batch_size = devices.filled(batch_size)
    key, own = jax.random.key(seed), hosts.share(batch_size)

    def draw(labels, trajectory=False, first=0):
        drawn = recipe.drawer(
            run.recipe, steps, guide=scale != 1.0, weak=weak and weak.recipe, trajectory=trajectory
        )
        for start in range(first, len(labels), batch_size):
            some = labels[start : start + batch_size]
            label = np.resize(some, batch_size)  # the last batch is filled up and cut again
            index = np.arange(start, start + batch_size)
            mine = devices.spread((index[own], label[own]))
            x = drawn(run.ema, key, *mine, scale, interval, weak and weak.ema)
            x = hosts.together(x, axis=int(trajectory))
            yield x[:, : len(some)] if trajectory else x[: len(some)]

    return draw


def knobs(run: Run, *, cfg_scale=None, steps=None, **_) -> dict:
    """What the samples of a run depend on, as it is printed; None is what its config says."""
    own = run.config.sampler
    return {
        "run": run.name, "weights": "ema", "solver": own.solver,
        "cfg_scale": own.cfg_scale if cfg_scale is None else cfg_scale,
        "steps": own.denoise_timesteps if steps is None else steps,
    }  # fmt: skip


def to_bytes(x):
    """Samples f32[B, H, W, C] in [-1, 1] as u8, refused as `in_range` does."""
    return pipeline.to_bytes(in_range(x))


def in_range(x, margin=0.05, share=0.25):
    """Samples f32[B, H, W, C] as they are, if they are pixels in [-1, 1].

    A solver overshoots at a few pixels, which rounding to bytes cuts off. Where a quarter lies
    outside, the scale is wrong, and clipping would hide it.

    Raises:
        ValueError: with the measured range.
    """
    outside = float((~(abs(x) <= 1 + margin)).mean())  # NaN is outside
    if not outside <= share:
        raise ValueError(
            f"{outside:.0%} of the samples' pixels lie outside [-1, 1] (they range over "
            f"[{x.min():.3g}, {x.max():.3g}]); wanted pixels in [-1, 1]"
        )
    return x


def agree(run: Run, weak: Run):
    """Raises ValueError if the outputs of two runs do not mean the same thing."""
    kind = lambda r: {
        "shape": tuple(r.recipe.shape),
        "num_classes": r.recipe.num_classes,
        "vae": r.recipe.space.facts.get("vae"),
        "latent_scale": r.config.model.get("latent_scale"),
        **{k: r.config.process[k] for k in ("schedule", "shift", "target")},
    }
    ours, theirs = kind(run), kind(weak)
    differ = [f"{k} {ours[k]} and {theirs[k]}" for k in ours if ours[k] != theirs[k]]
    if differ:
        raise ValueError(f"{weak.name} cannot guide {run.name}: {'; '.join(differ)}")


def class_labels(classes: str, num_classes: int, n: int):
    """i32[n]: the classes of "all", "3", "0,5" or "0-9", over and over.

    Raises:
        ValueError: n below 1, or not such a list, or a class that is not there.
    """
    if n < 1:
        raise ValueError(f"--num_samples wants at least 1; got {n}")
    if num_classes == 0 and classes == "all":
        return np.zeros(n, np.int32)
    if num_classes == 0:
        raise ValueError(f"--classes {classes}: this model knows no classes")
    try:
        chosen = list(range(num_classes)) if classes == "all" else []
        for part in classes.split(",") if classes != "all" else []:
            low, _, high = part.partition("-")
            chosen += range(int(low), int(high or low) + 1)
    except ValueError:
        raise ValueError(
            f"--classes wants something like 3, 0,5,7 or 0-9; got {classes!r}"
        ) from None
    if not chosen or min(chosen) < 0 or max(chosen) >= num_classes:
        raise ValueError(f"--classes {classes}: this model's classes are 0 to {num_classes - 1}")
    return np.resize(np.asarray(chosen, np.int32), n)


def guidance_interval(text: str) -> tuple[float, float]:
    """Two noise levels from "0.1,0.8".

    Raises:
        ValueError: anything else.
    """
    try:
        low, high = map(float, text.split(","))
        if 0.0 <= low <= high <= 1.0:
            return low, high
    except ValueError:
        pass
    raise ValueError(f"--cfg_interval wants two noise levels such as 0.1,0.8; got {text!r}")
