"""Outcomes on disk, and the accuracy they come to.

A row of a samples file says how sure the model was of its answer, where that was measured (`confidence`: what the
calibration error is computed from), by which rule it was called right or wrong (`scorer`), and where somebody's file of
ids chose the questions, which file that was (`only`, its hash): two runs of other rules, or of which one was asked what
the other got wrong, differ by more than the models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol, TypeVar

from auscult.core.errors import DataError, RunError
from auscult.core.runs import read_jsonl, write_text
from auscult.core.types import Outcome, Parsed
from auscult.data import rows as reading
from auscult.evaluate.predictions import KEYS
from auscult.evaluate.statistics import clustered_wilson

ADVICE = "evaluated rows are written by evaluating a model, or by scoring predictions (--benchmark NAME --gold FILE)"
"""What to do with a file that holds none."""
Row = TypeVar("Row")


class UngradedError(DataError):
    """A judge called a row neither right nor wrong; its sentence says what to do with that."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A samples file as it was read, and by what its rows were made."""

    rows: tuple[Outcome, ...]
    """The evaluated rows, at least one."""
    rule: str | None
    """What told right from wrong; None in a file that does not say so."""
    only: str | None
    """Hash of the file of ids that chose the questions; None where no file did."""
    judged: str | None
    """The judge's rule whose grades stand beside what is right; None where there are none."""
    grade: float | None
    """The mean of these grades; None without them, and where a judgement failed."""


class Clustered(Protocol):
    """An evaluated row, whatever it was measured by."""

    @property
    def id(self) -> str:
        """Unique in its evaluation."""
        ...

    @property
    def group(self) -> str:
        """What rows share that are not independent."""
        ...


def one_group(outcomes: Sequence[Clustered]) -> bool:
    """Whether all rows are of one group, beside which nothing says how much its rows have in common."""
    return len({outcome.group for outcome in outcomes}) == 1


def clusters(outcomes: Sequence[Clustered], of: Sequence[Clustered] = ()) -> list[str]:
    """What is independent: the samples' groups, or each row for itself when all rows share one group. Where the rows
    are a part `of` others, all of these decide."""
    alone = one_group(of or outcomes)
    return [outcome.id if alone else outcome.group for outcome in outcomes]


def proportion(outcomes: Sequence[Outcome], of: Sequence[Outcome] = ()) -> dict[str, Any]:
    """Rows, right ones, accuracy and its 95 % interval: Wilson's, on as many rows as they tell beside their likes.
    `of`: see `clusters`."""
    right = [outcome.correct for outcome in outcomes]
    interval = clustered_wilson(right, clusters(outcomes, of))
    return {"n": len(right), "correct": sum(right), "accuracy": sum(right) / len(right), "interval": list(interval)}


def write_outcomes(
    path: Path,
    outcomes: Sequence[Outcome],
    said: Mapping[str, Mapping[str, str]] | None = None,
    *,
    rule: str = "choice",
    only: str | None = None,
) -> None:
    """A samples file: raw replies in `resps`, what was scored in `filtered_resps`, and by id what else is `said`.

    `rule` told right from wrong, by default the grader that also rewards; `only` is the hash of the file of ids that
    chose the questions.
    """
    made = {"scorer": rule, **({} if only is None else {"only": only})}
    rows = ({**_row(outcome), **made, **(said or {}).get(outcome.id, {})} for outcome in outcomes)
    write_text(path, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_outcomes(path: Path) -> tuple[Outcome, ...]:
    """The outcomes that `write_outcomes` wrote, at least one; keys that others added are let be.

    Raises DataError that names file, line and key of the first row that is no such outcome, a row cut off in its middle
    included.
    """
    return read_rows(path, _outcome)


def read_sheet(path: Path) -> Sheet:
    """`read_outcomes`, with what the rows say of how they were made. Raises DataError also where they contradict each
    other."""
    found = read_rows(path, lambda row, where: (_outcome(row, where), row))
    rows = [row for _, row in found]
    grades = [row.get("grade") for row in rows if row.get("judged") not in (None, row.get("scorer"))]
    known = [grade for grade in grades if isinstance(grade, int | float)]
    return Sheet(
        tuple(outcome for outcome, _ in found),
        _common(rows, "scorer", path),
        _common(rows, "only", path),
        _common(rows, "judged", path) if grades else None,
        fmean(known) if known and len(known) == len(rows) else None,
    )


def _common(rows: Sequence[Mapping[str, Any]], key: str, path: Path) -> str | None:
    """The text that all rows say under a key, None where they say nothing. Raises DataError where they differ."""
    values: dict[str | None, int] = {}
    for line, row in enumerate(rows, 1):
        value = row.get(key)
        values.setdefault(value if value is None else reading.text(value, key, f"{path}:{line}"), line)
    if len(values) > 1:
        (one, first), (other, second), *_ = values.items()
        raise DataError(
            f"{path}: `{key}` is {one!r} in line {first} and {other!r} in line {second}; keep rows of one evaluation"
        )
    return next(iter(values))


def read_rows(path: Path, row_of: Callable[[dict[str, Any], str], Row]) -> tuple[Row, ...]:
    """The rows of a samples file as `row_of` makes them of an object and where it stands. DataError: as above."""
    _refuse_packed(path)
    try:
        found, torn = read_jsonl(path)
    except RunError as problem:
        raise DataError(f"{problem}; {ADVICE}") from problem
    if torn:
        raise DataError(f"{path}:{len(found) + 1}: the last line is cut off ({torn[:60]!r}); copy or write it again")
    if not found:
        raise DataError(f"{path} holds no row; {ADVICE}")
    try:
        return tuple(row_of(row, f"{path}:{line}") for line, row in enumerate(found, 1))
    except UngradedError:
        raise
    except DataError as problem:
        raise DataError(f"{problem}; {ADVICE}") from problem


def _refuse_packed(path: Path) -> None:
    """Raises DataError for what only predictions are: a list, or something packed."""
    try:
        with path.open("rb") as file:
            begins = file.read(64).lstrip()[:2]
    except OSError:
        return  # said by whoever reads it
    if begins[:1] == b"[" or begins in (b"PK", b"\x1f\x8b"):
        raise DataError(
            f"{path}: no evaluated rows, which stand one a line: predictions are scored when their benchmark is named, "
            "--benchmark NAME --gold FILE"
        )


def _outcome(row: dict[str, Any], where: str) -> Outcome:
    def text(key: str) -> str:
        return reading.text(reading.required(row, key, where), key, where, blank=True)

    if "resps" not in row and not set(KEYS).isdisjoint(row):
        raise DataError(f"{where}: a prediction, not scored yet; name its benchmark: --benchmark NAME --gold FILE")
    replies = reading.required(row, "resps", where)
    if not isinstance(replies, list) or len(replies) != 1:
        raise DataError(f"{where}: `resps` is no list of one reply; write [...]")
    if "grade" in row and row.get("correct") is None:
        raise UngradedError(f"{where}: {_ungraded(row)}")
    if "correct" not in row and "cider_d" in row:
        raise UngradedError(
            f"{where}: a caption, which is neither right nor wrong; its row has its scores (`cider_d`), and auscult "
            "compare pairs the captions of two runs"
        )
    if not isinstance(row.get("correct"), bool):
        raise DataError(f"{where}: `correct` is neither true nor false; score the reply")
    return Outcome(
        id=text("id"),
        input=text("input"),
        target=text("target"),
        reply=reading.text(replies[0], "resps[0]", where, blank=True),
        parsed=parsed_of(reading.required(row, "parsed", where), f"{where}: `parsed`"),
        correct=row["correct"],
        group=text("group"),
        tags=reading.tags(row.get("tags"), where),
        confidence=_confidence(row.get("confidence"), where),
    )


def _confidence(value: Any, where: str) -> float | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1):
        return value
    raise DataError(f"{where}: `confidence` is {value!r}, no probability; write a number from 0 to 1, or leave it out")


def _ungraded(row: Mapping[str, Any]) -> str:
    """Why a judged row has no part in an accuracy, and what to do."""
    grade = row["grade"]
    if grade is None:
        return "its judgement failed; the `auscult score` that wrote the file asks the judge again when it is repeated"
    told = f"{grade:g}" if isinstance(grade, int | float) else repr(grade)
    rule = f" by the rule {row['judged']}" if "judged" in row else ""
    return (
        f"the grade {told}{rule} says neither right nor wrong; compare such scores by the intervals in the "
        "results files beside them, or score by a rule that tells right from wrong (choice, binary)"
    )


def parsed_of(value: Any, where: str) -> Parsed:
    """A reply's reading as a samples file has it. Raises DataError."""
    said = reading.mapping(value, where)
    reading.check_keys(said, [field.name for field in fields(Parsed)], where)
    answer, problem, thought = (
        None if said.get(key) is None else reading.text(said[key], key, where, blank=True)
        for key in ("answer", "problem", "thought")
    )
    return Parsed(answer, problem, thought, well_formed=said.get("well_formed") is True)


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
        **({} if outcome.confidence is None else {"confidence": outcome.confidence}),
    }
