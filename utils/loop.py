"""The training loop, and its step on all devices.

One step function, two modes. pmap: every device holds the whole state and takes its share of the
batch. fsdp: each large array of the state is cut into as many parts as there are devices
(arXiv:2304.11277), and XLA sends them where they are needed: for models that no device holds.
The state has no device axis in either, so checkpoints, averages, sampling and export are the
same code on 1 or 8 devices, and a run goes on in another mode, on more devices, or fewer.
"""

import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from utils import devices, train_state
from utils.hosts import Interrupt
from utils.train_state import State, averaged, begin


class Hook(NamedTuple):
    """`run(state, metrics)` after every `every` steps and the last.

    when_cut: also before leaving on a signal, when seconds count.
    """

    every: int
    run: Callable[[State, dict], None]
    when_cut: bool = True


def hooks(config, report, save, look, send) -> list[Hook]:
    """What is done while training, in this order."""
    return [
        Hook(config.log_interval, report),
        Hook(config.save_interval, save),
        Hook(config.eval_interval, by_first(look), when_cut=False),
        Hook(config.save_interval, send),
    ]


def create(init, tx, key, mode="pmap") -> State:
    """A fresh state where its mode wants it, compiled once. init: () -> params.

    Raises:
        ValueError: no such mode.
    """
    if mode not in MODES:
        raise ValueError(f"no mode {mode!r}; there are {', '.join(MODES)}")
    lies, fresh = MODES[mode].lies, lambda: begin(init(), tx, key)
    return jax.jit(fresh, out_shardings=lies(jax.eval_shape(fresh)))()


def learner(config, loss_fn, initial, key) -> tuple[State, Callable, Callable]:
    """What learns as a config has it: (a fresh state, its step, step -> learning rate).

    Args:
        config: like configs/flow.py's and configs/text.py's.
        loss_fn: see `update`.
        initial: () -> params.
        key: of all that is drawn while training.
    """
    rate = train_state.learning_rate(config)
    tx = train_state.optimizer(config, rate)
    state = create(initial, tx, key, config.mode)
    step = update(
        loss_fn, tx, ema_decay=config.ema_decay, ema_warmup=config.ema_warmup,
        accumulate=config.accumulate, mode=config.mode,
    )  # fmt: skip
    return state, step, rate


def update(loss_fn, tx, *, ema_decay, ema_warmup=True, accumulate=1, mode="pmap"):
    """Builds the step (state, batch [B, ...]) -> (state, metrics f32[]) over all devices.

    Args:
        loss_fn: (params, key, batch) -> (f32[], metrics), means over the examples given.
        tx: an optax transformation.
        ema_decay, ema_warmup: see train_state.averaged.
        accumulate: micro-batches a step; gradients are shared once whatever it is.
        mode: pmap, fsdp.

    The batch is this process's rows of the global batch. The step has `lower`, as what jax.jit
    returns has.
    """
    grad = jax.grad(loss_fn, has_aux=True)
    means = MODES[mode].over_devices(in_parts(grad, accumulate), accumulate)

    def step(state, batch):
        key = jax.random.fold_in(state.key, state.step)
        grads, metrics = means(state.params, key, batch)
        updates, opt = tx.update(grads, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = averaged(state.ema, params, state.step + 1.0, decay=ema_decay, warmup=ema_warmup)
        norms = {"grad_norm": optax.global_norm(grads), "param_norm": optax.global_norm(params)}
        metrics = metrics | norms
        return State(state.step + 1, params, ema, opt, state.key), metrics

    return MODES[mode].executor(step)


def in_parts(grad, accumulate):
    """The same means (params, key, batch) -> ..., by way of micro-batches."""
    if accumulate == 1:
        return grad

    def means(params, key, batch):
        one = lambda part: grad(params, key, part)
        parts = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), batch)
        total = jax.eval_shape(one, jax.tree.map(lambda x: x[0], parts))
        total = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), total)
        add = lambda sums, part: (jax.tree.map(jnp.add, sums, one(part)), None)
        total, _ = jax.lax.scan(add, total, parts)
        return jax.tree.map(lambda x: x / accumulate, total)

    return means


def reduced(means, accumulate):
    """Of one device's rows -> of all rows, on each device."""
    return lambda *args: jax.lax.pmean(means(*args), "data")


def scattered(means, accumulate):
    """Of all rows, gradients cut as the parameters are.

    One batch is XLA's to part: it gathers each array of parameters where it is used. Micro-batches
    it would have shared out one by one. So each device goes through its own, with whole parameters
    and whole gradients for the time, and only then is the sum scattered.
    """
    if accumulate == 1:
        return means

    def over_all(params, key, batch):
        cuts = jax.tree.map(lambda placed: placed.spec, devices.cut(params))

        def here(params, key, batch):
            grads, metrics = means(params, key, batch)
            return jax.tree.map(scatter, grads, cuts), jax.lax.pmean(metrics, "data")

        return jax.shard_map(
            here, mesh=devices.mesh(), in_specs=(P(), P(), P("data")), out_specs=(cuts, P()),
            check_vma=False,
        )(params, key, batch)  # fmt: skip

    return over_all


def scatter(grad, cut):
    """This device's part of the mean over devices; all of it where nothing is cut."""
    if "data" not in cut:
        return jax.lax.pmean(grad, "data")
    axis = tuple(cut).index("data")
    total = jax.lax.psum_scatter(grad, "data", scatter_dimension=axis, tiled=True)
    return total / jax.device_count()


def pmapped(step):
    """`step` on each device, with its share of the rows."""
    run = jax.pmap(
        step, axis_name="data", in_axes=(None, 0), out_axes=(None, None), donate_argnums=0
    )
    share = lambda x: x.reshape(jax.local_device_count(), -1, *x.shape[1:])
    return fed(run, lambda batch: jax.tree.map(share, batch))


def partitioned(step):
    """`step` on the whole batch, its arrays cut as devices.cut has them."""
    rows, keep = NamedSharding(devices.mesh(), P("data")), jax.lax.with_sharding_constraint

    def kept(state, batch):
        state, metrics = step(state, batch)
        return keep(state, devices.cut(state)), keep(metrics, devices.whole())

    together = functools.partial(jax.make_array_from_process_local_data, rows)
    return fed(jax.jit(kept, donate_argnums=0), lambda batch: jax.tree.map(together, batch))


def fed(run, share):
    """`run` on what `share` makes of the batch of this process."""

    def shared(state, batch):
        return run(state, share(batch))

    shared.lower = lambda state, batch: run.lower(state, share(batch))
    return shared


class Mode(NamedTuple):
    lies: Callable  # tree -> where each array of it lies
    over_devices: Callable  # (means over rows, micro-batches) -> those over all devices' rows
    executor: Callable  # step -> what runs it


MODES = {
    "pmap": Mode(devices.whole, reduced, pmapped),
    "fsdp": Mode(devices.cut, scattered, partitioned),
}


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
            cut_short = interrupt.after(number)  # once: a signal that comes now waits for its turn
            leaving = lambda hook, cut=cut_short: cut is not None and hook.when_cut
            due = [h for h in hooks if number % h.every == 0 or number == steps or leaving(h)]
            if due:
                metrics = {k: float(v) for k, v in jax.device_get(metrics).items()}
                check_finite(metrics, checked + 1, number)
                seconds = time.perf_counter() - since
                metrics["steps_per_second"] = (number - timed) / max(seconds, 1e-9)
                known = devices.everyones(state)
                for hook in due:
                    hook.run(known, metrics)
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


def by_first(run):
    """A hook that process 0 runs by itself, with the averaged weights on its own devices."""

    def hook(state, metrics):
        if jax.process_count() > 1:
            state = state._replace(ema=devices.gathered(state.ema), params=None, opt=None)
        if jax.process_index() == 0:
            run(state, metrics)

    return hook
