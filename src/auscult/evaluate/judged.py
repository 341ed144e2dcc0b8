"""Predictions meet a judge: every reply is put to another model, and its grades come to a score told twice.

    docket (what is put, by which rule) -> judge -> a rating each -> official and strict score

    official   as the benchmark's script tells it: the mean over replies that were graded
    strict     the mean over all questions; one without a prediction has the lowest grade

A judgement that failed is a row with its reason. Then there is no strict score, but `between`: what it comes to if the
failed ones were worth the lowest grade, or the highest. With several raters a reply's grade is put together from
theirs, and one that failed fails the row.

    rule        grades   told as        put together from several raters
    reference   0 to 5   mean x 20      the mean
    binary      0 or 1   mean x 100     1 where more than half say 1
    open        1 to 5   mean           the mean
    rubrics     0 to 1   mean x 100     the middle (`rubrics.py`)

`rewards/judging/grading.py` says whose rules these are, and how they depart from them.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from string import ascii_uppercase
from typing import Any

from auscult.core.errors import DataError
from auscult.core.runs import write_text
from auscult.core.types import Parsed, Sample
from auscult.evaluate.scoring import Work
from auscult.evaluate.statistics import Interval, clustered_wilson, paired_bootstrap
from auscult.rewards.judging.agreement import Agreement, agreement
from auscult.rewards.judging.grading import SCALES, Scale
from auscult.rewards.judging.judge import Call, Cost, Judge, Judgement
from auscult.rewards.judging.prompt import Prompt
from auscult.rewards.judging.schema import Schema

NO_PREDICTION = "no_prediction"
"""Problem of a question that nobody answered."""


@dataclass(frozen=True, slots=True)
class Put:
    """One question, and what a judge is to see of its reply."""

    sample: Sample
    """The question."""
    reply: str
    """What was predicted, raw; empty without a prediction."""
    parsed: Parsed
    """What is graded, or why nothing is."""
    fields: Mapping[str, Any] | None
    """What the prompt may show; None where no judge is asked, and the grade is the lowest."""
    schema: Schema
    """What a judgement must be: an object with a `score`, or a list of them."""
    most: float = 1.0
    """What the scores of a judgement are divided by."""
    correct: bool | None = None
    """Whether the answer is right, where that does not depend on the judge."""


@dataclass(frozen=True, slots=True)
class Docket:
    """All that is put to a judge."""

    rule: str
    """`reference`, `binary`, `open` or `rubrics`."""
    scale: Scale
    """Of the grades."""
    puts: tuple[Put, ...]
    """One for each question, in order."""
    raters: int
    """How many judgements each reply gets."""
    together: Callable[[Sequence[float]], float]
    """One grade from those of all raters."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What else was counted."""

    def calls(self, judge: Judge) -> list[Call]:
        """The judgements that are asked for, all raters of a reply after one another. Raises ConfigError when the
        judge's prompt has places that this rule does not fill."""
        return [
            judge.call(put.sample.id, put.fields, put.schema, rater)
            for put in self.puts
            if put.fields is not None
            for rater in range(self.raters)
        ]


@dataclass(frozen=True, slots=True)
class Rating:
    """One question, graded."""

    id: str
    """The question's."""
    input: str
    """It, as text."""
    target: str
    """The gold answer; empty where there is none."""
    reply: str
    """What was graded, raw."""
    parsed: Parsed
    """Its reading by the rule; `no_prediction` where there was nothing to grade."""
    correct: bool | None
    """Whether it is right; None for grades that do not say so, and for failed judgements."""
    group: str
    """Cluster for standard errors."""
    tags: Mapping[str, str]
    """Labels to break the score down by."""
    grade: float | None
    """On the rule's scale; None when a rater failed."""
    raters: tuple[float | None, ...]
    """The grade of each rater, in their order; empty when none was asked."""
    scores: tuple[tuple[float, ...] | None, ...]
    """The scores that each rater gave: one, or one for each criterion."""
    said: tuple[str, ...]
    """What each rater wrote."""
    failed: str | None
    """Why the first failed rater failed."""

    def to_dict(self, rule: str) -> dict[str, Any]:
        """Its row in a samples file: the keys that those of other scorers have, and the judge's, whose rule it was. Of
        rubrics, right or wrong is not the judge's word but that of the rule before it."""
        row = asdict(self)
        return {
            **{key: row[key] for key in ("id", "input", "target")},
            "resps": [row.pop("reply")],
            "filtered_resps": [self.parsed.answer],
            **row,
            "scorer": "string_match" if rule == "rubrics" else rule,
            "judged": rule,
        }


@dataclass(frozen=True, slots=True)
class Judged:
    """A score by a judge."""

    docket: Docket
    """What was put to it."""
    rows: tuple[Rating, ...]
    """One for each question, in order."""
    judge: Mapping[str, Any]
    """Model, address, prompt and parameters."""
    cost: Cost
    """What the judgements cost when they were made, which a replay repeats."""

    def to_dict(self, by: Sequence[str]) -> dict[str, Any]:
        """What a results file holds; `by` names the tags to break the score down by."""
        return {
            "scorer": self.docket.rule,
            "judge": {**self.judge, "raters": self.docket.raters},
            "cost": asdict(self.cost),
            "scale": asdict(self.docket.scale),
            **self.docket.counts,
            **self.summary(self.rows),
            "failures": dict(self.failures),
            "by": {tag: {label: self.summary(rows) for label, rows in self.sorted(tag).items()} for tag in by},
        }

    @property
    def failures(self) -> Counter[str]:
        """Rows without a grade, by why."""
        return Counter(row.failed for row in self.rows if row.failed is not None)

    def sorted(self, tag: str) -> dict[str, list[Rating]]:
        """The rows by their value of a tag, as values occur; those without it are left out."""
        found: dict[str, list[Rating]] = {}
        for row in self.rows:
            if tag in row.tags:
                found.setdefault(row.tags[tag], []).append(row)
        return found

    def summary(self, rows: Sequence[Rating]) -> dict[str, Any]:
        """The figures of some rows, at least one, in points, as the benchmark's table shows them; None for what cannot
        be told. `interval` (95 %) is that of `score`, and None where that is; accuracies are shares of the
        same rows as the scores, there where a reply is right or wrong."""
        scale = self.docket.scale
        grades = [row.grade for row in rows if row.grade is not None]
        counted = [row for row in rows if row.grade is not None and row.parsed.problem != NO_PREDICTION]
        official = [row.grade for row in counted if row.grade is not None]
        n, failed, points = len(rows), len(rows) - len(grades), scale.points
        right = [row.correct for row in rows]
        figures = {
            "n": n,
            "score": points * fmean(grades) if grades and not failed else None,
            "between": [points * (sum(grades) + failed * end) / n for end in (scale.lowest, scale.highest)],
            "interval": list(self._interval(rows)) if grades and not failed else None,
            "official": points * fmean(official) if official else None,
            "official_n": len(official),
            "no_prediction": sum(row.parsed.problem == NO_PREDICTION for row in rows),
            "failed": failed,
        }
        if None in right:
            return figures
        share = sum(bool(row.correct) for row in counted) / len(counted) if counted else None
        return {**figures, "accuracy": sum(map(bool, right)) / n, "official_accuracy": share}

    def _interval(self, rows: Sequence[Rating]) -> Interval:
        """Of the mean in points: a bootstrap-t, cut off at the ends of the scale; Wilson's for shares of 0 and 1, and
        where no cluster's mean differs from another's, for it has a width there. Both by cluster."""
        scale = self.docket.scale
        shares = [scale.share(row.grade) for row in rows if row.grade is not None]
        alone = len({row.group for row in self.rows}) == 1
        groups = [row.id if alone else row.group for row in rows]
        low, high = clustered_wilson(shares, groups)
        if set(shares) - {0.0, 1.0}:
            found = paired_bootstrap([0.0] * len(shares), shares, groups, seed=0).interval
            if found is not None:
                low, high = max(0.0, found[0]), min(1.0, found[1])
        width = scale.highest - scale.lowest
        return scale.points * (scale.lowest + width * low), scale.points * (scale.lowest + width * high)


def score(docket: Docket, judge: Judge) -> Judged:
    """The docket's score by a judge. Raises what `Judge.ask` does; what was said stays in the judge's cache, and the
    same call asks for the rest."""
    calls = docket.calls(judge)
    said = judge.ask(calls)
    given = iter(said)
    rows = [
        _rating(put, docket, [next(given) for _ in range(docket.raters if put.fields else 0)]) for put in docket.puts
    ]
    return Judged(docket, tuple(rows), judge.described(said), judge.cost(calls))


def graded(work: Work, rule: str, prompt: Prompt, raters: int = 1) -> Docket:
    """Replies put to a judge who gives a single grade, by one of the rules of `grading.SCALES`.

    Raises DataError for a question without the answer that the prompt shows.
    """
    if "reference" in prompt.fields:
        bare = [sample.id for sample in work.samples if not sample.answers]
        if bare:
            raise DataError(
                f"{work.identity['gold']}: {len(bare)} of {len(work.samples)} questions have no answer to compare "
                f"with, the first {bare[0]!r}; give the gold file with --gold, or take the rule open"
            )
    texts, scale = work.predictions.texts, SCALES[rule]
    puts = [
        _put(sample, texts.get(sample.id), work.predictions.rows.get(sample.id, {}), scale) for sample in work.samples
    ]
    return Docket(rule, scale, tuple(puts), raters, majority if rule == "binary" else fmean)


def command(benchmark: str, predictions: str, gold: str | None, rule: str) -> str:
    """What puts predictions to a judge, whose name stands as MODEL; without `gold` their rows carry their own."""
    where = ["--gold", gold] if gold else []
    return shlex.join(["auscult", "score", benchmark, predictions, *where, "--scorer", rule, "--judge", "MODEL"])


def majority(grades: Sequence[float]) -> float:
    """1 where more than half of the grades are 1, else 0."""
    return float(sum(grades) > len(grades) / 2)


def agreed(one: Judged, other: Judged) -> Agreement:
    """How two judges agree on one docket: on each score of each rater, those of equal number compared."""
    first: list[float | None] = []
    second: list[float | None] = []
    for left, right in zip(one.rows, other.rows, strict=True):
        for ours, theirs in zip(left.scores, right.scores, strict=True):
            first += (None,) if ours is None or theirs is None else ours
            second += (None,) if ours is None or theirs is None else theirs
    return agreement(first, second)


def write_ratings(path: Path, rows: Sequence[Rating], rule: str, only: str | None = None) -> None:
    """A samples file: one JSON line a question, every rater's grade and words in it. `rule` is the judge's, `only` as
    in `write_outcomes`."""
    chosen = {} if only is None else {"only": only}
    lines = (json.dumps({**row.to_dict(rule), **chosen}, ensure_ascii=False) + "\n" for row in rows)
    write_text(path, "".join(lines))


def _put(sample: Sample, reply: str | None, row: Mapping[str, Any], scale: Scale) -> Put:
    if reply is None:
        return Put(sample, "", Parsed(None, NO_PREDICTION), None, scale.schema)
    thought = row.get("thinking_prediction")
    fields = {
        "question": _question(sample),
        "choices": list(sample.choices),
        "reference": sample.answers[0] if sample.answers else None,
        "references": list(sample.answers),
        "answer": reply,
        "reply": reply,
        "thought": thought if isinstance(thought, str) else "",
    }
    return Put(sample, reply, Parsed(reply), fields, scale.schema)


def _question(sample: Sample) -> str:
    """As the reply's author read it: with its options, for the reply may be a letter."""
    options = (f"({letter}) {text}" for letter, text in zip(ascii_uppercase, sample.choices, strict=False))
    return "\n".join([sample.question, *options])


def _rating(put: Put, docket: Docket, said: Sequence[Judgement]) -> Rating:
    scores = tuple(None if judgement.value is None else _scores(judgement.value) for judgement in said)
    raters = tuple(None if given is None else sum(given) / put.most if put.most else 0.0 for given in scores)
    known = [grade for grade in raters if grade is not None]
    grade = docket.together(known) if known and len(known) == len(raters) else None
    grade = float(docket.scale.lowest) if put.fields is None else grade
    correct = put.correct
    if docket.rule == "binary" and grade is not None:
        correct = grade == docket.scale.highest
    return Rating(
        id=put.sample.id,
        input=put.sample.question,
        target=put.sample.answers[0] if put.sample.answers else "",
        reply=put.reply,
        parsed=put.parsed,
        correct=correct,
        group=put.sample.group or put.sample.id,
        tags=put.sample.tags,
        grade=grade,
        raters=raters,
        scores=scores,
        said=tuple(judgement.text for judgement in said),
        failed=next((judgement.problem for judgement in said if judgement.problem), None),
    )


def _scores(value: Any) -> tuple[float, ...]:
    entries = value if isinstance(value, list) else [value]
    return tuple(entry["score"] for entry in entries)
