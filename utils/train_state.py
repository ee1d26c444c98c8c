"""What changes while training, and the optimiser that changes it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class State(NamedTuple):
    """All that a checkpoint holds. No leading device axis, on any number of devices."""

    step: jax.Array  # i32[], updates done
    params: Any
    ema: Any  # moving average of params; what samples, scores and is exported
    opt: Any
    key: jax.Array  # folded with the step; never changes


def begin(params, tx, key) -> State:
    """The state before the first step."""
    return State(
        jnp.zeros((), jnp.int32), params, jax.tree.map(jnp.copy, params), tx.init(params), key
    )


def learning_rate(c):
    """step -> learning rate: linear warm-up, then constant or a cosine down to lr / 100.

    Args:
        c: has lr, lr_schedule, warmup, max_steps.

    Raises:
        ValueError: another schedule.
    """
    if c.lr_schedule not in ("constant", "cosine"):
        raise ValueError(f"no lr_schedule {c.lr_schedule!r}; there are constant, cosine")
    rise = optax.linear_schedule(c.lr / max(c.warmup, 1), c.lr, c.warmup)
    rest = optax.constant_schedule(c.lr)
    if c.lr_schedule == "cosine":
        rest = optax.cosine_decay_schedule(c.lr, max(c.max_steps - c.warmup, 1), 0.01)
    return optax.join_schedules([rise, rest], [c.warmup])


def optimizer(c, rate):
    """AdamW (Adam at weight_decay 0); only matrices decay; clip bounds the gradient's norm.

    Args:
        c: has beta1, beta2, weight_decay, clip.
        rate: step -> learning rate.
    """
    matrices = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
    adam = optax.adamw(rate, c.beta1, c.beta2, weight_decay=c.weight_decay, mask=matrices)
    return optax.chain(optax.clip_by_global_norm(c.clip), adam) if c.clip else adam


def averaged(ema, params, step, *, decay, warmup):
    """The moving average after `step` f32[] updates; with warm-up it starts as a plain mean.

    Warm-up as in TensorFlow's ExponentialMovingAverage: decay min(decay, (1 + step) / (10 + step)).
    """
    if warmup:
        decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda e, p: e + (1.0 - decay) * (p - e), ema, params)
