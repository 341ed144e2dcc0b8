"""MMAR-Rubrics: how well the reasoning behind right answers meets what experts expected of it.

    wrong by string_match           -> 0, and no judge is asked
    right -> five raters, each      -> points given / points there are, over the question's criteria
          -> the lowest and the highest dropped, the mean of the middle three

The score is the mean over all questions x 100, told as `judged.py` tells every judge's. A rater is one more call with
the same request (the official judge is gpt-4o-2024-11-20 at temperature 0, seed 42); each one's answer is recorded. The
official score leaves out, as the script does, questions of which a rater failed, and those without an answer or without
reasoning.

The rule and the aggregation are the official ones, the wording of the shipped prompt is ours: for the official wording
put it into a text file, its system message too, and name that (--prompt FILE). The script warns of texts of 10,000
characters or more and judges them all the same; here they are counted. It takes true for 1 where a judge writes that;
here such an answer breaks its schema.

Source: code/evaluation_rubrics.py of github.com/ddlBoJack/MMAR (3bce090); arXiv 2602.14224.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from auscult.core.errors import DataError
from auscult.core.types import Parsed, Sample
from auscult.core.yaml12 import flow
from auscult.data import rows
from auscult.evaluate import records
from auscult.evaluate.judged import NO_PREDICTION, Docket, Put
from auscult.evaluate.predictions import Problem
from auscult.evaluate.scorers.string_match import string_match
from auscult.evaluate.scoring import Work
from auscult.evaluate.verdict import Verdict
from auscult.rewards.judging.grading import Scale
from auscult.rewards.judging.schema import Schema

RATERS = 5
"""Of the official script."""
SCALE = Scale(0, 1, 100.0)
"""Of a question: the share of the points."""
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


def read_expectations(gold: Path) -> dict[str, Expectation]:
    """The criteria of each question of `MMAR-meta.jsonl`, by id. Raises DataError that names a row without any."""
    return {str(record.row.get("id")): _expectation(record) for record in records.read(gold).rows}


def rubrics(
    samples: Sequence[Sample],
    expected: Mapping[str, Expectation],
    submitted: Mapping[str, Submitted],
    match: Callable[[str, Sample], Verdict] = string_match,
    raters: int = RATERS,
) -> Docket:
    """What was submitted, by id, put to a judge for each of the samples.

    Raises DataError for a sample of which nothing is expected.
    """
    if absent := [sample.id for sample in samples if sample.id not in expected]:
        raise DataError(
            f"{len(absent)} questions have no criteria to be rated by, for example {absent[0]}; give the "
            "MMAR-meta.jsonl of February 2026 or later as gold file"
        )
    puts = tuple(_put(sample, expected[sample.id], submitted.get(sample.id), match) for sample in samples)
    long = sum(len(text) >= LONG for row in submitted.values() for text in (row.answer, row.thought))
    return Docket("rubrics", SCALE, puts, raters, middle, {"too_long": long})


def submitted(work: Work) -> tuple[dict[str, Submitted], tuple[Problem, ...]]:
    """What somebody predicted, by id, and the rows without reasoning, which the script leaves out like those without an
    answer. Raises DataError when no row has any."""
    found: dict[str, Submitted] = {}
    silent: list[Problem] = []
    for name, answer in work.predictions.texts.items():
        thought = work.predictions.rows[name].get("thinking_prediction")
        if isinstance(thought, str):
            found[name] = Submitted(answer, thought)
        else:
            silent.append(Problem("no_thinking", work.predictions.places[name], name))
    if silent and not found:
        raise DataError(
            f"{work.predictions.path}: no row has the text `thinking_prediction`, which rubrics rate; of a run's "
            "samples `auscult submit mmar` writes it"
        )
    return found, tuple(silent)


def middle(shares: Sequence[float]) -> float:
    """The mean without the lowest and the highest, of fewer than three the plain mean.

    Raises ValueError when there are none.
    """
    if not shares:
        raise ValueError("no rater, so no score")
    kept = sorted(shares)[1:-1] if len(shares) >= 3 else shares
    return sum(kept) / len(kept)


def _put(sample: Sample, expected: Expectation, row: Submitted | None, match: Callable[[str, Sample], Verdict]) -> Put:
    most = sum(max(criterion.choices) for criterion in expected.criteria)
    if row is None:
        return Put(sample, "", Parsed(None, NO_PREDICTION), None, expected.schema, most, correct=False)
    verdict = match(row.answer, sample)
    shown = _fields(sample, expected, row) if verdict.correct else None
    return Put(sample, row.answer, verdict.parsed, shown, expected.schema, most, verdict.correct)


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


def _expectation(record: records.Record) -> Expectation:
    entries = record.row.get("rubric")
    if not isinstance(entries, list) or not entries:
        raise DataError(
            f"{record.where}: no `rubric`, a list of criteria, each with name, scoring_point and choices; give the "
            "MMAR-meta.jsonl of February 2026 or later"
        )
    criteria = tuple(_criterion(entry, f"{record.where}: `rubric[{place}]`") for place, entry in enumerate(entries))
    return Expectation(str(record.row.get("thinking") or ""), criteria)


def _criterion(entry: Any, where: str) -> Criterion:
    said = rows.mapping(entry, where)
    name, point = (rows.text(rows.required(said, key, where), key, where) for key in ("name", "scoring_point"))
    choices = rows.required(said, "choices", where)
    numbers = isinstance(choices, list) and all(type(one) in (int, float) for one in choices)
    if not numbers or not choices:
        raise DataError(
            f"{where}: `choices` is {flow(choices)}; write the scores there are as numbers, for example [0, 1]"
        )
    return Criterion(name, point, tuple(choices))
