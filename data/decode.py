"""Stored images to pixels of one shape; what cannot be read is counted, named and skipped.

Resizing is that of ADM's reference images (github.com/openai/guided-diffusion, image_datasets.py),
which EDM and the statistics of published scores share: halve by boxes while the shorter side is at
least twice too long, then bicubic, then the middle.
"""

import functools
import io
import math
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from data.shards import Record, Shards, reason

GREY = ("L", "LA", "La", "1")
UNREADABLE = 0.01  # share of images that may be
TOLD = 5  # unreadable images that are named at once; all are in the cache's manifest


class Unreadable(ValueError):
    """An image that is damaged; the rest of the data is fine."""


@functools.cache
def workers() -> ThreadPoolExecutor:
    """Threads that decode; Pillow leaves Python's lock alone meanwhile."""
    return ThreadPoolExecutor(min(32, os.cpu_count() or 1))


def opened(image):
    """A Pillow image of stored bytes, or of pixels u8[H, W(, C)]."""
    from PIL import Image

    if isinstance(image, np.ndarray):
        return Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
    if not image:
        raise Unreadable("there are no bytes")
    try:
        picture = Image.open(io.BytesIO(image))
        picture.load()
        return picture
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises anything at all when bytes are damaged
        raise Unreadable(reason(error)) from error


def mode_of(shards: Shards) -> str:
    """ "L" if a split's first images are grey, "RGB" if one is not."""
    if shards.mode:
        return shards.mode
    for record in shards.read(0)[:100]:
        try:
            if opened(record.image).mode not in GREY:
                return "RGB"
        except Unreadable:
            continue
    return "L"


def square(picture, size: int):
    """A Pillow image as size x size: box, bicubic, middle (see the module's first lines)."""
    from PIL import Image

    while min(picture.size) >= 2 * size:
        half = tuple(side // 2 for side in picture.size)
        picture = picture.resize(half, Image.Resampling.BOX)
    scale = size / min(picture.size)
    sides = tuple(round(side * scale) for side in picture.size)
    if sides != picture.size:
        picture = picture.resize(sides, Image.Resampling.BICUBIC)
    left, top = ((side - size) // 2 for side in sides)
    return picture.crop((left, top, left + size, top + size))


class Decoder:
    """Records of a split to pixels of one shape.

    Attributes:
        shape: (H, W, C) of all images: of the first that was read, unless `size` says.
        skipped: {key: why} of images that cannot be read.

    Args:
        source: what the dataset is called in messages.
        shards: the split; at most `share` of its images may be unreadable, but always one.
        size: side that images are cropped and resized to; None leaves them.
        mode: "L" or "RGB", which all become.
        strict: colours in mode "L" are refused.
    """

    def __init__(self, source: str, shards: Shards, size, mode, *, strict=False, share=UNREADABLE):
        self.source, self.size, self.mode, self.strict = source, size, mode, strict
        self.classes, self.total = shards.classes, int(shards.sizes.sum())
        self.share, self.most = share, max(1, math.floor(share * self.total))
        self.shape = size and (size, size, 1 if mode == "L" else 3)
        self.skipped = {}

    def __call__(self, records: Sequence[Record]) -> list[np.ndarray | None]:
        """u8[H, W, C] of each record; None for one that cannot be read.

        Raises:
            ValueError: too many that cannot, or one that does not fit; the message names it.
        """
        found = []
        for record, image in zip(records, workers().map(self.tried, records), strict=True):
            if isinstance(image, Unreadable):
                self.skip(record.key, str(image))
            elif isinstance(image, Exception):
                what = str(image) if isinstance(image, ValueError) else reason(image)
                raise ValueError(f"{self.source}, {record.key}: {what}") from image
            elif self.shape is None:
                self.shape = image.shape
            elif image.shape != self.shape:
                one, other = ("x".join(map(str, s)) for s in (self.shape, image.shape))
                raise ValueError(
                    f"images of several sizes in {self.source} ({one}, and {other} of "
                    f"{record.key}); set --image_size"
                )
            found.append(None if isinstance(image, Unreadable) else image)
        return found

    def tried(self, record: Record):
        """The pixels, or what went wrong: an error in a thread is told with its record."""
        try:
            return self.pixels(record)
        except Exception as error:
            return error

    def pixels(self, record: Record) -> np.ndarray:
        image = record.image
        if isinstance(image, np.ndarray) and (image.dtype != np.uint8 or image.ndim not in (2, 3)):
            raise ValueError(
                f"it is {image.dtype}{list(image.shape)}; wanted uint8 in 0..255 of [H, W(, C)]"
            )
        label, classes = record.label, self.classes
        if not isinstance(label, int | np.integer) or not 0 <= label < (classes or label + 1):
            raise ValueError(
                f"its label is {label!r}; wanted 0 to {classes - 1 if classes else '...'}: take "
                "another split with ,train=NAME or ,test=NAME behind the name, or ,label=none"
            )
        if isinstance(image, np.ndarray) and not self.size:
            return image if image.ndim == 3 else image[..., None]
        picture = opened(image)
        if picture.mode[0] in "IF":
            raise ValueError(f"its pixels are {picture.mode}; wanted 8 bits a channel")
        if self.strict and self.mode == "L" and picture.mode not in GREY:
            raise ValueError(
                "it is coloured, and the first are grey; say which all shall be with ,mode=RGB or "
                ",mode=L behind the name"
            )
        picture = picture.convert(self.mode)
        x = np.asarray(square(picture, self.size) if self.size else picture)
        return x if x.ndim == 3 else x[..., None]

    def skip(self, key: str, why: str):
        """Counts an unreadable image; raises ValueError when there are too many."""
        if key in self.skipped:
            return
        self.skipped[key] = why
        n = len(self.skipped)
        if n > self.most:
            some = ", ".join(list(self.skipped)[:3])
            raise ValueError(
                f"{n} images of {self.source} cannot be read, which is more than {self.share:.2%} "
                f"of {self.total}: {some}, ...; mend them, or allow more with "
                f",unreadable={2 * self.share:g} behind the name"
            )
        if n <= TOLD:
            last = "; more are not named here" if n == TOLD else ""
            print(f"{self.source}: {key} cannot be read ({why}), skipped{last}", file=sys.stderr)
