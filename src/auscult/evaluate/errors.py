"""Where a run is wrong: its errors by any label, worst first, and the rows to ask again.

Worst is what is most surely bad: parts are ordered by the lower end of the 95 % interval of their error rate, so that
one wrong row of one does not stand above 40 of 50 (a percentage alone would put it there). Every row counts; a reply
without a readable answer is an error, and its reason is counted beside it.

The rows to ask again leave as ids and questions, without the gold answers: a file of them evaluates, and teaches nobody
the benchmark.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from auscult.core.runs import write_text
from auscult.core.types import Outcome
from auscult.evaluate.labels import labels_of
from auscult.evaluate.outcomes import clusters, one_group
from auscult.evaluate.statistics import Interval, clustered_wilson


@dataclass(frozen=True, slots=True)
class ErrorSlice:
    """The errors of all rows, or of those with one value of a label."""

    tag: str
    """The label; empty for all rows."""
    value: str
    """Its value; empty for all rows."""
    n: int
    """Rows."""
    clusters: int
    """Independent clusters among them."""
    wrong: int
    """Rows that are not right."""
    rate: float
    """`wrong` over `n`."""
    interval: Interval
    """95 % Wilson interval of the rate on the effective number of rows."""
    unread: Mapping[str, int]
    """Why wrong rows have no answer, and how many; those that are missing here have a wrong answer."""


@dataclass(frozen=True, slots=True)
class Errors:
    """What a run got wrong."""

    total: ErrorSlice
    """All rows."""
    by: Mapping[str, tuple[ErrorSlice, ...]]
    """Each label's values, worst first."""
    one_group: bool
    """Whether all rows are of one group, so that each was taken for a cluster."""
    left_out: Mapping[str, int]
    """Labels that sort no rows, and how many values each has."""


def errors_of(outcomes: Sequence[Outcome], by: Sequence[str] = ()) -> Errors:
    """The errors by the labels in `by`, or by all that tell rows apart.

    Raises ConfigError for a label that no row has, ValueError when there are no rows.
    """
    names = clusters(outcomes)
    labels = labels_of(outcomes, by)

    def part(tag: str, value: str, places: Sequence[int]) -> ErrorSlice:
        return _part(tag, value, [outcomes[place] for place in places], [names[place] for place in places])

    def worst_first(part: ErrorSlice) -> tuple[float, float, str]:
        return -part.interval[0], -part.rate, part.value

    return Errors(
        part("", "", range(len(outcomes))),
        {
            tag: tuple(sorted((part(tag, value, places) for value, places in values.items()), key=worst_first))
            for tag, values in labels.rows.items()
        },
        one_group(outcomes),
        labels.left_out,
    )


def write_again(path: Path, outcomes: Sequence[Outcome]) -> int:
    """Writes the wrong rows to ask again, one `{"id", "input"}` a line, and says how many. Gold answers stay behind."""
    again = [{"id": outcome.id, "input": outcome.input} for outcome in outcomes if not outcome.correct]
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in again))
    return len(again)


def _part(tag: str, value: str, outcomes: Sequence[Outcome], names: Sequence[str]) -> ErrorSlice:
    wrong = [not outcome.correct for outcome in outcomes]
    unread = Counter(outcome.parsed.problem for outcome in outcomes if not outcome.correct and outcome.parsed.problem)
    return ErrorSlice(
        tag,
        value,
        len(outcomes),
        len(set(names)),
        sum(wrong),
        sum(wrong) / len(wrong),
        clustered_wilson(wrong, names),
        dict(unread.most_common()),
    )
