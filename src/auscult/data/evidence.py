"""Three kinds of evidence that a sample is in a benchmark: its media, its names, its words.

Each is a table made of the benchmark's rows, in which the rows of a training set are looked up.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from auscult.core.types import Audio, Image, Media, Sample, Wave
from auscult.data.prints import Cache, Look, looks, name_of, section
from auscult.data.source import Row
from auscult.data.waiting import Tell
from auscult.media.audio import decode
from auscult.media.audio_print import RATE, SAME_WAVE, Alike, AudioIndex, AudioPrint, wave_likeness
from auscult.media.image_print import SAME_PICTURE

Kind = Literal["content", "audio", "image", "youtube", "id", "question"]
KINDS: tuple[Kind, ...] = ("content", "audio", "image", "youtube", "id", "question")
"""Of evidence, the strongest first."""

GRAM = 8
"""Words in an n-gram."""
LEAST_WORDS = 13
"""Words that a question and its choices need to be known by."""
LEAST_GRAMS = LEAST_WORDS - GRAM + 1
"""8-grams of its own that a benchmark row needs to be known by a part of its words: those of thirteen in a row."""
SHARE = 0.7
"""Of them, what must stand in a training row."""
TEMPLATE = 10
"""Recordings about which training may say the same words before they are a template."""
CLIP = 10.0
"""Length of a YouTube clip of which only the beginning is known, seconds: AudioSet's, AudioCaps' and VGGSound's."""
_IN_MILLISECONDS = 10_000.0
"""A beginning from which a file name must mean milliseconds, as AudioSet's do: videos seldom last three hours."""
_WAVES = 16
"""Recordings whose waves are kept for the next suspect."""
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
_HASHED = re.compile(r"(?<![0-9a-z])(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}(?![0-9a-z])", re.IGNORECASE)
_NUMBERED = re.compile(r"(?<!\d)[1-9]\d{5}")
_CLIP = re.compile(r"Y?(?P<video>[\w-]{11})(?:_(?P<start>\d+(?:\.\d+)?))?(?:_(?P<end>\d+(?:\.\d+)?))?", re.ASCII)
_DRAWN = re.compile(r"(?=.*[a-z]).+[A-Z].*")  # a capital inside: 199 of 200 YouTube ids, and hardly a word
_VIDEO_TAGS = ("youtube_id", "ytid", "yt_id", "video_id")
_START_TAGS = ("start_time", "start_seconds", "start_time_seconds", "start")
_END_TAGS = ("end_time", "end_seconds", "end_time_seconds", "end")


@dataclass(frozen=True, slots=True)
class Hit:
    """Evidence that something is in the benchmark."""

    place: int
    """Which benchmark row."""
    kind: Kind
    """Of evidence."""
    strength: float
    """0 to 1: share of bits, of a section or of n-grams, or a correlation."""
    note: str
    """For a person."""


class SameMedia:
    """Recordings and pictures of a benchmark, by content and by print."""

    def __init__(self, benchmark: Sequence[Row], cache: Cache | None, tell: Tell) -> None:
        self._cache = cache
        self._rows: defaultdict[Media, list[int]] = defaultdict(list)
        for place, row in enumerate(benchmark):
            for part in dict.fromkeys(row.sample.media):
                self._rows[part].append(place)
        self._media = list(self._rows)
        self._contents: defaultdict[str, list[int]] = defaultdict(list)
        self._unprinted: Counter[str] = Counter()
        printed: dict[int, Any] = {}
        for number, look in enumerate(self._looks("benchmark", self._media, tell)):
            if look.sha256 is not None:
                self._contents[look.sha256].append(number)
            if look.print is not None:
                printed[number] = look.print
        self._heard = [number for number in printed if isinstance(printed[number], AudioPrint)]
        self._seen = [number for number in printed if not isinstance(printed[number], AudioPrint)]
        self._recordings = AudioIndex([printed[number] for number in self._heard])
        self._pictures = np.stack([printed[number] for number in self._seen]) if self._seen else None
        self._wave = lru_cache(_WAVES)(_wave)
        self._found: dict[Media, list[tuple[int, Kind, float, str]]] = {}

    @property
    def unprinted(self) -> dict[str, int]:
        """Media without a print, by side and reason."""
        return dict(self._unprinted.most_common())

    def learn(self, train: Iterable[Row], tell: Tell) -> None:
        """Looks at the media of all training rows, each once."""
        media = list(dict.fromkeys(part for row in train for part in row.sample.media))
        for part, look in zip(media, self._looks("training", media, tell), strict=True):
            same = self._same(part, look)
            if same:
                self._found[part] = same

    def find(self, row: Row) -> Iterator[Hit]:
        """What the media of a training row, looked at before, have in common with benchmark rows."""
        for part in row.sample.media:
            for number, kind, strength, note in self._found.get(part, ()):
                yield from (Hit(place, kind, strength, note) for place in self._rows[self._media[number]])

    def _looks(self, side: str, media: Sequence[Media], tell: Tell) -> Iterator[Look]:
        for number, look in enumerate(looks(media, self._cache), 1):
            if look.problem is not None:
                self._unprinted[f"{side}: {look.problem}"] += 1
            tell(f"{side} media", number, len(media), {})
            yield look

    def _same(self, part: Media, look: Look) -> list[tuple[int, Kind, float, str]]:
        same: dict[int, tuple[Kind, float, str]] = {}
        if isinstance(look.print, AudioPrint):
            for alike in self._recordings.find(look.print):
                number = self._heard[alike.place]
                if alike.proven or self._same_wave(part, number, alike):
                    note = f"{alike.seconds:.1f} s compared, heard {alike.shift:+.2f} s later there"
                    same[number] = "audio", alike.agreement, note
        elif look.print is not None and self._pictures is not None:
            likeness = self._pictures @ look.print
            for at in np.flatnonzero(likeness >= SAME_PICTURE).tolist():
                same[self._seen[at]] = "image", float(likeness[at]), f"correlation {likeness[at]:.3f}"
        for number in self._contents.get(look.sha256 or "", ()):
            if _overlap(section(part), section(self._media[number])) > 0:
                same[number] = "content", 1.0, "the same bytes"
        return [(number, *found) for number, found in same.items()]

    def _same_wave(self, part: Media, number: int, alike: Alike) -> bool:
        return wave_likeness(self._wave(part), self._wave(self._media[number]), alike.shift) >= SAME_WAVE


def _wave(part: Media) -> Wave:
    assert isinstance(part, Audio)
    return decode(part, RATE)


class SameNames:
    """Ids, file names and YouTube sections of a benchmark."""

    def __init__(self, benchmark: Sequence[Row]) -> None:
        self._named: defaultdict[str, list[int]] = defaultdict(list)
        self._videos: defaultdict[str, list[tuple[int, tuple[float, float]]]] = defaultdict(list)
        for place, row in enumerate(benchmark):
            for name in _names(row.sample):
                self._named[name].append(place)
            for video, times in _clips(row.sample):
                self._videos[video].append((place, times))

    def find(self, row: Row) -> Iterator[Hit]:
        """Benchmark rows with a name, or a section of a video, of this training row."""
        for name in _names(row.sample):
            yield from (Hit(place, "id", 1.0, name) for place in self._named.get(name, ()))
        for video, mine in _clips(row.sample):
            for place, theirs in self._videos.get(video, ()):
                common = _overlap(mine, theirs)
                if common > 0:
                    shorter = min(mine[1] - mine[0], theirs[1] - theirs[0])
                    known = np.isfinite(common)
                    note = f"{video}, {common:g} s in common" if known else f"{video}, neither says which section"
                    yield Hit(place, "youtube", common / shorter if known else 1.0, note)


def _names(sample: Sample) -> set[str]:
    """Its id and its files' names, of those which two data sets do not both give by chance."""
    names = {sample.id, *(name_of(part) for part in sample.media)}
    return {name for name in names if _HASHED.search(name) or (_NUMBERED.search(name) and len(name) >= 8)}


def _clips(sample: Sample) -> set[tuple[str, tuple[float, float]]]:
    """YouTube ids, each with the section, seconds."""
    tags = {key.casefold(): value for key, value in sample.tags.items()}
    video = next((tags[key] for key in _VIDEO_TAGS if tags.get(key)), None)
    if video is not None:
        start, end = (_number(tags, keys) for keys in (_START_TAGS, _END_TAGS))
        return {(video, _times(start, end))}
    found: set[tuple[str, tuple[float, float]]] = set()
    for part in sample.media:
        match = _CLIP.fullmatch(name_of(part))
        if match and _DRAWN.fullmatch(match["video"]):
            start, end = (None if match[key] is None else float(match[key]) for key in ("start", "end"))
            if start is not None and (start >= _IN_MILLISECONDS or (end or 0.0) - start >= _IN_MILLISECONDS / 10):
                start, end = start / 1000, None if end is None else end / 1000
            first, last = _times(start, end)
            inside = section(part)
            found.add((match["video"], (first + inside[0], min(last, first + inside[1]))))
    return found


def _number(tags: Mapping[str, str], keys: Iterable[str]) -> float | None:
    for key in keys:
        try:
            return float(tags[key])
        except (KeyError, ValueError):
            continue
    return None


def _times(start: float | None, end: float | None) -> tuple[float, float]:
    """A section; all of the video where nothing is said of it, and CLIP seconds where only its beginning is."""
    if start is None:
        return 0.0, float("inf") if end is None else end
    return start, start + CLIP if end is None else end


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    return min(one[1], other[1]) - max(one[0], other[0])


class SameWords:
    """Questions of a benchmark, with their choices: whole, and by the n-grams that it says of one recording only."""

    def __init__(self, benchmark: Sequence[Row], train: Sequence[Row]) -> None:
        """Both are read: what a training set says of many recordings is a template too."""
        self._questions = _Own(benchmark, train, _question)
        self._grams = _Own(benchmark, train, _grams)
        known = {place for place, count in self._grams.counts.items() if count >= LEAST_GRAMS}
        known |= set(self._questions.counts)
        self.wordless = sum(bool(row.sample.question) for row in benchmark) - len(known)
        """Benchmark rows that ask something and cannot be known by their words."""

    def find(self, row: Row) -> Iterator[Hit]:
        """Benchmark rows whose words stand in this training row."""
        same = self._questions.find(row)
        yield from (Hit(place, "question", 1.0, "the same question and choices") for place in same)
        for place, count in self._grams.find(row).items():
            own = self._grams.counts[place]
            if own >= LEAST_GRAMS and count >= SHARE * own and place not in same:
                yield Hit(place, "question", count / own, f"{count} of its {own} own {GRAM}-grams")


class _Own:
    """What each benchmark row says that no other recording is spoken of with: a table from that to the rows."""

    def __init__(
        self, benchmark: Sequence[Row], train: Sequence[Row], said: Callable[[Sample], set[tuple[str, ...]]]
    ) -> None:
        self._said = said
        twice = _subjects(benchmark, said, 2)
        once = {words for words, subjects in twice.items() if len(subjects) < 2}
        often = _subjects(train, lambda sample: said(sample) & once, TEMPLATE + 1)
        once -= {words for words, subjects in often.items() if len(subjects) > TEMPLATE}
        self._places: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        self.counts: Counter[int] = Counter()
        """How many of them each row has."""
        for place, row in enumerate(benchmark):
            for words in said(row.sample) & once:
                self._places[words].append(place)
                self.counts[place] += 1

    def find(self, row: Row) -> Counter[int]:
        """Benchmark rows, each with how many of its own are in this row."""
        return Counter(place for words in self._said(row.sample) for place in self._places.get(words, ()))


def _subjects(
    rows: Iterable[Row], said: Callable[[Sample], set[tuple[str, ...]]], most: int
) -> dict[tuple[str, ...], set[object]]:
    """What recordings each thing is said of; of more than `most` only so many."""
    found: defaultdict[tuple[str, ...], set[object]] = defaultdict(set)
    for row in rows:
        subject = _subject(row)
        for words in said(row.sample):
            if len(found[words]) < most:
                found[words].add(subject)
    return found


def _subject(row: Row) -> object:
    """What a question is about: its files or their content; the row itself without any."""
    files = [part.path or part.sha256 if isinstance(part, Audio | Image) else part.sha256 for part in row.sample.media]
    return tuple(files) or row.where


def _words(sample: Sample) -> list[str]:
    """The question and its choices, these in the order of the alphabet."""
    texts = [sample.question, *sorted(choice.casefold() for choice in sample.choices)]
    return [word for text in texts for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold())]


def _question(sample: Sample) -> set[tuple[str, ...]]:
    words = _words(sample)
    return {tuple(words)} if len(words) >= LEAST_WORDS else set()


def _grams(sample: Sample) -> set[tuple[str, ...]]:
    words = _words(sample)
    return {tuple(words[first : first + GRAM]) for first in range(len(words) - GRAM + 1)}
