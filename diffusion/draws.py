"""Random numbers, one key an example.

    fold(key, index)      key of each example, from its index in the global batch
    split(keys, n)        n independent arrays of keys
    normal, uniform       f32[B, *shape], example i drawn from keys[i] alone

One device, eight devices and two hosts draw the same numbers for the same example.
Costs about a third more than one big draw.
"""

import jax
import jax.numpy as jnp


def fold(key: jax.Array, index: jax.Array) -> jax.Array:
    """One key an example, key[B]: of a key and i32[B], or of key[B] and one i32[].

    Keys are those of jax.random.key; the old PRNGKey arrays would be taken for a batch.
    """
    if key.ndim:
        return jax.vmap(jax.random.fold_in, (0, None))(key, index)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, index)


def split(keys: jax.Array, n: int = 2) -> tuple[jax.Array, ...]:
    """n arrays key[B], independent of each other."""
    return tuple(jax.vmap(lambda k: jax.random.split(k, n), out_axes=1)(keys))


def normal(keys: jax.Array, shape: tuple[int, ...] = (), dtype=jnp.float32) -> jax.Array:
    """Standard normals f32[B, *shape]."""
    return jax.vmap(lambda k: jax.random.normal(k, shape, dtype))(keys)


def uniform(keys: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
    """Uniforms in [0, 1), f32[B, *shape]."""
    return jax.vmap(lambda k: jax.random.uniform(k, shape))(keys)
