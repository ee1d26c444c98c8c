"""The one loss. Every model of this repository, image or text, is trained by it."""

import functools

import jax
import jax.numpy as jnp

from diffusion import draws
from diffusion.clocks import clock

T_MIN = 1e-3  # noise levels below it are never drawn: there is nothing left to learn


@functools.partial(
    jax.jit, static_argnames=("process", "apply", "draw_t", "null_label", "drop", "total")
)
def diffusion_loss(
    process, apply, params, key, batch, *, draw_t=None, null_label=None, drop=0.0, total=None
):
    """E_t E_x_t [ process.loss(network(x_t, t, cond)) ].

    Args:
        process: a process.Process.
        apply: (params, x_t, t, cond, keys) -> out, a models.Model's.
        params: the network's parameters.
        key: the step's key; the same on every device.
        batch: {"x": data [B, ...], "label": i32[B] (optional), "index": i32[B], each
            example's place in the GLOBAL batch (0..B-1 if left out)}.
        draw_t: (keys key[B], index i32[B], total) -> t f32[B]; `stratified` if None.
        null_label: the class id that means "no class".
        drop: probability that an example's label becomes null_label, for guidance.
        total: size of the global batch; B if None.

    Returns:
        (loss f32[], metrics): means over this device's share, so that their mean over
        equal shares is what one device would have got for the whole batch.
    """
    if drop and null_label is None:
        raise ValueError(f"drop {drop} hides labels behind null_label, which is None")
    x0 = batch["x"]
    index = batch.get("index", jnp.arange(len(x0)))
    cond = {k: v for k, v in batch.items() if k not in ("x", "index")}
    keys_t, keys_x, keys_drop, keys_net = draws.split(draws.fold(key, index), 4)
    t = (draw_t or stratified)(keys_t, index, total or len(x0))
    t = clock(process, keys_x, x0.shape[1:])(t)
    xt, target = process.corrupt(keys_x, x0, t)
    if drop and "label" in cond:
        dropped = draws.uniform(keys_drop) < drop
        cond = cond | {"label": jnp.where(dropped, null_label, cond["label"])}
    losses, metrics = process.loss(apply(params, xt, t, cond, keys_net), target, t)
    return losses.mean(), metrics | {"loss": losses.mean()}


def loss_at(process, apply, params, keys, x0, cond, t):
    """Losses f32[B] at one noise level t f32[], without dropout: for validation curves."""
    t = clock(process, keys, x0.shape[1:])(jnp.full(len(x0), t))
    xt, target = process.corrupt(keys, x0, t)
    return process.loss(apply(params, xt, t, cond, None), target, t)[0]


def uniform(keys, index, total):
    """Independent noise levels, f32[B] in [T_MIN, 1)."""
    return T_MIN + (1.0 - T_MIN) * draws.uniform(keys)


def stratified(keys, index, total):
    """One level in each of `total` equal strata: less variance (arXiv:2107.00630, I.1).

    Example `index` of the global batch gets the stratum [index, index + 1) / total, so the
    strata are shared out over devices and hosts as the batch is.
    """
    return T_MIN + (1.0 - T_MIN) * (index + draws.uniform(keys)) / total


def logit_normal(mean=0.0, scale=1.0):
    """Levels crowd around sigmoid(mean) (arXiv:2403.03206, eq. 19); stratified as well."""

    def draw(keys, index, total):
        quantile = (index + draws.uniform(keys)) / total
        t = jax.nn.sigmoid(mean + scale * jax.scipy.special.ndtri(quantile))
        return jnp.clip(t, T_MIN, 1.0)

    return draw
