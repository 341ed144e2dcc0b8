"""Sounds: what is heard in real recordings, from a folder of class folders (ESC-10: `dog_bark/1-100032-a.ogg`).

Two questions: `class` (What do you hear?) and `presence` (Do you hear this sound: dog bark?). Takes of one Freesound
upload sound alike, so the split is by upload where names have ESC's pattern `fold-freesoundid-take`, else by file (one
recording under two names, on both sides, is an error), and every class has its share held out.

A guesser who cannot hear stays at chance. Training deals classes, and (asked class, yes or no), equally often. Held out
is a list: each clip is asked `class` once and `presence` twice, once `yes` and once `no`. The sound that is asked for
and absent is dealt so that each class is absent as often as it is present, as far as the class sizes allow; so its name
does not tell the answer either.

A clip is cropped where something is heard, padded with silence when it is shorter than the crop, and decoded on first
use; headers are checked before training starts.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from auscult.core.errors import DataError
from auscult.core.seeds import derive, rng
from auscult.core.types import Audio, Sample, Turn, Wave
from auscult.data import source
from auscult.data.deal import dealt
from auscult.data.folders import refuse_foreign, walk
from auscult.data.headers import refuse_unusable
from auscult.data.splits import refuse_twins, split_groups
from auscult.media.audio import decode, silent

EXTENSIONS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".m4a", ".mp4", ".webm")
ESC = re.compile(r"\d+-(?P<upload>\d+)-[A-Za-z](-\d+)?")
TASKS = ("class", "presence")
AUDIBLE_DB = -30.0
"""A frame counts as heard within this many dB of the clip's loudest frame; a dog's bark stands 40 dB above its room."""
FRAME = 0.02
"""Length of the frames whose level is measured, seconds."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording."""

    path: Path
    """The file."""
    label: str
    """Class name, underscores as spaces."""
    group: str
    """What must not cross the split: the Freesound upload, or the file itself."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about a clip."""

    clip: Clip
    """What is heard."""
    asked: str | None = None
    """The class asked for by `presence`; None for `class`."""

    @property
    def task(self) -> str:
        return "class" if self.asked is None else "presence"


@dataclass(frozen=True, kw_only=True)
class Source(source.Source):
    """Options of a folder of class folders."""

    root: str
    """Folder with one folder of recordings for each class."""
    tasks: tuple[str, ...] = TASKS
    """Which questions are asked: `class`, `presence`; training asks them equally often."""
    heldout_share: float = 0.4
    """Share of each class's uploads that is held out."""
    seconds: float = 4.0
    """Length of what is heard, seconds."""
    rate: int = 16_000
    """Samples per second, Hz."""
    augment: bool = True
    """Whether training crops are placed and varied at random; held-out ones never are."""
    gain_db: tuple[float, float] = (-12.0, 6.0)
    """Range of the change in level, dB; what would exceed full scale is scaled back to it."""
    noise: float = 0.5
    """Probability of added white noise."""
    noise_db: tuple[float, float] = (10.0, 40.0)
    """Range of the signal-to-noise ratio of that noise, dB."""
    cache_mb: int = 1024
    """Decoded clips kept in memory, MB; those beyond are decoded anew each time."""
    ignore: tuple[str, ...] = (".*",)
    """Patterns of file or folder names that are no recordings, such as `*.csv`; any other foreign file is an error."""

    def __post_init__(self) -> None:
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown or not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks is {list(self.tasks)}: name each of {', '.join(TASKS)} at most once")
        if not 0 < self.heldout_share < 1:
            raise ValueError(f"heldout_share is {self.heldout_share}: set a share between 0 and 1")
        if not 0 <= self.noise <= 1:
            raise ValueError(f"noise is {self.noise}: set a probability from 0 to 1")
        if self.seconds <= 0 or self.rate <= 0:
            raise ValueError(f"seconds is {self.seconds} and rate is {self.rate}: set numbers above 0")
        for name in ("gain_db", "noise_db"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is {[low, high]}: set the smaller number first")

    def split(self, name: source.Split, seed: int) -> Sounds:
        """Raises DataError when files or classes do not add up, MediaError when a file is no whole recording."""
        clips = read(Path(self.root), self.ignore)
        groups, labels = [clip.group for clip in clips], [clip.label for clip in clips]
        held = split_groups(groups, self.heldout_share, derive(seed, "sounds", "split"), labels, where=self.root)
        train = [clip for clip in clips if clip.group not in held]
        heldout = [clip for clip in clips if clip.group in held]
        classes = tuple(sorted(set(labels)))
        for part, side in ((train, "training"), (heldout, "held-out")):
            missing = sorted(set(classes) - {clip.label for clip in part})
            if missing:
                raise DataError(
                    f"{self.root}: no {side} clip of {missing}, because a class needs at least two uploads; add some, "
                    "or name the folder in `ignore` (--data.ignore)"
                )
        refuse_unusable((("", Audio(str(clip.path))) for clip in (train if name == "train" else heldout)), self.root)
        mine, theirs = ([str(clip.path) for clip in side] for side in (train, heldout))
        refuse_twins(mine, theirs, "remove one of each, or name it in `ignore` (--data.ignore)")
        questions = None if name == "train" else tuple(heldout_questions(heldout, self.tasks, seed))
        return Sounds(self, name, seed, classes, _by_label(train if name == "train" else heldout), questions)


def read(
    root: Path, ignore: tuple[str, ...] = (".*",), settings: tuple[str, str] = ("--data.root", "--data.ignore")
) -> list[Clip]:
    """All clips in the class folders of `root`, in order. Raises DataError for files elsewhere or without sound, which
    names the `settings` of folder and patterns."""
    clips: list[Clip] = []
    foreign: list[Path] = []
    for path in walk(root, ignore, settings[0]):
        if path.parent.parent == root and path.suffix.lower() in EXTENSIONS:
            label, parts = path.parent.name, ESC.fullmatch(path.stem)
            group = f"freesound-{parts['upload']}" if parts else f"{label}/{path.stem}"
            clips.append(Clip(path, label.replace("_", " "), group))
        else:
            foreign.append(path)
    names: dict[str, Path] = {}
    for clip in clips:
        first = names.setdefault(os.path.realpath(clip.path), clip.path)
        if first is not clip.path:
            raise DataError(f"{clip.path} is a link to the same recording as {first}; remove one of them")
    flat = [path for path in foreign if path.parent == root and path.suffix.lower() in EXTENSIONS]
    if flat and not clips:
        count = "1 recording lies" if len(flat) == 1 else f"{len(flat)} recordings lie"
        raise DataError(
            f"{root}: {count} in the folder itself, {flat[0].name} first, and none in a class folder; sort them into a "
            f"folder for each class, or name the folder that holds those ({settings[0]})"
        )
    refuse_foreign(root, foreign, f"recordings in a class folder ({' '.join(EXTENSIONS)})", settings[1])
    if len({clip.label for clip in clips}) < 2:
        raise DataError(f"{root} has fewer than two class folders; name the folder that holds them ({settings[0]})")
    return clips


def split_note(paths: Sequence[Path]) -> tuple[str, ...]:
    """What should be known of a split of these clips: how many names do not say which recording they are from."""
    count = sum(ESC.fullmatch(path.stem) is None for path in paths)
    sentence = f"{count} of {len(paths)} names carry no recording id (`fold-id-take`): `sounds` splits these by file"
    return (sentence,) if count else ()


def heldout_questions(clips: Sequence[Clip], tasks: Sequence[str], seed: int) -> list[Question]:
    """Each clip once for `class`, twice for `presence`."""
    questions = [Question(clip) for clip in clips] if "class" in tasks else []
    if "presence" in tasks:
        absent = _absent([clip.label for clip in clips], rng(seed, "sounds", "heldout", "absent"))
        for clip, other in zip(clips, absent, strict=True):
            questions += [Question(clip, clip.label), Question(clip, other)]
    return questions


def _absent(labels: Sequence[str], draw: np.random.Generator) -> list[str]:
    """For each clip a class that it is not: the labels themselves, shuffled, with clashes swapped away.

    A class that holds more than half of the clips cannot be dealt out like this; what is left over is drawn freely.
    """
    absent = list(labels)
    draw.shuffle(absent)
    for i, label in enumerate(labels):
        if absent[i] == label:
            swaps = [j for j in draw.permutation(len(labels)).tolist() if label not in (labels[j], absent[j])]
            if swaps:
                absent[i], absent[swaps[0]] = absent[swaps[0]], label
            else:
                others = sorted(set(labels) - {label})
                absent[i] = others[draw.integers(len(others))]
    return absent


def _by_label(clips: Sequence[Clip]) -> dict[str, tuple[Clip, ...]]:
    found: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        found[clip.label].append(clip)
    return {label: tuple(members) for label, members in found.items()}


@dataclass(slots=True)
class _Memory:
    """Decoded clips, up to a budget."""

    left: int
    """Bytes that are still free."""
    waves: dict[Path, Wave] = field(default_factory=dict[Path, Wave])

    def wave(self, clip: Clip, rate: int) -> Wave:
        """Samples [N] of the whole clip. Raises DataError when it is silent."""
        if clip.path in self.waves:
            return self.waves[clip.path]
        wave = decode(Audio(path=str(clip.path)), rate)
        if silent(wave):
            raise DataError(f"{clip.path} is silent: nobody can hear {clip.label}; remove it or name it in `ignore`")
        if wave.nbytes <= self.left:
            self.left -= wave.nbytes
            self.waves[clip.path] = wave
        return wave


@dataclass(frozen=True, slots=True)
class Sounds:
    """Questions made when asked for."""

    options: Source
    """How questions are made."""
    name: source.Split
    """The split."""
    seed: int
    """Seed of everything."""
    classes: tuple[str, ...]
    """All classes, the choices of `class`."""
    clips: Mapping[str, tuple[Clip, ...]] = field(repr=False)
    """The split's clips by class."""
    questions: tuple[Question, ...] | None = field(repr=False)
    """Held-out questions; None for training, which draws them."""
    memory: _Memory = field(init=False, repr=False, compare=False)
    """Decoded clips."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "memory", _Memory(self.options.cache_mb * 10**6))

    @property
    def size(self) -> int | None:
        return None if self.questions is None else len(self.questions)

    def rows(self) -> list[source.Row]:
        """The recordings that questions are made of, to be compared with a benchmark."""
        paths = [clip.path for clips in self.clips.values() for clip in clips]
        return [source.Row(str(path), Sample(str(path), (Turn("user", (Audio(str(path)),)),), ())) for path in paths]

    def without(self, places: Collection[str]) -> Sounds:
        """Questions about the other recordings. Raises DataError for a class that has none left."""
        clips = {
            label: tuple(clip for clip in members if str(clip.path) not in places)
            for label, members in self.clips.items()
        }
        if emptied := [label for label, members in clips.items() if not members]:
            raise DataError(
                f"{self.options.root}: all training clips of {emptied} are left out; add some, or name the folder in "
                "`ignore` (--data.ignore)"
            )
        return replace(self, clips=clips)

    def __getitem__(self, index: int, /) -> Sample:
        if index < 0 or (self.questions is not None and index >= len(self.questions)):
            raise IndexError(index)
        draw = rng(self.seed, "sounds", self.name, index)
        question = self._drawn(index, draw) if self.questions is None else self.questions[index]
        clip, asked = question.clip, question.asked
        wave = self._wave(clip, draw)
        text = "What do you hear?" if asked is None else f"Do you hear this sound: {asked}?"
        answer = clip.label if asked is None else ("yes" if asked == clip.label else "no")
        return Sample(
            id=f"sounds-{self.name}-{self.seed}-{index}",
            turns=(Turn("user", (Audio.of(wave, self.options.rate), text)),),
            answers=(answer,),
            choices=self.classes if asked is None else ("yes", "no"),
            thought=clip.label,
            group=clip.group,
            tags={"task": question.task, "class": clip.label, "file": f"{clip.path.parent.name}/{clip.path.name}"},
        )

    def _drawn(self, index: int, draw: np.random.Generator) -> Question:
        """A training question: the class asked for is dealt, then whether it is heard."""
        tasks, address = self.options.tasks, ("sounds", self.name)
        task = dealt(tasks, index, self.seed, *address, "task")
        if task == "class":
            return Question(self._clip(dealt(self.classes, index // len(tasks), self.seed, *address, task), draw))
        pairs = tuple((label, heard) for label in self.classes for heard in (True, False))
        asked, heard = dealt(pairs, index // len(tasks), self.seed, *address, task)
        others = [label for label in self.classes if label != asked]
        return Question(self._clip(asked if heard else others[draw.integers(len(others))], draw), asked)

    def _clip(self, label: str, draw: np.random.Generator) -> Clip:
        """A clip of `label`; uploads count the same however many takes they have."""
        groups = sorted({clip.group for clip in self.clips[label]})
        group = groups[draw.integers(len(groups))]
        takes = [clip for clip in self.clips[label] if clip.group == group]
        return takes[draw.integers(len(takes))]

    def _wave(self, clip: Clip, draw: np.random.Generator) -> Wave:
        """Exactly `seconds` of the clip, within [-1, 1]."""
        options = self.options
        wave, length = self.memory.wave(clip, options.rate), round(options.seconds * options.rate)
        if options.augment and self.name == "train":
            wave = crop(wave, length, options.rate, draw) * np.float32(10 ** (draw.uniform(*options.gain_db) / 20))
            if draw.random() < options.noise:
                floor = np.sqrt(np.mean(wave**2)) * 10 ** (-draw.uniform(*options.noise_db) / 20)
                wave = wave + draw.standard_normal(length, dtype=np.float32) * np.float32(floor)
        else:
            wave = crop(wave, length, options.rate)
        return wave / max(np.float32(1), np.abs(wave).max())


def crop(wave: Wave, length: int, rate: int, draw: np.random.Generator | None = None) -> Wave:
    """`length` samples of `wave` [N] in which something is heard; silence pads what is shorter.

    With `draw`, an audible frame is chosen at random and lies anywhere in the crop; without, it is the loudest stretch,
    and padding is the same on both sides.
    """
    if len(wave) <= length:
        spare = length - len(wave)
        before = spare // 2 if draw is None else int(draw.integers(spare + 1))
        return np.pad(wave, (before, spare - before))
    if draw is None:
        energy = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
        start = int(np.argmax(energy[length:] - energy[:-length]))
    else:
        size = max(1, round(FRAME * rate))
        levels = np.sqrt(np.mean(np.square(wave[: len(wave) // size * size]).reshape(-1, size), axis=1))
        audible = np.flatnonzero(levels >= levels.max() * 10 ** (AUDIBLE_DB / 20))
        anchor = int(audible[draw.integers(len(audible))]) * size
        earliest, latest = max(0, anchor + size - length), min(len(wave) - length, anchor)
        start = int(draw.integers(earliest, latest + 1)) if earliest <= latest else latest
    return wave[start : start + length]
