"""Whether the reply says its answer briefly: 1.0 or 0.0. A reply without an answer says nothing, however briefly."""

from __future__ import annotations

from auscult.core.types import Rollout, Sample


def brevity(sample: Sample, rollout: Rollout, *, limit: int = 220) -> float:
    """1.0 when the reply has an answer that its form can read and at most `limit` characters in all, else 0.0."""
    return float(rollout.parsed.answer is not None and len(rollout.text.strip()) <= limit)
