"""ROUGE-L (Lin 2004) as the COCO caption evaluation computes it: an F-measure of the longest common subsequence.

Precision and recall are each the best over the references, which need not be the same reference's, and beta = 1.2
favours recall. A corpus's score is the mean over all its captions. Source: `rouge.py` of pycocoevalcap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

BETA = 1.2


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference, ready to be aligned with."""

    positions: dict[str, int]
    """For each token the set of places where it stands, bit i for place i."""
    length: int
    """Tokens."""

    @classmethod
    def of(cls, tokens: Sequence[str]) -> Self:
        """From a tokenized reference."""
        positions: dict[str, int] = {}
        for place, token in enumerate(tokens):
            positions[token] = positions.get(token, 0) | 1 << place
        return cls(positions, len(tokens))

    def common(self, candidate: Sequence[str]) -> int:
        """Length of the longest common subsequence, tokens.

        Bit i of `row` is 0 where the length grows at place i: the columns of the usual table at once, one addition a
        token (Crochemore et al. 2001).
        """
        everywhere = (1 << self.length) - 1
        row = everywhere
        for token in candidate:
            hit = row & self.positions.get(token, 0)
            row = (row + hit | row - hit) & everywhere
        return self.length - row.bit_count()


def rouge_l(candidate: Sequence[str], references: Sequence[Reference]) -> float:
    """ROUGE-L of a tokenized caption, from 0 to 1; at least one reference."""
    common = [reference.common(candidate) for reference in references]
    precision = max(common) / max(len(candidate), 1)
    recall = max(shared / max(reference.length, 1) for shared, reference in zip(common, references, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
