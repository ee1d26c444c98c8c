"""A set of images as a network sees it: gone through once, by all devices of all processes.

Each process, and each of its devices, sees its share of every batch, and sums what it sees in
float64. Now and then the processes meet: their sums are added up, and the features of single
images are put in the order of the images. Whoever asks then has what one process alone has.
"""

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np

from utils import devices, fid, fid_stats, hosts
from utils.progress import bar

KEPT = 50_000  # images whose own features are kept, in float32
MEET = 20  # batches from one meeting of the processes to the next


@dataclass
class Measured:
    """A set of images as a network sees it.

    Attributes:
        stats: the Gaussian of their features; of their spatial ones too, where there are any.
        pool, logits: f32[N, D], f32[N, K] of the first KEPT of them; None of a statistics file,
            and logits of a network that tells no classes apart.
        label: i32[N], the classes that they are of, or were drawn as; None: nobody said.
    """

    stats: fid_stats.Stats
    pool: np.ndarray | None = None
    logits: np.ndarray | None = None
    label: np.ndarray | None = None


def measured(
    features, batches, total: int, source: str, part: Path | None = None, label=None
) -> Measured:
    """Goes through batches u8[B, H, W, C], `total` images in all; all processes have to.

    Args:
        features: what they are seen by: name, resize, range, apply.
        batches: a function (first image) -> batches from there on, none longer than the first.
        source: what to call the set, on the bar and in messages.
        part: a file of process 0 that work is kept in while it goes on, and continued from; None
            keeps none.
        label: see Measured.
    """
    known, mine, digest = read_part(part), Seen(), hashlib.sha256()
    first, size = known.n, None
    progress = bar(total, "image", first=first, title=source)
    for number, x in enumerate(batches(first), 1):
        size = size or devices.filled(len(x))
        mine.look(features.apply, x, size, keep=known.n + mine.n < KEPT)
        if hosts.first():
            digest.update(np.ascontiguousarray(x).tobytes())
        progress.update(len(x))
        if number % MEET == 0:
            known, mine = known.joined(mine), Seen()
            if part and hosts.first():
                known.save(part)
    progress.close()
    known = known.joined(mine)
    if part and hosts.first():
        part.unlink(missing_ok=True)
    stats = fid_stats.of(
        known.sums["pool"], spatial=known.sums.get("spatial"), source=source,
        features=features.name, resize=features.resize, range=features.range,
        data_hash=None if first or not hosts.first() else digest.hexdigest()[:16],
    )  # fmt: skip
    return Measured(stats, **known.whole(), label=label)


@dataclass
class Seen:
    """Of n images: sums over all of them, and rows of the first KEPT, as far as they are known
    here. Before a meeting the sums are of this process's share, and so are the rows, which are
    [its share of a batch that is filled up to one size, D] for each batch."""

    lengths: list[int] = field(default_factory=list)  # of the batches
    sums: dict[str, fid.Moments] = field(default_factory=dict)
    kept: dict[str, list] = field(default_factory=lambda: {"pool": [], "logits": []})

    @property
    def n(self) -> int:
        return sum(self.lengths)

    def look(self, apply, x, size: int, keep: bool):
        """Adds this process's share of a batch.

        Args:
            size: what the batch is filled up to, so that one size is compiled.
        """
        own = hosts.share(size)
        full = x if len(x) == size else x[np.arange(size) % len(x)]
        seen = jax.device_get(apply(devices.spread(full[own])))
        real = max(min(len(x), own.stop) - own.start, 0)
        self.lengths.append(len(x))
        for name in ("pool", "spatial"):
            if (value := getattr(seen, name)) is not None:
                moments = fid.Moments.of(value[:real])
                self.sums[name] = self.sums[name] + moments if name in self.sums else moments
        for name, rows in self.kept.items():
            if keep and (value := getattr(seen, name)) is not None:
                rows.append(np.asarray(value, np.float32))

    def joined(self, new: "Seen") -> "Seen":
        """All of these, and what all processes have seen since; all have to call it."""
        sums, kept = dict(self.sums), {name: list(rows) for name, rows in self.kept.items()}
        for name, m in new.sums.items():
            (n,), total, squares = map(hosts.summed, (m.n, m.total, m.squares))
            everyones = fid.Moments(int(n), total, squares)
            sums[name] = sums[name] + everyones if name in sums else everyones
        for name, rows in new.kept.items():
            if rows:
                batches = hosts.together(np.stack(rows), axis=1)  # [batches, size, D]
                cut = [b[:n] for b, n in zip(batches, new.lengths[: len(rows)], strict=True)]
                kept[name].append(np.concatenate(cut)[: KEPT - sum(map(len, kept[name]))])
        return Seen([*self.lengths, *new.lengths], sums, kept)

    def whole(self) -> dict[str, np.ndarray]:
        return {name: np.concatenate(rows) for name, rows in self.kept.items() if rows}

    def save(self, part: Path):
        """Whole or not at all."""
        arrays = self.whole()
        for name, m in self.sums.items():
            arrays |= {f"{name}_n": m.n, f"{name}_total": m.total, f"{name}_squares": m.squares}
        halfway = part.with_suffix(".halfway")
        with halfway.open("wb") as file:
            np.savez(file, **arrays)
        halfway.replace(part)


def read_part(part: Path | None) -> Seen:
    """What the file of process 0 holds, for all; nothing, if there is none."""
    seen = Seen()
    mine = part and hosts.first() and part.exists()
    if data := hosts.from_first(part.read_bytes() if mine else b""):
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            for name, rows in seen.kept.items():
                rows += [file[name]] if name in file else []
            for name in ("pool", "spatial"):
                if f"{name}_n" in file:
                    n = int(file[f"{name}_n"])
                    seen.sums[name] = fid.Moments(n, file[f"{name}_total"], file[f"{name}_squares"])
        seen.lengths = [seen.sums["pool"].n]
    return seen
