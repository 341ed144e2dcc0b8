"""AudioBench's multiple-choice tasks (Wang et al., arXiv 2406.16020), such as its MMAU.

Options and answer are written `(A) text`; the official script drops the first four characters of each and applies
MMAU's `string_match`. Its predictions carry no id and need none: they stand in the order of the questions, so the place
in the file is the id. A saved prediction has the options in its instruction only, after `Choices:`.

Judged tasks (audio QA, captions) need a judge and are not scored by this rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from auscult.core.errors import DataError
from auscult.core.types import Sample
from auscult.data import rows
from auscult.data.sources import mcq
from auscult.evaluate import benchmark
from auscult.evaluate.benchmark import Breakdown, asked, text, texts

LETTER = len("(A) ")
"""Characters before the text of an option."""


@dataclass(frozen=True, kw_only=True)
class Benchmark(benchmark.Benchmark):
    """Rows of AudioBench as JSON: `instruction`, `choices`, `answer` (or `reference`), `task`."""

    title: ClassVar[str] = "AudioBench multiple choice"
    source: ClassVar[str] = "https://github.com/AudioLLMs/AudioBench"
    official: ClassVar[str] = "bash eval.sh DATASET MODEL_NAME GPU BATCH_SIZE OVERWRITE string_match NUMBER_OF_SAMPLES"
    gold_keys: ClassVar[tuple[str, ...]] = ("instruction",)
    breakdowns: ClassVar[tuple[Breakdown, ...]] = (Breakdown("Task-wise", "task"),)

    def id_of(self, row: Mapping[str, Any], number: int) -> str | None:
        """The `id`, else the place in the file."""
        return super().id_of(row, number) or str(number)

    def sample(self, row: Mapping[str, Any], where: str, name: str) -> Sample:
        """One recording, one question, its options without their letters."""
        question = text(row, "instruction", where)
        if row.get("choices"):
            choices = tuple(choice[LETTER:] for choice in texts(row, "choices", where))
        else:
            question, choices = mcq.pull_choices(question)
        if not choices:
            raise DataError(
                f"{where}: no options, neither in `choices` nor in `instruction`; only a judge can score it"
            )
        answer = text(row, "answer" if row.get("answer") is not None else "reference", where)
        audio = row.get("audio")
        media = [rows.audio(audio, where, self.folder())] if isinstance(audio, str) else []
        group = audio if isinstance(audio, str) else name
        return asked(name, media, question, choices, answer[LETTER:], group, {"task": row.get("task")})
