"""Random images, and what a file of one holds."""

import io

import numpy as np
from PIL import Image


def pictures(n, side=8, channels=3, seed=0):
    """u8[n, side, side, channels], or u8[n, side, side] of one channel."""
    shape = (n, side, side, channels) if channels > 1 else (n, side, side)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def png(array, kind="PNG"):
    """Bytes of an image file."""
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind)
    return out.getvalue()
