"""How others draw text from a masked network, for benches: every place, every token, every step.

    joint          as MD4: one draw over "stay hidden, or one of V tokens", all steps in one program
    joint_torch    as MDLM: the same draw, a loop in Python, answers kept while nothing changes
    surest_torch   as LLaDA: tokens by Gumbels in float64, of which the surest are revealed

All start from nothing but <MASK>, and on the linear schedule. Written from their descriptions:
arXiv:2406.04329 (MD4), arXiv:2406.07524 (MDLM, algorithm 1 and app. C.3), arXiv:2502.09992 (LLaDA,
sec. 2.4).
"""

import math


def joint(predict, mask_id: int, batch: int, length: int, steps: int):
    """A jitted key -> i32[batch, length]; V + 1 Gumbels a place, and at the end the likeliest.

    predict: (x i32[B, L], t f32[B]) -> logits f32[B, L, V]. Times crowd at t = 1 by a cosine.
    """
    import jax
    import jax.numpy as jnp

    def step(number, carry):
        x, key = carry
        t, s = (jnp.cos(math.pi / 2 * (n / steps)) for n in (number, number + 1))
        logits = predict(x, jnp.full(batch, t)).at[..., mask_id].set(-jnp.inf)
        said = (t - s) / t * jax.nn.softmax(logits)
        stay = jnp.broadcast_to(s / t, (batch, length, 1))
        log_p = jnp.log(jnp.concatenate([said, stay], -1))
        drawn = jax.random.categorical(jax.random.fold_in(key, number), log_p)
        drawn = jnp.where(drawn == logits.shape[-1], mask_id, drawn)
        return jnp.where(x == mask_id, drawn, x), key

    @jax.jit
    def draw(key):
        x = jnp.full((batch, length), mask_id)
        x, _ = jax.lax.fori_loop(0, steps, step, (x, key))
        logits = predict(x, jnp.zeros(batch)).at[..., mask_id].set(-jnp.inf)
        return jnp.where(x == mask_id, logits.argmax(-1), x)

    return draw


def joint_torch(predict, mask_id: int, batch: int, length: int, steps: int, kept=False):
    """() -> i64[batch, length]; V exponentials a place, and at the end the likeliest.

    predict: (x i64[B, L], t f32[B]) -> logits f32[B, L, V].
    kept: the last answer serves again if no place has changed, right for a network that is not
        told the time.
    """
    import torch

    def probabilities(x, t):
        """Never <MASK>, and where a token can be seen that token, by way of logarithms."""
        logits = predict(x, torch.full((batch,), t))
        logits[..., mask_id] = -1e6
        log_p = logits - logits.logsumexp(-1, keepdim=True)
        shown = x != mask_id
        log_p[shown] = -1e6
        log_p[shown, x[shown]] = 0.0
        return log_p.exp()

    @torch.inference_mode()
    def draw():
        x, answer = torch.full((batch, length), mask_id), None
        for number in range(steps):
            t, s = 1 - number / steps, 1 - (number + 1) / steps
            answer = probabilities(x, t) if answer is None else answer
            weights = answer * (t - s)
            weights[..., mask_id] = s
            drawn = (weights / (1e-10 - (torch.rand_like(weights) + 1e-10).log())).argmax(-1)
            then = torch.where(x == mask_id, drawn, x)
            answer = answer if kept and torch.equal(then, x) else None
            x = then
        return torch.where(x == mask_id, probabilities(x, 0.0).argmax(-1), x)

    return draw


def surest_torch(predict, mask_id: int, batch: int, length: int, steps: int):
    """() -> i64[batch, length]; V Gumbels a place in float64, equally many reveals a step."""
    import torch

    reveals = [len(range(i, length, steps)) for i in range(steps)]

    @torch.inference_mode()
    def draw():
        x = torch.full((batch, length), mask_id)
        for number, reveal in enumerate(reveals):
            logits = predict(x, torch.full((batch,), 1 - number / steps))
            logits[..., mask_id] = -torch.inf
            noise = -torch.rand_like(logits, dtype=torch.float64).log()
            drawn = (logits.double().exp() / noise).argmax(-1)
            sure = logits.softmax(-1).gather(-1, drawn[..., None])[..., 0]
            hidden = x == mask_id
            places = torch.where(hidden, sure, -1.0).topk(reveal, -1).indices
            x = x.scatter(-1, places, drawn.gather(-1, places))
        return x

    return draw
