"""VQA-RAD: questions of clinicians about radiographs, CT and MR (Lau et al., Scientific Data 5, 2018).

Closed questions (yes, no and the like) are right when they equal the answer once both are normalised; of open ones the
exact share and the mean token F1 are told, each under its own name. Errors are clustered by image. Beware of the
official split: all 203 images of the test are in the training set too (files of github.com/Awenbocc/med-vqa, 0cca681).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType
from typing import Any, ClassVar

from auscult.core.types import Outcome, Sample
from auscult.data import rows
from auscult.evaluate import benchmark
from auscult.evaluate.benchmark import Breakdown, asked, text
from auscult.rewards.token_f1 import bag, f1


@dataclass(frozen=True, kw_only=True)
class Benchmark(benchmark.Benchmark):
    """VQA-RAD in the form of its JSON files; `media` is the folder of the images."""

    title: ClassVar[str] = "VQA-RAD"
    source: ClassVar[str] = "https://osf.io/89kps"
    scorer: ClassVar[str] = "exact"
    gold_keys: ClassVar[tuple[str, ...]] = ("question", "answer", "answer_type")
    breakdowns: ClassVar[tuple[Breakdown, ...]] = (
        Breakdown("Answer-type", "task", ("closed", "open")),
        Breakdown("Organ-wise", "organ"),
        Breakdown("Question-type", "question_type"),
    )
    versions: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "3d32a047592cb680e18054030b38b1a44d6b17105fc62d3088c8655d56a00ced": "test (testset.json)",
            "3b0567673ae224b6489ca1bc4ce05cda642223d5cf4f17db8fbf7010c872e00f": "train (trainset.json)",
        }
    )

    def id_of(self, row: Mapping[str, Any], number: int) -> str | None:
        """The `qid`, in predictions also `id`."""
        return super().id_of({"id": row.get("qid", row.get("id"))}, number)

    def sample(self, row: Mapping[str, Any], where: str, name: str) -> Sample:
        """One image and an open question."""
        image = text(row, "image_name", where)
        answer = rows.required(row, "answer", where)  # some are numbers
        tags = {
            "task": text(row, "answer_type", where).strip().lower(),
            "organ": row.get("image_organ"),
            "question_type": row.get("question_type"),
            "phrase_type": row.get("phrase_type"),
        }
        picture = rows.image(image, where, self.folder())
        return asked(name, [picture], text(row, "question", where), (), str(answer), image, tags)

    def figures(self, samples: Sequence[Sample], outcomes: Sequence[Outcome]) -> dict[str, float | None]:
        """`open_token_f1`: mean over all open questions, as the reward of that name counts words, 0 for a reply without
        an answer; None when there are none. Where a gold has no word, exactness decides."""
        asked = [
            (bag(one.parsed.answer or ""), bag(one.target), one) for one in outcomes if one.tags.get("task") == "open"
        ]
        scores = [f1(said, gold) if gold else float(one.correct) for said, gold, one in asked]
        return {"open_token_f1": fmean(scores) if scores else None}
