"""Captioned scenes, written down as AudioSet and AudioCaps are: ten seconds of a few sounds, five captions a clip.

    FOLDER/features/{bal_train,eval}/00.tfrecord      AudioSet's records: 128 bytes a second; labels are what is heard
    FOLDER/features/class_labels_indices.csv          names of the labels
    FOLDER/frames/{bal_train,eval}                    the same as frame sets
    FOLDER/captions/{train,val,test}.csv              AudioCaps' rows, five a clip
    FOLDER/audio/{train,val,test}/<youtube_id>_<start>.wav    recordings of the same clips, where they are asked for
    FOLDER/about.json                                 the options that made it

Clips of `train.csv` are in bal_train, those of val and test in eval. A scene has one to four sounds, loud or soft, more
than half a second apart. A clip is a function of (seed, split, number), and the same options make the same bytes on one
machine. The folder appears when it is whole.

A second's 128 values are log-mel as VGGish takes it (16 kHz, 25 ms windows every 10 ms, magnitudes, log(x + 0.01)), but
in 32 bands, from 125 to 7,500 Hz: for each half of the second the mean of every band, and then its maximum. They are
brought to -2 ... 2 by `CENTRE` and `SPREAD`, and to bytes as AudioSet's are: q = (value + 2) * 255 / 4.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from auscult.core.config import at_least
from auscult.core.errors import DataError
from auscult.core.runs import atomic_folder, write_json, write_text
from auscult.core.seeds import rng
from auscult.core.types import Wave
from auscult.data import provision, tfrecord
from auscult.data.audioset import FEATURES, SCALE, SHIFT, Clip, encode
from auscult.data.convert import LABELS_FILE, convert
from auscult.data.sources.scenes import PITCHES, Event, Kind, Scene, render
from auscult.data.waiting import Tell

SECONDS = 10
"""Length of a clip."""
RATE = 16_000
"""Hz."""
FULL = 1 << 15
"""Full scale of 16 bits."""
MOST = 4
"""Sounds of a clip."""
GAP = 0.6
"""Least silence between two sounds, seconds."""
LOUD, SOFT = (-9.0, -5.0), (-24.0, -20.0)
"""Peaks of loud and of soft sounds, dB below full scale."""
SOUNDS: tuple[tuple[Kind, str | None], ...] = (
    ("tone", "low"),
    ("tone", "middle"),
    ("tone", "high"),
    ("rising chirp", None),
    ("falling chirp", None),
    ("click", None),
    ("noise", None),
)
"""What is heard; the place of a sound is its label."""
WINDOW, HOP, FFT, BANDS, LOWEST, HIGHEST = 400, 160, 512, 32, 125.0, 7500.0
"""Of the log-mel, in samples and Hz."""
CENTRE, SPREAD = -0.8, 2.0
"""A log-mel value x stands in a frame as (x - CENTRE) / SPREAD."""
VERSION = 1
"""Of what the options make; a folder of another one is refused."""


@dataclass(frozen=True, kw_only=True)
class Provision(provision.Provision):
    """Options of captioned scenes."""

    folder: str = "scenes"
    train: int = 3000
    """Clips to train on."""
    val: int = 100
    """Clips to validate on."""
    test: int = 300
    """Clips to test on."""
    seed: int = 0
    """Of everything that is drawn."""
    audio: bool = False
    """Whether recordings are written too, 320 kB each."""

    def __post_init__(self) -> None:
        at_least({name: (getattr(self, name), 1) for name in ("train", "val", "test")})

    def provide(self, tell: Tell) -> str:
        """Writes the folder. Raises DataError for one that holds something else."""
        path = Path(self.folder)
        made = {"version": VERSION, **{name: value for name, value in asdict(self).items() if name != "folder"}}
        if path.exists():
            _refuse_other(path, made)
        else:
            with atomic_folder(path) as aside:
                self._write(aside, tell)
                write_json(aside / "about.json", made)
        return f"scenes: {self.train:,} clips to train on, {self.val:,} to validate, {self.test:,} to test, in {path}"

    def _write(self, path: Path, tell: Tell) -> None:
        clips = {
            split: [Written.of(self.seed, split, number) for number in range(getattr(self, split))] for split in SPLITS
        }
        names = [", ".join(filter(None, (pitch, kind))) for kind, pitch in SOUNDS]
        rows = [(str(place), f"/s/{place}", name) for place, name in enumerate(names)]
        write_text(path / "features" / LABELS_FILE, _csv(("index", "mid", "display_name"), rows))
        total, done = sum(map(len, clips.values())), 0
        for folder, splits in (("bal_train", ("train",)), ("eval", ("val", "test"))):
            payloads: list[bytes] = []
            for split, clip in ((name, clip) for name in splits for clip in clips[name]):
                wave = clip.wave()
                payloads.append(encode(clip.record(wave)))
                if self.audio:
                    _write_wav(path / "audio" / split / f"{clip.id}_{clip.start}.wav", wave)
                done += 1
                tell("scenes", done, total, {})
            tfrecord.write(path / "features" / folder / "00.tfrecord", payloads)
        numbers = iter(range(1, 5 * total + 1))
        for split, made in clips.items():
            lines = [(str(next(numbers)), clip.id, str(clip.start), text) for clip in made for text in clip.captions]
            write_text(
                path / "captions" / f"{split}.csv", _csv(("audiocap_id", "youtube_id", "start_time", "caption"), lines)
            )
        convert(path / "features", path / "frames")


SPLITS = ("train", "val", "test")
"""Of the captions."""


def _refuse_other(path: Path, made: dict[str, Any]) -> None:
    try:
        there = json.loads((path / "about.json").read_text())
    except (OSError, ValueError):
        there = None
    if there != made:
        raise DataError(
            f"{path} is there, but is not what these options make (see {path / 'about.json'}); name another "
            "folder with --prepare.folder and in the recipe's paths, or remove this one"
        )


@dataclass(frozen=True, slots=True)
class Written:
    """A clip of a split."""

    id: str
    """Eleven characters, as YouTube has them."""
    start: int
    """Where it is said to begin in its video, seconds."""
    scene: Scene
    """What is heard."""
    captions: tuple[str, ...]
    """Five of them."""
    seed: int
    """Of the data set; with `path`, of the generator that renders the clip."""
    path: tuple[int | str, ...]
    """Where in the data set it stands."""

    @classmethod
    def of(cls, seed: int, split: str, number: int) -> Written:
        """Clip `number` of a split."""
        path = ("captioned scenes", split, number)
        draw = rng(seed, *path)
        digest = hashlib.blake2b(repr((seed, *path)).encode(), digest_size=8).digest()
        scene = compose(draw)
        name = base64.urlsafe_b64encode(digest).decode()[:11]
        return cls(name, int(draw.integers(0, 291)), scene, captions(scene, draw), seed, path)

    def wave(self) -> Wave:
        """Mono samples [160,000]."""
        draw = rng(self.seed, *self.path, "sound")
        wave = render(self.scene, draw, rate=RATE, reverb=draw.random() < 0.3, snr=draw.uniform(10, 30))
        return np.round(wave * np.float32(FULL - 1)) / np.float32(FULL)  # what a file of 16 bits holds

    def record(self, wave: Wave) -> Clip:
        """The clip as AudioSet has it."""
        heard = sorted({SOUNDS.index((event.kind, event.pitch)) for event in self.scene.events})
        return Clip(self.id, float(self.start), float(self.start + SECONDS), tuple(heard), frames_of(wave))


def compose(draw: np.random.Generator) -> Scene:
    """One to four sounds, each of any sort, loud or soft, in ten seconds."""
    sounds = [SOUNDS[place] for place in draw.integers(len(SOUNDS), size=int(draw.integers(1, MOST + 1)))]
    lengths = np.where([kind == "click" for kind, _ in sounds], 0.04, draw.uniform(0.6, 1.2, len(sounds)))
    gaps = np.full(len(sounds) + 1, GAP)
    gaps[0] = gaps[-1] = 0.05
    gaps += (SECONDS - lengths.sum() - gaps.sum()) * draw.dirichlet(np.ones(len(gaps)))
    onsets = np.cumsum(gaps[:-1]) + np.cumsum(lengths) - lengths
    levels = [float(draw.uniform(*(LOUD if draw.random() < 0.5 else SOFT))) for _ in sounds]
    events = zip(sounds, onsets.tolist(), lengths.tolist(), levels, strict=True)
    return Scene(
        tuple(
            Event(kind, onset, onset + length, next((name for name in PITCHES if name == pitch), None), level)
            for (kind, pitch), onset, length, level in events
        ),
        SECONDS,
    )


NUMBERS = ("one sound", "two sounds", "three sounds", "four sounds")
OTHER_WORDS = {"tone": "beep", "rising chirp": "upward sweep", "falling chirp": "downward sweep", "noise": "hiss"}
"""What some captions call a sound."""


def captions(scene: Scene, draw: np.random.Generator) -> tuple[str, ...]:
    """Five captions in differing words: what is heard in order, twice; how many sounds; how loud; what at all."""

    def named(event: Event, loudness: bool = False) -> str:
        kind = OTHER_WORDS.get(event.kind, event.kind) if draw.random() < 0.25 else event.kind
        words = [("soft" if event.level < SOFT[1] + 1 else "loud") if loudness else "", event.pitch or "", kind]
        text = " ".join(filter(None, words))
        return f"an {text}" if text[0] in "aeiou" else f"a {text}"

    plain, other, counted, called = ([named(event) for event in scene.events] for _ in range(4))
    loud = [named(event, True) for event in scene.events]
    many = len(plain) > 1
    return (
        f"{plain[0]} sounds" + "".join(f", then {sound}" for sound in plain[1:]),
        " followed by ".join(other) if many else f"{other[0]} and nothing else",
        f"{NUMBERS[len(plain) - 1]}: {_listed(counted)}",
        f"{loud[0]} comes first" + "".join(f", then {sound}" for sound in loud[1:]) if many else f"{loud[0]} alone",
        f"{_listed(called)} can be heard",
    )


def _listed(sounds: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(sounds[:-1]), sounds[-1])))


def frames_of(wave: Wave) -> NDArray[np.uint8]:
    """A byte frame [128] for each second of mono samples [N] at 16 kHz (see above): [N / 16,000, 128]."""
    rows = np.lib.stride_tricks.sliding_window_view(np.pad(wave, (0, WINDOW - HOP)), WINDOW)[::HOP]
    spectrum = np.abs(np.fft.rfft(rows * _window(), FFT)).astype(np.float32)
    mel = np.log(spectrum @ _filters() + 0.01)
    halves = mel.reshape(-1, 2, RATE // HOP // 2, BANDS)
    values = np.concatenate([halves.mean(2), halves.max(2)], axis=2).reshape(-1, FEATURES)
    scaled = np.clip((values - CENTRE) / SPREAD, SHIFT, -SHIFT)
    return np.round((scaled - SHIFT) / SCALE).astype(np.uint8)


@cache
def _window() -> NDArray[np.float32]:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


@cache
def _filters() -> NDArray[np.float32]:
    """Triangles [257, 32], equally wide on HTK's mel scale."""
    mels = 1127 * np.log1p(np.arange(FFT // 2 + 1) * RATE / FFT / 700)[:, None]
    lowest, highest = (1127 * np.log1p(hertz / 700) for hertz in (LOWEST, HIGHEST))
    edges = np.linspace(lowest, highest, BANDS + 2)
    rising = (mels - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mels) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def _csv(head: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue()


def _write_wav(path: Path, wave: Wave) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, (wave * FULL).astype(np.int16), RATE, subtype="PCM_16")
