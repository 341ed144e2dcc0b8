"""Is this the same picture? Prints that survive scaling, JPEG and a change of brightness or contrast.

A print is a thumbnail of 32 x 32 grey values, from which the mean of each value's neighbourhood is taken away, scaled
to length 1: likeness is the correlation of two prints. The neighbourhood is what tells chest films apart, which as
thumbnails, or under a hash of 64 bits, are all alike: two lungs on a dark ground (figures in `tests/media`).

Not seen: a crop, a turn, a mirror image. Nothing can be said of a picture of one colour; `image_print` returns None.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from auscult.core.types import Pixels

Print = NDArray[np.float32]

SIDE = 32
"""Height and width of the thumbnail."""
SAME_PICTURE = 0.9
"""Correlation from which pictures are the same. Measured: copies 0.99 and more, other films and scans 0.77 and less."""
_AROUND = 7
"""Side of the neighbourhood whose mean is taken away."""
_FLAT = 2.0
"""Root mean square of what is left, in grey values, below which it is rounding and coding noise."""


def image_print(pixels: Pixels) -> Print | None:
    """The print [1024], of length 1, of RGB pixels [H, W, 3]; None where there is nothing to tell it from others by."""
    thumbnail = Pillow.fromarray(pixels).convert("L").resize((SIDE, SIDE), Pillow.Resampling.BOX)
    grey = np.asarray(thumbnail, dtype=np.float32)
    padded = np.pad(grey, _AROUND // 2, mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, (_AROUND, _AROUND)).mean(axis=(2, 3))
    detail = (grey - around).reshape(-1)
    length = float(np.linalg.norm(detail))
    return None if length < _FLAT * SIDE else detail / np.float32(length)
