"""The one sampling loop."""

import jax
import jax.numpy as jnp

from diffusion import draws
from diffusion.clocks import rounds


def sample(
    process, solver, predict, key, index, shape, *, steps, times=None, clamp=None, given=None,
    trajectory=False,
):  # fmt: skip
    """Draws from the model: prior at t = 1, `steps` solver steps, decode at t = 0.

    Example i depends on (key, index[i]) alone, not on the batch that it is drawn in.

    Args:
        process, solver: a pair that fits: (Gaussian, Ddim), ...
        predict: (x_t, t) -> out; see `predictor` here and the functions of guidance.py.
        key: a PRNG key.
        index: i32[B], which samples of the key's endless sequence to draw.
        shape: of one example, without B.
        steps: solver steps (network calls; twice that for Heun).
        times: f32[steps + 1] from 1 down to 0; even steps if None.
        clamp: (x, t) -> x, puts back what is known (a prompt, a hole's rim) before every
            step and at the end; None knows nothing.
        given: bool[B, L], the places that it puts back: where places have clocks of their own,
            these show no noise from the start.
        trajectory: also return every state, decoded; costs steps + 1 times the memory.

    Returns:
        Data [B, *shape] as `process.decode` gives it; with `trajectory` a pair of that and
        [steps + 1, B, *shape], noise first.
    """
    clamp = clamp or (lambda x, t: x)
    times = jnp.linspace(1.0, 0.0, steps + 1) if times is None else times
    keys_prior, keys_steps = draws.split(draws.fold(key, index))
    times, levels = rounds(process, solver, keys_prior, shape, times, given)

    def step(carry, now):
        x, memory = carry
        t, s, again = levels(*now[1:])
        keys = draws.fold(keys_steps, now[0])
        x = renewed(process, keys, shape, x, again)
        x, memory = solver.step(process, predict, keys, x, t, s, memory)
        x = clamp(x, s)
        return (x, memory), process.decode(x) if trajectory else None

    inputs = (jnp.arange(len(times[0])), *times)
    first = clamp(process.prior(keys_prior, shape), levels(*(v[0] for v in times))[0])
    (x, _), path = jax.lax.scan(step, (first, solver.start(first)), inputs)
    if not trajectory:
        return process.decode(x)
    return process.decode(x), jnp.concatenate([process.decode(first)[None], path])


def renewed(process, keys, shape, x, again):
    """x with fresh noise at the places again bool[B, L]; None: nowhere."""
    if again is None:
        return x
    noise = process.prior(draws.fold(keys, jnp.int32(1)), shape)
    return jax.tree.map(lambda new, old: jnp.where(again[..., None], new, old), noise, x)


def predictor(apply, params, cond):
    """Binds a network to its parameters and condition: (x, t) -> out."""

    def predict(x, t):
        batch = len(jax.tree.leaves(x)[0])
        return apply(params, x, t if jnp.ndim(t) else jnp.broadcast_to(t, (batch,)), cond, None)

    return predict
