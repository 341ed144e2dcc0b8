"""Two runs compared question by question, which removes the difficulty that they share.

Run A is what run B is measured against; a difference is B minus A. For all rows, and for each value of each label:

- the difference of the accuracies with its 95 % interval: a bootstrap of the paired rows that draws whole clusters
  (clips, patients, speakers), for questions about one clip gain and lose together;
- whether it could be chance: `p` flips the gains of whole clusters, `mcnemar_p` those of single rows, which is too sure
  where rows share clips. Over all labels together `p_holm` is Holm's correction, so that whoever looks at forty
  categories does not find two by luck;
- which rows both runs answer, which only one of them does.

Where only one of the runs was asked what a file of ids names, that file may hold what the other one got wrong: then
every gain is what a second draw would bring. The difference is told, and neither an interval nor a p (`selected`).

Every row counts: one without a prediction or without a readable answer is wrong. Rows pair by id, so the order of the
files is no matter, and to swap the runs only turns signs. Runs that do not have the same ids, or that were judged
against different gold answers, are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from auscult.core.errors import DataError
from auscult.core.seeds import derive
from auscult.core.types import Outcome
from auscult.evaluate.labels import labels_of
from auscult.evaluate.outcomes import clusters, one_group
from auscult.evaluate.statistics import (
    Interval,
    clustered_wilson,
    design_effect,
    holm,
    mcnemar_exact,
    paired_bootstrap,
    rows_for_gain,
    sign_flip,
)

CELLS = {
    (True, True): "both_right",
    (True, False): "only_a",
    (False, True): "only_b",
    (False, False): "both_wrong",
}
"""Name of each cell of the table, by whether A and B are right."""
NAMED = 5
"""Ids that an error names."""


class Pair(NamedTuple):
    """The same question in both runs."""

    a: Outcome
    b: Outcome


@dataclass(frozen=True, slots=True)
class PairedSlice:
    """Both runs on the same rows: all of them, or those with one value of a label."""

    tag: str
    """The label; empty for all rows."""
    value: str
    """Its value; empty for all rows."""
    n: int
    """Rows."""
    clusters: int
    """Independent clusters among them."""
    cells: Mapping[str, int]
    """Rows that are `both_right`, `only_a`, `only_b`, `both_wrong`."""
    accuracy: tuple[float, float]
    """Share of right rows in A and in B."""
    intervals: tuple[Interval, Interval]
    """95 % Wilson intervals of these on the effective number of rows."""
    difference: float
    """B minus A, a share."""
    interval: Interval | None
    """95 % interval of the difference, within -1 and 1; None where all clusters differ alike, as when none does."""
    p: float | None
    """Two-sided, by flipping the gains of whole clusters; None of a selection."""
    mcnemar_p: float | None
    """McNemar's exact test, two-sided, rows taken as independent; None of a selection."""
    p_holm: float | None
    """`p` corrected for all parts that were looked at; of all rows, for all runs that A was compared with."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Run B against run A."""

    total: PairedSlice
    """All rows."""
    parts: tuple[PairedSlice, ...]
    """Each value of each label."""
    rows: Mapping[str, tuple[str, ...]]
    """Ids in each cell, sorted."""
    left_out: Mapping[str, int]
    """Labels that sort no rows, and how many values each has."""
    unpaired: tuple[int, int]
    """Rows that only A has, and only B; they are not compared."""
    one_group: bool
    """Whether all rows are of one group, so that each was taken for a cluster."""
    reworded: int
    """Rows whose question reads differently in the two runs, though id and gold answer agree."""
    discordance: float
    """Share of the rows that only one run answers."""
    design_effect: float | None
    """How many times more rows are needed because they share clusters; None when the runs do not differ."""
    gain: float
    """The gain that `rows_needed` is for, a share."""
    rows_needed: int | None
    """Rows that would show this gain in 80 of 100 comparisons, with this discordance and design effect; None of a
    selection."""
    unread: tuple[Mapping[str, int], Mapping[str, int]]
    """Why compared rows of A, and of B, have no answer, and how many."""


def compare(
    a: Sequence[Outcome],
    b: Sequence[Outcome],
    *,
    seed: int = 0,
    gain: float = 0.02,
    common: bool = False,
    selected: bool = False,
) -> Comparison:
    """Compares run B with run A. `common` leaves rows out that only one of them has; `selected` says that the rows may
    have been chosen by what one of them got wrong. Clusters and labels are A's.

    Raises DataError when ids occur twice, do not pair, or have different gold answers.
    """
    pairs, unpaired = pair(a, b, common=common)
    names = clusters([one.a for one in pairs])
    total = _part(pairs, names, "", "", derive(seed, "compare", "", ""))
    labels = labels_of([one.a for one in pairs])
    parts = [
        _part(
            [pairs[at] for at in places], [names[at] for at in places], tag, value, derive(seed, "compare", tag, value)
        )
        for tag, values in labels.rows.items()
        for value, places in values.items()
    ]
    differences = [float(one.b.correct) - float(one.a.correct) for one in pairs]
    effect = design_effect(differences, names)
    discordance = (total.cells["only_a"] + total.cells["only_b"]) / total.n
    tested = _untested if selected else corrected
    return Comparison(
        tested([total])[0],
        tested(parts),
        {cell: tuple(one.a.id for one in pairs if _cell(one) == cell) for cell in CELLS.values()},
        labels.left_out,
        unpaired,
        one_group([one.a for one in pairs]),
        sum(one.a.input.split() != one.b.input.split() for one in pairs),
        discordance,
        effect,
        gain,
        None if selected else rows_for_gain(gain, discordance, effect or 1.0),
        (_unread([one.a for one in pairs]), _unread([one.b for one in pairs])),
    )


def difference(before: Sequence[Outcome], after: Sequence[Outcome], seed: int) -> dict[str, Any]:
    """What a results file says of two evaluations of the same questions: all rows of a comparison, no labels.

    Raises DataError as `compare` does.
    """
    pairs, _ = pair(before, after)
    total = _part(pairs, clusters([one.a for one in pairs]), "", "", seed)
    return {
        "n": total.n,
        "difference": total.difference,
        "interval": None if total.interval is None else list(total.interval),
        "p": total.p,
        "mcnemar_p": total.mcnemar_p,
        "both_right": total.cells["both_right"],
        "only_before": total.cells["only_a"],
        "only_after": total.cells["only_b"],
        "both_wrong": total.cells["both_wrong"],
    }


def corrected(parts: Sequence[PairedSlice]) -> tuple[PairedSlice, ...]:
    """The parts with Holm's correction for being so many; one without a p stays so, and is none of them."""
    ps = iter(holm([part.p for part in parts if part.p is not None]))
    return tuple(part if part.p is None else replace(part, p_holm=next(ps)) for part in parts)


def _untested(parts: Sequence[PairedSlice]) -> tuple[PairedSlice, ...]:
    """The parts as those of a selection are told: what was observed, and nothing inferred from it."""
    return tuple(replace(part, interval=None, p=None, mcnemar_p=None, p_holm=None) for part in parts)


def _unread(rows: Sequence[Outcome]) -> dict[str, int]:
    """Why rows have no answer, and how many."""
    return dict(Counter(row.parsed.problem for row in rows if row.parsed.problem).most_common())


def pair(a: Sequence[Outcome], b: Sequence[Outcome], *, common: bool = False) -> tuple[list[Pair], tuple[int, int]]:
    """The questions of both runs in the order of their ids, and how many only one run has: none unless `common`."""
    first, second = _by_id(a, "A"), _by_id(b, "B")
    only_a, only_b = [key for key in first if key not in second], [key for key in second if key not in first]
    shared = sorted(first.keys() & second.keys())
    if not shared:
        raise DataError(f"the runs share no id ({_some(only_a)} and {_some(only_b)}); compare runs of one benchmark")
    if (only_a or only_b) and not common:
        said = [f"{len(ids):,} only in {run} ({_some(ids)})" for ids, run in ((only_a, "A"), (only_b, "B")) if ids]
        raise DataError(
            f"of the rows {' and '.join(said)}; evaluate both runs on the same questions, "
            f"or compare the {len(shared):,} that both have with --common"
        )
    pairs = [Pair(first[key], second[key]) for key in shared]
    if other := [one.a.id for one in pairs if one.a.target != one.b.target]:
        raise DataError(
            f"{len(other):,} rows have another gold answer in B than in A ({_some(other)}): the runs were judged by "
            "different versions of the benchmark; score both against the same gold file"
        )
    return pairs, (len(only_a), len(only_b))


def _by_id(outcomes: Sequence[Outcome], run: str) -> dict[str, Outcome]:
    if twice := [key for key, count in Counter(outcome.id for outcome in outcomes).items() if count > 1]:
        raise DataError(f"{len(twice):,} ids occur more than once in {run} ({_some(twice)}); keep one row of each")
    return {outcome.id: outcome for outcome in outcomes}


def _some(ids: Iterable[str]) -> str:
    shown = [repr(key) for key in sorted(ids)]
    return ", ".join([*shown[:NAMED], *(["..."] if len(shown) > NAMED else [])])


def _cell(one: Pair) -> str:
    return CELLS[one.a.correct, one.b.correct]


def _part(pairs: Sequence[Pair], names: Sequence[str], tag: str, value: str, seed: int) -> PairedSlice:
    a, b = [one.a.correct for one in pairs], [one.b.correct for one in pairs]
    found = paired_bootstrap(a, b, names, seed)
    cells = Counter(map(_cell, pairs))
    p = sign_flip(a, b, names)
    return PairedSlice(
        tag,
        value,
        found.n,
        found.clusters,
        {cell: cells[cell] for cell in CELLS.values()},
        (sum(a) / found.n, sum(b) / found.n),
        (clustered_wilson(a, names), clustered_wilson(b, names)),
        found.difference,
        _possible(found.interval),
        p,
        mcnemar_exact(cells["only_a"], cells["only_b"]),
        p,
    )


def _possible(interval: Interval | None) -> Interval | None:
    """What of the interval a difference of two shares can be."""
    return interval and (max(interval[0], -1.0), min(interval[1], 1.0))
