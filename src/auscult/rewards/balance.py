"""Whether a right answer is a rare one: 1.0 for a right answer with the rarest label, less the commoner its label is.

    share of the rarest label / share of the answer's label        when right, else 0.0

Its expectation over the data is, up to a factor, balanced accuracy: who always gives the same label earns the same
whichever it is. A batch's distribution of answers, which other projects reward, is one number for all replies of a
group and teaches nothing. With `scale: true`, GRPO divides by a group's deviation and undoes the weights.

    rewards:
      balance: {weight: 0.5, kwargs: {shares: {ifeval: 345, commoneval: 200, wildvoice: 1000}}}
"""

from __future__ import annotations

from collections.abc import Mapping

from auscult.core.answer import same_answer
from auscult.core.errors import ConfigError
from auscult.core.types import Rollout, Sample
from auscult.rewards.choice import choice


def balance(sample: Sample, rollout: Rollout, *, shares: Mapping[str, float]) -> float | None:
    """0.0 to 1.0; None where `choice` cannot tell what is right. `shares` has the count or share of each label in the
    training data. Raises ConfigError for a right answer that it lacks and for a share that is not above 0."""
    right = choice(sample, rollout)
    if not right:
        return right
    if not all(share > 0 for share in shares.values()):
        raise ConfigError(f"reward 'balance' has the shares {dict(shares)}; give each label a number above 0")
    for label, share in shares.items():
        if same_answer(label, rollout.parsed.answer or ""):
            return min(shares.values()) / share
    raise ConfigError(
        f"reward 'balance' has no share of {rollout.parsed.answer!r}, the answer of sample {sample.id!r}; add it to "
        "its kwargs"
    )
