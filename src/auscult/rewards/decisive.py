"""Whether the reply commits itself to one answer: 1.0 or 0.0.

What other projects call confidence and measure by a list of phrases ("maybe", "I think") can be had by leaving out the
phrases. Here a hedge is what it does: a reply that names two options, or none, has no answer that its form can read.
"""

from __future__ import annotations

from auscult.core.types import Rollout, Sample


def decisive(sample: Sample, rollout: Rollout) -> float:
    """1.0 when the reply's form reads exactly one answer, right or wrong, else 0.0."""
    return float(rollout.parsed.answer is not None)
