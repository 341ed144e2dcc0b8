"""Which stretches of which clips are looked at, an epoch at a time, in batches of one length.

A clip of at least two windows gives as many as fit, one after another from a drawn beginning; a shorter one gives one
stretch, as long as the window or as whole units of the clip. An epoch is every clip once, in a drawn order, and batches
hold stretches of one length only, so nothing is padded: a batch of short ones holds the more of them. The plan of an
epoch follows from its seed, so a position is a number. Letters: C clips, W stretches of an epoch, B of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.core.seeds import rng


@dataclass(frozen=True, slots=True)
class Batch:
    """Stretches of one length."""

    clips: NDArray[np.int64]
    """Which clips [B]."""
    starts: NDArray[np.int64]
    """The first row of each, from its clip's beginning [B]."""
    rows: int
    """Rows of each."""


def usable(lengths: NDArray[np.int64], shortest: int) -> NDArray[np.bool_]:
    """Which clips [C] have `shortest` rows. The others give no stretch; whoever leaves them out counts them."""
    return lengths >= shortest


def epoch(
    lengths: NDArray[np.int64], window: int, unit: int, size: int, seed: int, number: int, shortest: int = 1
) -> Sequence[Batch]:
    """The batches of epoch `number` over clips of `lengths` rows [C], those of `shortest` rows or more. `window` is a
    multiple of `unit`, and a batch has about as many rows as `size` windows."""
    draw = rng(seed, "windows", number)
    whole = np.maximum(lengths // window, 1)
    rows = np.where(usable(lengths, shortest), np.minimum(lengths // unit * unit, window), 0)
    clips = np.repeat(np.arange(len(lengths)), np.where(rows > 0, whole, 0))
    slack = (lengths - whole * rows).astype(np.float64)
    shift = (draw.random(len(lengths)) * (slack + 1)).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(np.where(rows > 0, whole, 0))[:-1]])
    starts = shift[clips] + (np.arange(len(clips)) - first[clips]) * window
    batches: list[Batch] = []
    for length in np.unique(rows[rows > 0]):
        alike = draw.permutation(np.flatnonzero(rows[clips] == length))
        most = max(1, size * window // int(length))
        for part in np.array_split(alike, max(1, -(-len(alike) // most))):
            batches.append(Batch(clips[part], starts[part], int(length)))
    return [batches[place] for place in draw.permutation(len(batches))]
