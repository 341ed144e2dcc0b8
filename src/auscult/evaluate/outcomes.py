"""Outcomes on disk, and the accuracy they come to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from auscult.core.runs import read_jsonl, write_text
from auscult.core.types import Outcome, Parsed
from auscult.evaluate.statistics import clustered_wilson


def clusters(outcomes: Sequence[Outcome]) -> list[str]:
    """What is independent: the samples' groups, or each row for itself when all rows share one group."""
    groups = [outcome.group for outcome in outcomes]
    return groups if len(set(groups)) > 1 else [outcome.id for outcome in outcomes]


def proportion(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Rows, right ones, accuracy and its 95 % interval: Wilson's, on as many rows as they tell beside their likes."""
    right = [outcome.correct for outcome in outcomes]
    interval = clustered_wilson(right, clusters(outcomes))
    return {"n": len(right), "correct": sum(right), "accuracy": sum(right) / len(right), "interval": list(interval)}


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
