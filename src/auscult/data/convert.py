"""From AudioSet's records to frame sets.

    SOURCE/.../bal_train/00.tfrecord    a folder for each part of the data set
    features.tar.gz                     the same in one archive, which is read as it is and never unpacked
    OUT/bal_train/                      the frame set of each folder

A record that cannot be used is dropped, counted by its reason and listed with file and offset in `dropped.jsonl`; past
a share of them nothing is written. Where the rest of a file is lost nobody can count its records, so they are estimated
by their bytes and count in that share. What a file that was cut held after its end is unknown, and not estimated.
Clips keep the order of the archive, or of the paths; the same source makes the same bytes.
"""

from __future__ import annotations

import gzip
import json
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from auscult.core.errors import DataError
from auscult.data import tfrecord
from auscult.data.audioset import FEATURES, PUBLISHED, RATE, SCALE, SHIFT, Clip, clips, read_labels
from auscult.data.folders import walk
from auscult.data.frames import About, Lost, Writer, writing
from auscult.data.tfrecord import Broken
from auscult.data.waiting import Tell

LABELS_FILE = "class_labels_indices.csv"
"""Names of the labels, as published."""
ARCHIVE = "features.tar.gz"
"""All records, as published."""
SUFFIX = ".tfrecord"
"""Ends the name of a file of records."""
MB = 10**6
"""Bytes between two words of progress."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A frame set that was written."""

    path: Path
    """Its folder."""
    clips: int
    """Clips in it."""
    frames: int
    """Their frames."""
    dropped: Mapping[str, int]
    """Records that were left out, by reason; `dropped.jsonl` lists them."""
    lost: Lost
    """What is gone besides, which could not be counted."""
    published: int | None
    """Clips that the published folder of this name has; None for another one."""


def convert(
    source: Path | str,
    out: Path | str,
    *,
    labels: Path | None = None,
    only: Sequence[str] = (),
    labelled: bool = True,
    max_dropped: float = 0.01,
    tell: Tell | None = None,
) -> list[Converted]:
    """Frame sets OUT/NAME from the records in the folders NAME of `source`: a folder, an archive, or a file of records.

    `labels` is the CSV of label names (by default `class_labels_indices.csv` in or beside the source), `only` the
    folders to take. Raises DataError when there are no records, or a share of more than `max_dropped` cannot be used
    (those that are lost with the rest of a file are estimated and count): then nothing is written.
    """
    source = Path(source).resolve()
    source = source / ARCHIVE if (source / ARCHIVE).is_file() else source
    beside = [path for path in (source / LABELS_FILE, source.parent / LABELS_FILE) if path.is_file()]
    names = read_labels(labels or beside[0]) if labels or beside else ()
    about = About(FEATURES, RATE, "uint8", SCALE, SHIFT, source=f"AudioSet, {source.name}", labels=names)
    writers: dict[str, Writer] = {}
    seen: dict[str, dict[str, int]] = {}
    sizes: Counter[str] = Counter()
    with _readable(source), ExitStack() as stack:
        for folder, name, file, size in _files(source, tell or (lambda *_: None)):
            if only and folder not in only:
                continue
            if folder not in writers:
                writers[folder] = stack.enter_context(writing(Path(out) / folder, about))
            found = clips(tfrecord.records(file, name, size), name, labelled=labelled)
            _fill(writers[folder], found, name, seen.setdefault(folder, {}))
            sizes[folder] += size
        for folder, writer in writers.items():
            writer.lost = _estimated(writer, sizes[folder])
            _refuse_dropped(f"{source}: {folder}", writer, max_dropped)
        missing = sorted(set(only) - set(writers))
        if not writers or missing:
            raise DataError(f"{source}: no records of {', '.join(missing) or 'anything'}; name what holds .tfrecord")
    return [
        Converted(
            Path(out) / folder,
            len(writer.ids),
            writer.offsets[-1],
            writer.dropped,
            writer.lost,
            PUBLISHED.get(folder),
        )
        for folder, writer in writers.items()
    ]


def _fill(writer: Writer, found: Iterable[tuple[int, Clip] | Broken], file: str, seen: dict[str, int]) -> None:
    """Adds clips of a file that are not among those `seen`, which it adds to: their place in the set by name."""
    for one in found:
        if isinstance(one, Broken):
            writer.drop(one.reason, str(one), file, one.offset, one.lost)
            writer.lost = Lost(writer.lost.bytes + one.lost)
            continue
        offset, clip = one
        name = f"{clip.id} at {clip.start:g} s"
        if (first := seen.get(name)) is not None:
            again = Broken(file, offset, "repeated", f"{name} comes again, with {_changed(writer, first, clip)}")
            writer.drop(again.reason, str(again), file, offset)
            continue
        seen[name] = len(writer.ids)
        writer.add(clip.id, clip.frames, start=clip.start, labels=clip.labels)


def _changed(writer: Writer, first: int, clip: Clip) -> str:
    """In what a clip that comes again differs from the `first` one, in words."""
    same = {
        "frames": np.array_equal(writer.stored(first), clip.frames),
        "labels": writer.labels_of(first) == clip.labels,
    }
    other = " and ".join(what for what, kept in same.items() if not kept)
    return f"other {other} than the first" if other else "the same frames and labels"


def _estimated(writer: Writer, size: int) -> Lost:
    """What is lost of a folder's `size` bytes, with the records that it may be: of the mean size of those that could be
    told apart, less those that begin it, which are counted."""
    begun = sum(writer.dropped[reason] for reason in ("length_crc", "absurd_length"))
    apart = len(writer.ids) + writer.dropped.total() - begun
    if not writer.lost.bytes or not apart:
        return writer.lost
    mean = (size - writer.lost.bytes) / apart
    return Lost(writer.lost.bytes, max(0, round(writer.lost.bytes / mean) - begun))


def _refuse_dropped(what: str, writer: Writer, most: float) -> None:
    count = writer.dropped.total() + writer.lost.clips
    if count > most * (count + len(writer.ids)):
        reasons = ", ".join(f"{reason} {number}" for reason, number in writer.dropped.most_common())
        reasons += f", and about {writer.lost.clips:,} in {writer.lost.bytes:,} lost bytes" if writer.lost.bytes else ""
        first = json.loads(writer.dropped_file.read_text().split("\n", 1)[0])["what"]
        raise DataError(
            f"{what}: {count:,} of {count + len(writer.ids):,} records cannot be used ({reasons}), first: {first}; "
            "remove it and download it again, or allow for a larger share (--max-dropped)"
        )


def _files(source: Path, tell: Tell) -> Iterator[tuple[str, str, IO[bytes], int]]:
    """Folder, name, content and size of each file of records, in order."""
    if not source.exists():
        raise DataError(f"{source}: does not exist; name a folder, an archive or a file of records")
    if source.is_file() and source.suffix != SUFFIX:
        yield from _archived(source, tell)
        return
    paths = [source] if source.is_file() else [path for path in walk(source) if path.suffix == SUFFIX]
    folders: dict[str, Path] = {}
    for done, path in enumerate(paths, 1):
        if folders.setdefault(path.parent.name, path.parent) != path.parent:
            raise DataError(f"{path.parent} and {folders[path.parent.name]} have one name; convert them one by one")
        with path.open("rb") as file:
            yield path.parent.name, str(path), file, path.stat().st_size
        tell("files of records", done, len(paths), {})


def _archived(archive: Path, tell: Tell) -> Iterator[tuple[str, str, IO[bytes], int]]:
    """The same of an archive, without unpacking it. Raises DataError for a member that is a link, or leads elsewhere:
    of a member's name only its folder's is used, which has no separator in it."""
    told, total = 0, archive.stat().st_size // MB
    with archive.open("rb") as raw, gzip.open(raw) as unzipped:
        with tarfile.open(fileobj=unzipped, mode="r|") as members:
            for member in members:
                path = PurePosixPath(member.name)
                if member.isdir() or (member.isfile() and path.suffix != SUFFIX):
                    continue
                file = members.extractfile(member) if member.isfile() else None
                if file is None or path.is_absolute() or ".." in path.parts or not path.parent.name:
                    raise DataError(f"{archive}: {member.name!r} is no file in a folder; fetch the archive again")
                yield path.parent.name, f"{archive}: {member.name}", file, member.size
                if raw.tell() // MB > told:
                    told = raw.tell() // MB
                    tell("MB of the archive", told, total, {})
        while unzipped.read(1 << 20):  # to its end, where the checksum of all stands
            pass


@contextmanager
def _readable(source: Path) -> Iterator[None]:
    """Names what is no archive, or a torn one: that shows wherever it is read."""
    try:
        yield
    except (EOFError, zlib.error, tarfile.TarError, gzip.BadGzipFile) as problem:
        raise DataError(f"{source}: is no whole .tar.gz ({problem}); remove it and download it again") from problem
