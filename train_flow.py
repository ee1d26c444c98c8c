"""Trains an image model: flow matching or DDPM, on a DiT or a UNet.

    python train_flow.py                                 digits, on a tiny DiT
    python train_flow.py --config=configs/digits.py      what `make demo` runs
    python train_flow.py --dataset_name cifar10 --model.preset big --model.patch_size 8

Running the same command again continues where it stopped.
"""

import sys

from utils import config as flags
from utils import pages

EVAL_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)  # noise levels of the validation loss


def main():
    config = flags.parse(sys.argv, "configs/flow.py")

    # What is heavy is imported only once the flags are known to be good.
    import jax

    from utils import cache, checkpoint, devices, flops, hosts, loop, places, recipe, recipe_space
    from utils.progress import Reporter
    from utils.wandb import Metrics

    cache.enable()
    hosts.connect(config)
    devices.shareable(config.batch_size, config.accumulate)
    vae = recipe_space.autoencoder(config)  # None: x_0 is pixels
    space, train, test = examples(config, vae)
    batches = in_order(config, train)

    build = lambda c: recipe.image(c, train.shape, train.num_classes, space)
    built = build(config)
    key_init, key_train, key_eval = jax.random.split(jax.random.key(config.seed), 3)
    initial = lambda: recipe.initial(built, key_init)
    state, step, rate = loop.learner(config, built.loss, initial, key_train)

    home = places.home(config)
    workdir = home.fetch(places.log)
    record, facts = flags.flatten(config), facts_of(config, train, space)
    saves = checkpoint.Checkpoints(home / "checkpoints", config.keep)
    state, _ = saves.restore(state, flags.agreement(record, facts, home)) or (state, None)
    print(headline(config, train, space, vae, state, home), flush=True)

    metrics = Metrics(workdir, record | space.facts, dict(config.wandb), config.tensorboard)
    work = flops.per_example(build(flops.spelt_out(config)).loss, state.params, test.batches(1)(0))
    report = Reporter(config, metrics, rate, "images", int(state.step), operations=work)
    look = evaluator(config, built, test, key_eval, workdir, report)

    def save(state, _):
        saves.save(state, record, facts | space.scale | {"position": int(state.step)})

    hooks = loop.hooks(config, report, save, look, home.send)
    with batches, saves, metrics, report:
        state, signal = loop.fit(state, step, batches, config.max_steps, hooks)
    report.farewell(int(state.step), signal, home)


def examples(config, vae):
    """(The space that x_0 is in, training and test images), which process 0 prepares."""
    from data import images
    from utils import files, hosts, places, recipe_space

    with hosts.first_first():
        data_dir = places.Mirror(config.data_dir).fetch()
        name = files.named(config.dataset_name)
        data = images.load(name, data_dir, config.image_size, config.stream)
        space, data = recipe_space.prepared(config, data, vae)
    return space, data["train"], data["test"]


def in_order(config, train):
    """The batches of this process, read ahead; where epochs are asked for, how many it takes."""
    import jax

    from data import pipeline

    config.max_steps = pipeline.steps(config, train.n)
    process, processes = jax.process_index(), jax.process_count()
    batches = train.batches(
        config.batch_size, seed=config.seed, process=process, processes=processes
    )
    return pipeline.Ahead(batches, end=config.max_steps)


def facts_of(config, train, space) -> dict:
    """What a run that goes on must agree on, besides its config."""
    facts = {"seed": config.seed, "shape": train.shape, "num_classes": train.num_classes}
    return facts | {"images": train.hash} | space.facts


def headline(config, train, space, vae, state, home) -> str:
    import jax

    size = sum(p.size for p in jax.tree.leaves(state.params))
    sides, latent = ("x".join(map(str, s)) for s in (space.image_shape, space.shape))
    return (
        f"{config.dataset_name}: {train.n} images {sides}, {train.num_classes} classes"
        f"{f', as {latent} latents of {vae.name}' if vae else ''}; "
        f"{config.model.name} of {size / 1e6:.2f} M parameters; "
        f"{jax.device_count()} {jax.default_backend()} device(s); "
        f"step {int(state.step)} of {config.max_steps}; {home}"
    )


def evaluator(config, built, test, key, workdir, report):
    """A hook: validation loss by noise level, and a grid of samples, ten of a class in a row."""
    import numpy as np

    from data import pipeline
    from utils import pictures, recipe

    held_out = test.batches(min(512, test.n))(0)
    losses = recipe.validator(built, EVAL_LEVELS)
    steps, scale = config.sampler.denoise_timesteps, config.sampler.cfg_scale
    draw = recipe.drawer(built, steps, guide=scale != 1.0)
    labels = np.arange(10 * min(10, max(1, test.num_classes)), dtype=np.int32) // 10

    def evaluate(state, _):
        number = int(state.step)
        values = [float(v) for v in losses(state.ema, key, held_out)]
        by_level = dict(zip(EVAL_LEVELS, values, strict=True))
        report.metrics.log(number, **{f"valid_loss_t{t}": v for t, v in by_level.items()})
        x = draw(state.ema, key, np.arange(len(labels)), labels, scale)
        path = workdir / "samples" / f"{number:07d}.png"
        pictures.save_grid(path, pipeline.to_bytes(x), columns=10)
        report.metrics.picture(number, "samples", path)
        shown = "  ".join(f"{t}: {v:.4f}" for t, v in by_level.items())
        report.say(f"step {number:6d}  validation loss at t = {shown}  samples in {path}")

    return evaluate


if __name__ == "__main__":
    pages.huge()
    flags.run(main)
