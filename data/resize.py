"""Images to the side that Inception wants, in the three ways that published scores were made.

    tf1      TensorFlow 1's bilinear: ADM's evaluator, TTUR, torch-fidelity, EDM2
    pytorch  half-pixel bilinear without antialiasing: pytorch-fid
    clean    Pillow's bicubic in float, with antialiasing, clipped to 0..255 but not rounded:
             clean-fid (arXiv:2104.11222)

On noise of 32 pixels tf1 and pytorch lie 36 grey levels apart in the mean, pytorch and clean 11:
the mode is part of a score. Each is linear and separable, one matrix an axis: out = R x S'. Where
the published code finds a place in float32, so do the matrices, which at 512 pixels are otherwise
7e-3 of a grey level off. pytorch-fid also scales differently, to 2x / 255 - 1 where the others
have (x - 128) / 128; that is not done here, but by x 256 / 255 before `models.inception`.
"""

import functools

import numpy as np

SIDE = 299


def resize(x, mode: str):
    """uint8[B, H, W, C] with C 1 or 3 -> f32[B, 299, 299, 3] in 0..255; grey becomes three equal.

    May be jitted.

    Raises:
        ValueError: no such mode, or no such images; the message tells what there is.
    """
    if mode not in MODES:
        raise ValueError(f"no resize mode {mode!r}; there are {', '.join(MODES)}")
    return MODES[mode](x).clip(0, 255)  # a cubic overshoots at edges, and clean-fid cuts it


def bicubic(x, side: int):
    """uint8[B, H, W, C] with C 1 or 3 -> f32[B, side, side, 3]: as clean, but what overshoots
    stays. It is torch's antialiased bicubic, to 3e-3 of a grey level."""
    return separable(functools.partial(clean, side=side), x)


def separable(matrix, x):
    """R x S' for a matrix builder (size) -> f32[side, size]."""
    import jax.numpy as jnp

    if x.ndim != 4 or x.dtype != np.uint8 or x.shape[-1] not in (1, 3):
        raise ValueError(f"want uint8[B, H, W, 1 or 3]; got {x.dtype}{list(x.shape)}")
    rows, columns = matrix(x.shape[1]), matrix(x.shape[2])
    # TPUs and GPUs round factors by default
    y = jnp.einsum("ih,bhwc->biwc", rows, jnp.asarray(x, jnp.float32), precision="highest")
    y = jnp.einsum("jw,biwc->bijc", columns, y, precision="highest")
    return jnp.broadcast_to(y, (*y.shape[:-1], 3))


@functools.cache
def tf1(size):
    """Place i lies at i size / 299; past the last pixel is the last pixel."""
    return between(np.arange(SIDE, dtype=np.float32) * np.float32(size / SIDE), size)


@functools.cache
def pytorch(size):
    """Centres of pixels lie on each other: place i at (i + 1/2) size / 299 - 1/2."""
    # one rounding to float32, as of a fused multiply-add
    places = (np.arange(SIDE) + 0.5) * np.float64(np.float32(size / SIDE)) - 0.5
    return between(np.maximum(places, 0).astype(np.float32), size)


def between(places, size):
    """f32[299, size], each row a mean of the two pixels around a place >= 0."""
    low = np.minimum(places.astype(np.int64), size - 1)
    share = places - low.astype(np.float32)
    matrix, rows = np.zeros((SIDE, size), np.float32), np.arange(SIDE)
    np.add.at(matrix, (rows, low), 1 - share)
    np.add.at(matrix, (rows, np.minimum(low + 1, size - 1)), share)
    return matrix


@functools.cache
def clean(size, side=SIDE):
    """Keys' cubic with a = -1/2 about each centre, as wide as two pixels of the smaller image."""
    stretch = max(size / side, 1.0)
    centres = (np.arange(side)[:, None] + 0.5) * (size / side)
    pixels = np.arange(size)[None]
    # Pillow takes the pixels whose numbers are in here, whatever of the cubic lies outside
    first, last = (np.trunc(centres + way * 2 * stretch + 0.5) for way in (-1, 1))
    weights = cubic((pixels + 0.5 - centres) / stretch) * (pixels >= first) * (pixels < last)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def cubic(x):
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


MODES = {m.__name__: functools.partial(separable, m) for m in (tf1, pytorch, clean)}
