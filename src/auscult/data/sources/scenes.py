"""Scenes: endless synthetic recordings of a few sounds, with questions whose answers only the audio tells.

A recipe needs no download to train a listener. A scene is a list of events (tones, chirps, clicks, bursts of noise)
laid out in time; a question about it has one right answer. The question is dealt first and a scene is then made for it,
so the promises hold by construction and nothing is filtered:

- Every answer of a task comes equally often under every wording: each round of a deal holds every (wording, answer)
  once, so a guesser who cannot hear stays at chance (count and order 1/5, duration 1/4, pitch 1/3, presence 1/2).
- What a question does not ask about is drawn independently of its answer: how many sounds there are says nothing about
  whether a click is among them, and so on.
- `questions` derives the answers from the finished scene once more; the tests hold the two against each other.

A click is over at once and cannot be the longest sound, so `duration` offers the four kinds that last. Sample `index`
of a split is a pure function of (options, seed, split, index), whatever was drawn before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from auscult.core.errors import DataError
from auscult.core.seeds import rng
from auscult.core.types import Audio, Sample, Turn, Wave
from auscult.data import jsonl, source
from auscult.data.deal import dealt

Kind = Literal["tone", "rising chirp", "falling chirp", "click", "noise"]
Pitch = Literal["low", "middle", "high"]

KINDS: tuple[Kind, ...] = ("tone", "rising chirp", "falling chirp", "click", "noise")
LASTING: tuple[Kind, ...] = ("tone", "rising chirp", "falling chirp", "noise")
PITCHES: dict[Pitch, tuple[float, float]] = {"low": (250, 350), "middle": (700, 900), "high": (2000, 2800)}
"""Fundamentals in Hz, more than an octave apart, all below the Nyquist frequency of 8 kHz audio."""
COUNTS = tuple("12345")
MOST = len(COUNTS)

GAP = 0.12
"""Least silence between two sounds that do not overlap, seconds: three of the 40 ms frames of an audio encoder."""
EDGE = 0.05
"""Least silence before the first and after the last sound, seconds."""
FADE = 0.015
"""On- and offset ramps, seconds: short enough to place, long enough not to click."""
LONGEST = 1.6
"""The longest sound of a `duration` scene lasts at least this many times as long as any other."""


@dataclass(frozen=True, slots=True)
class Event:
    """One sound of a scene."""

    kind: Kind
    """What it is."""
    onset: float
    """When it begins, seconds."""
    offset: float
    """When it ends, seconds; reverberation may ring on."""
    pitch: Pitch | None
    """Pitch class of a tone; None for everything else."""
    level: float
    """Peak level, dB below full scale (a negative number)."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.offset - self.onset

    @property
    def name(self) -> str:
        """What one would call it, for example `low tone`."""
        return f"{self.pitch} {self.kind}" if self.pitch else self.kind


@dataclass(frozen=True, slots=True)
class Scene:
    """Sounds in order of their onsets."""

    events: tuple[Event, ...]
    """At least one."""
    seconds: float
    """Length of the recording."""

    @property
    def caption(self) -> str:
        """The events as a sentence: `A low tone, then a click.`"""
        sentence = ", then ".join(f"a {event.name}" for event in self.events)
        return f"{sentence[0].upper()}{sentence[1:]}."

    @property
    def transcript(self) -> str:
        """The events as a list: `low tone, click`."""
        return ", ".join(event.name for event in self.events)


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its one right answer."""

    task: str
    """`count`, `order`, `pitch`, `duration`, `presence` or `caption`."""
    text: str
    """The wording; it never depends on the answer."""
    answer: str
    """The right answer as text."""
    choices: tuple[str, ...] = ()
    """Every answer of the task, in one fixed order; empty for an open question."""
    about: str = ""
    """What the wording points at: a position for `order`, a kind for `presence`."""


def _count(answer: str) -> Question:
    return Question("count", "How many sounds?", answer, COUNTS)


def _order(position: str, answer: str) -> Question:
    return Question("order", f"Which sound is {position}?", answer, KINDS, position)


def _pitch(answer: str) -> Question:
    return Question("pitch", "How high is the tone?", answer, tuple(PITCHES))


def _duration(answer: str) -> Question:
    return Question("duration", "Which sound is the longest?", answer, LASTING)


def _presence(kind: str, answer: str) -> Question:
    return Question("presence", f"Is there a {kind}?", answer, ("yes", "no"), kind)


def _caption(answer: str) -> Question:
    return Question("caption", "Describe the sounds.", answer)


QUESTIONS: dict[str, tuple[Question, ...]] = {
    "count": tuple(_count(answer) for answer in COUNTS),
    "order": tuple(_order(position, kind) for position in ("first", "second", "last") for kind in KINDS),
    "pitch": tuple(_pitch(answer) for answer in PITCHES),
    "duration": tuple(_duration(kind) for kind in LASTING),
    "presence": tuple(_presence(kind, answer) for kind in KINDS for answer in ("yes", "no")),
    "caption": (_caption(""),),
}
"""Every question of a task with every answer; the answer to `caption` is written once its scene is known."""


def asked(task: str, most: int = MOST) -> tuple[Question, ...]:
    """The questions of a task about scenes of at most `most` sounds: `count` offers no more than that."""
    if task != "count":
        return QUESTIONS[task]
    return tuple(replace(question, choices=COUNTS[:most]) for question in QUESTIONS[task][:most])


def questions(scene: Scene) -> tuple[Question, ...]:
    """Every question that `scene` answers beyond doubt, answered from its events alone."""
    events = scene.events
    found = [_count(str(len(events))), _caption(scene.caption)]
    found += [_presence(kind, "yes" if any(event.kind == kind for event in events) else "no") for kind in KINDS]
    if len(events) > 1:
        ends = (("first", events[0]), ("second", events[1]), ("last", events[-1]))
        found += [_order(position, event.kind) for position, event in ends]
        longest, other = sorted(events, key=lambda event: -event.duration)[:2]
        if longest.duration >= LONGEST * other.duration and longest.kind in LASTING:
            found.append(_duration(longest.kind))
    tones = [event for event in events if event.pitch]
    if len(tones) == 1:
        found.append(_pitch(str(tones[0].pitch)))
    return tuple(found)


def compose(
    question: Question, draw: np.random.Generator, *, seconds: float = 3.0, overlap: float = 0.0, most: int = MOST
) -> Scene:
    """A scene of `seconds` and at most `most` sounds to which `question.answer` is the answer.

    Neighbours overlap with probability `overlap`, by at most half of the shorter one, so that onsets and offsets keep
    their order. Clicks and sounds of one kind never overlap: neither could be counted.
    """
    kinds = _kinds(question, most, draw)
    lengths = _lengths(kinds, question.answer if question.task == "duration" else None, draw)
    room = seconds - 2 * EDGE - GAP * (len(kinds) - 1)
    lengths = lengths * min(1.0, 0.9 * room / lengths.sum())
    gaps = np.full(len(kinds) + 1, GAP)
    gaps[0] = gaps[-1] = EDGE
    gaps += (room - lengths.sum()) * draw.dirichlet(np.ones(len(gaps)))
    events: list[Event] = []
    now = 0.0
    for place, (kind, length) in enumerate(zip(kinds, lengths.tolist(), strict=True)):
        gap = float(gaps[place])
        if place and draw.random() < overlap and kind != kinds[place - 1] and "click" not in (kind, kinds[place - 1]):
            gap = -draw.uniform(0.2, 0.5) * min(length, float(lengths[place - 1]))
        now += gap
        pitch = None
        if kind == "tone":
            pitch = _pick(question.answer if question.task == "pitch" else None, draw)
        events.append(Event(kind, now, now + length, pitch, draw.uniform(-18, -6)))
        now += length
    return Scene(tuple(events), seconds)


def _pick(pitch: str | None, draw: np.random.Generator) -> Pitch:
    names = tuple(PITCHES)
    return names[names.index(pitch)] if pitch in names else names[draw.integers(len(names))]  # pyright: ignore


def _kinds(question: Question, most: int, draw: np.random.Generator) -> list[Kind]:
    """The kinds of sound in order of time, at most `most`. Only `count` repeats a kind; the others spare one."""
    most = min(most, len(KINDS) - 1)
    match question.task:
        case "count":
            return [KINDS[place] for place in draw.integers(len(KINDS), size=int(question.answer))]
        case "order":
            kinds = _others(question.answer, draw.integers(1, most), draw)
            place = {"first": 0, "second": 1, "last": len(kinds)}[question.about]
            return [*kinds[:place], *_only(question.answer), *kinds[place:]]
        case "pitch":
            return _shuffled([*_only("tone"), *_others("tone", draw.integers(most), draw)], draw)
        case "duration":
            return _shuffled([*_only(question.answer), *_others(question.answer, draw.integers(1, most), draw)], draw)
        case "presence":
            sounds = draw.integers(1, most + 1)  # drawn before yes or no, which it must not tell
            if question.answer == "no":
                return _others(question.about, sounds, draw)
            return _shuffled([*_only(question.about), *_others(question.about, sounds - 1, draw)], draw)
        case _:
            return _others("", draw.integers(1, most + 1), draw)


def _only(kind: str) -> list[Kind]:
    return [known for known in KINDS if known == kind]


def _others(kind: str, count: int | np.integer, draw: np.random.Generator) -> list[Kind]:
    return _shuffled([known for known in KINDS if known != kind], draw)[:count]


def _shuffled(kinds: Sequence[Kind], draw: np.random.Generator) -> list[Kind]:
    return [kinds[place] for place in draw.permutation(len(kinds))]


def _lengths(kinds: Sequence[Kind], longest: str | None, draw: np.random.Generator) -> np.ndarray:
    """Seconds of each sound; with `longest`, that kind stands out by more than `LONGEST`."""
    reference = draw.uniform(0.65, 1.0) if longest else 0.5
    upper = reference / (LONGEST * 1.05) if longest else reference
    lengths = np.where([kind == "click" for kind in kinds], 0.04, draw.uniform(0.2, upper, len(kinds)))
    return np.where([kind == longest for kind in kinds], reference, lengths)


def render(
    scene: Scene,
    draw: np.random.Generator,
    *,
    rate: int = 16_000,
    reverb: bool = False,
    snr: float | None = None,
) -> Wave:
    """The scene as mono float32 samples [seconds * rate], finite and within [-1, 1].

    `reverb` convolves with an exponentially decaying noise response (0.15 to 0.4 s to -60 dB). `snr` is how far, in dB,
    white background noise lies below the root mean square of the *quietest* sound, so that none drowns.
    """
    wave = np.zeros(round(scene.seconds * rate), dtype=np.float32)
    quietest = 1.0
    for event in scene.events:
        start, length = round(event.onset * rate), max(2, round(event.duration * rate))
        sound = _sound(event, length, rate, draw) * np.float32(10 ** (event.level / 20))
        sound = sound[: len(wave) - start]
        wave[start : start + len(sound)] += sound
        quietest = min(quietest, float(np.sqrt(np.mean(sound**2))))
    if reverb:
        wave = _reverberate(wave, rate, draw)
    if snr is not None:
        wave += draw.standard_normal(len(wave), dtype=np.float32) * np.float32(quietest * 10 ** (-snr / 20))
    return wave / max(np.float32(1), np.abs(wave).max())


def _sound(event: Event, length: int, rate: int, draw: np.random.Generator) -> Wave:
    """`length` samples with peak 1."""
    if event.kind == "click":
        times = np.arange(length, dtype=np.float32) / rate
        sound = draw.standard_normal(length, dtype=np.float32) * np.exp(-times / draw.uniform(0.002, 0.006))
    elif event.kind == "noise":
        sound = _noise(length, rate, draw) * _ramps(length, rate)
    else:
        low, high = PITCHES[event.pitch] if event.pitch else (300, 700)
        sound = _voice(event.kind, draw.uniform(low, high), length, rate, draw) * _ramps(length, rate)
    return (sound / np.abs(sound).max()).astype(np.float32)


def _voice(kind: Kind, pitch: float, length: int, rate: int, draw: np.random.Generator) -> Wave:
    """A tone at `pitch` Hz, or a chirp that sweeps 1.3 to 2.3 octaves up from it or down to it, exponentially."""
    times = np.arange(length) / rate
    phase = 2 * np.pi * pitch * times
    if kind != "tone":
        pace = np.log(2) * draw.uniform(1.3, 2.3) * rate / length
        phase = 2 * np.pi * pitch * np.expm1(pace * times) / pace
        if kind == "falling chirp":
            phase = phase[::-1]
    phase += draw.uniform(0, 2 * np.pi)
    sound = np.sin(phase)
    if draw.random() < 0.5:  # a richer timbre; the fundamental stays the strongest
        top = pitch if kind == "tone" else 5 * pitch
        for harmonic in (2, 3):
            if harmonic * top < 0.45 * rate:
                sound += draw.uniform(0.1, 0.5) / harmonic * np.sin(harmonic * phase)
    return sound.astype(np.float32)


def _noise(length: int, rate: int, draw: np.random.Generator) -> Wave:
    """Noise over one and a half octaves or more: band-limited, yet never a pitch."""
    size = 1 << (length - 1).bit_length()
    low = draw.uniform(300, 1200)
    high = min(low * draw.uniform(3, 6), 0.45 * rate)
    first, last = int(low * size / rate), int(high * size / rate)
    spectrum = np.zeros(size // 2 + 1, dtype=np.complex64)
    parts = draw.standard_normal((2, last - first), dtype=np.float32)
    spectrum[first:last] = parts[0] + 1j * parts[1]
    return np.fft.irfft(spectrum)[:length].astype(np.float32)


def _ramps(length: int, rate: int) -> Wave:
    """Raised-cosine on- and offset, one in between."""
    fade = min(round(FADE * rate), length // 2)
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)).astype(np.float32)
    return np.concatenate([ramp, np.ones(length - 2 * fade, dtype=np.float32), ramp[::-1]])


def _reverberate(wave: Wave, rate: int, draw: np.random.Generator) -> Wave:
    """Direct sound plus a noise tail that holds 10 to 40 % of its energy."""
    decay = draw.uniform(0.15, 0.4)
    times = np.arange(1, round(decay * rate), dtype=np.float32) / rate
    tail = draw.standard_normal(len(times), dtype=np.float32) * np.exp(np.log(1e-3) / decay * times)
    tail *= np.sqrt(draw.uniform(0.1, 0.4) / np.sum(tail**2))
    response = np.concatenate([np.ones(1, dtype=np.float32), tail.astype(np.float32)])
    size = 1 << (len(wave) + len(response) - 1).bit_length()
    spectrum = np.fft.rfft(wave, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(wave)].astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Source(source.Source):
    """Options of seeded sound scenes."""

    tasks: tuple[str, ...] = ("count", "order", "pitch", "duration", "presence")
    """Which questions are asked, equally often; `caption` is the sixth."""
    most: int = MOST
    """Sounds in a scene at most, 2 to 5; questions other than count have at most 4."""
    seconds: float = 3.0
    """Length of a scene, seconds; at least 2, so that five sounds fit with gaps."""
    rate: int = 16_000
    """Samples per second, Hz; at least 8000, so that high tones fit."""
    overlap: float = 0.0
    """Probability that a sound begins before its neighbour has ended."""
    reverb: float = 0.3
    """Probability that a scene reverberates."""
    background: bool = True
    """Whether there is background noise."""
    snr_db: tuple[float, float] = (15.0, 40.0)
    """Range of the background's distance below the quietest sound, dB."""
    heldout: int = 1000
    """Number of held-out scenes."""

    def __post_init__(self) -> None:
        unknown = [task for task in self.tasks if task not in QUESTIONS]
        if unknown or not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks is {list(self.tasks)}: name each of {', '.join(QUESTIONS)} at most once")
        if not 2 <= self.most <= MOST:
            raise ValueError(f"most is {self.most}: set 2 to {MOST} sounds")
        if self.seconds < 2:
            raise ValueError(f"seconds is {self.seconds}: five sounds need at least 2 seconds")
        if self.rate < 8000:
            raise ValueError(f"rate is {self.rate}: high tones need at least 8000 Hz")
        for name in ("overlap", "reverb"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: set a probability from 0 to 1")
        if self.snr_db[0] > self.snr_db[1]:
            raise ValueError(f"snr_db is {list(self.snr_db)}: set the smaller number first")
        if self.heldout < 1:
            raise ValueError(f"heldout is {self.heldout}: set at least 1 scene")

    def split(self, name: source.Split, seed: int) -> Scenes:
        return Scenes(self, name, seed, None if name == "train" else self.heldout)


@dataclass(frozen=True, slots=True)
class Scenes:
    """Samples made when asked for; `samples[index]` costs a few milliseconds."""

    options: Source
    """How scenes are made."""
    name: source.Split
    """The split: its name is part of every seed, so no scene is in both."""
    seed: int
    """Seed of everything."""
    size: int | None
    """How many there are; None when they never end."""

    def __getitem__(self, index: int, /) -> Sample:
        if index < 0 or (self.size is not None and index >= self.size):
            raise IndexError(index)
        scene, question, draw = self.scene(index)
        wave = render(
            scene,
            draw,
            rate=self.options.rate,
            reverb=draw.random() < self.options.reverb,
            snr=draw.uniform(*self.options.snr_db) if self.options.background else None,
        )
        place = f"scenes-{self.name}-{self.seed}-{index}"
        return Sample(
            id=place,
            turns=(Turn("user", (Audio.of(wave, self.options.rate), question.text)),),
            answers=(question.answer,),
            choices=question.choices,
            thought=_thought(scene, question),
            group=place,
            tags={"task": question.task, "caption": scene.caption},
        )

    def scene(self, index: int) -> tuple[Scene, Question, np.random.Generator]:
        """Scene number `index`, its question, and the generator that renders it."""
        address = ("scenes", self.name)
        round_, _ = divmod(index, len(self.options.tasks))
        task = dealt(self.options.tasks, index, self.seed, *address, "task")
        question = dealt(asked(task, self.options.most), round_, self.seed, *address, "question", task)
        draw = rng(self.seed, *address, index)
        scene = compose(
            question, draw, seconds=self.options.seconds, overlap=self.options.overlap, most=self.options.most
        )
        return scene, question if question.answer else replace(question, answer=scene.caption), draw


def _thought(scene: Scene, question: Question) -> str:
    """The transcript; where length is the question, every sound is called long or short."""
    if question.task != "duration":
        return scene.transcript
    longest = max(event.duration for event in scene.events)
    return ", ".join(f"{'long' if event.duration == longest else 'short'} {event.name}" for event in scene.events)


def write(folder: Path, samples: Iterable[Sample]) -> Path:
    """Write in-memory samples as 16-bit FLAC files and `samples.jsonl`; returns the path of the latter.

    Raises DataError when a sample's media are not waveforms in memory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Sample] = []
    for sample in samples:
        (turn,) = sample.turns
        audio, text = turn.content
        if not isinstance(audio, Audio) or audio.wave is None or audio.rate is None or not isinstance(text, str):
            raise DataError(f"sample {sample.id} is no waveform with a question: write only what scenes made")
        path = folder / f"{sample.id}.flac"
        soundfile.write(path, audio.wave, audio.rate, subtype="PCM_16")
        written.append(replace(sample, turns=(Turn("user", (Audio(path=str(path)), text)),)))
    target = folder / "samples.jsonl"
    jsonl.write(target, written)
    return target
