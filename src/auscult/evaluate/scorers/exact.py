"""`exact`: the whole reply, thinking left out, equals an accepted answer once both are normalised.

The same comparison as the reward `exact` (`core.answer.same_answer`): Unicode NFKC, letter case, spacing, quotes,
markdown, trailing dots and "Answer:" are no difference. A letter is no answer here, nor is what stands within a longer
text.
"""

from __future__ import annotations

from auscult.core.forms import form
from auscult.core.types import Sample
from auscult.evaluate.scorers.choice import rolled
from auscult.evaluate.verdict import Verdict
from auscult.rewards import exact as reward


def exact(reply: str, item: Sample) -> Verdict:
    """Right when the reply says an accepted answer and nothing else."""
    parsed = form("label").parse(reply)
    return Verdict(reward.exact(item, rolled(reply, parsed)) == 1.0, parsed)
