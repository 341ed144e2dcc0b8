"""CIDEr-D (Vedantam et al. 2015), the variant that "CIDEr" means in every published table.

A caption is a vector of its n-grams for each n of 1 to 4, weighted tf x idf. It is compared with each reference by a
cosine in which an n-gram counts no more than in the reference (so repeating a good word does not pay), damped by
exp(-d^2 / 2 sigma^2) where the two differ by d bigrams; the mean over n and references is multiplied by 10.
Source: `cider_scorer.py` of pycocoevalcap and of the CIDEr-D release, sigma = 6.

The frequencies are those of a corpus, never of the batch at hand: with one document every idf is log 1, and so is every
score 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from auscult.rewards.captioning.frequencies import Frequencies
from auscult.rewards.captioning.ngrams import ORDERS, Ngram, ngrams

SIGMA = 6.0
"""Width of the penalty on a difference in length, bigrams."""


@dataclass(frozen=True, slots=True)
class Vector:
    """A caption as CIDEr-D sees it."""

    weights: tuple[dict[Ngram, float], ...]
    """Term frequency times inverse document frequency of each n-gram, one mapping for each n."""
    norms: tuple[float, ...]
    """Euclidean length for each n."""
    bigrams: int
    """How long the caption is, as the official code counts it."""

    @classmethod
    def of(cls, tokens: Sequence[str], frequencies: Frequencies) -> Self:
        """The vector of a tokenized caption."""
        counts, idf, rare = ngrams(tokens), frequencies.idf, frequencies.rare
        weights = tuple({ngram: count * idf.get(ngram, rare) for ngram, count in found.items()} for found in counts)
        return cls(weights, tuple(math.hypot(*found.values()) for found in weights), counts[1].total())


def cider_d(candidate: Vector, references: Sequence[Vector]) -> float:
    """CIDEr-D of one caption, from 0 to 10; at least one reference."""
    total = 0.0
    for reference in references:
        cosines = 0.0
        for n in range(ORDERS):
            norms = candidate.norms[n] * reference.norms[n]
            if norms:
                theirs = reference.weights[n]
                dot = 0.0
                for ngram, weight in candidate.weights[n].items():
                    if ngram in theirs:
                        other = theirs[ngram]
                        dot += (weight if weight < other else other) * other
                cosines += dot / norms
        apart = candidate.bigrams - reference.bigrams
        total += cosines * math.exp(-(apart * apart) / (2 * SIGMA**2))
    return 10 * total / (ORDERS * len(references))
