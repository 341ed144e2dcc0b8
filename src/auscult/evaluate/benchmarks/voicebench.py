"""VoiceBench's spoken multiple choice: `openbookqa` (455 questions) and `mmsu` (3,074) (Chen et al., arXiv 2410.17196).

The official file is the output of its `main.py`: JSON lines with `prompt`, `reference` (a letter) and `response`,
without ids, so the place in the file is the id. Options are read from the prompt where it lists them; else the letters
A to D are the options.

Not there: `ifeval` (it would need a kept library of its instructions), and the open subsets, which need a judge.
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
from auscult.evaluate.benchmark import Breakdown, asked, text


@dataclass(frozen=True, kw_only=True)
class Benchmark(benchmark.Benchmark):
    """Rows of openbookqa or mmsu as JSON lines."""

    title: ClassVar[str] = "VoiceBench multiple choice"
    source: ClassVar[str] = "https://github.com/MatthewCYM/VoiceBench"
    official: ClassVar[str] = "python evaluate.py --src_file FILE --evaluator mcq"
    scorer: ClassVar[str] = "voicebench_mcq"
    gold_keys: ClassVar[tuple[str, ...]] = ("prompt", "reference")
    breakdowns: ClassVar[tuple[Breakdown, ...]] = (Breakdown("Domain-wise", "domain"),)

    def id_of(self, row: Mapping[str, Any], number: int) -> str | None:
        """The `id`, else the place in the file."""
        return super().id_of(row, number) or str(number)

    def sample(self, row: Mapping[str, Any], where: str, name: str) -> Sample:
        """One spoken question with its options."""
        if "instruction_id_list" in row:
            raise DataError(f"{where}: a row of ifeval, which is not scored here; use VoiceBench's own evaluator")
        question, choices = mcq.pull_choices(text(row, "prompt", where))
        letter = text(row, "reference", where).strip()
        choices = choices or tuple("ABCD")
        place = ascii_uppercase.find(letter) if len(letter) == 1 else -1
        if not 0 <= place < len(choices):
            raise DataError(
                f"{where}: `reference` is {letter[:40]!r} instead of a letter; only the subsets openbookqa and mmsu "
                "are multiple choice"
            )
        audio = row.get("audio")
        media = [rows.audio(audio, where, self.folder())] if isinstance(audio, str) else []
        tags = {"domain": row.get("domain") or row.get("subject")}
        return asked(name, media, question, choices, choices[place], name, tags)
