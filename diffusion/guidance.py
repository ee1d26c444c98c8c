"""Functions that bend a prediction on its way to the solver: predict -> predict.

They mix raw outputs. Every Gaussian target is linear in (x_0, eps) at a given x_t, so
mixing outputs, scores or x_0 predictions is the same thing.
Strengths and intervals are traced: another value does not recompile.
Those of tokens mix log-probabilities.
"""

import jax
import jax.numpy as jnp

from diffusion.sample import predictor


def guided(apply, params, cond, null, scale, interval=(0.0, 1.0)):
    """Classifier-free guidance (arXiv:2207.12598): out_u + scale (out_c - out_u).

    Both halves go through the network as ONE batch of 2B.

    Args:
        apply, params: a models.Model's.
        cond, null: dicts of the same keys and shapes: what is wanted, and "nothing said".
        scale: f32[]; 1 is the conditional model, 0 the unconditional one.
        interval: guide only at noise levels in [lo, hi] (arXiv:2404.07724).
    """
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), cond, null)
    predict_both = predictor(apply, params, both)

    def predict(x, t):
        x = jax.tree.map(lambda a: jnp.concatenate([a, a]), x)
        out = predict_both(x, jnp.concatenate([t, t]) if jnp.ndim(t) else t)
        conditional, free = jnp.split(out, 2)
        inside = (interval[0] <= t) & (t <= interval[1])
        inside = jnp.reshape(inside, jnp.shape(t) + (1,) * (free.ndim - jnp.ndim(t)))
        return free + jnp.where(inside, scale, 1.0) * (conditional - free)

    return predict


def autoguided(predict, weak, scale):
    """Autoguidance (arXiv:2406.02507): away from a weaker model of the same data.

    Args:
        predict, weak: (x, t) -> out, of one target; the weak one smaller or less trained.
        scale: f32[]; 1 is `predict` alone.
    """

    def guided_by_weak(x, t):
        bad = weak(x, t)
        return bad + scale * (predict(x, t) - bad)

    return guided_by_weak


def prompted(predict, forget, scale):
    """Classifier-free guidance of text by its own prompt (arXiv:2410.18514, sec. 3.3): towards
    what the network says with the prompt in sight, away from what it says without.

    Both halves go through the network as ONE batch of 2B, and no label was ever dropped.

    Args:
        predict: (x_t, t) -> logits f32[B, L, V].
        forget: x_t -> x_t with the prompt hidden.
        scale: f32[]; 1 is `predict` alone, 0 forgets the prompt.
    """

    def guided_by_prompt(x, t):
        t = jnp.broadcast_to(t, (len(x),))
        out = predict(jnp.concatenate([x, forget(x)]), jnp.concatenate([t, t]))
        seen, unseen = jnp.split(jax.nn.log_softmax(out.astype(jnp.float32)), 2)
        return unseen + scale * (seen - unseen)

    return guided_by_prompt
