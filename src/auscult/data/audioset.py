"""AudioSet's VGGish features: what a record says, the names of its labels, the published lists of segments.

A record is one clip: id of a video, start and end, labels, and a frame of 128 bytes for each second
(https://research.google.com/audioset/download.html). A byte q stands for `q * 4 / 255 - 2`, the range at which VGGish's
postprocessor cuts (tensorflow/models, research/audioset/vggish/vggish_params.py). Whatever is not so has a reason, and
is a `Broken` in place of the clip: it is counted, and never trained on.

Nearly every record is written alike, and is then read by one pattern, several records in the time of one. `_any` says
what the pattern means, and reads the others.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from auscult.core.errors import DataError
from auscult.data import rows, table, tfrecord
from auscult.data.frames import FrameSet
from auscult.data.tfrecord import Broken, Malformed, Record

FEATURES = 128
"""Bytes of a frame."""
RATE = 1.0
"""Frames per second."""
SCALE, SHIFT = 4 / 255, -2.0
"""What a byte stands for."""
EMBEDDING = "audio_embedding"
"""The feature list of frames."""
CLASSES = 527
"""Labels there are."""
REGIONS = ("us", "eu", "asia")
"""Where Google keeps a copy."""
HOME = "https://storage.googleapis.com/{region}_audioset/youtube_corpus/v1"
"""Address of a copy."""
FILES = (
    "csv/class_labels_indices.csv",
    "csv/eval_segments.csv",
    "csv/balanced_train_segments.csv",
    "csv/unbalanced_train_segments.csv",
    "features/features.tar.gz",
)
"""What is published there: names of labels, lists of segments, and 2.4 GB of records."""
PUBLISHED = {"bal_train": 22_176, "eval": 20_383, "unbal_train": 2_042_985}
"""Clips of the published folders of records."""


class Clip(NamedTuple):
    """What one record holds."""

    id: str
    """The video's id."""
    start: float
    """Where the clip begins in the video, seconds."""
    end: float
    """Where it ends, seconds."""
    labels: tuple[int, ...]
    """What is heard, by number."""
    frames: NDArray[np.uint8]
    """Quantised features [T, 128]."""


def encode(clip: Clip) -> bytes:
    """The clip as the payload of a record."""
    context: dict[str, tfrecord.Values] = {
        "video_id": (clip.id.encode(),),
        "start_time_seconds": (float(clip.start),),
        "end_time_seconds": (float(clip.end),),
        "labels": clip.labels,
    }
    return tfrecord.encode(context, {EMBEDDING: [row.tobytes() for row in clip.frames]})


def clip_of(payload: bytes, *, labelled: bool = True) -> Clip:
    """The clip in a payload; without `labelled` it may have no labels.

    Raises Malformed with one of the reasons `not_an_example`, `no_video_id`, `no_times`, `no_frames`, `frame_size`,
    `no_labels`, `odd_label`.
    """
    return _usual(payload) or _any(payload, labelled)


def _any(payload: bytes, labelled: bool) -> Clip:
    """Field by field, so that whatever is wrong has its name."""
    context, lists = tfrecord.parse(payload)
    name = context.get("video_id", ())
    if len(name) != 1 or not isinstance(name[0], bytes) or not name[0] or b"\0" in name[0]:
        raise Malformed("no_video_id", f"`video_id` is {list(name)} instead of one text")
    try:
        video = name[0].decode()
    except UnicodeDecodeError as problem:
        raise Malformed("no_video_id", f"`video_id` is {name[0]!r}, which is not UTF-8") from problem
    times = [context.get("start_time_seconds", ()), context.get("end_time_seconds", ())]
    start, end = (one[0] if len(one) == 1 and isinstance(one[0], float) else math.nan for one in times)
    if not 0 <= start < end < math.inf:
        raise Malformed("no_times", f"{video}: start and end are {times} instead of two times in order")
    found = context.get("labels", ())
    labels = tuple(label for label in found if isinstance(label, int))
    if len(labels) < len(found) or (labelled and not labels):
        raise Malformed("no_labels", f"{video}: `labels` is {list(found)} instead of numbers")
    if labels and not 0 <= min(labels) <= max(labels) < CLASSES:
        raise Malformed("odd_label", f"{video}: the labels {list(labels)} are not all from 0 to {CLASSES - 1}")
    if not lists.get(EMBEDDING):
        raise Malformed(
            "no_frames", f"{video}: `{EMBEDDING}` is missing or empty; there are {list(lists) or 'no lists'}"
        )
    try:
        return Clip(video, start, end, labels, tfrecord.frames(lists[EMBEDDING], FEATURES))
    except Malformed as problem:
        raise Malformed(problem.reason, f"{video}: {problem}") from problem


_TIMES = struct.Struct("<ff")
_CONTEXT = rb"|".join(
    (
        rb"\n\x1b\n\x08video_id\x12\x0f\n\x0d\n\x0b([\w-]{11})",
        rb"\n\x1e\n\x12start_time_seconds\x12\x08\x12\x06\n\x04(.{4})",
        rb"\n\x1c\n\x10end_time_seconds\x12\x08\x12\x06\n\x04(.{4})",
        rb"(\n.\n\x06labels\x12.\x1a.\n.)((?:[\x80-\xff]?[\x00-\x7f]){1,20}?)",
    )
)
_FRAME = rb"\n\x86\x01\n\x83\x01\n\x80\x01.{128}"
_USUAL = re.compile(rb"\n(.)(?:%s){4}(\x12..\n..\n\x0faudio_embedding\x12..)((?:%s)+)" % (_CONTEXT, _FRAME), re.DOTALL)
"""How nearly every record of AudioSet is written: id, times and labels in any order, then frames of 128 bytes. The dots
are lengths, which no pattern can check. `_any` takes more than twenty labels: else a hostile record takes long."""


def _usual(payload: bytes) -> Clip | None:
    """The same as `_any` in a fraction of the time, for a record that is written as usual; None for any other."""
    if not (match := _USUAL.fullmatch(payload)):
        return None
    size, video, start, end, labels_head, labels, frames_head, frames = match.groups()
    if None in (video, start, end, labels) or (size, labels_head, frames_head) != _lengths(len(labels), len(frames)):
        return None
    numbers, (begins, ends) = tfrecord.integers(labels), _TIMES.unpack(start + end)
    if not (max(numbers) < CLASSES and 0 <= begins < ends < math.inf):
        return None
    stored = np.frombuffer(frames, np.uint8).reshape(-1, FEATURES + 9)
    return Clip(video.decode(), begins, ends, numbers, stored[:, 9:])


@lru_cache(1 << 12)
def _lengths(labels: int, frames: int) -> tuple[bytes, bytes, bytes]:
    """What stands in the groups of `_USUAL` that hold lengths, when labels and frames take so many bytes."""
    head = tfrecord.pair("labels", tfrecord.delimited(3, tfrecord.delimited(1, bytes(labels))))[:-labels]
    lists = tfrecord.delimited(2, tfrecord.pair(EMBEDDING, bytes(frames)))[:-frames]
    return bytes((min(29 + 32 + 30 + len(head) + labels, 255),)), head, lists  # from 128 on it would be two bytes


def clips(
    records: Iterable[Record | Broken], name: str, *, labelled: bool = True
) -> Iterator[tuple[int, Clip] | Broken]:
    """The clips in the records of the file `name`, each with the byte its record begins at; one that cannot be used is
    a Broken in its place."""
    for record in records:
        if isinstance(record, Broken):
            yield record
            continue
        try:
            yield record.offset, clip_of(record.payload, labelled=labelled)
        except Malformed as problem:
            yield Broken(name, record.offset, problem.reason, str(problem))


def read_labels(path: Path) -> tuple[str, ...]:
    """Names of the labels by number, of a CSV with the columns `index`, `mid`, `display_name`. Raises DataError."""
    return tuple(name for name, _ in _labels(path))


def _labels(path: Path) -> list[tuple[str, str]]:
    """Name and machine id of each label."""
    found: list[tuple[str, str]] = []
    for where, row in table.read(path):
        name, mid = (rows.text(rows.required(row, key, where), key, where) for key in ("display_name", "mid"))
        if row.get("index") != str(len(found)):
            raise DataError(f"{where}: `index` is {row.get('index')} where {len(found)} comes next; fetch {path} again")
        found.append((name, mid))
    if not found:
        raise DataError(f"{path}: no labels; fetch the file again")
    return found


def read_segments(path: Path, labels: Path) -> dict[str, tuple[float, frozenset[int]]]:
    """Start and labels of each video in a published list of segments (`eval_segments.csv`). Raises DataError.

    A line is id, start, end, and machine ids of labels with commas between; lines that begin with `#` are its head.
    """
    numbers = {mid: number for number, (_, mid) in enumerate(_labels(labels))}
    found: dict[str, tuple[float, frozenset[int]]] = {}
    for number, line in enumerate(rows.read_text(path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, *cells = line.split(",", 3)
        try:
            start, _, mids = cells
            found[name] = float(start), frozenset(numbers[mid] for mid in mids.strip(' "').split(","))
        except (ValueError, KeyError) as problem:
            raise DataError(f"{path}:{number}: no segment of these labels ({problem}); fetch both again") from problem
    return found


def missing(found: FrameSet, segments: Mapping[str, tuple[float, frozenset[int]]]) -> dict[str, int]:
    """How a frame set differs from a list of segments, in clips."""
    places = found.places(segments)
    counts = {"listed": len(segments), "without_frames": len(segments) - len(places)}
    counts["not_listed"] = len(found) - sum(map(len, places.values()))
    pairs = [(segments[name], index) for name, indices in places.items() for index in indices]
    counts["other_start"] = sum(abs(start - float(found.starts[index])) > 0.01 for (start, _), index in pairs)
    counts["other_labels"] = sum(labels != frozenset(found.labels_of(index).tolist()) for (_, labels), index in pairs)
    return counts
