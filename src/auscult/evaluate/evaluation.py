"""An engine answers held-out samples: outcomes, accuracies with intervals, and the baselines beside them.

Every row counts: a reply without a readable answer is wrong, and why it has none is counted. The answer is read by
the run's form, the same object that wrote the demonstrations and that the rewards read. Beside every accuracy stand

    chance     guessing uniformly among the options (None when there is a question without options)
    majority   always the commonest gold answer of the question's task: the best that can be had without listening
    shuffled   the same model, each question asked about another sample's media
    silence    the same model, the media replaced by silence of the same length

A model that listens is far above the last two; one that does not listen equals them.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

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
from auscult.models.listener import Listener
from auscult.rewards.choice import choice
from auscult.rollouts.engine import Engine

SILENCE_RATE = 16_000
"""Rate of the silence that stands in for a file, Hz."""
Tell = Callable[[str, int, int], None]
"""Told what is evaluated, how many rows are done, and of how many."""


@dataclass(frozen=True)
class Evaluation:
    """What a model said of the held-out samples, with and without hearing them."""

    outcomes: tuple[Outcome, ...]
    """One for each sample, in order."""
    unheard: dict[str, tuple[Outcome, ...]]
    """The same samples asked with `shuffled` media and with `silence`."""
    chance: float | None
    """Accuracy of guessing among the options."""
    majority: float
    """Accuracy of each task's commonest answer."""

    def to_dict(self) -> dict[str, Any]:
        """What a results file holds."""
        correct = [outcome.correct for outcome in self.outcomes]
        clustered = clusters(self.outcomes)
        tasks = sorted({outcome.tags.get("task", "") for outcome in self.outcomes} - {""})
        return {
            "scorer": "choice",
            **proportion(self.outcomes),
            "clustered_se": clustered_se(correct, clustered) if len(set(clustered)) > 1 else None,
            "clusters": len(set(clustered)),
            "unparsed": dict(Counter(o.parsed.problem for o in self.outcomes if o.parsed.problem)),
            "by": {
                "task": {task: proportion([o for o in self.outcomes if o.tags.get("task") == task]) for task in tasks}
            },
            "baselines": {
                "chance": self.chance,
                "majority": self.majority,
                **{name: proportion(outcomes) for name, outcomes in self.unheard.items()},
            },
        }


def clusters(outcomes: Sequence[Outcome]) -> list[str]:
    """What errors are clustered by: the samples' groups, or each row for itself when all rows share one group."""
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

    outcomes = ask("held-out", samples)
    without = {"shuffled": shuffled(samples, seed), "silence": [silenced(s) for s in samples]} if unheard else {}
    return Evaluation(
        outcomes,
        {name: ask(name, asked) for name, asked in without.items()},
        statistics.chance(len(sample.choices) for sample in samples),
        majority(samples),
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
    """The held-out samples, the first `limit` of them."""
    if samples.size is None:
        raise ValueError("held-out samples must be finite")
    return [samples[index] for index in range(samples.size if limit is None else min(limit, samples.size))]


# -- baselines ---------------------------------------------------------------------------------------------------------


def majority(samples: Sequence[Sample]) -> float:
    """Share of questions whose gold answer is the commonest of their task."""
    tasks: dict[str, list[str]] = {}
    for sample in samples:
        tasks.setdefault(sample.tags.get("task", ""), []).append(sample.answers[0])
    return sum(len(golds) * statistics.majority(golds)[1] for golds in tasks.values()) / len(samples)


def shuffled(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """Each question with the media of another sample that has the same kinds of media: one seeded cycle a kind, so that
    none keeps its own (but for a sample that is alone in its kind)."""
    kinds: dict[frozenset[str], list[int]] = {}
    for index, sample in enumerate(samples):
        kinds.setdefault(frozenset(type(part).__name__ for part in sample.media), []).append(index)
    donors: dict[int, int] = {}
    for members in kinds.values():
        around = np.asarray(members)[rng(seed, "shuffled media").permutation(len(members))]
        donors |= zip(around.tolist(), np.roll(around, 1).tolist(), strict=True)
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
