"""Transcripts compared: edits between two of them, and the error rate of many.

An error rate belongs to a unit and to a normaliser, and both have names. Over many transcripts it is all edits over all
reference words (or characters), not the mean of the rates: a short sentence must not count as much as a long one. It
may exceed 1, for insertions have no end.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from auscult.core.errors import ConfigError

Unit = Literal["word", "character"]
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def _plain(text: str) -> str:
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold().replace("’", "'")))


NORMALISERS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {"raw": lambda text: " ".join(text.split()), "plain": _plain}
)
"""`raw`: single spaces, nothing else. `plain`: also NFKC, case folded, without punctuation except apostrophes within a
word; numbers are not spelled out."""


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """Edits over a corpus."""

    edits: int
    """Substitutions, deletions and insertions."""
    length: int
    """Words or characters of all references."""

    @property
    def rate(self) -> float | None:
        """Edits per unit; None where the references are empty."""
        return self.edits / self.length if self.length else None


def error_rate(pairs: Iterable[tuple[str, str]], unit: Unit, normaliser: str = "plain") -> ErrorRate:
    """WER (`word`) or CER (`character`, spaces included) of pairs (reference, hypothesis). Raises ConfigError for an
    unknown normaliser."""
    split = [
        (units(reference, unit, normaliser), units(hypothesis, unit, normaliser)) for reference, hypothesis in pairs
    ]
    return ErrorRate(sum(edits(*pair) for pair in split), sum(len(reference) for reference, _ in split))


def accuracy(references: Iterable[str], hypothesis: str | None, unit: Unit, normaliser: str) -> float | None:
    """1 - error rate against the nearest reference, at least 0.0; 0.0 without a hypothesis; None without a reference
    that is not empty."""
    known = [reference for text in references if (reference := units(text, unit, normaliser))]
    if not known:
        return None
    said = units(hypothesis or "", unit, normaliser)
    # What is twice as long needs at least as many edits as the reference has units: no need to count them.
    near = [gold for gold in known if len(said) < 2 * len(gold)]
    return max([0.0, *(1 - edits(gold, said) / len(gold) for gold in near)])


def units(text: str, unit: Unit, normaliser: str) -> Sequence[str]:
    """The normalised text's words or characters."""
    if normaliser not in NORMALISERS:
        raise ConfigError(
            f"there is no normaliser {normaliser!r} of transcripts; choose one of {', '.join(NORMALISERS)}"
        )
    normal = NORMALISERS[normaliser](text)
    return normal.split() if unit == "word" else normal


def edits(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> int:
    """Levenshtein distance, by Myers' bit vectors (JACM 1999) as Hyyrö simplified them (2003): a column of the table is
    two integers of a bit per unit of the reference, which hold where it rises and where it falls."""
    where: dict[Hashable, int] = {}
    for place, one in enumerate(reference):
        where[one] = where.get(one, 0) | 1 << place
    full = (1 << len(reference)) - 1
    last, distance, rises, falls = full ^ full >> 1, len(reference), full, 0
    for other in hypothesis:
        match = where.get(other, 0)
        level = ((match & rises) + rises ^ rises) | match | falls
        right_rises, right_falls = falls | ~(level | rises) & full, level & rises
        distance += bool(right_rises & last) - bool(right_falls & last)
        right_rises = right_rises << 1 | 1
        rises = (right_falls << 1 | ~(level | right_rises)) & full
        falls = level & right_rises & full
    return distance if reference else len(hypothesis)
