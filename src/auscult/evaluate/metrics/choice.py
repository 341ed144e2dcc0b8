"""Right or wrong: a reply is right when its answer is one of the sample's, by the grader that also rewards.

Every row counts: a reply without a readable answer is wrong, and why it has none is counted. The answer is read by
the run's form, the same object that wrote the demonstrations and that the rewards read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from auscult.core.errors import DataError
from auscult.core.types import Outcome, Parsed, Rollout, Sample
from auscult.evaluate import metric
from auscult.evaluate.baselines import UNHEARD, guesses
from auscult.evaluate.comparison import difference
from auscult.evaluate.outcomes import proportion, read_outcomes, write_outcomes
from auscult.evaluate.results import Evaluation
from auscult.rewards.choice import choice

UNSAID = Rollout((), (), None, "", "end", "", Parsed(None, "empty"))
"""No reply: whether there is a gold answer can be seen by any."""


class Metric(metric.Metric[Outcome]):
    """Accuracy."""

    figure = "accuracy"
    against = tuple((f"_{name}", "") for name in UNHEARD)
    references = False
    rewards = MappingProxyType({"choice": 1.0, "form": 0.1})

    def check(self, samples: Sequence[Sample]) -> None:
        self.judge(samples, [UNSAID] * len(samples))

    def judge(self, samples: Sequence[Sample], rollouts: Sequence[Rollout]) -> tuple[Outcome, ...]:
        return tuple(outcome(*pair) for pair in zip(samples, rollouts, strict=True))

    def evaluated(
        self,
        rows: Sequence[Outcome],
        unheard: Mapping[str, Sequence[Outcome]],
        samples: Sequence[Sample],
        media: Mapping[str, int],
        train: Iterable[Sample],
    ) -> Evaluation:
        without = {name: tuple(outcomes) for name, outcomes in unheard.items()}
        return Evaluation(tuple(rows), without, guesses(samples), media)

    def write(self, path: Path, rows: Sequence[Outcome]) -> None:
        write_outcomes(path, rows)

    def read(self, path: Path) -> tuple[Outcome, ...]:
        return read_outcomes(path)

    def mean(self, rows: Sequence[Outcome]) -> float:
        return sum(row.correct for row in rows) / len(rows)

    def said(self, rows: Sequence[Outcome]) -> dict[str, Any]:
        return proportion(rows)

    def difference(self, before: Sequence[Outcome], after: Sequence[Outcome], seed: int) -> dict[str, Any]:
        return difference(before, after, seed)


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
