"""The one sampling loop."""

import jax
import jax.numpy as jnp

from diffusion import draws
from diffusion.clocks import clock


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
    level = clock(process, keys_prior, shape)
    if given is not None and getattr(process, "spread", 0.0):
        level = lambda t, own=level: jnp.where(given, 0.0, own(t))

    def step(carry, now):
        x, memory = carry
        number, t, s = now[0], level(now[1]), level(now[2])
        keys = draws.fold(keys_steps, number)
        x, memory = solver.step(process, predict, keys, x, t, s, memory)
        x = clamp(x, s)
        return (x, memory), process.decode(x) if trajectory else None

    first = clamp(process.prior(keys_prior, shape), level(times[0]))
    inputs = (jnp.arange(steps), times[:-1], times[1:])
    (x, _), path = jax.lax.scan(step, (first, solver.start(first)), inputs)
    if not trajectory:
        return process.decode(x)
    return process.decode(x), jnp.concatenate([process.decode(first)[None], path])


def predictor(apply, params, cond):
    """Binds a network to its parameters and condition: (x, t) -> out."""

    def predict(x, t):
        batch = len(jax.tree.leaves(x)[0])
        return apply(params, x, t if jnp.ndim(t) else jnp.broadcast_to(t, (batch,)), cond, None)

    return predict
