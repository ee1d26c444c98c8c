"""jax.random's numbers in NumPy: one seed gives one sample, whichever framework draws it.

Threefry-2x32 with 20 rounds (Salmon et al., SC 2011), counted as jax's "partitionable" random
numbers are, jax's default since 0.5. Bits are identical to jax's; normals agree to the last bits.

Keys are u32[..., 2]. As in diffusion/draws.py each example has its own.
"""

import numpy as np

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)
# Of erf^-1 in single precision, highest power first: M. Giles, "Approximating the erfinv
# function", GPU Computing Gems (Jade edition), 2011; for w < 5 in w - 2.5, else in sqrt(w) - 3.
NEAR = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
FAR = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


def key(seed):
    """u32[2] of a seed 0 <= seed < 2^32."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"--seed wants 0 to {2**32 - 1}; got {seed}")
    return np.array([0, seed], np.uint32)


def hashed(keys, high, low):
    """Two words u32[...] of keys u32[..., 2] and counters u32[...], all broadcast."""
    k = [keys[..., 0], keys[..., 1]]
    k.append(k[0] ^ k[1] ^ PARITY)
    a, b = high + k[0], low + k[1]
    for i in range(5):
        for r in ROTATIONS[i % 2]:
            a = a + b
            b = (b << np.uint32(r)) | (b >> np.uint32(32 - r))
            b = a ^ b
        a = a + k[(i + 1) % 3]
        b = b + k[(i + 2) % 3] + np.uint32(i + 1)
    return a, b


def fold(keys, data):
    """jax.random.fold_in of each key and integer: u32[..., 2], broadcast."""
    data = np.asarray(data, np.uint32)
    return np.stack(np.broadcast_arrays(*hashed(keys, np.zeros_like(data), data)), -1)


def split(keys, n=2):
    """n arrays of keys like `keys`, independent of each other."""
    zeros = np.zeros(n, np.uint32)
    parts = np.stack(hashed(keys[..., None, :], zeros, np.arange(n, dtype=np.uint32)), -1)
    return tuple(np.moveaxis(parts, -2, 0))


def uniform(keys, shape=()):
    """Uniforms in [0, 1), f32[B, *shape] of keys u32[B, 2]."""
    count = np.arange(int(np.prod(shape)), dtype=np.uint32)
    a, b = hashed(keys[:, None], np.zeros_like(count), count)
    ones = ((a ^ b) >> np.uint32(9)) | np.uint32(0x3F800000)  # the mantissa of 1.0 to 2.0
    return (ones.view(np.float32) - np.float32(1.0)).reshape(len(keys), *shape)


def normal(keys, shape=()):
    """Standard normals f32[B, *shape] of keys u32[B, 2]."""
    low = np.nextafter(np.float32(-1.0), np.float32(0.0))
    u = uniform(keys, shape) * (np.float32(1.0) - low) + low
    return np.float32(np.sqrt(2.0)) * inverse_erf(np.maximum(u, low))


def gumbel(keys, shape=()):
    """Standard Gumbels f32[B, *shape] of keys u32[B, 2]; none is above 15.95."""
    u = np.maximum(uniform(keys, shape), np.finfo(np.float32).tiny)
    return -np.log(-np.log(u))


def inverse_erf(x):
    """erf^-1 of f32 in (-1, 1)."""
    w = -np.log1p(-x * x)
    near = w < 5.0
    w = np.where(near, w - np.float32(2.5), np.sqrt(w) - np.float32(3.0))
    p = np.where(near, np.float32(NEAR[0]), np.float32(FAR[0]))
    for n, f in zip(NEAR[1:], FAR[1:], strict=True):
        p = np.where(near, np.float32(n), np.float32(f)) + p * w
    return p * x
