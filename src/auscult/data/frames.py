"""A frame set: the feature frames of any number of clips in one array on the disk, read through the page cache.

    FOLDER/frames.npy    [R, F], rows of all clips one after another: uint8 as AudioSet publishes them, or float
    FOLDER/clips.npz     ids [C], offsets [C + 1] into rows, starts [C] in seconds, labels [L] with bounds [C + 1]
    FOLDER/about.json    what the numbers mean, where they come from, the hash of both files, what was left out and why
    FOLDER/dropped.jsonl what was left out, a line each: reason, where it stood, bytes that are lost with it

A clip is a slice of the memory map, so that opening two million clips costs their index and no frames. Values are
`stored * scale + shift`. The folder appears when it is whole. Letters: C clips, R rows, F features, L labels.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Self, cast, get_args

import numpy as np
from numpy.typing import NDArray

from auscult.core.errors import DataError
from auscult.core.runs import append_jsonl, atomic_folder, write_json
from auscult.core.types import Frames, Rows

Stored = Literal["uint8", "float16", "float32"]
VERSION = 1
"""Of the layout; a folder of another one is refused."""
ROWS = 1 << 16
"""Rows that moments are summed over at once."""
PART = 1 << 16
"""Rows that are counted at a time."""
COLUMNS = ("ids", "offsets", "starts", "labels", "bounds")
"""What `clips.npz` holds."""


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
    kind: Rows = "frames"
    """`mel` where they are log-mel as we compute it: an encoder that is pretrained on them hears recordings."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Stretches of files in which no clip can be told from the next."""

    bytes: int = 0
    """All of their bytes."""
    clips: int = 0
    """About how many clips they held, beyond those that are counted as left out: from the mean size of the others."""


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
    lost: Lost
    """What is gone besides, which could not be counted."""
    silent: tuple[str, ...]
    """Ids of the clips in it that were made of recordings in which nothing is heard."""

    @classmethod
    def open(cls, path: Path | str, *, check: bool = False) -> Self:
        """Opens the folder; with `check` both files are read whole and compared with their hashes."""
        path = Path(path)
        told = _about(path)
        try:
            lost, silent = Lost(**told.get("lost", {})), tuple(told.get("silent", ()))
            about = About(**{**told["about"], "labels": tuple(told["about"]["labels"])})
            if check:
                _compare(path, told["sha256"])
            frames = np.load(path / "frames.npy", mmap_mode="r", allow_pickle=False).view(np.ndarray)
            with (path / "clips.npz").open("rb") as file, np.load(file, allow_pickle=False) as clips:
                found = cls(
                    path,
                    about,
                    frames,
                    *(clips[name] for name in COLUMNS),
                    dropped=told["dropped"],
                    lost=lost,
                    silent=silent,
                )
            problem = found._misfit()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: cannot be read ({error}); write the set again") from error
        if problem:
            raise DataError(f"{path}: {problem}; write the set again")
        return found

    def _misfit(self) -> str:
        """What of the index does not fit the frames or itself; nothing when all does."""
        clips = (len(self.ids),)
        if self.about.stored not in get_args(Stored):
            return f"values are stored as {self.about.stored!r}"
        if self.about.kind not in get_args(Rows):
            return f"they are of the kind {self.about.kind!r}"
        if self.frames.dtype != self.about.stored or self.frames.shape[1:] != (self.about.features,):
            return f"frames {self.frames.shape} {self.frames.dtype} are not as about.json says"
        if self.starts.shape != clips or self.ids.dtype.kind != "S":
            return f"{len(self.starts)} starts and ids of type {self.ids.dtype} for {clips[0]} clips"
        for ends, whole, what in (
            (self.offsets, len(self.frames), "frames"),
            (self.bounds, len(self.labels), "labels"),
        ):
            if ends.shape != (clips[0] + 1,) or ends[0] != 0 or ends[-1] != whole or (np.diff(ends) < 0).any():
                return f"the index does not divide {whole} {what} among {clips[0]} clips"
        most = len(self.about.labels) or np.iinfo(np.int32).max
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < most:
            return f"labels from {self.labels.min()} to {self.labels.max()}, but {most} names"
        return ""

    def __len__(self) -> int:
        return len(self.ids)

    def id(self, index: int) -> str:
        """The clip's id."""
        return bytes(self.ids[index]).decode()

    def places(self, ids: Iterable[str]) -> dict[str, list[int]]:
        """Where the clips with these ids are; an id may have several, and one that is not here has none."""
        wanted = {name.encode() for name in ids}
        found: dict[str, list[int]] = {}
        for index, name in enumerate(self.ids.tolist()):
            if name in wanted:
                found.setdefault(name.decode(), []).append(index)
        return found

    def stored(self, index: int) -> NDArray[np.generic]:
        """The clip's frames [T, F] as they are kept, mapped and not read."""
        return self.frames[self.offsets[index] : self.offsets[index + 1]]

    def values(self, index: int) -> NDArray[np.float32]:
        """The clip's frames [T, F]."""
        return self.convert(self.stored(index))

    def convert(self, stored: NDArray[np.generic]) -> NDArray[np.float32]:
        """Values of stored rows."""
        return stored.astype(np.float32) * np.float32(self.about.scale) + np.float32(self.about.shift)

    def moments(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation of each feature over all rows [F], [F]; 1 where a feature never changes."""
        total, squares = np.zeros((2, self.about.features))
        for first in range(0, len(self.frames), ROWS):
            values = self.convert(self.frames[first : first + ROWS]).astype(np.float64)
            total += values.sum(0)
            squares += np.square(values).sum(0)
        mean = total / max(1, len(self.frames))
        deviation = np.sqrt(np.maximum(squares / max(1, len(self.frames)) - np.square(mean), 0.0))
        return mean.astype(np.float32), np.where(deviation > 1e-6, deviation, 1.0).astype(np.float32)

    def media(self, index: int) -> Frames:
        """The clip as a sample holds it."""
        return Frames.of(self.values(index), self.about.rate, self.about.kind)

    def labels_of(self, index: int) -> NDArray[np.int32]:
        """The clip's labels."""
        return self.labels[self.bounds[index] : self.bounds[index + 1]]

    def figures(self) -> dict[str, Any]:
        """What is in it, as JSON values; reads all frames once where they are bytes."""
        lengths, labels = np.diff(self.offsets), np.diff(self.bounds)
        counts = np.bincount(self.labels, minlength=len(self.about.labels))
        names = self.about.labels or [str(number) for number in range(len(counts))]
        ends: list[float] | None = None
        if self.about.stored == "uint8":
            parts = [self.frames[first : first + PART] for first in range(0, len(self.frames), PART)]
            ends = [sum(int((part == value).sum()) for part in parts) / self.frames.size for value in (0, 255)]
        return {
            "source": self.about.source,
            "clips": len(self),
            "different_ids": len(np.unique(self.ids)),
            "frames": len(self.frames),
            "features": self.about.features,
            "hours": len(self.frames) / self.about.rate / 3600,
            "frames_per_clip": {str(size): count for size, count in sorted(Counter(lengths.tolist()).items())},
            "labels_per_clip": float(labels.mean()),
            "without_labels": int((labels == 0).sum()),
            "labels": {names[number]: int(counts[number]) for number in np.argsort(-counts, kind="stable").tolist()},
            "lowest_and_highest_byte": ends,
            "dropped": self.dropped,
            "lost": asdict(self.lost),
            "silent": len(self.silent),
        }


@dataclass
class Writer:
    """Fills a frame set clip by clip; see `writing`."""

    about: About
    """What the numbers mean."""
    file: IO[bytes]
    """Where rows go."""
    dropped_file: Path
    """Where what is left out is listed."""
    ids: list[bytes] = field(default_factory=list[bytes])
    """Of the clips so far."""
    offsets: array[int] = field(default_factory=lambda: array("q", [0]))
    """One past the last row of each, from 0."""
    starts: array[float] = field(default_factory=lambda: array("f"))
    """Seconds."""
    labels: array[int] = field(default_factory=lambda: array("i"))
    """Of all clips."""
    bounds: array[int] = field(default_factory=lambda: array("q", [0]))
    """One past the last label of each, from 0."""
    dropped: Counter[str] = field(default_factory=Counter[str])
    """How many clips were left out, by reason."""
    lost: Lost = Lost()
    """What is gone besides; whoever reads the files counts its bytes and says how many clips that may be."""
    silent: list[str] = field(default_factory=list[str])
    """Ids of clips in which nothing is heard; whoever decodes the recordings knows."""

    def add(self, name: str, rows: NDArray[Any], *, start: float = float("nan"), labels: Sequence[int] = ()) -> None:
        """One clip: rows [T, F] of the stored type. Raises DataError for anything that could not be read back, or
        learnt from: another shape or type, no row at all, no name, a number that is not finite, an unknown label."""
        if rows.ndim != 2 or rows.shape[1] != self.about.features or not len(rows) or rows.dtype != self.about.stored:
            raise DataError(
                f"clip {name}: {rows.shape} {rows.dtype} where [T, {self.about.features}] {self.about.stored} is "
                "expected; leave it out and count it"
            )
        if not name or "\0" in name:
            raise DataError(f"clip {name!r}: it needs a name, without zero characters; give it one")
        if rows.dtype != np.uint8 and not np.isfinite(rows).all():
            raise DataError(f"clip {name}: not all of its numbers are finite; leave it out and count it")
        if labels and not 0 <= min(labels) <= max(labels) < (len(self.about.labels) or np.iinfo(np.int32).max):
            raise DataError(f"clip {name}: labels {list(labels)}, but {len(self.about.labels)} names; correct them")
        self.file.write(np.ascontiguousarray(rows).data)
        self.ids.append(name.encode())
        self.offsets.append(self.offsets[-1] + len(rows))
        self.starts.append(start)
        self.labels.extend(labels)
        self.bounds.append(len(self.labels))

    def stored(self, index: int) -> NDArray[Any]:
        """The frames [T, F] of a clip that was added, read back."""
        end, size = self.file.tell(), self.about.features * np.dtype(self.about.stored).itemsize
        first, last = self.offsets[index], self.offsets[index + 1]
        self.file.seek(end - (self.offsets[-1] - first) * size)
        data = self.file.read((last - first) * size)
        self.file.seek(end)
        return np.frombuffer(data, self.about.stored).reshape(-1, self.about.features)

    def labels_of(self, index: int) -> tuple[int, ...]:
        """The labels of a clip that was added."""
        return tuple(self.labels[self.bounds[index] : self.bounds[index + 1]])

    def drop(self, reason: str, what: str, file: str, offset: int | None = None, lost: int = 0) -> None:
        """One clip that is left out; `what` says which, `file` and `offset` where it stood, in bytes, and `lost` how
        many bytes are lost from there on, where nobody can tell how many clips they hold."""
        self.dropped[reason] += 1
        append_jsonl(
            self.dropped_file, {"reason": reason, "file": file, "offset": offset, "lost_bytes": lost, "what": what}
        )


@contextmanager
def writing(path: Path | str, about: About) -> Iterator[Writer]:
    """A new frame set, which becomes the folder `path` when the block ends and vanishes when it raises.

    The same clips make the same bytes. Raises DataError when there is no clip."""
    if about.stored not in get_args(Stored):
        raise ValueError(f"stored is {about.stored!r}: set one of {', '.join(get_args(Stored))}")
    with atomic_folder(path) as aside:
        with (aside / "frames.npy").open("wb+") as file:
            _header(file, 0, about)  # numpy leaves room in it for a longer shape
            writer = Writer(about, file, aside / "dropped.jsonl")
            yield writer
            if not writer.ids:
                raise DataError(f"{path}: no clip is left ({dict(writer.dropped) or 'none was given'}); look at them")
            file.seek(0)
            _header(file, writer.offsets[-1], about)
        columns = {
            "ids": np.array(writer.ids, dtype=np.bytes_),
            "offsets": np.frombuffer(writer.offsets, np.int64),
            "starts": np.frombuffer(writer.starts, np.float32),
            "labels": np.frombuffer(writer.labels, np.int32),
            "bounds": np.frombuffer(writer.bounds, np.int64),
        }
        np.savez(aside / "clips.npz", **{name: columns[name] for name in COLUMNS})
        write_json(
            aside / "about.json",
            {
                "version": VERSION,
                "about": asdict(about),
                "clips": len(writer.ids),
                "rows": writer.offsets[-1],
                "dropped": dict(sorted(writer.dropped.items())),
                "lost": asdict(writer.lost),
                "silent": writer.silent,
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
        if below := sorted(file.parent.name for file in path.glob("*/about.json")):
            raise DataError(f"{path}: is no frame set, but holds {', '.join(below)}; give one of these") from problem
        raise DataError(
            f"{path}: is no frame set (about.json: {problem}); give the folder that was written"
        ) from problem
    if not isinstance(told, dict) or cast(dict[str, Any], told).get("version") != VERSION:
        raise DataError(f"{path}/about.json: is not of version {VERSION}; write the set again")
    return cast(dict[str, Any], told)


def _compare(path: Path, hashes: dict[str, str]) -> None:
    for name, expected in hashes.items():
        if _sha256(path / name) != expected:
            raise DataError(f"{path / name}: its content is not what about.json says; write the set again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
