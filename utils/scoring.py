"""The bound of a text model on held-out rows, with its standard error."""

from typing import NamedTuple

import jax
import numpy as np

from data.tokenizer import PAD
from utils import devices, hosts
from utils.progress import bar


class Bound(NamedTuple):
    """Of a set of rows."""

    nats: float  # a token, over all real tokens
    error: float  # standard error of that, over rows
    rows: int
    tokens: int
    metrics: list[dict[str, float]]  # what the process measured, a part of (0, 1] each

    @property
    def total(self) -> float:
        """Nats of all rows together."""
        return self.nats * self.tokens


def bound(score, params, rows, key, *, levels=32, batch_size=64, title="bound") -> Bound:
    """Each row at one noise level out of each of `levels` equal parts of (0, 1].

    The levels and what is hidden are functions of (key, number of the row) alone, so that two
    models, or two checkpoints, meet the same questions.

    Args:
        score: of recipe_text.scorer.
        rows: i32[N, L].
        levels: 1 for a model whose loss is exact.
    """
    batch_size = devices.filled(min(batch_size, len(rows)))
    rows = np.asarray(rows, np.int32)
    parts, metrics = [], [[] for _ in range(levels)]
    progress = bar(levels * len(rows), "row", title=title)
    for first in range(0, len(rows), batch_size):
        index = np.arange(first, first + batch_size)
        some = rows[first : first + batch_size]
        full = np.resize(some, (batch_size, rows.shape[1]))  # filled up, and cut again
        own = hosts.share(batch_size)
        mine = devices.spread((full[own], index[own]))
        nats = []
        for number in range(levels):
            each, measured = score(params, key, *mine, float(number), float(levels))
            nats.append(each)
            metrics[number].append(measured)
            progress.update(len(some))
        each = np.mean(jax.device_get(nats), 0, dtype=np.float64)
        parts.append(hosts.together(each)[: len(some)])
    progress.close()
    nats, real = np.concatenate(parts), (rows != PAD).sum(-1)
    middle = (nats * real).sum() / real.sum()
    error = np.sqrt((((nats - middle) * real) ** 2).sum()) / real.sum()
    error = error if len(rows) > 1 else np.nan  # one row says nothing of how rows differ
    mean = lambda *v: float(np.mean(hosts.together(np.stack(v))))
    mean_of = lambda found: jax.tree.map(mean, *jax.device_get(found))
    return Bound(
        float(middle),
        float(error),
        len(rows),
        int(real.sum()),
        [mean_of(found) for found in metrics],
    )
