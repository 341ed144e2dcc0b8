"""How sure a score is: intervals for one proportion, errors that know of clusters, and comparisons of two runs.

Questions about one clip, patient or speaker share its difficulty, so they are not independent: whoever treats 1,000
questions on 100 clips as 1,000 draws reports errors that are too small. Therefore every function that can takes
`clusters` (a sample's `group`). Two runs on the same questions are compared question by question, which removes the
difficulty that they share. NumPy only; nothing here loads torch.

Sources: Wilson, JASA 22 (1927); E. Miller, "Adding Error Bars to Evals", arXiv 2411.00640 (2024); Efron & Tibshirani,
An Introduction to the Bootstrap (1993), chapter 13; McNemar, Psychometrika 12 (1947).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.core.seeds import rng

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Paired:
    """A run compared with an earlier one on the same questions."""

    difference: float
    """Mean of after minus before, in the unit of the values (accuracy: a share, not percent)."""
    interval: Interval
    """Percentile bootstrap interval of the difference."""
    n: int
    """Questions."""
    clusters: int
    """Independent clusters among them: what the width of the interval depends on."""


def wilson(correct: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval for the proportion `correct / n`; (0, 1) when there are no rows.

    (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), with z the normal quantile of (1 + level)/2. Unlike
    p +- z se it stays within [0, 1] and has a width at 0 and at n correct. It takes rows as independent.
    Raises ValueError unless 0 <= correct <= n and 0 < level < 1.
    """
    if not 0 <= correct <= n or not 0 < level < 1:
        raise ValueError(f"no proportion: {correct} correct of {n} at level {level}")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = correct / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # The ends are exact at 0 and at n correct; rounding would leave 1e-17 there.
    low = 0.0 if correct == 0 else (centre - half) / (1 + z * z / n)
    high = 1.0 if correct == n else (centre + half) / (1 + z * z / n)
    return low, high


def clustered_se(values: ArrayLike, clusters: Sequence[Hashable]) -> float:
    """Cluster-robust standard error of the mean of `values` [N]; `clusters` [N] names the cluster of each.

    sqrt(sum over clusters of (sum of its residuals)^2) / N: Miller 2024 (CR0, without a factor for small samples). With
    one value a cluster it is the usual error, sqrt(sum of squared residuals) / N. A single cluster says nothing about
    the spread between clusters: NaN. Raises ValueError for unequal lengths or no values.
    """
    scores, index, count = _clustered(values, clusters)
    if count == 1:
        return math.nan
    residuals = np.bincount(index, weights=scores - scores.mean(), minlength=count)
    return float(np.sqrt((residuals**2).sum()) / len(scores))


def paired_bootstrap(
    before: ArrayLike,
    after: ArrayLike,
    clusters: Sequence[Hashable],
    seed: int,
    draws: int = 10_000,
    level: float = 0.95,
) -> Paired:
    """Mean of `after - before` [N] with a bootstrap interval that resamples whole clusters, `draws` times.

    A draw takes as many clusters as there are, with replacement, and divides the sum of their differences by the number
    of their questions. The same seed gives the same percentile interval. Raises ValueError for unequal lengths.
    """
    old, new = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if old.shape != new.shape:
        raise ValueError(f"{old.shape} values before but {new.shape} after: pair them by id first")
    differences, index, count = _clustered(new - old, clusters)
    sums = np.bincount(index, weights=differences, minlength=count)
    sizes = np.bincount(index, minlength=count)
    generator = rng(seed, "paired_bootstrap")
    means = np.empty(draws)
    # How often each cluster is drawn is multinomial; blocks bound the memory to about 32 MB.
    block = max(1, 4_000_000 // count)
    for start in range(0, draws, block):
        size = min(block, draws - start)
        times = generator.multinomial(count, np.full(count, 1 / count), size=size)
        means[start : start + size] = (times @ sums) / (times @ sizes)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Paired(float(differences.mean()), (float(low), float(high)), len(differences), count)


def mcnemar_exact(only_before: int, only_after: int) -> float:
    """Two-sided p of McNemar's exact test: how likely so uneven a split of the changed answers is by a fair coin.

    `only_before` questions were right before and wrong after, `only_after` the reverse. min(1, 2 P(X <= min)) for X
    binomial of n = only_before + only_after at 1/2; 1 when nothing changed. Raises ValueError for a negative count.
    """
    fewer, n = min(only_before, only_after), only_before + only_after
    if fewer < 0:
        raise ValueError(f"no counts: {only_before} and {only_after}")
    # In logarithms, for 2^n leaves the range of a float at n = 1024.
    terms = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(fewer + 1)]
    largest = max(terms)
    tail = math.exp(largest - n * math.log(2)) * math.fsum(math.exp(term - largest) for term in terms)
    return min(1.0, 2 * tail)


def majority(accepted: Sequence[Collection[Hashable]]) -> float:
    """Accuracy of the best constant guess: the one that most questions accept. `accepted` [N] holds what each accepts.

    Raises ValueError when there are no questions.
    """
    if not accepted:
        raise ValueError("no questions, so no guess is the best")
    counts = Counter(guess for guesses in accepted for guess in set(guesses))
    return max(counts.values(), default=0) / len(accepted)


def chance(choices: Iterable[int]) -> float | None:
    """Expected accuracy of guessing among the offered choices: the mean of 1 / (choices of a question).

    None when any question is open (0 choices), for guessing is not defined there, or when there are no questions.
    """
    counts = list(choices)
    return math.fsum(1 / count for count in counts) / len(counts) if counts and min(counts) > 0 else None


def _clustered(values: ArrayLike, clusters: Sequence[Hashable]) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Values [N], the number of each one's cluster [N], and how many clusters there are."""
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or len(scores) != len(clusters) or not len(scores):
        raise ValueError(
            f"values of shape {scores.shape} and {len(clusters)} clusters: give one cluster to each of N > 0"
        )
    numbers = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    return scores, np.array([numbers[name] for name in clusters], dtype=np.int64), len(numbers)
