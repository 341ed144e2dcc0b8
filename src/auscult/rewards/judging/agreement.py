"""Whether two judges agree: Cohen's kappa, what is left of their agreement when chance is taken off.

    kappa = 1 - sum(w_ij o_ij) / sum(w_ij e_ij)

over the pairs of categories i, j, with o the share of items that the first judge puts into i and the second into j, e
what the two judges' own habits would make of it (the product of their margins), and w the disagreement of i and j: 1
for any two different ones (plain), |i - j| (linear) or (i - j)^2 (quadratic) of the scores themselves.

Sources: J. Cohen, Educational and Psychological Measurement 20 (1960) 37-46; weighted: J. Cohen, Psychological Bulletin
70 (1968) 213-220.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Weight = Callable[[float, float], float]

_PLAIN: Weight = lambda one, other: float(one != other)  # noqa: E731
_LINEAR: Weight = lambda one, other: abs(one - other)  # noqa: E731
_QUADRATIC: Weight = lambda one, other: (one - other) ** 2  # noqa: E731


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two judges on the same items."""

    n: int
    """Items that both graded."""
    ungraded: int
    """Items left out because one of them, or both, failed."""
    observed: float | None
    """Share of the items that they graded alike; None without items."""
    kappa: float | None
    """Cohen's kappa, 1 at best, 0 by chance; None where chance alone would agree always, as without any variety."""
    linear: float | None
    """The same, disagreements weighted by their distance."""
    quadratic: float | None
    """The same, weighted by the square of the distance."""


def agreement(first: Sequence[float | None], second: Sequence[float | None]) -> Agreement:
    """How two judges agree on the same items, in the same order; None is a failed judgement.

    Raises ValueError for unequal lengths.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} grades: pair them by item first")
    pairs = [(one, other) for one, other in zip(first, second, strict=True) if one is not None and other is not None]
    n = len(pairs)
    return Agreement(
        n,
        len(first) - n,
        sum(one == other for one, other in pairs) / n if n else None,
        _kappa(pairs, _PLAIN),
        _kappa(pairs, _LINEAR),
        _kappa(pairs, _QUADRATIC),
    )


def _kappa(pairs: Sequence[tuple[float, float]], weight: Weight) -> float | None:
    """1 - observed / expected disagreement, both times N^2."""
    observed = len(pairs) * sum(weight(one, other) for one, other in pairs)
    habits = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    expected = sum(weight(i, j) * n * m for i, n in habits[0].items() for j, m in habits[1].items())
    return 1 - observed / expected if expected else None
