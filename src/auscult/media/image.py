"""A picture file becomes RGB pixels [H, W, 3], with every failure named.

Turned as its EXIF says, its palette looked up, its transparency laid on white. What cannot be shown in 8 bits without a
choice (16-bit scans, floating point) is refused: Pillow would saturate it in silence.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from auscult.core.errors import MediaError
from auscult.core.types import Image, Pixels

REASONS = ("missing", "unreadable", "depth", "huge", "shape")
MAX_PIXELS = 100_000_000
"""Larger pictures are refused before they are decoded: a small file can promise terabytes."""
_EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def decode(image: Image) -> Pixels:
    """RGB pixels [H, W, 3]. Raises MediaError with a reason from `REASONS`."""
    if image.pixels is not None:
        if image.pixels.ndim != 3 or image.pixels.shape[2] != 3 or image.pixels.dtype != np.uint8:
            raise _error(image, "shape", "must be uint8 RGB pixels [H, W, 3]; make it with Image.of(pixels)")
        return image.pixels
    data = read(image)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)  # our own bound is checked below
        try:
            opened = Pillow.open(io.BytesIO(data))
            _check(image, opened)
            turned = ImageOps.exif_transpose(opened)  # decodes: a torn file is noticed here
        except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError) as error:
            raise _error(image, "unreadable", f"cannot be decoded ({error}); replace it, or leave it out") from error
    if turned.mode in ("LA", "PA", "RGBA") or "transparency" in turned.info:
        clear = turned.convert("RGBA")
        turned = Pillow.alpha_composite(Pillow.new("RGBA", clear.size, "white"), clear)
    return np.asarray(turned.convert("RGB"))


def encode_png(pixels: Pixels) -> bytes:
    """RGB pixels [H, W, 3] as a PNG file."""
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def read(image: Image) -> bytes:
    """The bytes of a picture's file. Raises MediaError when there is none."""
    try:
        return Path(image.path or "").read_bytes()
    except OSError as error:
        raise _error(image, "missing", f"cannot be read ({error.strerror}); check the path") from error


def _check(image: Image, opened: Pillow.Image) -> None:
    if opened.width * opened.height > MAX_PIXELS:
        raise _error(image, "huge", f"has {opened.width} x {opened.height} pixels; scale it down first")
    if opened.mode not in _EIGHT_BIT:
        message = f"has more than 8 bits a channel (mode {opened.mode}); choose a window and save it with 8 bits"
        raise _error(image, "depth", message)


def _error(image: Image, reason: str, message: str) -> MediaError:
    return MediaError(f"image {image.path or 'in memory'} {message}", reason=reason)
