"""Outcomes on disk, and the accuracy they come to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from auscult.core.errors import DataError, RunError
from auscult.core.runs import read_jsonl, write_text
from auscult.core.types import Outcome, Parsed
from auscult.data import rows
from auscult.evaluate.statistics import clustered_wilson

ADVICE = "evaluated rows are written by evaluating a model, or by scoring predictions (--benchmark NAME --gold FILE)"
"""What to do with a file that holds none."""


def clusters(outcomes: Sequence[Outcome]) -> list[str]:
    """What is independent: the samples' groups, or each row for itself when all rows share one group."""
    groups = [outcome.group for outcome in outcomes]
    return groups if len(set(groups)) > 1 else [outcome.id for outcome in outcomes]


def proportion(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Rows, right ones, accuracy and its 95 % interval: Wilson's, on as many rows as they tell beside their likes."""
    right = [outcome.correct for outcome in outcomes]
    interval = clustered_wilson(right, clusters(outcomes))
    return {"n": len(right), "correct": sum(right), "accuracy": sum(right) / len(right), "interval": list(interval)}


def write_outcomes(
    path: Path, outcomes: Sequence[Outcome], said: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """A samples file: raw replies in `resps`, what was scored in `filtered_resps`, and by id what else is `said`."""
    rows = [{**_row(outcome), **(said or {}).get(outcome.id, {})} for outcome in outcomes]
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_outcomes(path: Path) -> tuple[Outcome, ...]:
    """The outcomes that `write_outcomes` wrote, at least one; keys that others added are let be.

    Raises DataError that names file, line and key of the first row that is no such outcome, a row cut off in its middle
    included.
    """
    try:
        found, torn = read_jsonl(path)
    except RunError as problem:
        raise DataError(f"{problem}; {ADVICE}") from problem
    if torn:
        raise DataError(f"{path}:{len(found) + 1}: the last line is cut off ({torn[:60]!r}); copy or write it again")
    if not found:
        raise DataError(f"{path} holds no row; {ADVICE}")
    try:
        return tuple(_outcome(row, f"{path}:{line}") for line, row in enumerate(found, 1))
    except DataError as problem:
        raise DataError(f"{problem}; {ADVICE}") from problem


def _outcome(row: dict[str, Any], where: str) -> Outcome:
    def text(key: str) -> str:
        return rows.text(rows.required(row, key, where), key, where, blank=True)

    replies = rows.required(row, "resps", where)
    if not isinstance(replies, list) or len(replies) != 1:
        raise DataError(f"{where}: `resps` is no list of one reply; write [...]")
    if not isinstance(row.get("correct"), bool):
        raise DataError(f"{where}: `correct` is neither true nor false; score the reply")
    return Outcome(
        id=text("id"),
        input=text("input"),
        target=text("target"),
        reply=rows.text(replies[0], "resps[0]", where, blank=True),
        parsed=_parsed(rows.required(row, "parsed", where), f"{where}: `parsed`"),
        correct=row["correct"],
        group=text("group"),
        tags=rows.tags(row.get("tags"), where),
    )


def _parsed(value: Any, where: str) -> Parsed:
    said = rows.mapping(value, where)
    rows.check_keys(said, [field.name for field in fields(Parsed)], where)
    answer, problem, thought = (
        None if said.get(key) is None else rows.text(said[key], key, where, blank=True)
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
    }
