"""ReXVQA: multiple choice about chest radiographs (Pal et al., arXiv 2506.04353).

A JSON object from id to `question, options ["A. ..."], correct_answer "B", ImagePath [...]`, and of the report
`Indication, Comparison, Findings, Impression`. All views of a study are shown. Findings and Impression hold the answer:
the question is asked with indication and comparison only, unless `show_report` says otherwise. Errors are clustered by
patient, where the row does not name one by study, else by the first image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, ClassVar

from auscult.core.errors import DataError
from auscult.core.types import Sample
from auscult.data import rows
from auscult.data.sources import mcq
from auscult.evaluate import benchmark
from auscult.evaluate.benchmark import Breakdown, asked, text, texts

ASKED_WITH = ("Indication", "Comparison")
REPORT = ("Findings", "Impression")
VIEWS = ("ImageViewPosition", "ViewPosition", "views", "view")
"""Keys under which files name the views."""


@dataclass(frozen=True, kw_only=True)
class Benchmark(benchmark.Benchmark):
    """Questions in ReXVQA's format; `media` is the folder of the images."""

    show_report: bool = False
    """Whether the prompt also shows findings and impression, which hold the answer."""

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
        choices = mcq.strip_letters(texts(row, "options", where))
        letter = text(row, "correct_answer", where).strip()
        place = ascii_uppercase.find(letter) if len(letter) == 1 else -1
        if not 0 <= place < len(choices):
            raise DataError(
                f"{where}: `correct_answer` is {letter!r}, no letter of its {len(choices)} options; mend it"
            )
        images = row.get("ImagePath")
        paths = (images,) if isinstance(images, str) and images else rows.texts(images or None, "ImagePath", where)
        shown = (*ASKED_WITH, *REPORT) if self.show_report else ASKED_WITH
        known = [f"{key}: {row[key]}" for key in shown if row.get(key)]
        return asked(
            name,
            [rows.image(path, where, self.folder()) for path in paths],
            "\n".join([*known, text(row, "question", where)]),
            choices,
            choices[place],
            str(row.get("PatientID") or row.get("study_id") or (paths[0] if paths else name)),
            {
                "task": row.get("task_name"),
                "category": row.get("category"),
                "view": next((row[key] for key in VIEWS if row.get(key)), None),
                "report_shown": "yes" if self.show_report else "no",
            },
        )
