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
    """The optimiser of a config; only matrices decay; clip bounds the gradient's norm.

    Args:
        c: has optimizer, beta1, beta2, weight_decay, clip.
        rate: step -> learning rate.

    Raises:
        ValueError: another optimiser.
    """
    if c.optimizer not in OPTIMIZERS:
        raise ValueError(f"no optimizer {c.optimizer!r}; there are {', '.join(OPTIMIZERS)}")
    tx = OPTIMIZERS[c.optimizer](c, rate)
    return optax.chain(optax.clip_by_global_norm(c.clip), tx) if c.clip else tx


def adamw(c, rate):
    """AdamW; Adam at weight_decay 0."""
    matrices = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
    return optax.adamw(rate, c.beta1, c.beta2, weight_decay=c.weight_decay, mask=matrices)


def muon(c, rate):
    """Muon for a transformer's inner matrices, Nesterov's Adam for all else, at one rate: the
    updates of both are alike in size (arXiv:2502.16982, eq. 4).

    Tables of embeddings, what reads x_t, and the output are left to Adam. Only Muon's own
    matrices decay.
    """
    from optax.contrib import MuonDimensionNumbers, muon

    def hidden(params):
        """Kernels with their axes of input and output; those of scanned blocks have one more."""

        def axes(path, p):
            inner = path[-1].key == "kernel" and path[0].key not in AT_THE_ENDS and p.ndim in (2, 3)
            return MuonDimensionNumbers(p.ndim - 2, p.ndim - 1) if inner else None

        return jax.tree_util.tree_map_with_path(axes, params)

    return muon(
        rate, adam_b1=c.beta1, adam_b2=c.beta2, weight_decay=c.weight_decay,
        muon_weight_dimension_numbers=hidden, consistent_rms=0.2,
    )  # fmt: skip


AT_THE_ENDS = ("patchify", "project", "head")  # what touches data
OPTIMIZERS = {"adamw": adamw, "muon": muon}


def averaged(ema, params, step, *, decay, warmup):
    """The moving average after `step` f32[] updates; with warm-up it starts as a plain mean.

    Warm-up as in TensorFlow's ExponentialMovingAverage: decay min(decay, (1 + step) / (10 + step)).
    """
    if warmup:
        decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda e, p: e + (1.0 - decay) * (p - e), ema, params)
