"""Whether a model that says 80 % is right in 80 of 100: what it gives the answer that it gave, against how often it is
right.

The confidence in an answer is the probability of that option at the place of the answer, behind the model's own
reasoning, among all options of the question: each is written there as the form writes it, and the probabilities of
these endings are scaled to sum to 1. Answers are sorted into `BINS` bins of equal width by confidence; the expected
calibration error (Guo et al. 2017, arXiv 1706.04599) is the mean distance between confidence and accuracy of a bin,
weighted by its answers. It is at least a little above 0 for any finite sample, the more so the fewer answers there are.

What has no confidence (no options, no readable answer, reasoning that the form cannot hold) is counted by its reason.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

BINS = 10
"""Bins of equal width from 0 to 1; Guo et al. have 15 for ten thousand images, held-out sets here are smaller."""


@dataclass(frozen=True, slots=True)
class Sureness:
    """What a model gave the answer to one question."""

    confidence: float | None
    """Probability of its answer among the options; None where `problem` says why there is none."""
    correct: bool
    """Whether the answer is right."""
    problem: str = ""
    """Why there is no confidence: `no_choices`, `not_rendered`, or why the reply has no answer."""


def share(logps: Sequence[float], chosen: int) -> float:
    """The probability of one of several endings among them, by their log-probabilities."""
    highest = max(logps)
    weights = [math.exp(logp - highest) for logp in logps]
    return weights[chosen] / math.fsum(weights)


def calibration(answers: Sequence[Sureness]) -> dict[str, Any]:
    """What a results file says of these answers; the error is None where no answer has a confidence."""
    sure = [(one.confidence, one.correct) for one in answers if one.confidence is not None]
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for confidence, correct in sure:
        bins[min(int(confidence * BINS), BINS - 1)].append((confidence, correct))
    reliability = [
        {
            "from": place / BINS,
            "to": (place + 1) / BINS,
            "n": len(inside),
            "confidence": fmean(confidence for confidence, _ in inside),
            "accuracy": fmean(correct for _, correct in inside),
        }
        for place, inside in enumerate(bins)
        if inside
    ]
    gaps = [row["n"] * abs(row["confidence"] - row["accuracy"]) for row in reliability]
    return {
        "bins": BINS,
        "n": len(sure),
        "ece": math.fsum(gaps) / len(sure) if sure else None,
        "confidence": fmean(confidence for confidence, _ in sure) if sure else None,
        "accuracy": fmean(correct for _, correct in sure) if sure else None,
        "reliability": reliability,
        "unmeasured": dict(Counter(one.problem for one in answers if one.confidence is None)),
    }
