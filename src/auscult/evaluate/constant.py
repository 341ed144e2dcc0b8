"""The best constant caption: what can be had of captions by saying the same of every clip.

Of many candidates (the references that a model could have learnt to repeat) it is the one with the highest mean CIDEr-D
over all clips. The search is exact and takes seconds, for the mean need not be computed clip by clip. CIDEr-D of a
candidate c against a reference r is, up to a constant,

    sum over n-grams g of  min(c_g, r_g) r_g idf_g^2 / (|c| |r|)  *  exp(-(bigrams of c - bigrams of r)^2 / 2 sigma^2)

with c_g and r_g the times that g occurs. As min(c_g, r_g) counts the occurrences t = 1, 2, ... that both have, this is
linear in the references for each (g, t): they are added up once for every length that a candidate can have, and what is
left of a candidate is a sum over its own n-grams. The winner is scored once more as any caption is.

It is read off the held-out references, so on few clips it is a little too good, as a majority is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.evaluate.captions import tokenized
from auscult.rewards.captioning.cider import SIGMA, Vector
from auscult.rewards.captioning.frequencies import Frequencies
from auscult.rewards.captioning.ngrams import ORDERS, Ngram, ngrams
from auscult.rewards.captioning.tokens import tokenize

Occurrence = tuple[Ngram, int]
"""An n-gram, and the how manieth time it occurs in a caption, from 1."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A caption that is given to every clip."""

    caption: str
    """As somebody wrote it."""
    mean: float
    """Its mean CIDEr-D over all clips, document frequencies of their references."""
    candidates: int
    """Different captions that were tried."""


def best_constant(references: Sequence[Sequence[str]], candidates: Sequence[str]) -> Constant:
    """The candidate with the highest mean CIDEr-D against the references of each clip; of equals the first.

    `references` are the captions of each clip, at least one, of two clips or more. Raises ValueError for no candidates.
    """
    if not candidates:
        raise ValueError("no candidate, so none is the best; give the references themselves")
    written = iter(tokenized([text for many in references for text in many]))
    documents = [[next(written) for _ in many] for many in references]
    tried = list(dict.fromkeys(candidates))
    means = _means(documents, [tokenize(text) for text in tried])
    best = int(np.argmax(means >= means.max() - 1e-9))  # what only rounding tells apart is equal
    return Constant(tried[best], float(means[best]), len(tried))


def _means(documents: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Mean CIDEr-D of each tokenized candidate [C] over the clips whose tokenized references are `documents`."""
    frequencies = Frequencies.of(documents)
    places: dict[Occurrence, int] = {}
    at: list[int] = []  # of each occurrence in a reference: its place, its weight, the length of its reference
    weights: list[float] = []
    lengths: list[int] = []
    for many in documents:
        for tokens in many:
            vector = Vector.of(tokens, frequencies)
            for occurrence, n, idf, times in _occurrences(tokens, frequencies):
                if vector.norms[n]:
                    at.append(places.setdefault(occurrence, len(places)))
                    weights.append(times * idf * idf / vector.norms[n] / len(many))
                    lengths.append(vector.bigrams)
    rows: list[int] = []  # of each occurrence in a candidate that a reference has too: candidate, place, weight
    columns: list[int] = []
    shares: list[float] = []
    bigrams = np.empty(len(candidates), dtype=np.int64)
    for row, tokens in enumerate(candidates):
        vector = Vector.of(tokens, frequencies)
        bigrams[row] = vector.bigrams
        for occurrence, n, _, _ in _occurrences(tokens, frequencies):
            if vector.norms[n] and occurrence in places:
                rows.append(row)
                columns.append(places[occurrence])
                shares.append(1 / vector.norms[n])
    return _added(
        (np.array(at, dtype=np.int64), np.array(weights), np.array(lengths)),
        (np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64), np.array(shares)),
        bigrams,
        len(places),
    ) * (10 / ORDERS / len(documents))


def _added(
    theirs: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]],
    ours: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]],
    bigrams: NDArray[np.int64],
    places: int,
) -> NDArray[np.float64]:
    """The sum of each candidate [C]: references added up at their places, for each length of a candidate anew."""
    (at, weights, lengths), (rows, columns, shares) = theirs, ours
    total = np.zeros(len(bigrams))
    for length in np.unique(bigrams):
        damped = weights * np.exp(-((length - lengths) ** 2) / (2 * SIGMA**2))
        summed = np.bincount(at, weights=damped, minlength=places)
        here = bigrams[rows] == length
        total += np.bincount(rows[here], weights=shares[here] * summed[columns[here]], minlength=len(bigrams))
    return total


def _occurrences(tokens: Sequence[str], frequencies: Frequencies) -> Iterator[tuple[Occurrence, int, float, int]]:
    """Each occurrence of each n-gram of a caption, the place of n, the n-gram's idf, and how often it occurs in all."""
    for n, found in enumerate(ngrams(tokens)):
        for ngram, times in found.items():
            idf = frequencies.idf.get(ngram, frequencies.rare)
            for time in range(1, times + 1):
                yield (ngram, time), n, idf, times
