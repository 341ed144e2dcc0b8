"""What stands beside an accuracy: what can be had without a model, and what the model says without its media.

    chance     guessing uniformly among the options (None when there is a question without options)
    majority   the best constant guess for each kind of question (its task): always the same answer, or always the same
               place among the options. It is read off the held-out answers, so on few questions it is a little too good
    shuffled   the same model, each question asked about the media of another one, which are not its own
    silence    the same model, the media replaced by silence of the same length, images beside them by a grey as large
    text_only  in place of silence where all media are images: the same model, the images withheld. The prompt has no
               place for them, and all of its text, names of views included

A model that listens, or looks, is far above those without its media; one that does not equals them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from auscult.core.answer import normal, read_answer
from auscult.core.seeds import rng
from auscult.core.types import Audio, Frames, Image, Media, Sample
from auscult.evaluate import statistics
from auscult.evaluate.instructions import instructions_of
from auscult.media import image
from auscult.media.audio import decode

SILENCE_RATE = 16_000
"""Rate of the silence that stands in for a file, Hz."""
UNHEARD = ("shuffled", "silence", "text_only")
"""All ways to ask a model without a question's own media."""
Change = Callable[[Sample], Sample]
"""Gives a sample other media; applied when it is asked, for silence for all of them would fill the memory."""


@dataclass(frozen=True)
class Guess:
    """How often questions are answered rightly without a model."""

    chance: float | None
    """By guessing uniformly among the options; None when a question has none."""
    majority: float | None
    """By the best constant guess: an answer, or a place among the options; None where what is right can only be
    verified, not listed."""


def guesses(samples: Sequence[Sample]) -> dict[str, Guess]:
    """What can be had of each kind of question, by its task, without a model."""
    kinds: dict[str, list[Sample]] = {}
    for sample in samples:
        kinds.setdefault(sample.tags.get("task", ""), []).append(sample)
    return {
        task: Guess(
            statistics.chance(len(sample.choices) for sample in alike),
            None if any(map(_verified, alike)) else statistics.majority([constants(sample) for sample in alike]),
        )
        for task, alike in kinds.items()
    }


def overall(guesses: Mapping[str, Guess], tasks: Sequence[str]) -> Guess:
    """The guesses for each kind of question together; `tasks` names the kind of each question."""

    def mean(shares: Sequence[float | None]) -> float | None:
        known = [share for share in shares if share is not None]
        return math.fsum(known) / len(tasks) if len(known) == len(tasks) else None

    return Guess(
        mean([guesses[task].chance for task in tasks]),
        mean([guesses[task].majority for task in tasks]),
    )


def _verified(sample: Sample) -> bool:
    """Whether its answers are instructions: no list says which replies keep them."""
    return any(instructions_of(answer) is not None for answer in sample.answers)


def constants(sample: Sample) -> set[str | int]:
    """The constant guesses that a question accepts: texts, and places among its options (from 0)."""
    if not sample.choices:
        return {normal(answer) for answer in sample.answers}
    accepted = {read_answer(answer, sample.choices).answer for answer in sample.answers} - {None}
    return {guess for place, option in enumerate(sample.choices) if option in accepted for guess in (option, place)}


def unheard(samples: Sequence[Sample], seed: int) -> dict[str, Change]:
    """How these questions are asked without their own media, by the names of `UNHEARD`."""
    donors = {sample.id: sample for sample in shuffled(samples, seed)}
    kinds = {type(part) for sample in samples for part in sample.media}
    none: dict[str, Change] = {"text_only": withheld} if kinds == {Image} else {"silence": silenced}
    return {"shuffled": lambda sample: donors[sample.id], **none}


def shuffled(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """Each question with the media of another one that has the same kinds of media: one seeded cycle a kind, in which
    questions about the same clip stand together and their donors as far away as the most asked clip has questions, so
    that none keeps its own (but for those that outnumber all others of their kind)."""
    kinds: dict[frozenset[str], list[int]] = {}
    for index, sample in enumerate(samples):
        kinds.setdefault(frozenset(type(part).__name__ for part in sample.media), []).append(index)
    donors: dict[int, int] = {}
    for members in kinds.values():
        about: dict[tuple[Media, ...], list[int]] = {}
        for place in rng(seed, "shuffled media").permutation(len(members)).tolist():
            about.setdefault(samples[members[place]].media, []).append(members[place])
        around = list(itertools.chain.from_iterable(about.values()))
        donors |= zip(around, np.roll(around, max(map(len, about.values()))).tolist(), strict=True)
    return [with_media(sample, samples[donors[index]].media) for index, sample in enumerate(samples)]


def silenced(sample: Sample) -> Sample:
    """The sample with silence as long, or one grey as large, as each of its media."""
    return with_media(sample, tuple(_silence(media) for media in sample.media))


def withheld(sample: Sample) -> Sample:
    """The sample without its images: its text alone."""
    turns = (
        replace(turn, content=tuple(part for part in turn.content if not isinstance(part, Image)))
        for turn in sample.turns
    )
    return replace(sample, turns=tuple(turns))


def _silence(media: Media) -> Media:
    if isinstance(media, Frames):
        return Frames.of(np.zeros_like(media.values), media.rate)
    if isinstance(media, Image):
        return Image.of(np.full_like(image.decode(media), 127))
    if media.wave is None or media.rate is None:
        media = Audio.of(decode(media, SILENCE_RATE), SILENCE_RATE)
    return Audio.of(np.zeros_like(media.wave), media.rate or SILENCE_RATE)


def with_media(sample: Sample, media: Sequence[Media]) -> Sample:
    """The sample with its media replaced, each by one of its own kind; a donor with fewer is heard again, one with more
    is cut."""
    kinds = {type(part) for part in media}
    supply = {kind: itertools.cycle([part for part in media if type(part) is kind]) for kind in kinds}
    turns = tuple(
        replace(
            turn,
            content=tuple(
                part if isinstance(part, str) or type(part) not in supply else next(supply[type(part)])
                for part in turn.content
            ),
        )
        for turn in sample.turns
    )
    return replace(sample, turns=turns)
