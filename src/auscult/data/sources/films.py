"""Films: endless synthetic radiographs of 16 bits with a few opacities, and questions that only the picture answers.

A recipe needs no patient to train eyes. A film has two dark lungs on a bright chest, and in them up to three opacities,
each on a side and small or large; a question about it has one right answer. As in `scenes`, the question is dealt first
and a film is then made for it:

- Every answer of a task comes equally often under every wording: a guesser who cannot see stays at chance (presence,
  side and larger 1/2, count 1/4).
- What a question does not ask about is drawn independently of its answer: how many opacities there are says nothing
  about their side, nor exposure, noise and the place of the lungs about anything.
- `questions` derives the answers from the finished film once more; the tests hold the two against each other.

Exposure differs from film to film by far more than an opacity does, so the 16 bits must be windowed and not cut off:
what is handed over is the whole range of each film in 256 greys (`media/window.py`). `write` leaves the 16 bits in PNG
files beside the JSON of `studies`. Left and right are those of the picture.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from auscult.core.runs import write_json
from auscult.core.seeds import rng
from auscult.core.types import Image, Sample, Turn
from auscult.data import source
from auscult.data.deal import dealt
from auscult.media.window import grey

Side = Literal["left", "right"]
Size = Literal["small", "large"]

SIDES: tuple[Side, ...] = ("left", "right")
SIZES: tuple[Size, ...] = ("small", "large")
RADII: dict[Size, tuple[float, float]] = {"small": (0.085, 0.1), "large": (0.16, 0.19)}
"""Radii in half picture widths: where an opacity has fallen to 37 %. A large one is at least 1.6 times a small one."""
LEVELS = (-0.4, 0.02, 0.44)
"""Heights at which a lung can have an opacity, in half picture heights; far enough apart for two large ones."""
MOST = 3
"""Opacities of a film at most."""
COUNTS = tuple(map(str, range(MOST + 1)))
DENSITY = 0.3
"""How much brighter an opacity is at its centre, where 1 is a film's whole range before noise."""


@dataclass(frozen=True, slots=True)
class Opacity:
    """A bright spot in a lung."""

    side: Side
    """Of the picture."""
    level: int
    """Its place in `LEVELS`."""
    size: Size
    """Small or large."""

    @property
    def name(self) -> str:
        """What one would call it: `large left`."""
        return f"{self.size} {self.side}"


@dataclass(frozen=True, slots=True)
class Film:
    """A chest with what is in its lungs."""

    opacities: tuple[Opacity, ...]
    """None to `MOST`, from left to right and from the top."""

    @property
    def transcript(self) -> str:
        """What is there, as a list: `small left, large right`, or `nothing`."""
        return ", ".join(opacity.name for opacity in self.opacities) or "nothing"


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its one right answer."""

    task: str
    """`presence`, `side`, `count` or `larger`."""
    text: str
    """The wording; it never depends on the answer."""
    answer: str
    """The right answer as text."""
    choices: tuple[str, ...]
    """Every answer of the task, in one fixed order."""


QUESTIONS: dict[str, tuple[Question, ...]] = {
    task: tuple(Question(task, text, answer, choices) for answer in choices)
    for task, text, choices in (
        ("presence", "Is there an opacity?", ("yes", "no")),
        ("side", "On which side is the opacity?", SIDES),
        ("count", "How many opacities are there?", COUNTS),
        ("larger", "On which side is the larger opacity?", SIDES),
    )
}
"""Every question of a task with every answer."""


def questions(film: Film) -> tuple[Question, ...]:
    """Every question that `film` answers beyond doubt, answered from its opacities alone."""
    found = film.opacities
    sides = {opacity.side for opacity in found}
    answers = {"presence": "yes" if found else "no", "count": str(len(found))}
    if len(sides) == 1:
        answers["side"] = found[0].side
    if len(found) == len(sides) == 2 and found[0].size != found[1].size:
        answers["larger"] = next(opacity.side for opacity in found if opacity.size == "large")
    return tuple(one for task, answer in answers.items() for one in QUESTIONS[task] if one.answer == answer)


def compose(question: Question, draw: np.random.Generator) -> Film:
    """A film to which `question.answer` is the answer."""
    sizes = [SIZES[place] for place in draw.integers(len(SIZES), size=MOST)]
    sides = SIDES
    match question.task:
        case "count":
            count = int(question.answer)
        case "side":
            count, sides = int(draw.integers(1, MOST + 1)), tuple(one for one in SIDES if one == question.answer)
        case "larger":
            levels = draw.integers(len(LEVELS), size=len(SIDES)).tolist()
            large = [side == question.answer for side in SIDES]
            pairs = zip(SIDES, levels, large, strict=True)
            return Film(tuple(Opacity(side, level, SIZES[is_large]) for side, level, is_large in pairs))
        case _:
            count = int(draw.integers(1, MOST + 1)) if question.answer == "yes" else 0
    places = list(itertools.product(sides, range(len(LEVELS))))
    chosen = sorted(draw.permutation(len(places))[:count].tolist())
    found = zip((places[place] for place in chosen), sizes, strict=False)
    return Film(tuple(Opacity(side, level, size) for (side, level), size in found))


def render(film: Film, draw: np.random.Generator, side: int) -> NDArray[np.uint16]:
    """The film as 16 bits [side, side], brighter where less passes through."""
    down, across = np.meshgrid(*[np.linspace(-1, 1, side)] * 2, indexing="ij")
    middle, top = draw.uniform(-0.06, 0.06, 2)
    picture = 0.62 + 0.1 * draw.uniform(-1, 1) * across + 0.06 * draw.uniform(-1, 1) * down
    wide, high = draw.uniform(0.32, 0.36), draw.uniform(0.72, 0.8)
    for sign in (-1, 1):
        distance = np.hypot((across - middle - 0.45 * sign) / wide, (down - top) / high)
        picture -= draw.uniform(0.34, 0.4) / (1 + np.exp(12 * (distance - 1)))
    ribs = np.sin(draw.uniform(11, 14) * (down + 0.35 * np.abs(across - middle)) + draw.uniform(0, 6))
    picture += 0.025 * ribs * (np.abs(across - middle) > 0.12)
    picture += draw.uniform(0.01, 0.02) * draw.standard_normal(picture.shape)
    exposure, offset = draw.uniform(12_000, 34_000), draw.uniform(1_000, 24_000)
    for opacity in film.opacities:
        sign = -1 if opacity.side == "left" else 1
        x = middle + 0.45 * sign + draw.uniform(-0.1, 0.1)
        y = top + LEVELS[opacity.level] * high / 0.76 + draw.uniform(-0.03, 0.03)
        radius = draw.uniform(*RADII[opacity.size])
        picture += DENSITY * draw.uniform(0.85, 1.15) * np.exp(-((across - x) ** 2 + (down - y) ** 2) / radius**2)
    return np.clip(offset + exposure * np.clip(picture, 0, 1.2), 0, 65_535).astype(np.uint16)


@dataclass(frozen=True, kw_only=True)
class Source(source.Source):
    """Options of seeded films."""

    tasks: tuple[str, ...] = tuple(QUESTIONS)
    """Which questions are asked, equally often."""
    side: int = 64
    """Height and width of a film, pixels; at least 32, so that a small opacity has three."""
    heldout: int = 1000
    """Number of held-out films."""
    withheld: float = 0.0
    """Share of training questions that are asked without their film and without a thought about it: so that a model
    knows how to guess, and is asked nothing strange when it is asked without films (`text_only`); 1 shows it none."""

    def __post_init__(self) -> None:
        unknown = [task for task in self.tasks if task not in QUESTIONS]
        if unknown or not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks is {list(self.tasks)}: name each of {', '.join(QUESTIONS)} at most once")
        if self.side < 32:
            raise ValueError(f"side is {self.side}: set at least 32 pixels")
        if self.heldout < 1:
            raise ValueError(f"heldout is {self.heldout}: set at least 1 film")
        if not 0 <= self.withheld <= 1:
            raise ValueError(f"withheld is {self.withheld}: set a share from 0 to 1")

    def split(self, name: source.Split, seed: int) -> Films:
        return Films(self, name, seed, None if name == "train" else self.heldout)


@dataclass(frozen=True, slots=True)
class Films:
    """Samples made when asked for; `samples[index]` costs a millisecond."""

    options: Source
    """How films are made."""
    name: source.Split
    """The split: its name is part of every seed, so no film is in both."""
    seed: int
    """Seed of everything."""
    size: int | None
    """How many there are; None when they never end."""

    def __getitem__(self, index: int, /) -> Sample:
        film, question, values = self.film(index)
        share = self.options.withheld if self.name == "train" else 0.0
        shown = rng(self.seed, "films", self.name, index, "withheld").random() >= share
        pixels = np.repeat(grey(values, "full")[:, :, None], 3, axis=2)
        place = f"films-{self.name}-{self.seed}-{index}"
        return Sample(
            id=place,
            turns=(Turn("user", (Image.of(pixels), question.text) if shown else (question.text,)),),
            answers=(question.answer,),
            choices=question.choices,
            thought=film.transcript if shown else None,
            group=place,
            tags={"task": question.task, "findings": film.transcript},
        )

    def film(self, index: int) -> tuple[Film, Question, NDArray[np.uint16]]:
        """Film number `index`, its question, and its 16 bits [side, side]."""
        if index < 0 or (self.size is not None and index >= self.size):
            raise IndexError(index)
        address = ("films", self.name)
        round_, _ = divmod(index, len(self.options.tasks))
        task = dealt(self.options.tasks, index, self.seed, *address, "task")
        question = dealt(QUESTIONS[task], round_, self.seed, *address, "question", task)
        draw = rng(self.seed, *address, index)
        film = compose(question, draw)
        return film, question, render(film, draw, self.options.side)


def write(folder: Path, films: Films, indices: Iterable[int]) -> Path:
    """Write films as PNG of 16 bits, and their questions as `studies` reads them; returns the path of the JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, str | Sequence[str]]] = {}
    for index in indices:
        film, question, values = films.film(index)
        name = f"films-{films.name}-{films.seed}-{index}"
        Pillow.fromarray(values).save(folder / f"{name}.png")
        rows[name] = {
            "image": f"{name}.png",
            "question": question.text,
            "options": question.choices,
            "answer": question.answer,
            "explanation": film.transcript,
            "patient": name,
            "task": question.task,
            "Findings": film.transcript,
        }
    write_json(folder / "films.json", rows)
    return folder / "films.json"
