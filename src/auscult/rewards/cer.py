"""How much of the transcript is right: 1 - character error rate, at least 0.0."""

from __future__ import annotations

from auscult.core.types import Rollout, Sample
from auscult.rewards.transcripts import accuracy


def cer(sample: Sample, rollout: Rollout, *, normaliser: str = "plain") -> float | None:
    """1.0 for a transcript without an error, 0.0 for one with as many edits as the nearest accepted answer has
    characters, spaces included, and for a reply without an answer; None where no accepted answer has one. `normaliser`
    is `plain` or `raw` (`transcripts.NORMALISERS`)."""
    return accuracy(sample.answers, rollout.parsed.answer, "character", normaliser)
