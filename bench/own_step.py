"""This project's own training step, built as train_flow.py and train_text.py build it."""

from bench import child

# As the scripts run on a processor; other people's programs have what their own authors set.
ENV = tuple((k, child.environment()[k]) for k in ("GLIBC_TUNABLES", "JAX_PLATFORMS"))


def image(shape: tuple[int, int, int], batch: int, classes: int = 0, **knobs):
    """run() of one step on images of noise; it finds the number of parameters.

    Args:
        shape: (H, W, C) of an image.
        batch: images a step.
        classes: 0 is unconditional.
        **knobs: of configs/flow.py, __ for a dot: model__depth=12.
    """
    import numpy as np

    from configs import flow
    from utils import recipe

    config = changed(flow.get_config(), batch, knobs)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (batch, *shape)).astype(np.uint8)
    label = rng.integers(0, max(classes, 1), batch).astype(np.int32)
    built = recipe.image(config, shape, classes)
    return stepping(config, built.loss, lambda key: recipe.initial(built, key), x, label=label)


def text(vocabulary: int, batch: int, length: int, **knobs):
    """run() of one step on rows of random tokens; knobs are of configs/text.py. See `image`."""
    import numpy as np

    from configs import text as base
    from data.tokenizer import SPECIALS
    from utils import recipe_text

    config = changed(base.get_config(), batch, knobs | {"max_seq_len": length})
    x = np.random.default_rng(0).integers(len(SPECIALS), vocabulary, (batch, length))
    built = recipe_text.text(config, vocabulary)
    initial = lambda key: recipe_text.initial(built, key)
    return stepping(config, built.loss, initial, x.astype(np.uint16))


def changed(config, batch: int, knobs: dict):
    flat = {name.replace("__", "."): value for name, value in knobs.items()}
    config.update_from_flattened_dict(flat | {"batch_size": batch})
    return config


def stepping(config, loss, initial, x, **more):
    """run() of one step on the batch x [B, ...]; see `image`."""
    import jax
    import numpy as np

    from utils import loop

    key_init, key_train = jax.random.split(jax.random.key(config.seed))
    state, step, _ = loop.learner(config, loss, lambda: initial(key_init), key_train)
    batch = {"x": x, "index": np.arange(len(x), dtype=np.int32)} | more
    size = sum(p.size for p in jax.tree.leaves(state.params))

    def run():
        nonlocal state
        state, metrics = jax.block_until_ready(step(state, batch))
        if not np.isfinite(metrics["loss"]):
            raise FloatingPointError(f"the loss is {metrics['loss']}")
        return float(size)

    return run
