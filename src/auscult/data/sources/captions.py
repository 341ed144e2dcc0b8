"""Captioned clips in CSV: AudioCaps, Clotho, or a file of one's own. A clip is one sample, whose answers are all of its
captions, in the order of the rows.

    audiocap_id,youtube_id,start_time,caption       AudioCaps, version 1 and 2: a row for each caption
    file_name,caption_1,caption_2,...               Clotho: a row for each clip
    file,caption                                    your own, either way; a column `group` keeps clips together

A clip of AudioCaps is heard as the recording `<youtube_id>_<start_time>.wav` (or .flac, .ogg ...) anywhere in `audio`,
a file at its path there; or either as frames, found in `frames` by id and start (the id of a file is its name in the
CSV). Clips that are not there are missing: `missing` lists them, and past a share of them nothing is read.

Official splits are two files, `root` and `heldout`. A random split goes by video or file, never by caption.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from auscult.core.errors import DataError
from auscult.core.types import Audio, Media, Sample, Turn
from auscult.data import rows, source, table
from auscult.data.folders import walk
from auscult.data.frames import FrameSet
from auscult.data.sources.sounds import EXTENSIONS
from auscult.data.splits import assert_disjoint, split_groups

QUESTION = "Describe this sound."
"""What is asked about every clip, unless told otherwise."""
FILES = ("file_name", "file", "audio", "path")
"""Columns that name a recording; the first one there is counts."""
START = 0.01
"""Seconds by which two starts of the same clip may differ: one of them was a float of 32 bits."""
SHOWN = 5
"""Missing clips that an error names."""
_CAPTION = re.compile(r"caption(?:_(?:reference_)?\d+)?")


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip and what people wrote of it."""

    where: str
    """Its first row."""
    name: str
    """The video's id, or the file as the CSV has it (`./a.wav` as `a.wav`)."""
    start: float | None
    """Where it begins in the video, seconds; None for a file, which is heard as a whole."""
    group: str
    """What must not cross a split: the video, or the CSV's `group`; empty is the recording."""
    captions: tuple[str, ...]
    """At least one."""

    @property
    def id(self) -> str:
        """Its name, with the start as AudioCaps' files have it."""
        return self.name if self.start is None else f"{self.name}_{self.start:g}"

    @property
    def cluster(self) -> str:
        """Its group, else the file as seen from its folder: the same on every machine."""
        return self.group or os.path.normpath(self.name)


@dataclass(frozen=True, kw_only=True)
class Source(source.Written):
    """Options of captioned clips."""

    root: str
    """CSV of captions; all of its clips are for training when `heldout` is given."""
    heldout: str | None = None
    """CSV of held-out clips, such as AudioCaps' val.csv; null splits `root`."""
    heldout_share: float = 0.1
    """Share of the videos or files of `root` that is held out; of no effect when `heldout` is given."""
    audio: str = ""
    """Folder of the recordings; empty is the CSV's own."""
    frames: tuple[str, ...] = ()
    """Frame sets that are heard instead of recordings; a clip is looked for in one after the other."""
    question: str = QUESTION
    """What is asked about every clip."""
    max_missing: float = 0.0
    """Share of the clips that may have no recording or frames; these are left out."""

    def __post_init__(self) -> None:
        if not 0 < self.heldout_share < 1:
            raise ValueError(f"heldout_share is {self.heldout_share}: set a share between 0 and 1")
        if not 0 <= self.max_missing < 1:
            raise ValueError(f"max_missing is {self.max_missing}: set a share from 0 to below 1")
        if self.frames and self.audio:
            raise ValueError("audio and frames are both given: a clip is heard as one of them, so set one")

    def split(self, name: source.Split, seed: int) -> source.Samples:
        """Raises DataError when a row cannot be used or too many clips are missing, MediaError when a recording cannot
        be used. Frames are read when they are asked for."""
        if not self.frames:
            return super().split(name, seed)
        found, _ = self._found(name, seed)
        return Captioned(self.question, tuple(found))

    def rows(self, name: source.Split, seed: int) -> list[source.Row]:
        found, _ = self._found(name, seed)
        return [source.Row(clip.where, sample_of(clip, media(), self.question), "file") for clip, media in found]

    def checked(self, name: source.Split) -> tuple[str, ...]:
        file = self.root if name == "train" or self.heldout is None else self.heldout
        return (file, "--audio", self.audio) if self.audio else (file,)

    def notes(self, name: source.Split, seed: int) -> tuple[str, ...]:
        found, missing = self._found(name, seed)
        whole = len(found) + len(missing)
        return (f"{name}: {len(missing):,} of {whole:,} clips are left out: {_shown(missing)}",) if missing else ()

    def missing(self, name: source.Split, seed: int) -> tuple[str, ...]:
        """Ids of the clips of a split that are left out because there is no recording or no frames of them."""
        return tuple(clip.id for clip in self._found(name, seed)[1])

    def _found(self, name: source.Split, seed: int) -> tuple[list[tuple[Clip, Hear]], list[Clip]]:
        """The clips of a split with how they are heard, and those that are missing."""
        file, clips = self._side(name, seed)
        if self.frames:
            heard = self._frames(clips)
        else:
            heard = {name: Hear(path) for name, path in recordings(clips, self._folder(file)).items()}
        found = [(clip, heard[clip.id]) for clip in clips if clip.id in heard]
        missing = [clip for clip in clips if clip.id not in heard]
        if len(missing) > self.max_missing * len(clips) or not found:
            place = f"in the frame sets {', '.join(self.frames)}" if self.frames else f"in {self._folder(file)}"
            raise DataError(
                f"{file}: {len(missing):,} of {len(clips):,} clips are not {place}: {_shown(missing)}; name where they "
                "are (--data.audio, --data.frames), or allow for a share of missing ones (--data.max_missing)"
            )
        return found, missing

    def _side(self, name: source.Split, seed: int) -> tuple[str, list[Clip]]:
        """The file of a split, and all of its clips. Raises DataError for groups that are on both sides."""
        source.refuse_unfound(self.heldout)
        clips = read(Path(self.root))
        if self.heldout is None:
            held = split_groups([clip.cluster for clip in clips], self.heldout_share, seed, where=self.root)
            return self.root, [clip for clip in clips if (clip.cluster in held) == (name == "heldout")]
        heldout = read(Path(self.heldout))
        assert_disjoint(
            (self._compared(clip, self.root) for clip in clips),
            (self._compared(clip, self.heldout) for clip in heldout),
        )
        return (self.root, clips) if name == "train" else (self.heldout, heldout)

    def _folder(self, file: str) -> Path:
        return Path(self.audio) if self.audio else Path(file).parent

    def _compared(self, clip: Clip, file: str) -> Sample:
        """What splits are compared by: two files of one name in two folders are two recordings."""
        if self.frames or clip.group:
            return Sample(clip.id, (), (), group=clip.cluster)
        return Sample(clip.id, (Turn("user", (Audio(str(self._folder(file) / clip.name)),)),), ())

    def _frames(self, clips: Sequence[Clip]) -> dict[str, Hear]:
        found: dict[str, Hear] = {}
        for path in self.frames:
            opened = FrameSet.open(path)
            places = opened.places({clip.name for clip in clips if clip.id not in found})
            for clip in clips:
                fitting = [
                    index
                    for index in places.get(clip.name, ())
                    if clip.start is None or abs(float(opened.starts[index]) - clip.start) < START
                ]
                if len(fitting) > 1:
                    raise DataError(f"{clip.where}: {path} has {len(fitting)} clips {clip.id}; write the set again")
                if fitting and clip.id not in found:
                    found[clip.id] = Hear(opened, fitting[0])
        return found


@dataclass(frozen=True, slots=True)
class Hear:
    """How a clip is heard, when it is."""

    place: Path | FrameSet
    """The recording, or the frame set that has it."""
    index: int = 0
    """Its place in the frame set."""

    def __call__(self) -> Media:
        return Audio(str(self.place)) if isinstance(self.place, Path) else self.place.media(self.index)


@dataclass(frozen=True, slots=True)
class Captioned:
    """Samples whose frames are read when they are asked for."""

    question: str
    """What is asked."""
    clips: tuple[tuple[Clip, Hear], ...] = field(repr=False)
    """The clips, and how they are heard."""

    @property
    def size(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int, /) -> Sample:
        clip, hear = self.clips[index]
        return sample_of(clip, hear(), self.question)


def read(path: Path) -> list[Clip]:
    """The clips of a CSV, in the order in which they first occur. Raises DataError with file and row, and with the
    number of rows that cannot be used."""
    clips, bad, count = parse(path)
    rows.refuse_bad(list(bad.values()), count, str(path))
    if not clips:
        raise DataError(f"{path}: no rows; write a row for each caption")
    return clips


def parse(path: Path) -> tuple[list[Clip], dict[str, DataError], int]:
    """The clips of a CSV, what is wrong with its other rows by where they stand, and how many rows there are.

    Raises DataError for what is no table of captions."""
    found: dict[str, Clip] = {}
    bad: dict[str, DataError] = {}
    count = 0
    for where, row in table.read(path):
        if not count:
            _check_columns(path, row)
        count += 1
        try:
            clip = _clip(row, where)
            first = found.setdefault(clip.id, clip)
            if first.group != clip.group:
                raise DataError(f"{where}: the group is {clip.group!r}, but {first.where} says {first.group!r}")
        except DataError as error:
            bad[where] = error
        else:
            if first is not clip:
                found[clip.id] = replace(first, captions=first.captions + clip.captions)
    return list(found.values()), bad, count


def recordings(clips: Sequence[Clip], folder: Path) -> dict[str, Path]:
    """The recordings of the clips, by id, that are in a folder. Raises DataError when one has two."""
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; name the one of the recordings (--data.audio)")
    named = _named(folder) if any(clip.start is not None for clip in clips) else {}
    found: dict[str, Path] = {}
    for clip in clips:
        path = folder / clip.name if clip.start is None else named.get((clip.name, round(clip.start, 2)))
        if path is not None and path.is_file():
            found[clip.id] = path
    return found


def _shown(clips: Sequence[Clip]) -> str:
    more = f" and {len(clips) - SHOWN:,} more" if len(clips) > SHOWN else ""
    return ", ".join(clip.id for clip in clips[:SHOWN]) + more


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    if not any(map(_CAPTION.fullmatch, columns)):
        raise DataError(
            f"{path} has no column `caption`, or `caption_1` and on, but {', '.join(columns)}; rename what has them"
        )
    if not {"youtube_id", *FILES} & set(columns):
        raise DataError(
            f"{path} has no column `youtube_id` or one of {', '.join(FILES)}, but {', '.join(columns)}; rename one"
        )


def _clip(row: Mapping[str, str], where: str) -> Clip:
    captions = tuple(text.strip() for key, text in row.items() if _CAPTION.fullmatch(key) and text.strip())
    if not captions:
        raise DataError(f"{where}: no caption; add it, or remove the row")
    if "youtube_id" in row:
        name, start = rows.text(row["youtube_id"], "youtube_id", where), _seconds(row.get("start_time"), where)
        return Clip(where, name, start, row.get("group", "").strip() or name, captions)
    column = next(key for key in FILES if key in row)
    name = rows.text(row[column], column, where)
    rows.audio(name, where, Path())  # no address, and a name that a file can have
    name = str(Path(name))  # ./a.wav and a.wav are one recording
    return Clip(where, name, None, row.get("group", "").strip(), captions)


def _seconds(text: str | None, where: str) -> float:
    try:
        seconds = float(text or "")
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise DataError(f"{where}: `start_time` is {text!r} instead of seconds from 0 on; correct it")
    return seconds


def _named(folder: Path) -> dict[tuple[str, float], Path]:
    """The recordings `<youtube_id>_<start>` below a folder; an id may have underscores, and begin with a dash."""
    found: dict[tuple[str, float], Path] = {}
    for path in walk(folder, (".*",)):
        name, _, start = path.stem.rpartition("_")
        if path.suffix.lower() not in EXTENSIONS or not name or not re.fullmatch(r"\d+(\.\d+)?", start):
            continue
        first = found.setdefault((name, round(float(start), 2)), path)
        if first is not path:
            raise DataError(f"{path} and {first} are recordings of one clip; remove one of them")
    return found


def sample_of(clip: Clip, media: Media, question: str) -> Sample:
    """What is asked about a clip; all of its captions are answers."""
    turns = (Turn("user", (media, question)),)
    return Sample(clip.id, turns, clip.captions, group=clip.cluster)
