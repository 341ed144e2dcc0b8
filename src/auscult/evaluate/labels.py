"""Which labels results are broken down by.

Samples carry whatever their source said of them: `task` and `difficulty`, but also a caption or a duration that nearly
every row has for itself. A label sorts rows when it has at least two values, at most FEW or one for ten rows, and never
more than one for two. Others are named in `left_out`, not dropped in silence. Rows without a label stand under NONE, so
that the parts of a breakdown add up to all rows.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from auscult.core.errors import ConfigError
from auscult.core.types import Outcome, Sample

NONE = "(none)"
"""Value of the rows that lack a label which others have."""
FEW = 10
"""So many values are a breakdown, however few rows there are."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Rows sorted by their labels."""

    rows: Mapping[str, Mapping[str, tuple[int, ...]]]
    """By label and value, the places of the rows."""
    left_out: Mapping[str, int]
    """Labels that sort no rows, and how many values each has."""


def labels_of(outcomes: Sequence[Outcome | Sample], by: Sequence[str] = ()) -> Labels:
    """All labels that tell rows apart, or those named in `by`, in the order in which they first occur.

    Raises ConfigError for a name in `by` that no row has.
    """
    known = list(dict.fromkeys(tag for outcome in outcomes for tag in outcome.tags))
    for tag in by:
        if tag not in known:
            near = difflib.get_close_matches(tag, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(known) or 'no label at all'}"
            raise ConfigError(f"no row has the label {tag!r}; {hint}")
    sorted_by = {tag: _values(outcomes, tag) for tag in by or known}
    most = min(len(outcomes) / 2, max(FEW, len(outcomes) / 10))
    kept = {tag: values for tag, values in sorted_by.items() if by or 1 < len(values) <= most}
    return Labels(kept, {tag: len(values) for tag, values in sorted_by.items() if tag not in kept})


def _values(outcomes: Sequence[Outcome | Sample], tag: str) -> dict[str, tuple[int, ...]]:
    places: dict[str, list[int]] = {}
    for place, outcome in enumerate(outcomes):
        places.setdefault(outcome.tags.get(tag) or NONE, []).append(place)
    return {value: tuple(found) for value, found in sorted(places.items())}
