"""ReXVQA: multiple choice about chest radiographs (Pal et al., arXiv 2506.04353).

A JSON object from id to `question, options ["A. ..."], correct_answer "B", ImagePath [...]`, and of the report
`Indication, Comparison, Findings, Impression`, read as training reads it (`data/sources/studies.py`): all views of a
study are shown, each behind its name where the row says it. Findings and Impression hold the answer: the question is
asked with indication and comparison only, unless `report` says otherwise. Errors are clustered by patient, where the
row does not name one by study, else by the first image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from auscult.core.errors import DataError
from auscult.core.types import Sample
from auscult.data import rows
from auscult.data.sources import studies
from auscult.evaluate import benchmark
from auscult.evaluate.benchmark import Breakdown

TAGS = ("task", "category", "view", "report")
"""What an outcome keeps of a row."""


@dataclass(frozen=True, kw_only=True)
class Benchmark(benchmark.Benchmark):
    """Questions in ReXVQA's format; `media` is the folder of the images."""

    report: studies.Policy = "indication"
    """What of the report the prompt shows: none, indication (and comparison), or full, which holds the answer."""
    label_views: bool = True
    """Whether each image stands behind the name of its view, where the row names them."""

    title: ClassVar[str] = "ReXVQA"
    source: ClassVar[str] = "https://huggingface.co/datasets/rajpurkarlab/ReXVQA"
    scorer: ClassVar[str] = "choice"
    gold_keys: ClassVar[tuple[str, ...]] = ("question", "options", "correct_answer")
    breakdowns: ClassVar[tuple[Breakdown, ...]] = (
        Breakdown("Task-wise", "task"),
        Breakdown("Category-wise", "category"),
        Breakdown("View-wise", "view"),
    )

    def sample(self, row: Mapping[str, Any], where: str, name: str) -> Sample:
        """All views of one study, what was known before, one question, its options."""
        for key in ("options", "correct_answer"):
            rows.required(row, key, where)
        study = studies.read(dict(row), where, name, self.folder())
        if study.answer not in study.choices:
            raise DataError(
                f"{where}: `correct_answer` is {study.answer!r}, none of its {len(study.choices)} options; mend it"
            )
        found = study.sample(self.report, label_views=self.label_views)
        tags = {key: found.tags[key] for key in TAGS if found.tags.get(key)}
        return replace(found, id=name, group=study.patient or study.group("study") or name, tags=tags)
