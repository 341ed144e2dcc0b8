"""Whether the answer equals an accepted one once both are normalised (`core.answer.same_answer`): 1.0 or 0.0."""

from __future__ import annotations

from auscult.core.answer import same_answer
from auscult.core.types import Rollout, Sample


def exact(sample: Sample, rollout: Rollout) -> float | None:
    """1.0 when the answer equals any of the sample's answers, else 0.0; None when the sample has none."""
    if not sample.answers:
        return None
    answer = rollout.parsed.answer
    return float(answer is not None and any(same_answer(answer, gold) for gold in sample.answers))
