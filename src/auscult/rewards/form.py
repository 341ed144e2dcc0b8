"""Whether the reply keeps to its form: 1.0 or 0.0."""

from __future__ import annotations

from auscult.core.types import Rollout, Sample


def form(sample: Sample, rollout: Rollout) -> float:
    """1.0 when every part of the form is there once, in order, with nothing outside and an answer inside, else 0.0."""
    return float(rollout.parsed.well_formed)
