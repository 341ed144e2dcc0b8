"""Grades on a scale: the judge gives a reason and one whole number.

    reference   0 to 5 against a reference answer; AudioBench's judge, whose table shows the mean x 20
    binary      0 or 1 against a reference answer; AudioBench's binary judge, whose table shows the mean x 100, and
                VoiceBench's of sd-qa
    open        1 to 5 for a reply to a spoken request; VoiceBench's open questions, whose table shows the mean

What is measured is theirs, the wording of the prompts is ours: a result is comparable with results that carry the same
prompt's hash, and with a benchmark's published ones only as far as the judges think alike. Where the originals depart:
AudioBench's counts an answer of its judge that it cannot read as 0 (here the row fails and is counted); VoiceBench asks
gpt-4o-mini three times at temperature 0.5 and takes the mean (here once at temperature 0, unless the caller says so).

Sources: AudioLLMs/AudioBench, src/dataset_src/eval_methods/eval_llama3_70b.py; MatthewCYM/VoiceBench, api_judge.py and
src/evaluator/open.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from auscult.core.errors import ConfigError
from auscult.rewards.judging.judge import Judge, Judgement
from auscult.rewards.judging.schema import Schema


@dataclass(frozen=True, slots=True)
class Scale:
    """Whole numbers that a judge may give."""

    lowest: int
    """The worst grade."""
    highest: int
    """The best one."""
    points: float = 1.0
    """What a benchmark's table shows for each unit of the mean."""

    def __post_init__(self) -> None:
        if not self.lowest < self.highest <= self.lowest + 100:
            raise ConfigError(f"no judge's scale goes from {self.lowest} to {self.highest}; give [lowest, highest]")

    @property
    def schema(self) -> Schema:
        """Of an answer: the reason comes first, so that the grade follows from it."""
        grades = list(range(self.lowest, self.highest + 1))
        return {
            "type": "object",
            "properties": {"reason": {"type": "string"}, "score": {"type": "integer", "enum": grades}},
            "required": ["reason", "score"],
            "additionalProperties": False,
        }

    def share(self, grade: float) -> float:
        """The grade's place on the scale, from 0 (lowest) to 1 (highest)."""
        return (grade - self.lowest) / (self.highest - self.lowest)


SCALES: Mapping[str, Scale] = MappingProxyType(
    {"reference": Scale(0, 5, 20.0), "binary": Scale(0, 1, 100.0), "open": Scale(1, 5)}
)
"""Of the prompts shipped here that give a single grade."""


@dataclass(frozen=True, slots=True)
class Graded:
    """What a judge makes of a benchmark's rows."""

    grades: tuple[int | None, ...]
    """One for each row, in order; None where the judgement failed."""
    judgements: tuple[Judgement, ...]
    """What was said of each."""
    points: float | None
    """Mean of the rows that were judged, as the benchmark's table shows it; None when there are none."""
    failed: int
    """Rows without a grade, which the mean leaves out."""


def grade(judge: Judge, scale: Scale, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Graded:
    """Grades (id, fields of the prompt) of each row. Raises what `Judge.ask` does."""
    judgements = judge.ask([judge.call(name, fields, scale.schema) for name, fields in rows])
    grades = tuple(None if found.value is None else int(found.value["score"]) for found in judgements)
    known = [number for number in grades if number is not None]
    points = scale.points * sum(known) / len(known) if known else None
    return Graded(grades, tuple(judgements), points, len(grades) - len(known))
