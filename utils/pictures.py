"""Pictures from arrays u8[N, H, W, C]: a grid, an animation, a plot. Pillow and matplotlib."""

from pathlib import Path

import numpy as np


def grid(images, columns: int | None = None, gap: int = 1):
    """One u8[H', W', C] array of all images, row by row on white; a square-ish grid by default."""
    n, h, w, c = images.shape
    columns = columns or int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    sheet = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, c), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = gap + i // columns * (h + gap), gap + i % columns * (w + gap)
        sheet[top : top + h, left : left + w] = image
    return sheet


def enlarged(images, columns, side: int):
    """A grid as a Pillow image about `side` wide, by whole pixels.

    Images below 16 pixels are enlarged smoothly: as blocks nobody could read them.
    """
    from PIL import Image

    n, h, w, c = images.shape
    columns = columns or int(np.ceil(np.sqrt(n)))
    factor = max(1, side // (columns * w))
    if h < 16 and factor > 1:
        smooth = lambda x: Image.fromarray(x).resize(
            (w * factor, h * factor), Image.Resampling.BICUBIC
        )
        images = np.stack([np.stack([smooth(i[..., k]) for k in range(c)], -1) for i in images])
    else:
        images = images.repeat(factor, 1).repeat(factor, 2)
    sheet = grid(images, columns, gap=2)
    return Image.fromarray(sheet[..., 0] if c == 1 else sheet[..., :3])


def save_grid(path, images, columns: int | None = None):
    """Writes a PNG of u8[N, H, W, C]."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    enlarged(images, columns, 640).save(path)


def save_animation(path, frames, columns: int | None = None, milliseconds: int = 80):
    """Writes a GIF of u8[T, N, H, W, C]; the last frame stays for a while."""
    sheets = [enlarged(images, columns, 480) for images in frames]
    times = [milliseconds] * (len(sheets) - 1) + [2000]
    sheets[0].save(path, save_all=True, append_images=sheets[1:], duration=times, loop=0)
