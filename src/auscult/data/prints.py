"""What stands for a recording or a picture when others are looked for that are the same: its bytes' hash and its print.

Every file is opened once. Prints can be kept in a folder under the content's hash, so that the next look at the same
training set takes the time of hashing it; a print that was damaged there is made again.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.core.errors import MediaError
from auscult.core.runs import write_bytes
from auscult.core.types import Audio, Frames, Image, Media
from auscult.media import audio, image
from auscult.media.audio_print import RATE, AudioPrint, audio_print
from auscult.media.image_print import Print, image_print

VERSION = 1
"""Of what prints consist of; another one finds nothing in a cache of this one."""
NO_PRINT = "no_print"
"""Why there is no print of a medium that is sound: silence, a steady tone, less than a syllable, one colour, frames."""
WORKERS = 4
"""Threads that read media."""
_AT_A_TIME = 256
"""Media that are in memory at once."""


@dataclass(frozen=True, slots=True)
class Look:
    """A recording or a picture, as far as others can be compared with it."""

    sha256: str | None
    """Hash of its content, hex; None where it cannot be read."""
    print: AudioPrint | Print | None = None
    """What survives another coding; None where there is none."""
    problem: str | None = None
    """Why there is none: a reason of `media.audio.REASONS` or `media.image.REASONS`, or `NO_PRINT`."""


@dataclass(frozen=True)
class Cache:
    """A folder of prints."""

    folder: Path
    """Where they are."""
    limit: int = 2 << 30
    """Bytes beyond which the oldest are deleted, when a cache is opened."""

    def __post_init__(self) -> None:
        files = [(entry.stat(), entry) for entry in self.folder.glob("??/*.npy")] if self.folder.is_dir() else []
        size = sum(status.st_size for status, _ in files)
        for status, entry in sorted(files, key=lambda file: file[0].st_mtime):
            if size <= self.limit:
                break
            entry.unlink(missing_ok=True)
            size -= status.st_size

    def read(self, key: str) -> NDArray[Any] | None:
        """What was kept under a key; None where nothing was, or nothing that can be read."""
        try:
            return np.load(io.BytesIO(self._file(key).read_bytes()), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None

    def write(self, key: str, values: NDArray[Any]) -> None:
        """Keeps an array. Raises RunError when the folder cannot be written."""
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=False)
        write_bytes(self._file(key), buffer.getvalue())

    def _file(self, key: str) -> Path:
        name = hashlib.sha256(f"{VERSION} {key}".encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.npy"


def looks(media: Sequence[Media], cache: Cache | None = None) -> Iterator[Look]:
    """A look at each, in order. Raises RunError when the cache cannot be written."""
    with ThreadPoolExecutor(WORKERS) as pool:
        for first in range(0, len(media), _AT_A_TIME):
            yield from pool.map(lambda part: look(part, cache), media[first : first + _AT_A_TIME])


def look(part: Media, cache: Cache | None = None) -> Look:
    """A look at one medium; what is wrong with it becomes `Look.problem`."""
    if isinstance(part, Frames):
        return Look(part.sha256, problem=NO_PRINT)
    in_memory = part.wave is not None if isinstance(part, Audio) else part.pixels is not None
    try:
        digest = part.sha256 if in_memory else audio.content_hash(part.path or "")
    except MediaError as error:
        return Look(None, problem=error.reason)
    try:
        found = _audio(part, digest, cache) if isinstance(part, Audio) else _image(part, digest, cache)
    except MediaError as error:
        return Look(digest, problem=error.reason)
    return Look(digest, found, None if found is not None else NO_PRINT)


def _audio(part: Audio, digest: str | None, cache: Cache | None) -> AudioPrint | None:
    key = f"audio {digest} {part.start} {part.end}"
    kept = cache.read(key) if cache and digest else None
    if kept is not None and kept.dtype == np.uint32 and kept.ndim == 2:
        return AudioPrint(kept[0], kept[1]) if kept.size else None
    found = audio_print(audio.decode(part, RATE))
    if cache and digest:
        cache.write(key, np.empty((2, 0), np.uint32) if found is None else np.stack([found.words, found.firm]))
    return found


def _image(part: Image, digest: str | None, cache: Cache | None) -> Print | None:
    key = f"image {digest}"
    kept = cache.read(key) if cache and digest else None
    if kept is not None and kept.dtype == np.float32 and kept.ndim == 1:
        return kept if kept.size else None
    found = image_print(image.decode(part))
    if cache and digest:
        cache.write(key, np.empty(0, np.float32) if found is None else found)
    return found


def section(part: Media) -> tuple[float, float]:
    """From where to where a recording is heard, seconds; everything of what has no sections."""
    if not isinstance(part, Audio):
        return 0.0, float("inf")
    return part.start or 0.0, float("inf") if part.end is None else part.end


def name_of(part: Media) -> str:
    """The file's name without folder and extension; empty for media in memory."""
    path = None if isinstance(part, Frames) else part.path
    return os.path.splitext(os.path.basename(path))[0] if path else ""
