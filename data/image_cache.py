"""Splits of images decoded into a cache: block by block, and on from there if that was cut off."""

import shutil
from pathlib import Path

import numpy as np

from data import store
from data.decode import Decoder, mode_of
from data.pipeline import Ahead
from data.shards import Shards


def decoders(source: str, splits: dict[str, Shards], size, mode, share) -> dict[str, Decoder]:
    """A decoder for each split; all make pixels of one mode, by the first images unless it is
    given."""
    how = {"strict": mode is None, "share": share}
    mode = mode or mode_of(splits["train"])
    return {k: Decoder(source, s, size, mode, **how) for k, s in splits.items()}


def make(place: Path, source: str, splits: dict[str, Shards], decode: dict[str, Decoder], **facts):
    """Decodes splits into the cache at `place`, unless they are there; its manifest keeps `facts`.

    Raises:
        ValueError: no images, images that do not fit, no room; all but the last names the record.
    """
    with store.making(place) as work:
        if work is None:
            return
        shape = None
        for part, split in splits.items():
            name, decoder = f"{part}_x", decode[part]
            decoder.skipped = work.notes.setdefault(part, {})
            there = work.arrays.get(name)
            decoder.shape = decoder.shape or (there and tuple(there["shape"][1:])) or shape
            first, n = work.done.get(part, 0), len(split.sizes)
            with Ahead(split.read, 1, end=n) as read:
                for block in store.counted(split.sizes, first, f"{source} {part}", "img"):
                    x, label = readable(decoder, read(block))
                    if block == first and len(x):
                        enough(source, place.parent, x[0].nbytes * int(split.sizes[first:].sum()))
                    if len(x):
                        work.add(part, block + 1, **{name: x, f"{part}_label": label})
            if name not in work.arrays:
                raise ValueError(f"no images in the {part} part of {source}")
            shape = decoder.shape
        work.finish(source=source, skipped=work.notes, **facts)


def readable(decoder: Decoder, records):
    """(u8[n, H, W, C], i32[n]) of those that can be read."""
    images = decoder(records)
    rows = [i for i, image in enumerate(images) if image is not None]
    label = np.array([records[i].label for i in rows], np.int32)
    return np.stack([images[i] for i in rows]) if rows else np.zeros(0, np.uint8), label


def enough(source: str, place: Path, wanted: int):
    """Raises ValueError where there is no room for so many bytes."""
    free = shutil.disk_usage(place).free
    if wanted > free:
        raise ValueError(
            f"{source} decoded takes {wanted / 1e9:.1f} GB more in {place}, where "
            f"{free / 1e9:.1f} GB are free; set TANDEM_CACHE to a larger disk, or use --stream"
        )
