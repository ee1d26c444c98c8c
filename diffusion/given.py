"""Tokens that are given, in states of every kind: ids, candidates, vectors."""

import jax
import jax.numpy as jnp

from diffusion.schedules import levels
from diffusion.sparse import even


def held(process, known):
    """(x_t, t) -> x_t with the tokens of known i32[B, L] put back, -1 where nothing is given.

    Of candidates all slots say so; a vector stands where its noise has its mean.
    """

    def clamp(x, t):
        free = known < 0
        if hasattr(x, "ids"):
            sure = even(jnp.broadcast_to(known[..., None], x.ids.shape))
        elif hasattr(process, "table"):
            sure = levels(process.schedule, t, like=x).alpha * process.row(known)
            sure = jnp.where(process.real(known)[..., None], sure, 0.0)
        else:
            return jnp.where(free, x, known)
        return jax.tree.map(lambda old, new: jnp.where(free[..., None], old, new), x, sure)

    return clamp


def visible(process, known, x):
    """Tokens i32[B, L] that are sure in x_t, -1 elsewhere: where noise hides tokens those that it
    leaves, of other kinds of noise only those given."""
    return jnp.where(x == process.mask_id, -1, x) if hasattr(process, "mask_id") else known
