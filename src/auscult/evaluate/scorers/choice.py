"""`choice`, our own rule: the last complete answer of the reply, read by the forms, names exactly one option.

The very objects that prompts, demonstrations, rewards and submissions use: `core.forms` reads the reply and
`rewards.choice` grades what was read. A reply of somebody else's model says by its tags which form it keeps to; without
any (`<SOLUTION>`, `<answer>`, a line `ANSWER:`) the whole reply, thinking left out, must be the answer. A tag that is
left open is no answer, whatever stands in it. What might mean two options is unread, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence

from auscult.core.errors import DataError
from auscult.core.forms import form
from auscult.core.types import Parsed, Rollout, Sample
from auscult.evaluate.verdict import Verdict
from auscult.rewards import choice as reward

TAGGED = ("solution", "think")
"""Forms with tags around their answer, in the order in which they are tried."""


def choice(reply: str, item: Sample) -> Verdict:
    """Right when the reply's answer is an accepted option, or, of an open question, says the same as an answer."""
    parsed = reading(reply, item.choices)
    grade = reward.choice(item, rolled(reply, parsed))
    if grade is None:
        raise DataError(f"sample {item.id} has no answer among its options and cannot be graded; choose another rule")
    return Verdict(grade == 1.0, parsed)


def reading(reply: str, choices: Sequence[str] = ()) -> Parsed:
    """What a reply says whose form nobody named."""
    outside = (form("label").parse(reply, verbatim=True).answer or "").casefold()
    for name in TAGGED:
        opening, _ = form(name).answer or ("", "")
        parsed = form(name).parse(reply, choices)
        if parsed.problem != "no_answer" or opening.casefold() in outside:
            return parsed
    parsed = form("answer_line").parse(reply, choices)
    return form("label").parse(reply, choices) if parsed.problem == "no_answer" else parsed


def rolled(reply: str, parsed: Parsed) -> Rollout:
    """The reply as the rewards take it."""
    return Rollout((), (), None, reply, "end", "predictions", parsed)
