"""Images as an autoencoder's latents: encoded once, memory-mapped ever after.

What is kept is the posterior of each image, its mean and log variance in float16, so that training
draws anew from it each time; of an autoencoder without a variance the mean alone. Where training
mirrors images, mirrored ones are encoded as well: the latents of a mirrored image are not those of
the image mirrored.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data import image_cache, store
from data.cache import cache_dir
from data.images import Images, Streamed
from data.pipeline import Batches

VERSION = 1  # of what is kept: raise it when that changes, and caches are made anew
PIECE = 2**22  # pixels of images that are encoded before what is done is noted


class Latents(NamedTuple):
    """One split of a dataset; like data.images.Images, but for the arrays."""

    mean: np.ndarray  # f16[N, V, h, w, C], as the network has it; V = 2 with mirrored images
    logvar: np.ndarray | None  # the same; None: there is no variance
    label: np.ndarray  # i32[N], 0 for all where there are no classes
    num_classes: int  # 0: no classes
    hash: str  # of the autoencoder and the images
    facts: dict  # of all: "vae", "image_shape", and of each channel "latent_mean", "latent_std"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, C) of one image's latents."""
        return self.mean.shape[2:]

    @property
    def n(self) -> int:
        """How many images."""
        return len(self.mean)

    def batches(self, batch_size: int, **how) -> Batches:
        """Shuffled batches; `how` as in pipeline.Batches."""
        arrays = {"mean": self.mean, "logvar": self.logvar, "label": self.label}
        return Batches({k: a for k, a in arrays.items() if a is not None}, batch_size, **how)


def load(
    name: str, data: dict[str, Images | Streamed], encode: Callable, vae: str, flip: bool = False
) -> dict[str, Latents]:
    """{"train": Latents, "test": Latents} of a dataset's splits.

    Args:
        name: of the dataset, to tell.
        data: from images.load; streamed images are decoded here, and nowhere kept.
        encode: u8[B, H, W, C] -> (mean, log variance or None), f32[B, h, w, c].
        vae: what the autoencoder is called, with the digest of its weights.
        flip: training images mirrored, too.

    Raises:
        ValueError: latents too large for float16; images that cannot be read.
    """
    train = data["train"]
    told = [VERSION, vae, train.hash, train.n, *train.shape, flip]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
    place = cache_dir() / f"latents-{digest}"
    make(place, name, data, encode, flip, {"vae": vae, "image_shape": list(train.shape)})
    arrays, facts = store.read(place)
    return {
        part: Latents(
            arrays[f"{part}_mean"], arrays.get(f"{part}_logvar"),
            np.asarray(arrays[f"{part}_label"]), train.num_classes, digest[:8], facts,
        )
        for part in data
    }  # fmt: skip


def make(place: Path, name: str, data: dict, encode: Callable, flip: bool, facts: dict):
    """Encodes splits into the cache at `place`, unless they are there."""
    with store.making(place) as work:
        if work is None:
            return
        for part, split in data.items():
            sizes, read = pieces(split)
            title = f"latents of {name} {part}"
            for piece in store.counted(sizes, work.done.get(part, 0), title, "img"):
                x, label = read(piece)
                if not len(x):
                    continue
                views = [x, x[:, :, ::-1]] if flip and part == "train" else [x]
                mean, logvar = zip(*map(encode, views), strict=True)
                found = {"mean": np.stack(mean, 1)}
                if logvar[0] is not None:
                    found["logvar"] = np.stack(logvar, 1)
                rows = {f"{part}_{k}": half(a, name) for k, a in found.items()}
                if part == "train":
                    add(work.notes, **found)
                work.add(part, piece + 1, **rows, **{f"{part}_label": label})
        work.finish(dataset=name, flip=flip, **scale(work.notes), **facts)


def pieces(split: Images | Streamed):
    """(how many images each piece has, a function piece -> (u8[n, H, W, C], i32[n]))."""
    if isinstance(split, Streamed):
        read = lambda piece: image_cache.readable(split.decode, split.shards.read(piece))
        return split.shards.sizes, read
    step = max(1, PIECE // (split.shape[0] * split.shape[1]))
    starts = np.arange(0, split.n, step)
    rows = lambda piece: slice(starts[piece], starts[piece] + step)
    read = lambda piece: (split.x[rows(piece)], split.label[rows(piece)])
    return np.minimum(split.n - starts, step), read


def half(a: np.ndarray, name: str) -> np.ndarray:
    """As float16."""
    if not np.abs(a).max(initial=0.0) < np.finfo(np.float16).max:
        raise ValueError(f"latents of {name} do not fit float16: they reach {np.abs(a).max():.3g}")
    return a.astype(np.float16)


def add(notes: dict, mean, logvar=None):
    """Adds the sums of draws from posteriors, and of their squares, to those there are."""
    mean = mean.astype(np.float64)
    square = mean**2 if logvar is None else mean**2 + np.exp(logvar.astype(np.float64))
    new = {"count": mean[..., 0].size}
    new |= {k: a.reshape(-1, a.shape[-1]).sum(0) for k, a in (("sum", mean), ("squares", square))}
    for name, value in new.items():
        notes[name] = (np.asarray(notes.get(name, 0)) + value).tolist()


def scale(notes: dict) -> dict:
    """Each channel's mean and standard deviation over all training latents."""
    mean = np.asarray(notes["sum"]) / notes["count"]
    std = np.sqrt(np.asarray(notes["squares"]) / notes["count"] - mean**2)
    return {"latent_mean": mean.tolist(), "latent_std": std.tolist()}
