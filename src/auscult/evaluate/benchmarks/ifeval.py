"""VoiceBench's `ifeval`: 345 spoken prompts with verifiable instructions (Chen et al., arXiv 2410.17196).

The official file is the output of its `main.py`: JSON lines with `key`, `prompt`, `instruction_id_list`, `kwargs` and
`response`. Who is examined hears the prompt and is not shown it (`modality: text` does the reverse), so nothing should
be said around it: `auscult eval` asks without an instruction of ours.

Scored by prompt, strictly. The figures are those of the official evaluator, as shares: strict and loose, by prompt and
by instruction, and their mean, `final`, which VoiceBench's table shows in percent. A question without a reply keeps no
instruction; the official evaluator does not see it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar, Literal

from auscult.core.errors import DataError
from auscult.core.types import Outcome, Sample, Turn
from auscult.data import rows
from auscult.evaluate import benchmark
from auscult.evaluate.benchmark import Breakdown, text, texts
from auscult.evaluate.instructions import gold, kept


@dataclass(frozen=True, kw_only=True)
class Benchmark(benchmark.Benchmark):
    """Rows of VoiceBench's ifeval as JSON lines; `media` is the folder that holds KEY.wav, or what `audio` names."""

    modality: Literal["audio", "text"] = "audio"
    """What of a prompt is given: its recording, or its text; VoiceBench's own two ways."""

    title: ClassVar[str] = "VoiceBench IFEval"
    source: ClassVar[str] = "https://github.com/MatthewCYM/VoiceBench"
    official: ClassVar[str] = "python evaluate.py --src_file FILE --evaluator ifeval"
    scorer: ClassVar[str] = "ifeval"
    verbatim: ClassVar[bool] = True
    size: ClassVar[int | None] = 345
    gold_keys: ClassVar[tuple[str, ...]] = ("prompt", "instruction_id_list", "kwargs")
    breakdowns: ClassVar[tuple[Breakdown, ...]] = (Breakdown("Instruction-count", "instructions"),)

    def id_of(self, row: Mapping[str, Any], number: int) -> str | None:
        """The `key`, else the `id`."""
        return super().id_of({"id": row.get("key", row.get("id"))}, number)

    def sample(self, row: Mapping[str, Any], where: str, name: str) -> Sample:
        """One prompt; its gold answer holds its instructions."""
        prompt, names = text(row, "prompt", where), texts(row, "instruction_id_list", where)
        arguments = rows.required(row, "kwargs", where)
        fits = isinstance(arguments, list) and len(arguments) == len(names) > 0
        if not fits or not all(isinstance(given, Mapping) for given in arguments):
            raise DataError(
                f"{where}: `kwargs` is no list of an object for each of {list(names)}; write [{{...}}, ...]"
            )
        heard = rows.audio(row.get("audio") or f"{name}.wav", where, self.folder())
        return Sample(
            id=name,
            turns=(Turn("user", (heard if self.modality == "audio" else prompt,)),),
            answers=(gold(prompt, names, arguments),),
            group=name,
            tags={"instructions": str(len(names))},
        )

    def figures(self, samples: Sequence[Sample], outcomes: Sequence[Outcome]) -> dict[str, float | None]:
        """The official evaluator's five figures, over all questions."""
        replies = [kept(outcome.target, outcome.parsed.answer or "") for outcome in outcomes]
        found: dict[str, float | None] = {}
        for name, lists in (("strict", [one.strict for one in replies]), ("loose", [one.loose for one in replies])):
            found[f"{name}-prompt"] = fmean(map(all, lists))
            found[f"{name}-instruction"] = fmean(one for many in lists for one in many)
        return {**found, "final": fmean(value for value in found.values() if value is not None)}
