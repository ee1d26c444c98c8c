"""The training loop: the only file that knows there is more than one device.

The state has no device axis: it goes into pmap by in_axes None and comes out by out_axes
None, so checkpoints, averages, sampling and export are the same code on 1 or 8 devices.
"""

import signal
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from utils.train_state import State, averaged, begin


class Hook(NamedTuple):
    """`run(state, metrics)` after every `every` steps and the last.

    when_cut: also before leaving on a signal, when seconds count.
    """

    every: int
    run: Callable[[State, dict], None]
    when_cut: bool = True


def mesh() -> Mesh:
    """All devices in one row. Its axis is named as pmap's, or pmap would compile twice."""
    return Mesh(np.array(jax.devices()), ("data",))


def create(init, tx, key) -> State:
    """A fresh state on every device, compiled once. init: () -> params."""
    everywhere = NamedSharding(mesh(), P())
    return jax.jit(lambda: begin(init(), tx, key), out_shardings=everywhere)()


def update(loss_fn, tx, *, ema_decay, ema_warmup=True, accumulate=1):
    """Builds the step (state, batch [B, ...]) -> (state, metrics f32[]) over all devices.

    Args:
        loss_fn: (params, key, batch) -> (f32[], metrics), means over the examples given.
        tx: an optax transformation.
        ema_decay, ema_warmup: see train_state.averaged.
        accumulate: micro-batches a step; one all-reduce whatever it is.
    """
    grad = jax.grad(loss_fn, has_aux=True)

    def step(state, batch):
        key = jax.random.fold_in(state.key, state.step)
        one = lambda part: grad(state.params, key, part)
        if accumulate == 1:
            grads, metrics = one(batch)
        else:
            parts = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), batch)
            total = jax.eval_shape(one, jax.tree.map(lambda x: x[0], parts))
            total = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), total)
            add = lambda sums, part: (jax.tree.map(jnp.add, sums, one(part)), None)
            total, _ = jax.lax.scan(add, total, parts)
            grads, metrics = jax.tree.map(lambda x: x / accumulate, total)
        grads, metrics = jax.lax.pmean((grads, metrics), "data")
        updates, opt = tx.update(grads, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = averaged(state.ema, params, state.step + 1.0, decay=ema_decay, warmup=ema_warmup)
        norms = {"grad_norm": optax.global_norm(grads), "param_norm": optax.global_norm(params)}
        metrics = metrics | norms
        return State(state.step + 1, params, ema, opt, state.key), metrics

    pmapped = jax.pmap(
        step, axis_name="data", in_axes=(None, 0), out_axes=(None, None), donate_argnums=0
    )
    devices = jax.local_device_count()

    def shared(state, batch):
        return pmapped(state, {k: v.reshape(devices, -1, *v.shape[1:]) for k, v in batch.items()})

    return shared


def shareable(batch_size: int, accumulate: int = 1):
    """Raises ValueError if devices and micro-batches cannot share a batch evenly."""
    devices = jax.device_count()
    if batch_size < 1 or batch_size % (devices * accumulate):
        by = f"{devices} devices" + (f" x {accumulate} micro-batches" if accumulate > 1 else "")
        near = max(1, round(batch_size / (devices * accumulate))) * devices * accumulate
        raise ValueError(f"a batch of {batch_size} cannot be shared by {by}; {near} can")


class Interrupt:
    """Notes SIGTERM and the first Ctrl-C, so that the loop can save and leave."""

    def __enter__(self):
        self.signal = None
        self.old = {s: signal.signal(s, self.note) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def note(self, number, frame):
        self.signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C is not held up

    def __exit__(self, *_):
        for number, handler in self.old.items():
            signal.signal(number, handler)


def fit(
    state: State, step: Callable, batches: Callable[[int], dict], steps: int, hooks: list[Hook]
) -> tuple[State, int | None]:
    """Runs `step` until state.step == steps; goes on from wherever the state stands.

    Args:
        state: from `create` or a checkpoint.
        step: from `update`.
        batches: number of the step -> {"x": [B, ...], ...}.
        steps: where to stop.
        hooks: called in order; metrics also hold "steps_per_second".

    Returns:
        (state, signal): the signal that cut the run short, None if it reached the end.

    Raises:
        FloatingPointError: the loss is no longer finite. Checked before any hook runs, so
            nothing of it is saved; the message tells the window of steps.
    """
    start = number = checked = timed = int(state.step)
    since = time.perf_counter()
    with Interrupt() as interrupt:
        while number < steps:
            state, metrics = step(state, batches(number))
            number += 1
            cut_short = interrupt.signal  # read once: a signal that comes now waits for its turn
            leaving = lambda hook, cut=cut_short: cut is not None and hook.when_cut
            due = [h for h in hooks if number % h.every == 0 or number == steps or leaving(h)]
            if due:
                metrics = {k: float(v) for k, v in jax.device_get(metrics).items()}
                check_finite(metrics, checked + 1, number)
                seconds = time.perf_counter() - since
                metrics["steps_per_second"] = (number - timed) / max(seconds, 1e-9)
                for hook in due:
                    hook.run(state, metrics)
                checked = number
            if due or number == start + 1:  # the first step compiles, and tells nothing of speed
                timed, since = number, time.perf_counter()
            if cut_short is not None:
                return state, cut_short
    return state, None


def check_finite(metrics: dict, first: int, last: int):
    """Raises FloatingPointError if a loss or norm of the steps `first` to `last` is not finite."""
    for name in ("loss", "grad_norm", "param_norm"):
        if not np.isfinite(metrics[name]):
            raise FloatingPointError(
                f"the {name} became {metrics[name]} between steps {first} and {last}; "
                "nothing of it was saved. Try a lower --lr, or --clip"
            )


def everywhere(tree):
    """The same arrays on all devices."""
    return jax.device_put(tree, NamedSharding(mesh(), P()))


def spread(tree):
    """Arrays [B, ...] shared out by rows over all devices; B divisible by their number."""
    return jax.device_put(tree, NamedSharding(mesh(), P("data")))
