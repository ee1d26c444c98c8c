"""A large image through a network in tiles that overlap, at the memory of one tile."""

from fractions import Fraction

import jax
import jax.numpy as jnp


def tiled(f, x, *, tile: int, overlap: int, unit: int = 1, scale=1):
    """f of each tile, blended where tiles overlap by weights that fall to each tile's edge.

    Exact where f looks at single places; elsewhere as good as what f makes of a place does not
    depend on what lies further away than `overlap`.

    Args:
        f: [B, h, w, C] -> a tree of [B, scale h, scale w, D].
        x: f32[B, H, W, C]; a side of at most `tile` is not cut.
        tile, overlap: places of x; the first and the last tile lie at the edges.
        unit: tiles begin at multiples of it, which divides sides and tile.
        scale: places of f's output for one of x; 1/8 of an encoder that makes 8 places one.
    """
    sides = x.shape[1:3]
    sizes = [min(tile, side) for side in sides]
    if sizes == list(sides):
        return f(x)
    rows, columns = (starts(*s, overlap, unit) for s in zip(sides, sizes, strict=True))
    corners = jnp.array([(i, j) for i in rows for j in columns])
    scale = Fraction(scale)
    out_sides, out_sizes = ([int(s * scale) for s in some] for some in (sides, sizes))
    ramps = [ramp(size, max(1, int(overlap * scale))) for size in out_sizes]
    weight = (ramps[0][:, None] * ramps[1])[None, :, :, None]

    def add(total, corner):
        part = f(jax.lax.dynamic_slice(x, (0, *corner, 0), (len(x), *sizes, x.shape[-1])))
        at = tuple(c * scale.numerator // scale.denominator for c in corner)
        put = lambda sums, y: jax.lax.dynamic_update_slice(
            sums, y + jax.lax.dynamic_slice(sums, (0, *at, 0), y.shape), (0, *at, 0)
        )
        parts = jax.tree.map(lambda y: y * weight, part)
        return jax.tree.map(put, total, (parts, weight)), None

    part = jax.eval_shape(f, jax.ShapeDtypeStruct((len(x), *sizes, x.shape[-1]), x.dtype))
    zeros = jax.tree.map(lambda y: jnp.zeros((len(x), *out_sides, y.shape[-1])), part)
    weights = jnp.zeros((1, *out_sides, 1))
    (sums, weights), _ = jax.lax.scan(add, (zeros, weights), corners)
    return jax.tree.map(lambda y: y / weights, sums)


def starts(side: int, size: int, overlap: int, unit: int) -> list[int]:
    """Where tiles begin along one side: evenly spread, neighbours sharing `overlap` or more."""
    last = (side - size) // unit
    count = -(-last // max(1, (size - overlap) // unit)) + 1
    return [unit * (i * last // max(1, count - 1)) for i in range(count)]


def ramp(size: int, overlap: int):
    """f32[size]: rises over `overlap` places, stays at one, falls again; never zero."""
    place = jnp.arange(1, size + 1)
    return jnp.minimum(1.0, jnp.minimum(place, size + 1 - place) / (overlap + 1))
