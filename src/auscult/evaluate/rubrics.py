"""MMAR-Rubrics: how well the reasoning behind right answers meets what experts expected of it.

    wrong by string_match           -> 0, and no judge is asked
    right -> five raters, each      -> points given / points there are, over the question's criteria
          -> the lowest and the highest dropped, the mean of the middle three

The score is the mean over all questions x 100. A rater is one more call with the same request (the official judge is
gpt-4o-2024-11-20 at temperature 0, seed 42); each one's answer is recorded. A question of which a rater failed has no
score, and then neither has the whole: `official` leaves such questions and those without a prediction out, as the
script does, and `between` says what the whole comes to if the failed ones were worth nothing, or everything.

The rule and the aggregation are the official ones, the wording of the shipped prompt is ours: for the official wording
put it into a text file and name that. The script warns of texts of 10,000 characters or more and judges them all the
same; here they are counted. It takes true for 1 where a judge writes that; here such an answer breaks its schema.

Source: code/evaluation_rubrics.py of github.com/ddlBoJack/MMAR (3bce090); arXiv 2602.14224.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from auscult.core.errors import DataError
from auscult.core.runs import write_text
from auscult.core.types import Sample
from auscult.evaluate import records
from auscult.evaluate.scorers.string_match import string_match
from auscult.evaluate.verdict import Verdict
from auscult.rewards.judging.judge import Cost, Judge, Judgement
from auscult.rewards.judging.schema import Schema

RATERS = 5
LONG = 10_000
"""Characters from which on the challenge calls a text too long."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that good reasoning about a question does."""

    name: str
    """What it is called."""
    scoring_point: str
    """What earns which score."""
    choices: tuple[float, ...]
    """The scores there are."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What experts expected of the reasoning about a question."""

    ideal: str
    """Their own reasoning."""
    criteria: tuple[Criterion, ...]
    """What is looked for."""

    @property
    def schema(self) -> Schema:
        """Of a rater's answer: a list, one entry a criterion, in their order."""
        entries = [
            {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "score": {"type": "number", "enum": list(criterion.choices)},
                    "justification": {"type": "string"},
                },
                "required": ["name", "score"],
            }
            for criterion in self.criteria
        ]
        return {"type": "array", "prefixItems": entries, "minItems": len(entries), "maxItems": len(entries)}


@dataclass(frozen=True, slots=True)
class Submitted:
    """What somebody predicted for a question."""

    answer: str
    """`answer_prediction`."""
    thought: str
    """`thinking_prediction`."""


@dataclass(frozen=True, slots=True)
class Rating:
    """One question, rated."""

    id: str
    """The question's."""
    correct: bool
    """Whether the answer is right by string_match."""
    score: float | None
    """From 0 to 1: 0 for a wrong answer, None when a rater failed."""
    raters: tuple[float | None, ...]
    """Share of the points by each rater, in their order; empty when none was asked."""
    replies: tuple[str, ...]
    """What each rater wrote."""
    problem: str | None
    """`no_prediction`, or why the first failed rater failed."""
    tags: Mapping[str, str]
    """Labels to break the score down by."""


@dataclass(frozen=True, slots=True)
class Ratings:
    """All questions of the benchmark, rated."""

    rows: tuple[Rating, ...]
    """One for each question, in order."""
    judge: Mapping[str, Any]
    """Model, prompt and parameters of the judge."""
    cost: Cost
    """What the judgements cost when they were made."""
    long: int
    """Texts that the challenge calls too long."""

    def to_dict(self, by: Sequence[str] = ("modality", "category", "sub-category")) -> dict[str, Any]:
        """What a results file holds; `by` names the tags to break the score down by."""
        return {
            "scorer": "mmar_rubrics",
            "judge": dict(self.judge),
            "cost": asdict(self.cost),
            "raters": RATERS,
            "too_long": self.long,
            **_summary(self.rows),
            "by": {tag: _broken_down(self.rows, tag) for tag in by},
        }


def read_expectations(gold: Path) -> dict[str, Expectation]:
    """The criteria of each question of `MMAR-meta.jsonl`, by id. Raises DataError that names a row without any."""
    return {str(record.row.get("id")): _expectation(record) for record in records.read(gold).rows}


def rate(
    samples: Sequence[Sample],
    expected: Mapping[str, Expectation],
    submitted: Mapping[str, Submitted],
    judge: Judge,
    match: Callable[[str, Sample], Verdict] = string_match,
) -> Ratings:
    """Rates what was submitted, by id, for each of the samples.

    Raises DataError for a sample of which nothing is expected, and what `Judge.ask` does; judgements that have arrived
    stay in the judge's cache, and the same call asks for the rest.
    """
    if absent := [sample.id for sample in samples if sample.id not in expected]:
        raise DataError(
            f"{len(absent)} questions have no criteria to be rated by, for example {absent[0]}; give the "
            "MMAR-meta.jsonl of February 2026 or later as gold file"
        )
    right = [s for s in samples if s.id in submitted and match(submitted[s.id].answer, s).correct]
    calls = [
        judge.call(sample.id, _fields(sample, expected[sample.id], submitted[sample.id]), schema, rater)
        for sample in right
        for schema in [expected[sample.id].schema]
        for rater in range(RATERS)
    ]
    said = judge.ask(calls)
    rated = {s.id: said[start : start + RATERS] for s, start in zip(right, range(0, len(said), RATERS), strict=True)}
    return Ratings(
        tuple(_rating(s, expected[s.id], s.id in submitted, rated.get(s.id, ())) for s in samples),
        judge.described(),
        judge.cost(said),
        sum(len(text) >= LONG for row in submitted.values() for text in (row.answer, row.thought)),
    )


def middle(shares: Sequence[float]) -> float:
    """The mean without the lowest and the highest, of fewer than three the plain mean.

    Raises ValueError when there are none.
    """
    if not shares:
        raise ValueError("no rater, so no score")
    kept = sorted(shares)[1:-1] if len(shares) >= 3 else shares
    return sum(kept) / len(kept)


def write_ratings(path: Path, ratings: Ratings) -> None:
    """One JSON line a question, every rater's share and words in it."""
    write_text(path, "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in ratings.rows))


def _rating(sample: Sample, expected: Expectation, predicted: bool, said: Sequence[Judgement]) -> Rating:
    if not said:
        problem = None if predicted else "no_prediction"
        return Rating(sample.id, False, 0.0, (), (), problem, sample.tags)
    shares = tuple(_share(judgement.value, expected.criteria) for judgement in said)
    known = [share for share in shares if share is not None]
    problem = next((judgement.problem for judgement in said if judgement.problem), None)
    score = middle(known) if len(known) == len(shares) else None
    return Rating(sample.id, True, score, shares, tuple(judgement.text for judgement in said), problem, sample.tags)


def _share(value: Any, criteria: Sequence[Criterion]) -> float | None:
    """Points given over points there are; None for a judgement that failed."""
    if value is None:
        return None
    most = sum(max(criterion.choices) for criterion in criteria)
    return sum(entry["score"] for entry in value) / most if most else 0.0


def _fields(sample: Sample, expected: Expectation, submitted: Submitted) -> dict[str, Any]:
    return {
        "question": sample.question,
        "choices": list(sample.choices),
        "reference": sample.answers[0],
        "ideal": expected.ideal,
        "criteria": [asdict(criterion) for criterion in expected.criteria],
        "thought": submitted.thought,
        "answer": submitted.answer,
    }


def _summary(rows: Sequence[Rating]) -> dict[str, Any]:
    scores = [row.score for row in rows]
    known = [score for score in scores if score is not None]
    counted = [row.score for row in rows if row.score is not None and row.problem != "no_prediction"]
    n, failed = len(rows), len(scores) - len(known)
    return {
        "n": n,
        "accuracy": sum(row.correct for row in rows) / n,
        "score": None if failed else 100 * sum(known) / n,
        "between": [100 * sum(known) / n, 100 * (sum(known) + failed) / n],
        "official": 100 * sum(counted) / len(counted) if counted else None,
        "official_n": len(counted),
        "no_prediction": sum(row.problem == "no_prediction" for row in rows),
        "failed": failed,
    }


def _broken_down(rows: Sequence[Rating], tag: str) -> dict[str, Any]:
    labels = dict.fromkeys(row.tags[tag] for row in rows if tag in row.tags)
    return {label: _summary([row for row in rows if row.tags.get(tag) == label]) for label in labels}


def _expectation(record: records.Record) -> Expectation:
    criteria = [_criterion(entry) for entry in record.row.get("rubric") or ()]
    if not criteria or None in criteria:
        raise DataError(
            f"{record.where}: no `rubric` of criteria, each with name, scoring_point and choices; give the "
            "MMAR-meta.jsonl of February 2026 or later"
        )
    return Expectation(str(record.row.get("thinking") or ""), tuple(filter(None, criteria)))


def _criterion(entry: Any) -> Criterion | None:
    match entry:
        case {"name": str(name), "scoring_point": str(point), "choices": [int() | float(), *_] as choices}:
            return Criterion(name, point, tuple(choices))
        case _:
            return None
