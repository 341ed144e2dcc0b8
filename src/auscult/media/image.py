"""A picture file becomes RGB pixels [H, W, 3], with every failure named.

Turned as its EXIF says, its palette looked up, its transparency laid on white. What cannot be shown in 8 bits without a
choice (16-bit scans, floating point) is refused: Pillow would saturate it in silence.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from auscult.core.errors import MediaError
from auscult.core.types import Image, Pixels
from auscult.media import files

REASONS = {
    **files.REASONS,
    "not_image": "no kind of picture that Pillow knows",
    "torn": "Pillow begins to read it and fails",
    "depth": "more than 8 bits a channel",
    "huge": "more pixels than the limit",
    "shape": "pixels in memory that are not uint8 [H, W, 3]",
}
MAX_PIXELS = 100_000_000
"""Larger pictures are refused before they are decoded: a small file can promise terabytes."""
_EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_LOCK = Lock()
"""Around the filter for warnings, which is the whole process's: pictures are looked at in several threads."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture says of itself before it is decoded."""

    container: str
    """`png`, `jpeg` and so on, as Pillow calls it; `memory` for pixels."""
    height: int
    """Pixels, before it is turned."""
    width: int
    """Pixels, before it is turned."""


def decode(image: Image) -> Pixels:
    """RGB pixels [H, W, 3]. Raises MediaError with a reason from `REASONS`."""
    if image.pixels is not None:
        read_header(image)
        return image.pixels
    with _opened(image) as picture:
        turned = ImageOps.exif_transpose(picture)  # decodes: a torn file is noticed here
    if turned.mode in ("LA", "PA", "RGBA") or "transparency" in turned.info:
        clear = turned.convert("RGBA")
        turned = Pillow.alpha_composite(Pillow.new("RGBA", clear.size, "white"), clear)
    return np.asarray(turned.convert("RGB"))


def read_header(image: Image) -> Header:
    """Kind and size, and every check that needs no decoding. Raises MediaError with a reason from `REASONS`."""
    if image.pixels is not None:
        if image.pixels.ndim != 3 or image.pixels.shape[2] != 3 or image.pixels.dtype != np.uint8:
            raise _error(image, "shape", "must be uint8 RGB pixels [H, W, 3]; make it with Image.of(pixels)")
        return Header("memory", *image.pixels.shape[:2])
    with _opened(image) as picture:
        return Header(str(picture.format).lower(), picture.height, picture.width)


def encode_png(pixels: Pixels) -> bytes:
    """RGB pixels [H, W, 3] as a PNG file."""
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@contextmanager
def _opened(image: Image) -> Iterator[Pillow.Image]:
    """The picture, its header read and found fit to be decoded."""
    with files.opened(image.path, _name(image)) as file:
        try:
            with _LOCK, warnings.catch_warnings():
                warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)  # our own bound is checked below
                picture = Pillow.open(file)
            with picture:
                _check(image, picture)
                yield picture
        except UnidentifiedImageError as error:
            raise _error(image, "not_image", "is no picture that Pillow reads; replace it, or leave it out") from error
        except Pillow.DecompressionBombError as error:
            raise _error(image, "huge", f"is too large ({error}); scale it down first") from error
        except (OSError, SyntaxError, ValueError, MemoryError) as error:  # the last: a JPEG 2000 whose header lies
            raise _error(image, "torn", f"cannot be decoded ({error!r}); replace it, or leave it out") from error


def _check(image: Image, opened: Pillow.Image) -> None:
    if opened.width * opened.height > MAX_PIXELS:
        raise _error(image, "huge", f"has {opened.width} x {opened.height} pixels; scale it down first")
    if opened.mode not in _EIGHT_BIT:
        message = f"has more than 8 bits a channel (mode {opened.mode}); choose a window and save it with 8 bits"
        raise _error(image, "depth", message)


def _error(image: Image, reason: str, message: str) -> MediaError:
    return MediaError(f"{_name(image)} {message}", reason=reason)


def _name(image: Image) -> str:
    return f"image {image.path}" if image.path else "an image in memory"
