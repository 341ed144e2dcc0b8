"""Whether the reply chose a right option: 1.0 or 0.0.

The reply's answer is already the text of an option (its form read it that way), so options are compared as they are
written: no token sets, no substrings, nothing that pays for a list of all options. A reply without an answer gets 0.0.
"""

from __future__ import annotations

from auscult.core.answer import read_answer, same_answer
from auscult.core.types import Rollout, Sample


def choice(sample: Sample, rollout: Rollout) -> float | None:
    """1.0 when the answer is an accepted one, else 0.0; None when no accepted answer is known or none is an option.

    Accepted answers may be option texts or letters. A sample without choices is compared as in `exact`.
    """
    accepted = {read_answer(answer, sample.choices).answer for answer in sample.answers} - {None}
    answer = rollout.parsed.answer
    if not accepted:
        return None
    if answer is None:
        return 0.0
    if sample.choices:
        return float(answer in accepted)
    return float(any(same_answer(answer, gold) for gold in sample.answers))
