"""VoiceBench (Chen et al., arXiv 2410.17196): spoken multiple choice, and what a judge scores.

The official file is the output of its `main.py`: JSON lines with `prompt`, `response` and, where there is one,
`reference`, without ids, so the place in the file is the id. Its README and api_judge.py
(github.com/MatthewCYM/VoiceBench, 5338154) say how each subset is scored:

    openbookqa, mmsu                       455 and 3,074 questions; a letter, found by `voicebench_mcq`
    alpacaeval, commoneval, wildvoice      no reference: `open`, a judge's grade from 1 to 5
    sd-qa                                  a reference: `binary`, a judge's yes or no

Its judge, gpt-4o-mini, is asked three times at temperature 0.5 and top_p 0.95, and the mean counts, for sd-qa the
majority: here `--raters 3 --judge.extra '{temperature: 0.5, top_p: 0.95}'`. Options of multiple choice are read from
the prompt where it lists them; else the letters A to D are the options.

Who is examined is given the recording alone, whatever the subset: main.py hands `item['audio']` to a model's
`generate_audio`, and nothing in writing. So `auscult eval` shows neither question nor options where a row names its
recording (`audio`); a row without one is asked in writing, and counted.

`ifeval` is a benchmark of its own here. Not there: bbh, advbench and mtbench, which have rules of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from auscult.core.errors import DataError
from auscult.core.types import Sample
from auscult.data import rows
from auscult.data.sources import mcq
from auscult.evaluate import benchmark
from auscult.evaluate.benchmark import Breakdown, asked, text, unwritten


@dataclass(frozen=True, kw_only=True)
class Benchmark(benchmark.Benchmark):
    """Rows of openbookqa or mmsu as JSON lines."""

    modality: Literal["audio", "text", "both"] = "audio"
    """What of a question is given: its recording, its text, which are VoiceBench's own two ways, or both, which is not
    VoiceBench."""

    title: ClassVar[str] = "VoiceBench"
    source: ClassVar[str] = "https://github.com/MatthewCYM/VoiceBench"
    official: ClassVar[str] = "python evaluate.py --src_file FILE --evaluator mcq"
    scorer: ClassVar[str] = "voicebench_mcq"
    spoken: ClassVar[bool] = True
    judges: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            rule: f"python api_judge.py --src_file FILE && python evaluate.py --src_file result-FILE --evaluator {name}"
            for rule, name in {"open": "open", "binary": "qa"}.items()
        }
    )
    gold_keys: ClassVar[tuple[str, ...]] = ("prompt", "reference")
    breakdowns: ClassVar[tuple[Breakdown, ...]] = (Breakdown("Domain-wise", "domain"),)

    def put(self, sample: Sample) -> Sample:
        """The recording alone, where that is the modality and there is one."""
        return unwritten(sample) if self.modality == "audio" else sample

    def id_of(self, row: Mapping[str, Any], number: int) -> str | None:
        """The `id`, else the place in the file."""
        return super().id_of(row, number) or str(number)

    def sample(self, row: Mapping[str, Any], where: str, name: str) -> Sample:
        """One spoken question with its options."""
        found = self.judged(row, where, name)
        if not found.choices:
            raise DataError(
                f"{where}: `reference` is {str(row.get('reference'))[:40]!r} instead of a letter; only the subsets "
                "openbookqa and mmsu are multiple choice, the others are a judge's: --scorer open or binary"
            )
        return found

    def judged(self, row: Mapping[str, Any], where: str, name: str) -> Sample:
        """The same; without a letter of an option as reference an open question, and without any it has no answer."""
        if "instruction_id_list" in row:
            raise DataError(f"{where}: a row of ifeval, a benchmark of its own; auscult score ifeval")
        question, choices = mcq.pull_choices(text(row, "prompt", where))
        answer = None if row.get("reference") is None else text(row, "reference", where).strip()
        options = choices or tuple("ABCD")
        place = ascii_uppercase.find(answer) if answer is not None and len(answer) == 1 else -1
        if 0 <= place < len(options):
            choices, answer = options, options[place]
        else:
            question, choices = text(row, "prompt", where), ()
        audio = row.get("audio")
        heard = isinstance(audio, str) and self.modality != "text"
        media = [rows.audio(audio, where, self.folder())] if heard else []
        tags = {"domain": row.get("domain") or row.get("subject")}
        return asked(name, media, question, choices, answer, name, tags)
