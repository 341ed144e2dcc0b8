"""What a scorer says of one reply."""

from __future__ import annotations

from dataclasses import dataclass

from auscult.core.errors import DataError
from auscult.core.types import Parsed, Sample


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a reply is right under a rule, and what the rule read in it."""

    correct: bool
    """Whether it counts as right."""
    parsed: Parsed
    """The answer as the rule reads it, or why it reads none."""


def want_options(item: Sample) -> None:
    """Raises DataError for a question without options, which a rule that reads letters cannot judge."""
    if not item.choices:
        raise DataError(f"sample {item.id} has no options, so no letter answers it; choose another rule")


def option(item: Sample, place: int) -> Verdict:
    """The verdict on the option at `place` (from 0), for rules that read letters: `not_a_choice` beyond the last."""
    if place >= len(item.choices):
        return Verdict(False, Parsed(None, "not_a_choice"))
    return Verdict(item.choices[place] in item.answers, Parsed(item.choices[place]))
