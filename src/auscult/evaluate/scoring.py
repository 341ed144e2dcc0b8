"""Predictions meet a benchmark under a rule: outcomes, and the score told twice.

    official   as the benchmark's script tells it: questions without a prediction are left out
    strict     all questions; one without a prediction is wrong

Both are right answers over rows, by the benchmark's own breakdowns. The parity report puts every rule to the same
predictions and names the rows on which they disagree: what of a score is the model's, and what the parser's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from auscult.core.config import Plugin, loaded
from auscult.core.errors import ConfigError, DataError
from auscult.core.types import Outcome, Parsed, Sample
from auscult.evaluate import predictions, records
from auscult.evaluate.baselines import guesses
from auscult.evaluate.benchmark import Benchmark, Breakdown, did_you_mean, find
from auscult.evaluate.predictions import UNGIVEN, Predictions, Problem
from auscult.evaluate.records import Records
from auscult.evaluate.results import Evaluation
from auscult.evaluate.submission import SIZES
from auscult.evaluate.verdict import Verdict

Scorer = Callable[[str, Sample], Verdict]
"""A rule: the raw reply and the question."""
SCORERS = Plugin("scorer", "auscult.evaluate.scorers")
"""Where rules are found by name."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table."""

    name: str
    """A value of the table's tag, for example `speech`."""
    correct: int
    """Right answers."""
    n: int
    """Rows that count."""

    @property
    def percent(self) -> float:
        """Accuracy in percent, 0 without rows, as the official scripts print it."""
        return self.correct / self.n * 100 if self.n else 0.0

    def to_dict(self) -> dict[str, int | float | None]:
        """Counts and percent, to two decimals; None of no rows."""
        return {"correct": self.correct, "n": self.n, "percent": round(self.percent, 2) if self.n else None}


@dataclass(frozen=True, slots=True)
class Table:
    """A breakdown with its figures."""

    breakdown: Breakdown
    """What it is by."""
    lines: tuple[Line, ...]
    """Its lines in the order of the official script."""


@dataclass(frozen=True, slots=True)
class Work:
    """A benchmark and the predictions that are scored on it."""

    name: str
    """What the benchmark is called."""
    benchmark: Benchmark
    """It."""
    identity: Mapping[str, str | None]
    """Which version of it: title, version, gold, gold_sha256."""
    samples: tuple[Sample, ...]
    """Its questions."""
    predictions: Predictions
    """What was answered."""
    problems: tuple[Problem, ...]
    """All that could not be scored as it stands."""

    def outcomes(self, rule: Scorer) -> tuple[Outcome, ...]:
        """One outcome for each question, in order."""
        return tuple(outcome(sample, self.predictions.texts.get(sample.id), rule) for sample in self.samples)

    def to_dict(self, official: str) -> dict[str, Any]:
        """What a results file says of it; `official` is the command of the official score."""
        file = self.predictions.file
        return {
            "benchmark": {"name": self.name, **self.identity, "official_command": official},
            "predictions": {"path": str(file.path), "sha256": file.sha256, "keys": dict(self.predictions.keys)},
            "problems": dict(Counter(problem.reason for problem in self.problems)),
        }


@dataclass(frozen=True, slots=True)
class Scored:
    """A score."""

    work: Work
    """Of what."""
    rule: str
    """By which rule."""
    outcomes: tuple[Outcome, ...]
    """One for each question."""
    official: tuple[Table, ...]
    """Breakdowns over the questions with a prediction."""
    strict: tuple[Table, ...]
    """Breakdowns over all questions."""

    @property
    def totals(self) -> tuple[Line, Line]:
        """The official and the strict total."""
        return total("official", answered(self.outcomes)), total("strict", self.outcomes)

    def to_dict(self) -> dict[str, Any]:
        """What a results file holds; figures without a name of their own are strict."""
        samples = self.work.samples
        official, strict = self.totals
        figures = Evaluation(self.outcomes, {}, guesses(samples), {}, self.rule).to_dict()
        unparsed = sum(count for reason, count in figures["unparsed"].items() if reason not in UNGIVEN)
        return {
            **figures,
            **self.work.to_dict(self.work.benchmark.official),
            "official": {"total": official.to_dict(), **told(self.official)},
            "strict": {"total": strict.to_dict(), **told(self.strict)},
            "answered": official.n,
            "unparsed_share": unparsed / official.n if official.n else None,
            "figures": self.work.benchmark.figures(samples, self.outcomes),
        }


@dataclass(frozen=True, slots=True)
class Parity:
    """The same predictions under every rule."""

    scores: Mapping[str, Scored]
    """By rule, the benchmark's own first."""
    unfit: Mapping[str, str]
    """Rules that cannot be put to these questions, and why."""

    @property
    def flips(self) -> dict[str, tuple[str, ...]]:
        """The rows on which rules disagree: by id, the rules that call them right."""
        right: dict[str, tuple[str, ...]] = {}
        for row in zip(*(scored.outcomes for scored in self.scores.values()), strict=True):
            calls = tuple(rule for rule, outcome in zip(self.scores, row, strict=True) if outcome.correct)
            if 0 < len(calls) < len(self.scores):
                right[row[0].id] = calls
        return right

    def to_dict(self) -> dict[str, Any]:
        """What a results file holds."""
        own = next(iter(self.scores.values()))
        return {
            "rules": {rule: scored.to_dict() for rule, scored in self.scores.items()},
            "flips": {name: list(rules) for name, rules in self.flips.items()},
            "flips_from_own_rule": {rule: disagreements(own, scored) for rule, scored in self.scores.items()},
            "unfit": dict(self.unfit),
        }


def scorer(name: str) -> Scorer:
    """The rule called `name`. Raises ConfigError when there is none, or no function in its file."""
    names = SCORERS.names()
    if name not in names:
        raise ConfigError(f"there is no scorer {name!r}{did_you_mean(name, names)}; there are {', '.join(names)}")
    rule = getattr(loaded(f"{SCORERS.package}.{name}"), name, None)
    if not callable(rule):
        raise ConfigError(f"{SCORERS.package}.{name} has no function `{name}` of its own; add it, or move the file")
    return cast(Scorer, rule)


def work(
    name: str, path: Path, gold: Path | None = None, key: str = "", media: str = "", *, judged: bool = False
) -> Work:
    """A benchmark's questions and somebody's predictions.

    Without `gold` the predictions must carry it in their rows, as the official scripts want their input. With `judged`
    questions are read as a judge scores them, also those without an answer. Raises ConfigError for a `key` that holds
    the gold answers, DataError for files that cannot be used, for questions whose answers are withheld, and when no
    question has a prediction.
    """
    kind = find(name)
    file = records.read(path)
    chosen = kind(gold=str(gold or path), media=media)
    if gold is None:
        _refuse_bare(chosen, file, judged)
    if file.cut is not None:
        raise DataError(f"{file.cut.where}: the last line is cut off, and who knows what else; copy or write it again")
    gold_file = records.read(gold) if gold else _unanswered(file, key)
    if key in (*kind.gold_keys, *predictions.GOLD) and _is_gold(chosen, file, gold_file if gold else file, key):
        raise ConfigError(f"--key {key}: in {path} that is the gold, not what was predicted; name the predictions' key")
    samples = tuple(chosen.samples_of(gold_file, judged=judged, media=judged))
    if hasattr(chosen, "report"):  # what somebody else's prompt showed of it, their predictions do not say
        untold = ({key: value for key, value in one.tags.items() if key != "report"} for one in samples)
        samples = tuple(replace(one, tags=tags) for one, tags in zip(samples, untold, strict=True))
    secret = [sample.id for sample in samples if not sample.answers and not judged]
    if secret:
        raise DataError(
            f"{gold_file.path}: {len(secret)} of {len(samples)} questions have no answer, the first {secret[0]!r}; "
            + (f"they are scored by their owners: auscult submit {name}" if name in SIZES else "add the answers")
        )
    found = predictions.of(file, key, chosen.id_of)
    other = _other_gold(chosen, gold_file, samples, found, judged) if gold else []
    twice = [Problem("gold_repeated", *one) for one in chosen.repeated(gold_file)] if gold else []
    problems = (*found.against(sample.id for sample in samples), *other, *twice)
    if not any(sample.id in found.texts for sample in samples):
        raise DataError(_strangers(samples, found, problems))
    return Work(name, chosen, kind.identity_of(gold_file), samples, found, problems)


def score(work: Work, rule: str) -> Scored:
    """The work's score by one rule. Raises DataError when the rule does not fit the questions."""
    outcomes = work.outcomes(scorer(rule))
    breakdowns = work.benchmark.breakdowns_of(work.samples)
    return Scored(work, rule, outcomes, tables(answered(outcomes), breakdowns), tables(outcomes, breakdowns))


def parity(work: Work) -> Parity:
    """The work's score by every rule that fits its questions."""
    own = work.benchmark.scorer
    scores = {own: score(work, own)}
    unfit: dict[str, str] = {}
    for rule in () if work.benchmark.verbatim else SCORERS.names():
        try:
            scores.setdefault(rule, score(work, rule))
        except DataError as problem:
            unfit[rule] = str(problem)
    return Parity(scores, unfit)


def outcome(sample: Sample, text: str | None, rule: Scorer) -> Outcome:
    """One question scored; None is no prediction."""
    verdict = Verdict(False, Parsed(None, "no_prediction")) if text is None else rule(text, sample)
    return Outcome(
        id=sample.id,
        input=sample.question,
        target=sample.answers[0],
        reply=text or "",
        parsed=verdict.parsed,
        correct=verdict.correct,
        group=sample.group or sample.id,
        tags=sample.tags,
    )


def answered(outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """Those that have a prediction."""
    return tuple(outcome for outcome in outcomes if outcome.parsed.problem not in UNGIVEN)


def total(name: str, outcomes: Sequence[Outcome]) -> Line:
    """All of them in one line."""
    return Line(name, sum(outcome.correct for outcome in outcomes), len(outcomes))


def tables(outcomes: Sequence[Outcome], breakdowns: Sequence[Breakdown]) -> tuple[Table, ...]:
    """Right answers over rows by each breakdown; a row without the tag is in no line of it."""
    found: list[Table] = []
    for breakdown in breakdowns:
        rows: dict[str, list[Outcome]] = {value: [] for value in breakdown.values}
        for outcome in outcomes:
            if breakdown.tag in outcome.tags:
                rows.setdefault(outcome.tags[breakdown.tag], []).append(outcome)
        found.append(Table(breakdown, tuple(total(value, alike) for value, alike in rows.items())))
    return tuple(found)


def told(tables: Sequence[Table]) -> dict[str, dict[str, dict[str, int | float | None]]]:
    """Tables for a results file, by tag and value."""
    return {table.breakdown.tag: {line.name: line.to_dict() for line in table.lines} for table in tables}


def disagreements(one: Scored, other: Scored) -> int:
    """Rows that one rule calls right and the other wrong."""
    return sum(a.correct != b.correct for a, b in zip(one.outcomes, other.outcomes, strict=True))


def _refuse_bare(chosen: Benchmark, file: Records, judged: bool) -> None:
    """Raises DataError for predictions of which one does not say what it was asked."""
    wanted = f"name the gold file ({chosen.source}): --gold FILE"
    for record in file.rows:
        if not chosen.carries_gold(record.row, judged=judged):
            raise DataError(f"{record.where}: carries no {', '.join(chosen.gold_keys)}; {wanted}")
    for torn in file.broken[:1]:
        raise DataError(f"{torn.where}: {torn.why}, so nobody knows what it was asked; mend it, or {wanted}")


def _unanswered(file: Records, key: str) -> Records:
    """The questions of a file of predictions that carry them, as a gold file has them."""
    said = (*predictions.KEYS, "thinking_prediction", predictions.ONLY, key)
    rows = (replace(one, row={name: one.row[name] for name in one.row if name not in said}) for one in file.rows)
    return replace(file, rows=tuple(rows))


def _is_gold(chosen: Benchmark, file: Records, gold: Records, key: str) -> bool:
    """Whether all that predictions say under a key is what the gold says there."""
    right = {chosen.id_of(one.row, one.number): one.row.get(key) for one in gold.rows}
    return all(key in one.row and one.row[key] == right.get(chosen.id_of(one.row, one.number)) for one in file.rows)


def _other_gold(
    chosen: Benchmark,
    gold_file: Records,
    samples: Sequence[Sample],
    found: Predictions,
    judged: bool,
) -> list[Problem]:
    """Rows that carry another question than is published under their id: they answer another version of it. What a row
    does not say is taken from there."""
    read = chosen.judged if judged else chosen.sample
    carrying = {name for name, row in found.rows.items() if chosen.carries_gold(row)}
    named = ((chosen.id_of(one.row, one.number), one.row) for one in (gold_file.rows if carrying else ()))
    published = {name: row for name, row in named if name in carrying}
    stale: list[Problem] = []
    for gold in samples:
        if gold.id not in carrying:
            continue
        row, where = found.rows[gold.id], found.places[gold.id]
        carried = {key: row[key] for key in published[gold.id] if row.get(key) is not None}
        try:
            own = read({**published[gold.id], **carried}, where, gold.id)
        except DataError:
            own = None
        if own is None or (own.question, own.choices, own.answers) != (gold.question, gold.choices, gold.answers):
            stale.append(Problem("other_gold", where, gold.id))
    return stale


def _strangers(samples: Sequence[Sample], found: Predictions, problems: Sequence[Problem]) -> str:
    """Why no question has a prediction, and what to do about it."""
    counts = Counter(problem.reason for problem in problems)
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
    return f"{found.path}: none of the {len(samples):,} questions has a prediction there ({reasons}); " + (
        _nameless(found) or _textless(samples, found) or _otherwise_spelt(samples, found) or _of_others(samples, found)
    )


def _nameless(found: Predictions) -> str | None:
    """What to do where no row has an id."""
    if found.places:
        return None
    keys = ", ".join(list(dict.fromkeys(key for record in found.file.rows for key in record.row))[:12])
    return f"no row has an `id`: its rows have {keys}; write the id of each row's question under `id`"


def _textless(samples: Sequence[Sample], found: Predictions) -> str | None:
    """What to do where questions have rows, and these no text."""
    name = next((sample.id for sample in samples if sample.id in found.rows), None)
    if name is None:
        return None
    return f"what they predict is no text ({found.places[name]}); write each prediction as one text, no list or number"


def _otherwise_spelt(samples: Sequence[Sample], found: Predictions) -> str | None:
    """What to do where ids are spelt in other letter case, or with spaces around them."""
    asked = {sample.id.strip().casefold(): sample.id for sample in samples}
    name = next((name for name in found.places if name.strip().casefold() in asked), None)
    if name is None:
        return None
    meant = asked[name.strip().casefold()]
    return f"its ids are spelt otherwise, {name!r} where the gold has {meant!r}; write them as the gold has them"


def _of_others(samples: Sequence[Sample], found: Predictions) -> str:
    theirs, asked = (", ".join(map(repr, ids)) for ids in (list(found.places)[:3], [one.id for one in samples[:3]]))
    return f"its ids are like {theirs}, theirs like {asked}: name the benchmark and the gold file that it was made for"
