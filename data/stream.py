"""Batches of images that are read and decoded as they are needed, in a shuffled order.

Each epoch puts all blocks in a random order and the records of each block in one of their own;
behind each other that is one line of records. The line is cut into equal pieces, the lanes, and
a batch takes as many records from each: so a batch is mixed from as many places of the dataset as
there are lanes, and every record is seen once an epoch, but for those, fewer than a batch, that the
last one of an epoch lacks; they are others each time.

Which record a row of a step is, is a function of (seed, step): nothing but the step has to be
saved to resume, and it is the same for any number of processes, each of which reads the lanes that
its rows are from.
"""

import functools

import numpy as np

from data.decode import Decoder, workers
from data.shards import Shards

LANES = 64
HELD = 1 << 30  # bytes of stored images that lanes may hold, over all processes


class Stream:
    """The endless shuffled sequence of examples, as data/pipeline.py's Batches.

    Attributes:
        steps: batches an epoch.
        lanes: how many places of the dataset a batch is from.

    Args:
        shards: what is read.
        decode: its decoder.
        batch_size: examples a step, over all processes.
        seed: of the shuffle.
        process, processes: this host's number and how many there are; a host gets rows
            [p B/P, (p + 1) B/P) of each batch.

    Raises:
        ValueError: fewer examples than a batch, or a batch that the processes cannot share.
    """

    def __init__(
        self, shards: Shards, decode: Decoder, batch_size, *, seed=0, process=0, processes=1
    ):
        if batch_size < 1 or batch_size % processes:
            raise ValueError(f"a batch of {batch_size} cannot be shared by {processes} processes")
        self.steps = int(shards.sizes.sum()) // batch_size
        if self.steps == 0:
            raise ValueError(
                f"a stream of {shards.sizes.sum()} images has no batch of {batch_size}; take a "
                "smaller --batch_size, or --nostream"
            )
        most = max(1, min(LANES, HELD // max(1, shards.heaviest)))
        self.lanes = max(n for n in range(1, most + 1) if batch_size % n == 0)
        share = batch_size // processes
        self.rows = np.arange(process * share, (process + 1) * share)
        self.each = batch_size // self.lanes
        self.shards, self.decode, self.seed = shards, decode, seed
        self.order = functools.lru_cache(2)(self._order)
        self.held = {}

    def _order(self, epoch):
        """(blocks in their order, where each ends in the line of records)."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.shards.sizes))
        return order, np.cumsum(self.shards.sizes[order])

    def within(self, epoch: int, block: int):
        """The order of a block's records."""
        rng = np.random.default_rng((self.seed, epoch, 1 + block))
        return rng.permutation(self.shards.sizes[block])

    def places(self, step: int) -> list[tuple[int, int]]:
        """(block, place in its order) of this host's rows of a step."""
        epoch, step = divmod(step, self.steps)
        lane, row = np.divmod(self.rows, self.each)
        line = (lane * self.steps + step) * self.each + row
        order, ends = self.order(epoch)
        at = np.searchsorted(ends, line, side="right")
        starts = ends - self.shards.sizes[order]
        return list(zip(order[at].tolist(), (line - starts[at]).tolist(), strict=True))

    def __call__(self, step: int) -> dict:
        """The batch of step 0, 1, ...; "index" i32[B] is each row's place in the whole batch.

        Raises:
            ValueError: what cannot be read; the message names the record.
        """
        epoch, places = step // self.steps, self.places(step)
        wanted = {(epoch, block) for block, _ in places}
        self.held = {key: held for key, held in self.held.items() if key in wanted}
        missing = sorted(block for _, block in wanted - self.held.keys())
        for block, records in zip(missing, workers().map(self.shards.read, missing), strict=True):
            self.held[epoch, block] = [records[i] for i in self.within(epoch, block)]
        records = [self.held[epoch, block][place] for block, place in places]
        images, labels = self.decode(records), [record.label for record in records]
        for i in (i for i, image in enumerate(images) if image is None):
            images[i], labels[i] = self.instead(epoch, *places[i])
        return {
            "x": np.stack(images),
            "label": np.array(labels, np.int32),
            "index": self.rows.astype(np.int32),
        }

    def instead(self, epoch: int, block: int, place: int):
        """(image, label) of the next record of a block that can be read."""
        records = self.held[epoch, block]
        for record in records[place + 1 :] + records[:place]:
            (image,) = self.decode([record])
            if image is not None:
                return image, record.label
        raise ValueError(f"no image can be read of those around {records[place].key}")
