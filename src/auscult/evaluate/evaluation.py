"""An engine answers held-out samples: outcomes, accuracies with intervals, and the baselines beside them.

Every row counts: a reply without a readable answer is wrong, and why it has none is counted. The answer is read by
the run's form, the same object that wrote the demonstrations and that the rewards read. Beside every accuracy stand

    chance     guessing uniformly among the options (None when there is a question without options)
    majority   the best constant guess for each kind of question (its task): always the same answer, or always the same
               place among the options. It is read off the held-out answers, so on few questions it is a little too good
    shuffled   the same model, each question asked about the media of another one, which are not its own
    silence    the same model, the media replaced by silence of the same length

A model that listens is far above the last two; one that does not listen equals them.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from auscult.core.answer import normal, read_answer
from auscult.core.errors import DataError
from auscult.core.runs import read_jsonl, write_text
from auscult.core.seeds import derive, rng
from auscult.core.types import Audio, Frames, Image, Media, Outcome, Parsed, Rollout, Sample
from auscult.data.source import Samples
from auscult.evaluate import statistics
from auscult.evaluate.options import Evaluate
from auscult.evaluate.statistics import clustered_se, wilson
from auscult.media import image
from auscult.media.audio import decode
from auscult.models.listener import RENDERED, Listener
from auscult.rewards.choice import choice
from auscult.rollouts.engine import Engine

SILENCE_RATE = 16_000
"""Rate of the silence that stands in for a file, Hz."""
Tell = Callable[[str, int, int], None]
"""Told what is evaluated, how many rows are done, and of how many."""


@dataclass(frozen=True)
class Guess:
    """How often questions are answered rightly without a model."""

    chance: float | None
    """By guessing uniformly among the options; None when a question has none."""
    majority: float
    """By the best constant guess: an answer, or a place among the options."""


@dataclass(frozen=True)
class Evaluation:
    """What a model said of the held-out samples, with and without hearing them."""

    outcomes: tuple[Outcome, ...]
    """One for each sample, in order."""
    unheard: dict[str, tuple[Outcome, ...]]
    """The same samples asked with `shuffled` media and with `silence`."""
    guesses: Mapping[str, Guess]
    """By task (`` for questions without one): what can be had without a model."""
    media: Mapping[str, int]
    """Clips and images asked about (`clips`), and what the listener did to them on the way (its `RENDERED` counts)."""

    def to_dict(self) -> dict[str, Any]:
        """What a results file holds."""
        groups = [outcome.group for outcome in self.outcomes]
        error = clustered_se([outcome.correct for outcome in self.outcomes], groups)
        tasks = {
            task: [o for o in self.outcomes if o.tags.get("task") == task] for task in sorted(self.guesses) if task
        }
        return {
            "scorer": "choice",
            **proportion(self.outcomes),
            "clustered_se": error if error > 1e-9 else None,  # NaN for one group; 0 where all groups are alike
            "clusters": len(set(groups)),
            "unparsed": dict(Counter(o.parsed.problem for o in self.outcomes if o.parsed.problem)),
            "by": {
                "task": {
                    task: {**proportion(rows), "baselines": asdict(self.guesses[task])} for task, rows in tasks.items()
                }
            },
            "baselines": {
                **asdict(overall(self.guesses, [outcome.tags.get("task", "") for outcome in self.outcomes])),
                **{name: proportion(outcomes) for name, outcomes in self.unheard.items()},
            },
            "media": dict(self.media),
        }


def clusters(outcomes: Sequence[Outcome]) -> list[str]:
    """What a paired bootstrap draws: the samples' groups, or each row for itself when all rows share one group."""
    groups = [outcome.group for outcome in outcomes]
    return groups if len(set(groups)) > 1 else [outcome.id for outcome in outcomes]


def proportion(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Rows, right ones, accuracy and its 95 % Wilson interval."""
    n, right = len(outcomes), sum(outcome.correct for outcome in outcomes)
    return {"n": n, "correct": right, "accuracy": right / n, "interval": list(wilson(right, n))}


def evaluate(
    engine: Engine,
    listener: Listener,
    samples: Sequence[Sample],
    options: Evaluate,
    *,
    seed: int,
    unheard: bool = True,
    tell: Tell = lambda what, done, total: None,
) -> Evaluation:
    """Answers all samples, and once more each without its own media unless `unheard` is false."""

    def ask(what: str, asked: Sequence[Sample]) -> tuple[Outcome, ...]:
        return answer(engine, listener, asked, options, seed, lambda done: tell(what, done, len(asked)))

    before = Counter(listener.counts)
    outcomes = ask("held-out", samples)
    media = {name: listener.counts[name] - before[name] for name in RENDERED}
    without = {"shuffled": shuffled(samples, seed), "silence": [silenced(s) for s in samples]} if unheard else {}
    return Evaluation(
        outcomes,
        {name: ask(name, asked) for name, asked in without.items()},
        guesses(samples),
        {"clips": sum(len(sample.media) for sample in samples), **media},
    )


def answer(
    engine: Engine,
    listener: Listener,
    samples: Sequence[Sample],
    options: Evaluate,
    seed: int,
    tell: Callable[[int], None] = lambda done: None,
) -> tuple[Outcome, ...]:
    """One outcome for each sample, in order."""
    outcomes: list[Outcome] = []
    for start in range(0, len(samples), options.batch):
        part = samples[start : start + options.batch]
        prompts = [listener.prompt(sample) for sample in part]
        rolled = engine.roll(prompts, 1, options.sampling, derive(seed, "evaluate", start))
        outcomes += [outcome(sample, rollouts[0]) for sample, rollouts in zip(part, rolled, strict=True)]
        tell(len(outcomes))
    return tuple(outcomes)


def outcome(sample: Sample, rollout: Rollout) -> Outcome:
    """The rollout judged by the grader that also rewards. Raises DataError where there is no gold answer."""
    grade = choice(sample, rollout)
    if grade is None:
        raise DataError(f"sample {sample.id} has no answer among its options and cannot be graded; mend or remove it")
    return Outcome(
        id=sample.id,
        input=sample.question,
        target=sample.answers[0],
        reply=rollout.text,
        parsed=rollout.parsed,
        correct=grade == 1.0,
        group=sample.group or sample.id,
        tags=sample.tags,
    )


def write_outcomes(path: Path, outcomes: Sequence[Outcome]) -> None:
    """A samples file: raw replies in `resps`, what was scored in `filtered_resps`."""
    write_text(path, "".join(json.dumps(_row(outcome), ensure_ascii=False) + "\n" for outcome in outcomes))


def read_outcomes(path: Path) -> tuple[Outcome, ...]:
    """The outcomes that `write_outcomes` wrote."""
    return tuple(
        Outcome(
            id=row["id"],
            input=row["input"],
            target=row["target"],
            reply=row["resps"][0],
            parsed=Parsed(**row["parsed"]),
            correct=row["correct"],
            group=row["group"],
            tags=row["tags"],
        )
        for row in read_jsonl(path).rows
    )


def _row(outcome: Outcome) -> dict[str, Any]:
    return {
        "id": outcome.id,
        "input": outcome.input,
        "target": outcome.target,
        "resps": [outcome.reply],
        "filtered_resps": [outcome.parsed.answer],
        "correct": outcome.correct,
        "parsed": asdict(outcome.parsed),
        "group": outcome.group,
        "tags": dict(outcome.tags),
    }


def listed(samples: Samples, limit: int | None) -> list[Sample]:
    """The held-out samples, or `limit` of them, evenly spaced: files list one class after another."""
    if samples.size is None:
        raise ValueError("held-out samples must be finite")
    count = samples.size if limit is None else min(limit, samples.size)
    return [samples[place * samples.size // count] for place in range(count)]


# -- baselines ---------------------------------------------------------------------------------------------------------


def guesses(samples: Sequence[Sample]) -> dict[str, Guess]:
    """What can be had of each kind of question, by its task, without a model."""
    kinds: dict[str, list[Sample]] = {}
    for sample in samples:
        kinds.setdefault(sample.tags.get("task", ""), []).append(sample)
    return {
        task: Guess(
            statistics.chance(len(sample.choices) for sample in alike),
            statistics.majority([constants(sample) for sample in alike]),
        )
        for task, alike in kinds.items()
    }


def overall(guesses: Mapping[str, Guess], tasks: Sequence[str]) -> Guess:
    """The guesses for each kind of question together; `tasks` names the kind of each question."""
    chances = [guesses[task].chance for task in tasks]
    known = [chance for chance in chances if chance is not None]
    return Guess(
        math.fsum(known) / len(tasks) if len(known) == len(tasks) else None,
        math.fsum(guesses[task].majority for task in tasks) / len(tasks),
    )


def constants(sample: Sample) -> set[str | int]:
    """The constant guesses that a question accepts: texts, and places among its options (from 0)."""
    if not sample.choices:
        return {normal(answer) for answer in sample.answers}
    accepted = {read_answer(answer, sample.choices).answer for answer in sample.answers} - {None}
    return {guess for place, option in enumerate(sample.choices) if option in accepted for guess in (option, place)}


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
