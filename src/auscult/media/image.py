"""A picture file becomes RGB pixels [H, W, 3], with every failure named.

Turned as its EXIF or its PatientOrientation says, its palette looked up, its transparency laid on white, its grey
values windowed where it has more than 256, scaled down and padded as `Display` says. DICOM files are `dicom.py`'s.
A file with several pictures needs a choice, `Image.frame`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from threading import Lock

import numpy as np
from PIL import ExifTags, ImageOps, UnidentifiedImageError
from PIL import Image as Pillow

from auscult.core.errors import MediaError
from auscult.core.types import Image, Pixels
from auscult.media import dicom, files
from auscult.media.window import Display, Policy, grey

REASONS = {
    **files.REASONS,
    **dicom.REASONS,
    "not_image": "no kind of picture that Pillow knows, and no DICOM file",
    "torn": "it begins as a picture and cannot be decoded",
    "huge": "more pixels than the limit",
    "tiny": "fewer pixels a side than can show anything",
    "frames": "several pictures and no choice, or a choice that it has not",
    "not_finite": "values in floating point that are not all numbers",
    "shape": "pixels in memory that are not uint8 [H, W, 3]",
}
MAX_PIXELS = 100_000_000
"""Larger pictures are refused before they are decoded: a small file can promise terabytes."""
MIN_SIDE = 4
"""Pixels. A smaller file is a placeholder or a counter."""
AS_IT_IS = Display()
"""The file's own window, at its own size."""
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_PLAIN = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "RGBX", "RGBa", "La")
_REDUCED = 2
"""How many times larger than asked for a JPEG is at least when it is decoded at a part of its size."""
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
    alike: bool = True
    """Whether every reader shows it alike: no DICOM file, of 8 bits a channel, upright as it is stored, opaque."""


def decode(image: Image, display: Display = AS_IT_IS) -> Pixels:
    """RGB pixels [H, W, 3]. Raises MediaError with a reason from `REASONS`."""
    return rgb(shown(image, display))


def rgb(pixels: Pixels) -> Pixels:
    """Grey [H, W] or RGB [H, W, 3] -> RGB [H, W, 3]."""
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def shown(image: Image, display: Display = AS_IT_IS) -> Pixels:
    """RGB pixels [H, W, 3], or [H, W] of a grey picture: a third of the memory. Raises MediaError."""
    if image.pixels is not None:
        read_header(image)
        return np.asarray(_fitted(Pillow.fromarray(image.pixels), display))
    with files.opened(image.path, _name(image)) as file:
        if dicom.starts(file):
            film = dicom.read(file, _name(image))
            _check(image, film.width, film.height, film.frames)
            picture = Pillow.fromarray(film.pixels(image.frame or 0, display.window))
        else:
            with _opened(image, file) as opened:
                if display.longest is not None:
                    opened.draft(None, (display.longest * _REDUCED, display.longest * _REDUCED))
                picture = _eight_bits(image, ImageOps.exif_transpose(opened), display.window)  # decodes
    return np.asarray(_fitted(picture, display))


def read_header(image: Image) -> Header:
    """Kind and size, and every check that needs no decoding. Raises MediaError with a reason from `REASONS`."""
    if image.pixels is not None:
        if image.pixels.ndim != 3 or image.pixels.shape[2] != 3 or image.pixels.dtype != np.uint8:
            raise _error(image, "shape", "must be uint8 RGB pixels [H, W, 3]; make it with Image.of(pixels)")
        return Header("memory", *image.pixels.shape[:2])
    with files.opened(image.path, _name(image)) as file:
        if dicom.starts(file):
            film = dicom.read(file, _name(image), header_only=True)
            _check(image, film.width, film.height, film.frames)
            return Header("dicom", film.height, film.width, alike=False)
        with _opened(image, file) as picture:
            return Header(str(picture.format).lower(), picture.height, picture.width, _alike(picture))


def encode_png(pixels: Pixels) -> bytes:
    """RGB pixels [H, W, 3] as a PNG file."""
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@contextmanager
def _opened(image: Image, file: BufferedReader) -> Iterator[Pillow.Image]:
    """The picture, its header read and found fit to be decoded."""
    try:
        with _LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)  # our own bound is checked below
            picture = Pillow.open(file)
        with picture:
            # The second picture of a JPEG (MPO) is a preview, or the same scene for the other eye.
            frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
            _check(image, picture.width, picture.height, frames)
            if picture.mode not in _DEEP + _PLAIN:
                raise _error(image, "torn", f"has colours of an unknown kind ({picture.mode}); save it as PNG")
            if image.frame:
                picture.seek(image.frame)
                _check(image, picture.width, picture.height, frames)
            yield picture
    except UnidentifiedImageError as error:
        raise _error(image, "not_image", "is no picture that Pillow reads; replace it, or leave it out") from error
    except Pillow.DecompressionBombError as error:
        raise _error(image, "huge", f"is too large ({error}); scale it down first") from error
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:  # the last: a JPEG 2000 that lies
        raise _error(image, "torn", f"cannot be decoded ({error!r}); replace it, or leave it out") from error


def _check(image: Image, width: int, height: int, frames: int) -> None:
    if width * height > MAX_PIXELS:
        raise _error(image, "huge", f"has {width} x {height} pixels; scale it down first")
    if min(width, height) < MIN_SIDE:
        raise _error(image, "tiny", f"has {width} x {height} pixels, too few to show anything; replace it")
    if image.frame is None and frames > 1:
        raise _error(image, "frames", f"holds {frames} pictures; say which one is meant: `frame` 0 is the first")
    if image.frame is not None and not 0 <= image.frame < frames:
        raise _error(image, "frames", f"has no frame {image.frame}; name one from 0 to {frames - 1}")


def _eight_bits(image: Image, opened: Pillow.Image, window: Policy) -> Pillow.Image:
    """Grey or RGB."""
    if opened.mode in _DEEP:
        values = np.asarray(opened)
        if not np.isfinite(values).all():
            raise _error(image, "not_finite", "holds values that are no numbers (NaN or infinity); mend them")
        return Pillow.fromarray(grey(values, window))
    if opened.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in opened.info:
        clear = opened.convert("RGBA")
        opened = Pillow.alpha_composite(Pillow.new("RGBA", clear.size, "white"), clear)
    return opened.convert("L" if opened.mode in ("1", "L") else "RGB")


def _alike(opened: Pillow.Image) -> bool:
    """Nothing of it is left to whoever reads it."""
    if opened.format == "PNG":  # whose EXIF may stand behind the pixels, which are not decoded for it
        turned = "exif" in opened.info
    else:
        turned = opened.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return opened.mode in ("1", "L", "P", "RGB") and "transparency" not in opened.info and not turned


def _fitted(picture: Pillow.Image, display: Display) -> Pillow.Image:
    """Scaled down to its longest side, and squared."""
    if display.longest is not None and max(picture.size) > display.longest:
        scale = display.longest / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Pillow.Resampling.LANCZOS, reducing_gap=3.0)
    if not display.square or picture.width == picture.height:
        return picture
    side = max(picture.size)
    square = Pillow.new(picture.mode, (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square


def _error(image: Image, reason: str, message: str) -> MediaError:
    return MediaError(f"{_name(image)} {message}", reason=reason)


def _name(image: Image) -> str:
    return f"image {image.path}" if image.path else "an image in memory"
