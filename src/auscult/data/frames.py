"""A frame set: the feature frames of any number of clips in one array on the disk, read through the page cache.

    FOLDER/frames.npy    [R, F], rows of all clips one after another: uint8 as AudioSet publishes them, or float
    FOLDER/clips.npz     ids [C], offsets [C + 1] into rows, starts [C] in seconds, labels [L] with bounds [C + 1]
    FOLDER/about.json    what the numbers mean, where they come from, the hash of both files, what was left out and why

A clip is a slice of the memory map, so that opening two million clips costs their index and no frames. Values are
`stored * scale + shift`. The folder appears when it is whole. Letters: C clips, R rows, F features, L labels.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray

from auscult.core.errors import DataError
from auscult.core.runs import atomic_folder, write_json
from auscult.core.types import Frames

Stored = Literal["uint8", "float16", "float32"]
VERSION = 1
"""Of the layout; a folder of another one is refused."""


@dataclass(frozen=True, slots=True)
class About:
    """What a frame set is."""

    features: int
    """F, values of a frame."""
    rate: float
    """Frames per second."""
    stored: Stored
    """How values are kept."""
    scale: float = 1.0
    """A value is stored * scale + shift."""
    shift: float = 0.0
    """See `scale`."""
    source: str = ""
    """Where the clips come from."""
    labels: tuple[str, ...] = ()
    """Names of the labels, by number; empty when the clips have none."""


@dataclass(frozen=True)
class FrameSet:
    """A frame set that was opened. Raises DataError for a folder that is none, or is not whole."""

    path: Path
    """Its folder."""
    about: About
    """What its numbers mean."""
    frames: NDArray[np.generic]
    """Stored values [R, F], mapped and not read."""
    ids: NDArray[np.bytes_]
    """Clip ids [C], UTF-8."""
    offsets: NDArray[np.int64]
    """First row of each clip, and the end [C + 1]."""
    starts: NDArray[np.float32]
    """Where each clip begins in its recording, seconds [C]; NaN where nobody knows."""
    labels: NDArray[np.int32]
    """Labels of all clips, one after another [L]."""
    bounds: NDArray[np.int64]
    """First label of each clip, and the end [C + 1]."""
    dropped: dict[str, int]
    """What was left out when it was written, by reason."""

    @classmethod
    def open(cls, path: Path | str, *, check: bool = False) -> Self:
        """Opens the folder; with `check` both files are read whole and compared with their hashes."""
        path = Path(path)
        told = _about(path)
        if check:
            for name, expected in told["sha256"].items():
                if _sha256(path / name) != expected:
                    raise DataError(f"{path / name}: its content is not what about.json says; write the set again")
        try:
            frames = np.load(path / "frames.npy", mmap_mode="r", allow_pickle=False)
            with np.load(path / "clips.npz", allow_pickle=False) as clips:
                columns = {name: clips[name] for name in ("ids", "offsets", "starts", "labels", "bounds")}
        except (OSError, ValueError, KeyError) as problem:
            raise DataError(f"{path}: cannot be read ({problem}); write the set again") from problem
        about = About(**{**told["about"], "labels": tuple(told["about"]["labels"])})
        count = len(columns["ids"])
        whole = frames.shape == (int(columns["offsets"][-1]), about.features) and frames.dtype == about.stored
        if not whole or {len(columns["offsets"]), len(columns["bounds"]), len(columns["starts"]) + 1} != {count + 1}:
            raise DataError(f"{path}: frames {frames.shape} {frames.dtype} do not fit its index; write the set again")
        return cls(path, about, frames, **columns, dropped=told["dropped"])

    def __len__(self) -> int:
        return len(self.ids)

    def id(self, index: int) -> str:
        """The clip's id."""
        return bytes(self.ids[index]).decode()

    def values(self, index: int) -> NDArray[np.float32]:
        """The clip's frames [T, F]."""
        return self.convert(self.frames[self.offsets[index] : self.offsets[index + 1]])

    def convert(self, stored: NDArray[np.generic]) -> NDArray[np.float32]:
        """Values of stored rows."""
        return stored.astype(np.float32) * np.float32(self.about.scale) + np.float32(self.about.shift)

    def media(self, index: int) -> Frames:
        """The clip as a sample holds it."""
        return Frames.of(self.values(index), self.about.rate)

    def labels_of(self, index: int) -> NDArray[np.int32]:
        """The clip's labels."""
        return self.labels[self.bounds[index] : self.bounds[index + 1]]


@dataclass
class Writer:
    """Fills a frame set clip by clip; see `writing`."""

    about: About
    """What the numbers mean."""
    file: IO[bytes]
    """Where rows go."""
    rows: int = 0
    """Rows written."""
    ids: list[bytes] = field(default_factory=list[bytes])
    """Of the clips so far."""
    ends: list[int] = field(default_factory=list[int])
    """One past the last row of each."""
    starts: list[float] = field(default_factory=list[float])
    """Seconds."""
    labels: list[Sequence[int]] = field(default_factory=list[Sequence[int]])
    """Of each clip."""
    dropped: Counter[str] = field(default_factory=Counter[str])
    """Clips left out, by reason: `about.json` tells."""

    def add(self, name: str, rows: NDArray[Any], *, start: float = float("nan"), labels: Sequence[int] = ()) -> None:
        """One clip: rows [T, F] of the stored type. Raises DataError for another shape or type, or no row at all."""
        if rows.ndim != 2 or rows.shape[1] != self.about.features or not len(rows) or rows.dtype != self.about.stored:
            raise DataError(
                f"clip {name}: {rows.shape} {rows.dtype} where [T, {self.about.features}] {self.about.stored} is "
                "expected; leave it out and count it"
            )
        self.file.write(np.ascontiguousarray(rows).tobytes())
        self.rows += len(rows)
        self.ids.append(name.encode())
        self.ends.append(self.rows)
        self.starts.append(start)
        self.labels.append(labels)


@contextmanager
def writing(path: Path | str, about: About) -> Iterator[Writer]:
    """A new frame set, which becomes the folder `path` when the block ends and vanishes when it raises."""
    with atomic_folder(path) as aside:
        with (aside / "frames.npy").open("wb+") as file:
            _header(file, 0, about)  # numpy leaves room in it for a longer shape
            writer = Writer(about, file)
            yield writer
            file.seek(0)
            _header(file, writer.rows, about)
        np.savez(
            aside / "clips.npz",
            ids=np.array(writer.ids, dtype=np.bytes_) if writer.ids else np.zeros(0, "S1"),
            offsets=np.array([0, *writer.ends], dtype=np.int64),
            starts=np.array(writer.starts, dtype=np.float32),
            labels=np.array([label for own in writer.labels for label in own], dtype=np.int32),
            bounds=np.cumsum([0, *map(len, writer.labels)], dtype=np.int64),
        )
        told = {name: getattr(about, name) for name in About.__slots__}
        write_json(
            aside / "about.json",
            {
                "version": VERSION,
                "about": {**told, "labels": list(about.labels)},
                "clips": len(writer.ids),
                "rows": writer.rows,
                "dropped": dict(writer.dropped),
                "sha256": {name: _sha256(aside / name) for name in ("frames.npy", "clips.npz")},
            },
        )


def _header(file: IO[bytes], rows: int, about: About) -> None:
    shape = {"descr": np.dtype(about.stored).str, "fortran_order": False, "shape": (rows, about.features)}
    np.lib.format.write_array_header_1_0(file, shape)


def _about(path: Path) -> dict[str, Any]:
    try:
        told = json.loads((path / "about.json").read_text())
    except (OSError, ValueError) as problem:
        raise DataError(
            f"{path}: is no frame set (about.json: {problem}); give the folder that was written"
        ) from problem
    if not isinstance(told, dict) or cast(dict[str, Any], told).get("version") != VERSION:
        raise DataError(f"{path}/about.json: is not of version {VERSION}; write the set again")
    return cast(dict[str, Any], told)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
