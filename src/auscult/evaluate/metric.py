"""What an evaluation measures: how a reply becomes a row, and rows become figures.

The pipeline asks, writes, checks and compares without knowing what is measured; each file in `metrics/` knows. A row is
one held-out sample, so every denominator is all rows. Each row has a value of its own, whose mean is the headline: that
is what checks watch and what comparisons pair.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from auscult.core.config import Plugin
from auscult.core.types import Rollout, Sample

METRICS = Plugin("metric", "auscult.evaluate.metrics")
"""Where metrics are found by name."""
Row = TypeVar("Row")
"""What a metric makes of one reply."""


class Evaluated(Protocol):
    """What a model said of the held-out samples, with and without hearing them."""

    @property
    def outcomes(self) -> Sequence[Any]:
        """One row for each sample, in order."""
        ...

    @property
    def unheard(self) -> Mapping[str, Sequence[Any]]:
        """The baselines that have rows, by name."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """What a results file holds."""
        ...


class Metric(ABC, Generic[Row]):
    """A way to measure. Subclasses are named `Metric` too, one a file in `metrics/`."""

    figure: ClassVar[str]
    """What the headline is called in files: the key of `said`, and of a check's `heldout/FIGURE`."""
    against: ClassVar[tuple[tuple[str, str], ...]]
    """Which rows of the last model are compared beside those of all models, where they were asked for: endings of
    labels, before and after."""
    references: ClassVar[bool]
    """Whether all answers of a sample count at once, as references."""
    rewards: ClassVar[Mapping[str, float | Mapping[str, Any]]]
    """What is said of a shown reply where the recipe has no rewards."""

    @abstractmethod
    def check(self, samples: Sequence[Sample]) -> None:
        """Raises DataError, before anything is asked, where there is nothing to judge replies by."""

    @abstractmethod
    def judge(self, samples: Sequence[Sample], rollouts: Sequence[Rollout]) -> tuple[Row, ...]:
        """A row for each reply, in order. Raises DataError as above."""

    @abstractmethod
    def evaluated(
        self,
        rows: Sequence[Row],
        unheard: Mapping[str, Sequence[Row]],
        samples: Sequence[Sample],
        media: Mapping[str, int],
        train: Iterable[Sample],
    ) -> Evaluated:
        """All rows, with those of `unheard` baselines; baselines that need no model may look at training samples."""

    @abstractmethod
    def write(self, path: Path, rows: Sequence[Row]) -> None:
        """Writes a samples file."""

    @abstractmethod
    def read(self, path: Path) -> tuple[Row, ...]:
        """Reads what `write` wrote. Raises DataError for anything else."""

    @abstractmethod
    def mean(self, rows: Sequence[Row]) -> float:
        """The headline."""

    @abstractmethod
    def said(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The headline with its interval."""

    @abstractmethod
    def difference(self, before: Sequence[Row], after: Sequence[Row], seed: int) -> dict[str, Any]:
        """After minus before on the same samples, paired, with its interval."""


def metric(name: str) -> Metric[Any]:
    """The metric called `name`. Raises ConfigError when there is none."""
    return METRICS.find(name, Metric)()
