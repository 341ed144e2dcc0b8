"""ROUGE-L of the answer against the sample's answers: 0.0 to 1.0, on PTB tokens (`captioning.rouge`)."""

from __future__ import annotations

from functools import lru_cache

from auscult.core.types import Rollout, Sample
from auscult.rewards.captioning.rouge import Reference, rouge_l
from auscult.rewards.captioning.tokens import tokenize


def rouge(sample: Sample, rollout: Rollout) -> float | None:
    """ROUGE-L; 0.0 for a reply without an answer, None for a sample without one."""
    if not sample.answers:
        return None
    if rollout.parsed.answer is None:
        return 0.0
    return rouge_l(tokenize(rollout.parsed.answer), _references(sample.answers))


@lru_cache(maxsize=256)
def _references(answers: tuple[str, ...]) -> tuple[Reference, ...]:
    return tuple(Reference.of(tokenize(answer)) for answer in answers)
