"""Image datasets by name: decoded once to u8 arrays that are memory-mapped, or streamed.

    digits                     scikit-learn's, embedded
    mnist, fashion_mnist, cifar10, cifar100, tiny-imagenet, imagenet256, celebahq256
                               what is in DATA_DIR/NAME, else from the Hugging Face Hub
    hf:OWNER/NAME              a dataset of the Hub
    parquet:PATH               a file, or a folder with train*/test* files
    tfds:PATH                  a directory that TensorFlow Datasets has prepared
    folder:PATH                PATH/[train|test/]CLASS/*.png, or PATH/*.png without classes
    npz:PATH                   arrays x (or images, arr_0) and label (or labels, y, arr_1)

Options may follow a name (names.py): cifar100,label=coarse_label. The readers are in sources.py.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data import decode, hub, image_cache, names, parquet, shards, store
from data.cache import cache_dir
from data.pipeline import Batches
from data.sources import PATHS, SOURCES, WANTS
from data.stream import Stream

VERSION = 2  # of what readers make of files: raise it when they change, and caches are made anew
LOOKED_AT = 2000  # held-out images beside a stream


class Known(NamedTuple):
    """Where a dataset is that is known by name."""

    repo: str  # on the Hub
    side: int | None = None  # that its images are brought to; None leaves them
    also: tuple[str, ...] = ()  # what its folder may be called, too: TFDS's names


KNOWN = {
    "mnist": Known("ylecun/mnist"),
    "fashion_mnist": Known("zalando-datasets/fashion_mnist"),
    "cifar10": Known("uoft-cs/cifar10"),
    "cifar100": Known("uoft-cs/cifar100"),
    # renamed to zh-plus/tiny-imagenet, to which the Hub leads
    "tiny-imagenet": Known("Maysee/tiny-imagenet", 64, ("tiny_imagenet",)),
    "imagenet256": Known("ILSVRC/imagenet-1k", 256, ("imagenet2012", "imagenet-1k")),
    "celebahq256": Known("mattymchen/celeba-hq", 256, ("celebahq", "celeb_a_hq", "celeba-hq")),
}


class Images(NamedTuple):
    """One split of a dataset."""

    x: np.ndarray  # u8[N, H, W, C], 0..255
    label: np.ndarray  # i32[N], 0 for all where there are no classes
    num_classes: int  # 0: no classes
    hash: str  # of the training pixels, 8 hexadecimal digits

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one image."""
        return self.x.shape[1:]

    @property
    def n(self) -> int:
        """How many images."""
        return len(self.x)

    def batches(self, batch_size: int, **how) -> Batches:
        """Shuffled batches; `how` as in pipeline.Batches."""
        return Batches({"x": self.x, "label": self.label}, batch_size, **how)


class Streamed(NamedTuple):
    """A split that is read and decoded while it is used; like Images, but for the arrays."""

    shards: shards.Shards
    decode: decode.Decoder
    shape: tuple[int, int, int]
    num_classes: int
    hash: str  # of what makes its order and the held-out pixels

    @property
    def n(self) -> int:
        return int(self.shards.sizes.sum())

    def batches(self, batch_size: int, **how) -> Stream:
        """Shuffled batches; `how` as in stream.Stream."""
        return Stream(self.shards, self.decode, batch_size, **how)


class Origin(NamedTuple):
    """A dataset that is found, but not yet read."""

    name: str
    kind: str
    read: Callable  # stream: bool -> {"train": ..., "test": ...}, see sources.py
    stamp: list  # changes when the dataset does
    side: int | None
    decoding: dict  # mode and share of decode.Decoder

    def digest(self, *how) -> str:
        """16 hexadecimal digits of all that makes its pixels what they are."""
        facts = [VERSION, self.kind, self.stamp, self.decoding, *how]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def load(
    name: str, data_dir: str = "datasets", size: int | None = None, stream: bool = False
) -> dict[str, Images | Streamed]:
    """{"train": Images, or Streamed, "test": Images} of a dataset.

    Args:
        name: see the module's first lines.
        data_dir: where named datasets live.
        size: side that images are brought to, the shorter one first, and then the middle is cut
            out; None leaves them, but for imagenet256 and its like.
        stream: read and decode training images when they are used, from here or from the Hub, and
            keep no copy; of the held-out ones, some are taken.

    Raises:
        ValueError: no such dataset, no images, images of several sizes and no `size`, or too many
            that cannot be read.
        FileNotFoundError: files are not there, and did not come; says which were looked for.
    """
    origin = find(name, data_dir)
    size = size or origin.side
    if stream:
        return streamed(origin, size)
    place = folder(origin, size)
    if not place.exists():
        splits = ready(origin.read(False), name)
        decoders = image_cache.decoders(name, splits, size, **origin.decoding)
        image_cache.make(place, name, splits, decoders, classes=count(splits))
    arrays, facts = store.read(place)
    label = {part: np.asarray(arrays[f"{part}_label"]) for part in ("train", "test")}
    pixels = facts["arrays"]["train_x"]["sha256"][:8]
    return {
        part: Images(arrays[f"{part}_x"], y, facts["classes"], pixels) for part, y in label.items()
    }


def streamed(origin: Origin, size: int | None) -> dict[str, Images | Streamed]:
    """What `load` gives with `stream`."""
    splits = ready(origin.read(True), origin.name)
    train, test = splits["train"], shards.some(splits["test"], LOOKED_AT)
    decoders = image_cache.decoders(
        origin.name, {"train": train, "test": test}, size, **origin.decoding
    )
    place = cache_dir() / f"{origin.kind}-{origin.digest(size, 'held out')}"
    image_cache.make(place, origin.name, {"test": test}, decoders)
    arrays, facts = store.read(place)
    decoder, shape = decoders["train"], arrays["test_x"].shape[1:]
    decoder.shape = decoder.shape or shape
    classes, pixels = count(splits), facts["arrays"]["test_x"]["sha256"][:8]
    held_out = Images(arrays["test_x"], np.asarray(arrays["test_label"]), classes, pixels)
    order = hashlib.sha256(json.dumps([train.sizes.tolist(), pixels]).encode()).hexdigest()[:8]
    stream = Streamed(train, decoder, shape, classes, order)
    return {"train": stream, "test": held_out}


def count(splits: dict[str, shards.Shards]) -> int:
    """How many classes there are; 0 of one class, which says nothing."""
    known = [split.classes for split in splits.values()]
    if None in known:
        labels = (s.labels(b) for s in splits.values() for b in range(len(s.sizes)))
        known = [1 + int(max(map(max, labels)))]
    return max(known) if max(known) > 1 else 0


def folder(origin: Origin, size: int | None) -> Path:
    """Where a dataset's decoded images are, or will be."""
    return cache_dir() / f"{origin.kind}-{origin.digest(size or origin.side)}"


def ready(splits: dict, source: str) -> dict[str, shards.Shards]:
    """What a reader gives, as shards, with a test split."""
    splits = {
        part: shards.Arrays(*split, part) if isinstance(split, tuple) else split
        for part, split in splits.items()
    }
    if not splits["train"].sizes.sum():
        raise ValueError(f"no images in {source}")
    return splits if "test" in splits else shards.halved(splits["train"])


def find(name: str, data_dir: str = "datasets") -> Origin:
    """The dataset of a name; raises as `load` does."""
    kind, path, options = names.find(name, SOURCES, PATHS, "dataset")
    decoding, known = to_decode(name, options), KNOWN.get(kind, Known(""))
    places = [Path(data_dir) / p for p in (kind, *known.also)]
    place = Path(path).expanduser() if path else next((p for p in places if p.exists()), places[0])
    origin = lambda read, stamp: Origin(name, kind, read, stamp, known.side, decoding)
    if kind == "hf":
        return origin(*on_hub(name, path, options))
    reader = SOURCES[kind]
    if kind != "digits" and not place.exists():
        missing = f"dataset {name!r} wants {WANTS[reader]} at {place}, which is not there"
        ways = "put it there, or say where with --data_dir"
        if not known.repo:
            raise FileNotFoundError(f"{missing}; {ways}")
        try:
            return origin(*on_hub(name, known.repo, options))
        except hub.HubError as error:
            raise FileNotFoundError(f"{missing}, and {error}; {ways}") from error
    options = names.suited(names.taken(reader), options, name)
    files = sorted(p for p in [place, *place.rglob("*")] if p.is_file()) if kind != "digits" else []
    stamp = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return origin(lambda stream: reader(place, **options), [stamp, options])


def on_hub(name: str, repo: str, options: dict):
    """(read, stamp) of a repository on the Hub; nothing is downloaded yet."""
    source = hub.listing(repo, options.pop("revision", None))
    columns = names.suited(names.taken(SOURCES["hf"]), options, name)
    which = {k: columns.pop(k) for k in ("config", "train", "test") if k in columns}
    chosen = parquet.choose(source.files, f"{source.repo} on Hugging Face", **which)

    def read(stream):
        get = hub.afar if stream else hub.downloaded
        return {k: parquet.Pictures(get(source, paths), **columns) for k, paths in chosen.items()}

    return read, [source.repo, source.commit, chosen, columns]


def to_decode(name: str, options: dict) -> dict:
    """Takes out of a name's options what is the decoder's."""
    mode, share = options.pop("mode", None), options.pop("unreadable", decode.UNREADABLE)
    if mode not in (None, "L", "RGB"):
        raise ValueError(f"mode is {mode!r} in {name!r}; wanted L or RGB")
    try:
        share = float(share)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"unreadable wants a share from 0 to 1; got {name!r}")
    return {"mode": mode, "share": share}
