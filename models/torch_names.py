"""Other people's arrays as our parameters, where modules carry their names.

A module whose parts are called "down_blocks.0.resnets.1" and "conv_in" has PyTorch's name for each
array, its path joined by dots. What it wants is read off its own shapes: nothing is listed twice.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from models.published import differences

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}  # a convolution, a matrix, a norm or bias
FROM_TORCH = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


def shapes(tree) -> dict[str, tuple[int, ...]]:
    """{PyTorch's name: its shape there} of a parameter tree (of arrays or ShapeDtypeStructs)."""
    flat = {name(path): leaf.shape for path, leaf in flatten_dict(tree).items()}
    return {k: tuple(shape[axis] for axis in TO_TORCH[len(shape)]) for k, shape in flat.items()}


def convert(named: dict[str, np.ndarray], module, *inputs) -> dict:
    """The arrays of a weights file as parameters f32 of `module`, called with `inputs`.

    Raises:
        ValueError: names that are missing, unknown or of another shape; the message tells them.
    """
    tree = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    if wrong := differences({k: np.shape(a) for k, a in named.items()}, shapes(tree)):
        raise ValueError(wrong)
    array = lambda path: np.asarray(named[name(path)], np.float32)
    move = lambda a: jnp.asarray(a.transpose(FROM_TORCH[a.ndim]))
    return unflatten_dict({path: move(array(path)) for path in flatten_dict(tree)})


def name(path) -> str:
    *parts, leaf = path
    return ".".join([*parts, LEAVES[leaf]])
