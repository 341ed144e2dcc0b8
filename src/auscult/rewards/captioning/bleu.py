"""BLEU-1 to BLEU-4 (Papineni et al. 2002) as the COCO caption evaluation computes it.

What is matched is counted caption by caption and added up; the score of a corpus is the score of the sum, which is no
mean of the captions' scores. A caption's n-grams match up to as often as they occur in the reference that has the most
of them, and its length is compared with the closest reference's (the shorter one when two are as close). Source:
`bleu_scorer.py` of pycocoevalcap, option `closest`; its two tiny numbers keep a caption without a match above 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from auscult.rewards.captioning.ngrams import ORDERS, Counts, ngrams

_TINY, _SMALL = 1e-15, 1e-9


@dataclass(frozen=True, slots=True)
class References:
    """What the references of one caption allow."""

    most: Counts
    """For each n-gram, how often it occurs in the reference that has the most of it."""
    lengths: tuple[int, ...]
    """Tokens of each reference."""

    @classmethod
    def of(cls, references: Sequence[Sequence[str]]) -> Self:
        """From tokenized references, at least one."""
        each = [ngrams(tokens) for tokens in references]
        counts = each[0]
        for other in each[1:]:
            counts = tuple(one | two for one, two in zip(counts, other, strict=True))
        return cls(counts, tuple(found[0].total() for found in each))


@dataclass(frozen=True, slots=True)
class Matches:
    """What is known of one caption, or, added up, of a corpus."""

    matched: tuple[int, ...] = (0,) * ORDERS
    """N-grams that a reference has too, for each n."""
    possible: tuple[int, ...] = (0,) * ORDERS
    """All n-grams, for each n."""
    length: int = 0
    """Tokens of the caption."""
    closest: int = 0
    """Tokens of the reference that is closest in length."""

    @classmethod
    def of(cls, candidate: Sequence[str], references: References) -> Self:
        """Of a tokenized caption."""
        counts = ngrams(candidate)
        matched = tuple((found & most).total() for found, most in zip(counts, references.most, strict=True))
        length = counts[0].total()
        _, closest = min((abs(reference - length), reference) for reference in references.lengths)
        return cls(matched, tuple(found.total() for found in counts), length, closest)

    def __add__(self, other: Matches) -> Matches:
        return Matches(
            tuple(one + two for one, two in zip(self.matched, other.matched, strict=True)),
            tuple(one + two for one, two in zip(self.possible, other.possible, strict=True)),
            self.length + other.length,
            self.closest + other.closest,
        )

    def bleu(self) -> tuple[float, ...]:
        """BLEU-1, BLEU-2, BLEU-3 and BLEU-4, each from 0 to 1."""
        ratio = (self.length + _TINY) / (self.closest + _SMALL)
        brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
        scores: list[float] = []
        product = 1.0
        for n, (matched, possible) in enumerate(zip(self.matched, self.possible, strict=True), 1):
            product *= (matched + _TINY) / (possible + _SMALL)
            scores.append(product ** (1 / n) * brevity)
        return tuple(scores)
