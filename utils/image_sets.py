"""The sets of images that a score is of: a run's samples, a reference, its held-out images."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from data import images
from utils import fid_stats, files, measuring, sampling


class Sets:
    """Reads sets by name and sees them through one network, each once.

    Attributes:
        shape: (H, W, C) of the reference's images; None of a statistics file.
        held_out_n: how many held-out images the reference has; None of a statistics file.
    """

    def __init__(self, features, data_dir: str, batch_size: int, size: int | None):
        self.features, self.data_dir, self.size = features, data_dir, size
        self.batch_size = batch_size
        self.shape = self.held_out_n = self.test = None
        self.floors = {}

    def reference(self, name: str):
        """(Measured, what to call it) of a dataset's training images or of a statistics file."""
        here = files.named(name)
        if Path(here).suffix in (".npz", ".pkl") and Path(here).is_file():
            dino = self.features.name.startswith("dinov2")
            stats = fid_stats.read(here, metric="fd_dinov2" if dino else "fid")
            of = "an unknown number of" if stats.n is None else stats.n
            return self.with_images(stats, here), f"{stats.source}, {of} images"
        data = images.load(here, self.data_dir, self.size)
        train, self.test = data["train"], data["test"]
        self.shape, self.held_out_n = tuple(train.shape), len(self.test.x)
        return self.seen(train, f"{name} train"), f"{name} train, {len(train.x)} images"

    def with_images(self, stats, path):
        """Measured of a statistics file, and of what it holds of its images: as in ADM's evaluator,
        distances are of the statistics, and precision and recall of these images."""
        x = fid_stats.images(path) if Path(path).suffix == ".npz" else None
        if x is None:
            return measuring.Measured(stats)
        self.shape = x.shape[1:]
        some = images.Images(x, np.zeros(len(x), np.int32), 0, "")
        return replace(self.seen(some, "images of the reference"), stats=stats)

    def all(self, name: str, n: int | None):
        """Measured of a set that is scored, or of its first n images: all images of a path, the
        training images of a dataset."""
        data = images.load(files.named(name), self.data_dir, self.size)
        found = data["train"]
        if ":" in name:
            parts = zip(found[:2], data["test"][:2], strict=True)
            x, label = map(np.concatenate, parts)
            found = found._replace(x=x, label=label)
        if n is not None and n > len(found.x):
            raise ValueError(f"--num_samples {n} of {name}, which has {len(found.x)} images")
        return self.seen(found, name, slice(n))

    def drawn(self, run, n: int, about: dict, folder):
        """Measured of n samples of a run.

        Args:
            about: seed, steps, cfg_scale, cfg_interval; and whatever else tells two sets apart.
            folder: work is kept in it while it goes on, and continued from there.
        """
        if n < 2:
            raise ValueError(f"--num_samples wants at least 2 for a distance; got {n}")
        labels = sampling.class_labels("all", run.recipe.num_classes, n)
        draw = sampling.sampler(
            run, steps=about["steps"], scale=about["cfg_scale"], seed=about["seed"],
            interval=sampling.guidance_interval(about["cfg_interval"]), batch_size=self.batch_size,
        )  # fmt: skip
        asked = json.dumps([about, n, self.features.name, self.features.resize])
        part = Path(folder) / f"score_{hashlib.sha256(asked.encode()).hexdigest()[:12]}.part.npz"
        batches = lambda first: map(sampling.to_bytes, draw(labels, first=first))
        drawn_as = labels if run.recipe.num_classes else None
        return measuring.measured(self.features, batches, n, "sampling", part, drawn_as)

    def floor(self, n: int):
        """Measured of n held-out images, or of all if there are fewer; None: there are not two."""
        n = 0 if self.test is None else min(n, len(self.test.x))
        if n < 2:
            return None
        if n not in self.floors:
            some = np.random.default_rng(0).permutation(len(self.test.x))[:n]
            self.floors[n] = self.seen(self.test, "floor", some)
        return self.floors[n]

    def seen(self, found: images.Images, source: str, some=...):
        """Measured of images, or of some of them."""
        x, size = found.x[some], self.batch_size
        batches = lambda first: (x[i : i + size] for i in range(first, len(x), size))
        label = found.label[some] if found.num_classes else None
        return measuring.measured(self.features, batches, len(x), source, label=label)
