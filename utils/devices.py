"""All devices in one row, and how arrays lie on them: whole on each, cut, or shared out by rows."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

SMALL = 1024  # numbers; an array of fewer is whole everywhere


def mesh() -> Mesh:
    """All devices in one row. Its axis is named as pmap's, or pmap would compile twice."""
    return Mesh(np.array(jax.devices()), ("data",))


def own() -> Mesh:
    """The devices of this process in one row."""
    return Mesh(np.array(jax.local_devices()), ("data",))


def whole(tree=None) -> NamedSharding:
    """Every array on every device, whatever the tree."""
    return NamedSharding(mesh(), P())


def cut(tree):
    """Each large array along the longest axis that the devices divide; of equal ones, the last."""
    row, n = mesh(), jax.device_count()

    def one(a):
        axes = [i for i in range(a.ndim) if a.shape[i] % n == 0]
        if a.size < SMALL or not axes:
            return whole()
        longest = max(axes, key=lambda i: (a.shape[i], i))
        return NamedSharding(row, P(*[None] * longest, "data"))

    return jax.tree.map(one, tree)


def shareable(batch_size: int, accumulate: int = 1):
    """Raises ValueError if devices and micro-batches cannot share a batch evenly."""
    devices = jax.device_count()
    if batch_size < 1 or batch_size % (devices * accumulate):
        by = f"{devices} devices" + (f" x {accumulate} micro-batches" if accumulate > 1 else "")
        near = max(1, round(batch_size / (devices * accumulate))) * devices * accumulate
        raise ValueError(f"a batch of {batch_size} cannot be shared by {by}; {near} can")


def filled(rows: int) -> int:
    """So many rows, or as few more as it takes for all devices to have the same number."""
    n = jax.device_count()
    return -(-rows // n) * n


def everyones(tree):
    """The same arrays as those of all processes together, which checkpoints want."""
    if jax.process_count() == 1:
        return tree

    def one(a):
        if not a.is_fully_addressable:  # it is so already
            return a
        here = [shard.data for shard in a.addressable_shards]
        return jax.make_array_from_single_device_arrays(a.shape, whole(), here)

    return jax.tree.map(one, tree)


def gathered(tree):
    """The same arrays, whole on all devices of this process; all have to call it."""
    tree = jax.jit(lambda tree: tree, out_shardings=whole())(tree)
    return everywhere(jax.tree.map(lambda a: a.addressable_data(0), tree))


def everywhere(tree):
    """The same arrays on all devices of this process."""
    return jax.device_put(tree, NamedSharding(own(), P()))


def spread(tree):
    """Arrays [B, ...] shared out by rows over all devices of this process, whose number divides
    B."""
    return jax.device_put(tree, NamedSharding(own(), P("data")))


def rowwise(function):
    """`function` of (params, rows [B, ...]), each device of this process on its share of the rows,
    whatever the function does: a partitioner that is left to itself gathers images of a network."""
    return jax.shard_map(
        function, mesh=own(), in_specs=(P(), P("data")), out_specs=P("data"), check_vma=False
    )
