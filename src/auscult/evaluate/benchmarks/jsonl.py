"""Your own benchmark: samples in the native format (`data/jsonl.py`), one a line, broken down by their tags."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from auscult.core.types import Sample
from auscult.data import jsonl
from auscult.data.splits import group_of
from auscult.evaluate import benchmark
from auscult.evaluate.benchmark import Breakdown
from auscult.evaluate.labels import labels_of


@dataclass(frozen=True, kw_only=True)
class Benchmark(benchmark.Benchmark):
    """Samples of yours with their answers; `group` is what errors are clustered by."""

    title: ClassVar[str] = "your own samples"
    source: ClassVar[str] = "the file itself"
    scorer: ClassVar[str] = "choice"
    gold_keys: ClassVar[tuple[str, ...]] = ("turns", "answers")

    def sample(self, row: Mapping[str, Any], where: str, name: str) -> Sample:
        """The sample as it is written; without a `group` its recording is what it is clustered by."""
        found = jsonl.sample_of(dict(row), where, self.folder())
        recording = os.path.relpath(group_of(found), os.path.realpath(self.folder())) if found.media else found.id
        return replace(found, group=found.group or recording)

    def carries_gold(self, row: Mapping[str, Any], *, judged: bool = False) -> bool:
        """The same, of compact rows too."""
        pairs = ("turns", "question"), ("answers", "answer")
        said = [any(row.get(key) is not None for key in keys) for keys in pairs]
        return any(said) if judged else all(said)

    def breakdowns_of(self, samples: Sequence[Sample]) -> tuple[Breakdown, ...]:
        """One table for each tag that sorts rows (`labels`)."""
        return tuple(Breakdown(f"By {tag}", tag) for tag in labels_of(samples).rows)
