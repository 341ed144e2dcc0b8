"""Three kinds of evidence that a sample is in a benchmark: its media, its names, its words.

Each is a table made of the benchmark's rows, in which the rows of a training set are looked up.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any, Literal

import numpy as np

from auscult.core.types import Audio, Image, Media, Sample, Wave
from auscult.data.prints import Cache, Look, looks, name_of, section
from auscult.data.source import Row
from auscult.data.sources.mcq import pull_choices
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
_SENTENCE = re.compile(r"(?<=[.?!:;。？！])\s+|\n")
_LETTERED = re.compile(r"\s*\(?([A-Z])(?:[).:]\s*|\s*$)(.*)", re.DOTALL)
_HASHED = re.compile(r"(?<![0-9a-z])(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}(?![0-9a-z])", re.IGNORECASE)
_NUMBERED = re.compile(r"(?<!\d)[1-9]\d{5}")
_TIME = r"\d+(?:-\d\d){1,2}|\d+(?:\.\d+)?"
_CLIP = re.compile(
    rf"(?:Y?(?P<youtube>[\w-]{{11}})|(?P<bilibili>BV[0-9A-Za-z]{{10}}))(?:_(?P<start>{_TIME}))?(?:_(?P<end>{_TIME}))?",
    re.ASCII,
)
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
        seen = {*printed, *(number for numbers in self._contents.values() for number in numbers)}
        self.known = {place for number in seen for place in self._rows[self._media[number]]}
        """Benchmark rows that can be known by a medium."""
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
                    when = "later" if alike.shift >= 0 else "earlier"
                    note = f"{alike.seconds:.1f} s compared, heard {abs(alike.shift):.2f} s {when} there"
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
    """Ids, file names and sections of videos of a benchmark."""

    def __init__(self, benchmark: Sequence[Row]) -> None:
        self._named: defaultdict[str, list[int]] = defaultdict(list)
        self._videos: defaultdict[str, list[tuple[int, tuple[float, float]]]] = defaultdict(list)
        for place, row in enumerate(benchmark):
            for name in _names(row.sample):
                self._named[name].append(place)
            for video, times in _clips(row.sample):
                self._videos[video].append((place, times))
        self.known = {place for places in self._named.values() for place in places}
        """Benchmark rows that can be known by a name."""
        self.known |= {place for sections in self._videos.values() for place, _ in sections}

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
    """Ids of videos on YouTube or Bilibili, each with the section, seconds."""
    tags = {key.casefold(): value for key, value in sample.tags.items()}
    video = next((tags[key] for key in _VIDEO_TAGS if tags.get(key)), None)
    if video is not None:
        start, end = (_number(tags, keys) for keys in (_START_TAGS, _END_TAGS))
        return {(video, _times(start, end))}
    found: set[tuple[str, tuple[float, float]]] = set()
    for part in sample.media:
        match = _CLIP.fullmatch(name_of(part))
        if match and _DRAWN.fullmatch(video := match["youtube"] or match["bilibili"]):
            first, last = _span(match["start"], match["end"])
            inside = section(part)
            found.add((video, (first + inside[0], min(last, first + inside[1]))))
    return found


def _span(start: str | None, end: str | None) -> tuple[float, float]:
    """The section in a file's name: seconds, milliseconds, or `00-01-35` as MMAR has it."""
    first, last = (None if time is None else _seconds(time) for time in (start, end))
    if first is None or "-" in (start or ""):
        return _times(first, last)
    if first >= _IN_MILLISECONDS or (last or 0.0) - first >= _IN_MILLISECONDS / 10:
        first, last = first / 1000, None if last is None else last / 1000
    return _times(first, last)


def _seconds(time: str) -> float:
    return reduce(lambda before, part: 60 * before + float(part), time.split("-"), 0.0)


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
    """What a benchmark's rows say, in each of their wordings: whole, and by n-grams that it says of one recording."""

    def __init__(self, benchmark: Sequence[Row], train: Sequence[Row]) -> None:
        """Both are read: what a training set says of many recordings is a template too."""
        wordings = [(place, words) for place, row in enumerate(benchmark) for words in _wordings(row.sample)]
        said = _subjects(((benchmark[place], _pieces(words)) for place, words in wordings), 2)
        once = {piece for piece, subjects in said.items() if len(subjects) < 2}
        self._said: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
        for row in train:
            self._said[row.where] |= _said(row.sample) & once
        often = _subjects(((row, self._said[row.where]) for row in train), TEMPLATE + 1)
        once -= {piece for piece, subjects in often.items() if len(subjects) > TEMPLATE}
        self._place = [place for place, _ in wordings]
        self._grams: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        self._wholes: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        self._own: list[int] = []
        for number, (_, words) in enumerate(wordings):
            own = _grams(words) & once
            self._own.append(len(own))
            for gram in own if len(own) >= LEAST_GRAMS else ():
                self._grams[gram].append(number)
            if words in once and len(words) >= LEAST_WORDS:
                self._wholes[words].append(number)
        numbers = {number for table in (self._grams, self._wholes) for some in table.values() for number in some}
        self.known = {self._place[number] for number in numbers}
        """Benchmark rows that can be known by their words."""
        self.wordless = sum(bool(row.sample.question) for row in benchmark) - len(self.known)
        """Benchmark rows that ask something and cannot be known by their words."""

    def find(self, row: Row) -> Iterator[Hit]:
        """Benchmark rows whose words stand in this training row, one of those read before."""
        said = self._said[row.where]
        same = {self._place[number] for piece in said for number in self._wholes.get(piece, ())}
        yield from (Hit(place, "question", 1.0, "the same question, with its choices or answer") for place in same)
        for number, count in Counter(number for piece in said for number in self._grams.get(piece, ())).items():
            place, own = self._place[number], self._own[number]
            if count >= SHARE * own and place not in same:
                yield Hit(place, "question", count / own, f"{count} of its {own} own {GRAM}-grams")


def _subjects(rows: Iterable[tuple[Row, Iterable[tuple[str, ...]]]], most: int) -> dict[tuple[str, ...], set[object]]:
    """What recordings each thing is said of; of more than `most` only so many."""
    found: defaultdict[tuple[str, ...], set[object]] = defaultdict(set)
    for row, said in rows:
        subject = _subject(row)
        for words in said:
            if len(found[words]) < most:
                found[words].add(subject)
    return found


def _subject(row: Row) -> object:
    """What a question is about: its files or their content; the row itself without any."""
    files = [part.path or part.sha256 if isinstance(part, Audio | Image) else part.sha256 for part in row.sample.media]
    return tuple(files) or row.where


def _wordings(sample: Sample, *, sentences: bool = False) -> set[tuple[str, ...]]:
    """How a question can stand in a data set: with its choices, in the order of the alphabet, and with its answer.

    Every turn of the user is one. Choices that are written into it are taken out, so that their letters and order do
    not matter; with `sentences`, each of its sentences is a question too, whatever was said before and after it.
    """
    found: set[tuple[str, ...]] = set()
    for text, replies in _turns(sample):
        question, pulled = pull_choices(text)
        choices = pulled or sample.choices
        listed = " ".join(sorted(choice.casefold() for choice in choices))
        ends = (listed, *(_named(reply, choices) for reply in replies))
        asked = {question, *(_SENTENCE.split(question) if sentences else ())}
        found |= {_words(f"{one} {end}") for one in asked for end in ends}
    return found


def _named(reply: str, choices: Sequence[str]) -> str:
    """What a reply with the letter of a choice, or no more than that, says."""
    match = _LETTERED.match(reply)
    place = ord(match[1]) - ord("A") if match else len(choices)
    return reply if match is None or place >= len(choices) else match[2] or choices[place]


def _turns(sample: Sample) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What the user says, each time with the replies to it."""
    texts = [" ".join(part for part in turn.content if isinstance(part, str)) for turn in sample.turns]
    for number, turn in enumerate(sample.turns):
        if turn.role == "user":
            last = number + 1 == len(texts)
            replied = not last and sample.turns[number + 1].role == "assistant"
            yield texts[number], sample.answers if last else (texts[number + 1],) if replied else ()


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def _grams(words: tuple[str, ...]) -> set[tuple[str, ...]]:
    return {words[first : first + GRAM] for first in range(len(words) - GRAM + 1)}


def _pieces(words: tuple[str, ...]) -> set[tuple[str, ...]]:
    """What a wording is known by: itself, and its n-grams."""
    return _grams(words) | ({words} if len(words) >= LEAST_WORDS else set())


def _said(sample: Sample) -> set[tuple[str, ...]]:
    """All that a training row says."""
    return {piece for words in _wordings(sample, sentences=True) for piece in _pieces(words)}
