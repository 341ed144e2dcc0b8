"""AudioBench (Wang et al., arXiv 2406.16020): multiple choice such as its MMAU, and what a judge scores.

Options and answer are written `(A) text`; the official script drops the first four characters of each and applies
MMAU's `string_match`. Its predictions carry no id and need none: they stand in the order of the questions, so the place
in the file is the id. A saved prediction has the options in its instruction only, after `Choices:`.

Open questions are a judge's. Which of its rules is official, by data set (README and src/dataset_src/ of
github.com/AudioLLMs/AudioBench, e991641, where the judge is Llama 3 70B or GPT-4o):

    reference   clotho_aqa, audiocaps, audiocaps_qa, wavcaps, wavcaps_qa, slue_p2_sqa5, spoken_squad,
                public_sg_speech_qa, alpaca_audio, openhermes_audio, imda_part3 to 6 (questions and summaries)
    binary      iemocap, meld, voxceleb, imda_ar and imda_gr (emotion, sentiment, accent, gender), and by choice also
                multiple choice: mmau_mini, mu_chomusic, cn_college_listen_mcq, dream_tts_mcq
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
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
    """Rows of AudioBench as JSON: `instruction`, `answer` (or `reference`), `choices` and `task` if there are any."""

    title: ClassVar[str] = "AudioBench"
    source: ClassVar[str] = "https://github.com/AudioLLMs/AudioBench"
    official: ClassVar[str] = "bash eval.sh DATASET MODEL_NAME GPU BATCH_SIZE OVERWRITE string_match NUMBER_OF_SAMPLES"
    judges: ClassVar[Mapping[str, str]] = MappingProxyType(
        dict.fromkeys(
            ("reference", "binary"),
            "bash eval.sh DATASET MODEL_NAME GPU BATCH_SIZE OVERWRITE llama3_70b_judge NUMBER_OF_SAMPLES",
        )
    )
    gold_keys: ClassVar[tuple[str, ...]] = ("instruction",)
    breakdowns: ClassVar[tuple[Breakdown, ...]] = (Breakdown("Task-wise", "task"),)

    def id_of(self, row: Mapping[str, Any], number: int) -> str | None:
        """The `id`, else the place in the file."""
        return super().id_of(row, number) or str(number)

    def sample(self, row: Mapping[str, Any], where: str, name: str) -> Sample:
        """One recording, one question, its options without their letters."""
        found = self.judged(row, where, name)
        if not found.choices:
            raise DataError(
                f"{where}: no options, neither in `choices` nor in `instruction`; only a judge can score it: add "
                "--scorer reference (or binary) to auscult eval, and to auscult score also --judge MODEL"
            )
        return found

    def judged(self, row: Mapping[str, Any], where: str, name: str) -> Sample:
        """The same; an open question has no options, and its answer stays as it is."""
        question = text(row, "instruction", where)
        if row.get("choices"):
            choices = tuple(choice[LETTER:] for choice in texts(row, "choices", where))
        else:
            question, choices = mcq.pull_choices(question)
        answer = text(row, "answer" if row.get("answer") is not None else "reference", where)
        audio = row.get("audio")
        media = [rows.audio(audio, where, self.folder())] if isinstance(audio, str) else []
        group = audio if isinstance(audio, str) else name
        return asked(
            name, media, question, choices, answer[LETTER:] if choices else answer, group, {"task": row.get("task")}
        )
