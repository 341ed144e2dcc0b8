"""Which grey values of a picture fill the 256 that a model sees.

A film holds 1,024 to 65,536 grey values. What is shown of them is a choice, made once for training, evaluation and
server alike:

    window       those that the film itself names (DICOM: VOI LUT, or else the first window); all where it names none
    percentile   the middle 99 %: a few hot pixels, or a burned-in marker, do not darken the rest
    full         all, from the least to the greatest

Pictures of 8 bits were windowed by whoever saved them and stay as they are. There are at most 65,536 values of 16 bits,
so the chain is worked out once for each value and not once for each pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from auscult.core.config import at_least
from auscult.core.types import Pixels

Policy = Literal["window", "percentile", "full"]
Values = NDArray[Any]

TAIL = 0.005
"""Share of the pixels below, and above, what `percentile` shows."""
_AT_ONCE = 1 << 20
"""Pixels that are looked up at a time: an index takes eight times the memory of what it finds."""


@dataclass(frozen=True, kw_only=True)
class Display:
    """How a picture is shown to the model."""

    window: Policy = "window"
    """Grey values that are shown of a picture with more than 256: window, those that its file names (all where it
    names none); percentile, the middle 99 %; full, all of them."""
    longest: int | None = None
    """Longest side, pixels; larger pictures are scaled down as soon as they are decoded; null leaves them."""
    square: bool = False
    """Lay black beside the shorter sides, for models that would stretch a picture to a square."""

    def __post_init__(self) -> None:
        at_least({"longest": (1 if self.longest is None else self.longest, 1)})


def grey(
    stored: Values,
    policy: Policy,
    *,
    meaning: Callable[[Values], Values] | None = None,
    window: Callable[[Values], Values] | None = None,
    blank: tuple[float, float] | None = None,
) -> Pixels:
    """Stored values [H, W], integers or finite floats -> grey [H, W] from 0 to 255. A picture of one value is black.

    `meaning` takes stored values to those that a window speaks of, `window` those to 0..1 (beyond it they are cut off);
    stored values from `blank[0]` to `blank[1]` are no part of the picture: they are black and have no say.
    """
    if stored.dtype.kind == "f" or stored.dtype.itemsize > 2:
        values, counts = np.unique(stored, return_counts=True)
        return _levels(values, counts, policy, meaning, window, blank)[np.searchsorted(values, stored)]
    lowest, highest = int(stored.min()), int(stored.max())
    flat = stored.reshape(-1)
    blocks = [slice(start, start + _AT_ONCE) for start in range(0, flat.size, _AT_ONCE)]
    counts = np.zeros(highest - lowest + 1, np.int64)
    for block in blocks:
        counts += np.bincount(flat[block].astype(np.intp) - lowest, minlength=counts.size)
    levels = _levels(np.arange(lowest, highest + 1), counts, policy, meaning, window, blank)
    shown = np.empty(flat.size, np.uint8)
    for block in blocks:
        shown[block] = levels[flat[block].astype(np.intp) - lowest]
    return shown.reshape(stored.shape)


def _levels(
    values: Values,
    counts: NDArray[np.int64],
    policy: Policy,
    meaning: Callable[[Values], Values] | None,
    window: Callable[[Values], Values] | None,
    blank: tuple[float, float] | None,
) -> Pixels:
    """The grey of each value, given how many pixels have it."""
    hidden = np.zeros(values.shape, bool) if blank is None else (values >= blank[0]) & (values <= blank[1])
    real = np.asarray(values if meaning is None else meaning(values), np.float64)
    if policy == "window" and window is not None:
        shares = window(real)
    else:
        low, high = _bounds(real, np.where(hidden, 0, counts), TAIL if policy == "percentile" else 0.0)
        shares = (real - low) / (high - low) if high > low else np.zeros_like(real)
    return np.where(hidden, 0, np.rint(255 * np.clip(shares, 0, 1))).astype(np.uint8)


def _bounds(real: Values, counts: NDArray[np.int64], tail: float) -> tuple[float, float]:
    """The values between which all pixels lie but a share `tail` on either side."""
    order = np.argsort(real, kind="stable")
    below = np.cumsum(counts[order])
    if not below[-1]:
        return 0.0, 0.0
    first, last = np.searchsorted(below, [max(tail * below[-1], 0.5), (1 - tail) * below[-1]])
    return float(real[order[first]]), float(real[order[min(last, real.size - 1)]])
