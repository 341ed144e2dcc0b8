"""Your own benchmark: samples in the native format (`data/jsonl.py`), one a line, broken down by each of their tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from auscult.core.types import Sample
from auscult.data import jsonl
from auscult.evaluate import benchmark
from auscult.evaluate.benchmark import Breakdown


@dataclass(frozen=True, kw_only=True)
class Benchmark(benchmark.Benchmark):
    """Samples of yours with their answers; `group` is what errors are clustered by."""

    title: ClassVar[str] = "your own samples"
    source: ClassVar[str] = "the file itself"
    scorer: ClassVar[str] = "choice"
    gold_keys: ClassVar[tuple[str, ...]] = ("turns", "answers")

    def sample(self, row: Mapping[str, Any], where: str, name: str) -> Sample:
        """The sample as it is written."""
        return jsonl.sample_of(dict(row), where, self.folder())

    def breakdowns_of(self, samples: Sequence[Sample]) -> tuple[Breakdown, ...]:
        """One table for each tag."""
        return tuple(Breakdown(f"By {tag}", tag) for tag in dict.fromkeys(tag for s in samples for tag in s.tags))
