"""Digits: questions about spoken digits, from recordings `digit_speaker_take.wav` (Free Spoken Digit Dataset).

Two recordings of one speaker are joined with a pause, and the question is about both: a sum cannot be answered without
hearing each digit. The split is by speaker. Held-out questions come from `heldout_speakers` alone, as recorded;
training questions never end, come from all others, and are varied: a resampling factor shifts pitch and tempo together,
which makes new voices out of few.

All 100 pairs of digits come equally often (each round of a deal holds every pair once), so the commonest sum, 9, is
right in 10 % of the questions: that is the score of a guesser who cannot hear.

Every file of the folder is accounted for: a name that does not fit is an error unless an `ignore` pattern covers it,
and one recording under the names of a training and a held-out speaker is an error too.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soxr

from auscult.core.errors import DataError
from auscult.core.seeds import rng
from auscult.core.types import Audio, Sample, Turn, Wave
from auscult.data import source
from auscult.data.deal import dealt
from auscult.data.folders import refuse_foreign, walk
from auscult.data.headers import refuse_unusable
from auscult.data.splits import refuse_twins
from auscult.data.waiting import counted
from auscult.media.audio import decode

NAME = re.compile(r"(?P<digit>[0-9])_(?P<speaker>[^_]+)_(?P<take>[0-9]+)\.wav")
PAIRS = tuple((first, second) for first in range(10) for second in range(10))
KNOTS = 9
"""Frequencies at which a random filter is drawn: every kHz of 8 kHz."""
QUESTIONS = {"sum": "What is the sum of the two digits?", "digits": "Which two digits?"}


@dataclass(frozen=True, slots=True)
class Recording:
    """One spoken digit."""

    path: Path
    """The file."""
    digit: int
    """0 to 9."""
    speaker: str
    """Who speaks."""


Voices = Mapping[str, Mapping[int, tuple[Wave, ...]]]
"""Decoded recordings by speaker and digit."""


@dataclass(frozen=True, kw_only=True)
class Source(source.Source):
    """Options of spoken digits."""

    root: str
    """Folder of recordings named `digit_speaker_take.wav`."""
    tasks: tuple[str, ...] = ("sum",)
    """Which questions are asked, equally often: `sum`, `digits` (name both)."""
    heldout_speakers: tuple[str, ...] = ("theo",)
    """Speakers who are heard in held-out questions only."""
    heldout: int = 1000
    """Number of held-out questions; a multiple of 100 per task holds every pair of digits equally often."""
    rate: int = 16_000
    """Samples per second, Hz."""
    pause: tuple[float, float] = (0.1, 0.4)
    """Range of the silence between the digits, seconds."""
    edge: tuple[float, float] = (0.05, 0.3)
    """Range of the silence before the first and after the second digit, seconds."""
    augment: bool = True
    """Whether training questions are varied by the four below; held-out ones never are."""
    speed: tuple[float, float] = (0.85, 1.18)
    """Range of the factor by which a pair is played faster and higher."""
    gain_db: tuple[float, float] = (-12.0, 6.0)
    """Range of the change in level, dB; what would exceed full scale is scaled back to it."""
    noise_db: tuple[float, float] = (10.0, 50.0)
    """Range of the signal-to-noise ratio of white noise, dB; every other question has none, as held-out ones have."""
    colour_db: float = 12.0
    """Greatest change of any part of the spectrum, dB: another microphone, another room."""
    ignore: tuple[str, ...] = (".*",)
    """Patterns of file names that are no recordings, for example `*.md`; any other foreign file is an error."""

    def __post_init__(self) -> None:
        unknown = [task for task in self.tasks if task not in QUESTIONS]
        if unknown or not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks is {list(self.tasks)}: name each of {', '.join(QUESTIONS)} at most once")
        if not self.heldout_speakers:
            raise ValueError("heldout_speakers is empty: name at least one speaker")
        if self.heldout < 1:
            raise ValueError(f"heldout is {self.heldout}: set at least 1 question")
        for name in ("pause", "edge", "speed", "gain_db", "noise_db"):
            low, high = getattr(self, name)
            if low > high or (low <= 0 and name == "speed") or (low < 0 and name in ("pause", "edge")):
                raise ValueError(f"{name} is {[low, high]}: set two numbers in order, times and factors above 0")

    def split(self, name: source.Split, seed: int) -> Digits:
        """Raises DataError when files or speakers do not add up, MediaError when a recording cannot be decoded."""
        recordings = read(Path(self.root), self.ignore)
        held = _heldout_speakers(recordings, self.heldout_speakers, self.root)
        train = [recording for recording in recordings if recording.speaker not in held]
        heldout = [recording for recording in recordings if recording.speaker in held]
        chosen = train if name == "train" else heldout
        refuse_unusable((("", Audio(str(recording.path))) for recording in chosen), self.root)
        check_disjoint(train, heldout)
        size = None if name == "train" else self.heldout
        return Digits(self, name, seed, size, _voices(chosen, self))


def read(root: Path, ignore: tuple[str, ...] = (".*",)) -> list[Recording]:
    """All recordings in `root` in order of their names. Raises DataError for names that do not fit."""
    recordings: list[Recording] = []
    foreign: list[Path] = []
    for path in walk(root, ignore):
        parts = NAME.fullmatch(path.name) if path.parent == root else None
        if parts:
            recordings.append(Recording(path, int(parts["digit"]), parts["speaker"]))
        else:
            foreign.append(path)
    refuse_foreign(root, foreign, "a recording `digit_speaker_take.wav`")
    return recordings


def check_disjoint(train: Iterable[Recording], heldout: Iterable[Recording]) -> None:
    """Raises DataError when a speaker, in any spelling, or a recording, under any name, is in both."""
    train, heldout = list(train), list(heldout)
    speakers = {recording.speaker.casefold(): recording for recording in train}
    for recording in heldout:
        if twin := speakers.get(recording.speaker.casefold()):
            raise DataError(
                f"{recording.path} is held out, but {twin.path}, the same speaker, is for training; rename the speaker "
                "or remove one of the files"
            )
    mine, theirs = ([str(recording.path) for recording in side] for side in (train, heldout))
    refuse_twins(mine, theirs, "remove one of each")


def _heldout_speakers(recordings: list[Recording], wanted: tuple[str, ...], root: str) -> set[str]:
    speakers = sorted({recording.speaker for recording in recordings})
    for speaker in wanted:
        if speaker not in speakers:
            near = difflib.get_close_matches(speaker, speakers, 1)
            guess = f" (did you mean {near[0]}?)" if near else ""
            raise DataError(
                f"{root} has no speaker {speaker}{guess}; name some of {speakers} (--data.heldout_speakers)"
            )
    if len(speakers) < 2 or not set(speakers) - set(wanted):
        raise DataError(
            f"{root} has speakers {speakers}: training needs one who is not held out; add recordings, "
            "or hold out fewer (--data.heldout_speakers)"
        )
    return set(wanted)


def _voices(recordings: Iterable[Recording], options: Source) -> Voices:
    """All recordings decoded, so that one that cannot be used is known before training starts."""
    voices: dict[str, dict[int, list[Wave]]] = defaultdict(lambda: defaultdict(list))
    recordings = list(recordings)
    for recording in counted("decoding recordings", recordings, len(recordings)):
        wave = decode(Audio(path=str(recording.path)), options.rate)
        voices[recording.speaker][recording.digit].append(wave)
    for speaker, takes in voices.items():
        missing = sorted(set(range(10)) - set(takes))
        if missing:
            raise DataError(f"{options.root}: {speaker} speaks no {missing}; add recordings or remove the speaker")
    return {speaker: {digit: tuple(takes[digit]) for digit in range(10)} for speaker, takes in voices.items()}


@dataclass(frozen=True, slots=True)
class Digits:
    """Questions made when asked for, from recordings in memory."""

    options: Source
    """How questions are made."""
    name: source.Split
    """The split."""
    seed: int
    """Seed of everything."""
    size: int | None
    """How many there are; None when they never end."""
    voices: Voices = field(repr=False, compare=False)
    """The split's speakers."""

    def __getitem__(self, index: int, /) -> Sample:
        if index < 0 or (self.size is not None and index >= self.size):
            raise IndexError(index)
        address = ("digits", self.name)
        tasks = self.options.tasks
        task = dealt(tasks, index, self.seed, *address, "task")
        first, second = dealt(PAIRS, index // len(tasks), self.seed, *address, "pair", task)
        draw = rng(self.seed, *address, index)
        speakers = sorted(self.voices)
        speaker = speakers[draw.integers(len(speakers))]
        wave = self._wave(speaker, first, second, draw)
        answer, thought = (str(first + second), f"{first} + {second}") if task == "sum" else (f"{first} {second}", None)
        return Sample(
            id=f"digits-{self.name}-{self.seed}-{index}",
            turns=(Turn("user", (Audio.of(wave, self.options.rate), QUESTIONS[task])),),
            answers=(answer,),
            thought=thought,
            group=speaker,
            tags={"task": task, "speaker": speaker},
        )

    def _wave(self, speaker: str, first: int, second: int, draw: np.random.Generator) -> Wave:
        """Silence, a digit, a pause, a digit, silence."""
        options, takes = self.options, self.voices[speaker]
        spoken = [takes[digit][draw.integers(len(takes[digit]))] for digit in (first, second)]
        before, between, after = (
            np.zeros(round(draw.uniform(*span) * options.rate), dtype=np.float32)
            for span in (options.edge, options.pause, options.edge)
        )
        wave = np.concatenate([before, spoken[0], between, spoken[1], after])
        if options.augment and self.name == "train":
            wave = vary(
                wave,
                draw,
                rate=options.rate,
                speed=options.speed,
                gain=options.gain_db,
                noise=options.noise_db if draw.random() < 0.5 else None,
                colour=options.colour_db,
            )
        return wave / max(np.float32(1), np.abs(wave).max())


def vary(
    wave: Wave,
    draw: np.random.Generator,
    *,
    rate: int,
    speed: tuple[float, float],
    gain: tuple[float, float],
    noise: tuple[float, float] | None,
    colour: float,
) -> Wave:
    """`wave` [N] as another voice, at another level, in another room: [about N / speed], float32.

    Each range is uniform: `speed` the factor of tempo and pitch, `gain` in dB, `noise` the signal-to-noise ratio in dB
    (None adds none); `colour` is the greatest gain or loss of any frequency in dB, smooth over the spectrum.
    """
    varied = soxr.resample(wave, rate * draw.uniform(*speed), rate, quality="MQ")
    varied = coloured(varied, draw, colour) * 10 ** (draw.uniform(*gain) / 20)
    if noise is None:
        return np.asarray(varied, dtype=np.float32)
    floor = np.sqrt(np.mean(varied**2)) * 10 ** (-draw.uniform(*noise) / 20)
    return np.asarray(varied + floor * draw.standard_normal(len(varied)), dtype=np.float32)


def coloured(wave: Wave, draw: np.random.Generator, most: float) -> Wave:
    """`wave` [N] through a random smooth filter whose gain lies within +-`most` dB, drawn at `KNOTS` frequencies.

    The knots lie evenly from 0 to half the rate and the gain is interpolated between them.
    """
    spectrum = np.fft.rfft(wave, 1 << (len(wave) - 1).bit_length())  # a length with large prime factors is slow
    gains = np.interp(np.linspace(0, 1, len(spectrum)), np.linspace(0, 1, KNOTS), draw.uniform(-most, most, KNOTS))
    return np.fft.irfft(spectrum * 10 ** (gains / 20))[: len(wave)].astype(np.float32)
