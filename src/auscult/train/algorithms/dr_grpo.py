"""Dr. GRPO, "GRPO done right" (Liu et al. 2025, arXiv 2503.20783, section 3.2).

    advantage_i = r_i - mean(r)
    loss = - mean over replies of (1 / max_tokens) sum over tokens of min(ratio A, clip(ratio, 1 - clip, 1 + clip) A)

Two divisions of GRPO are left out. By the deviation of the group: it weighs very easy and very hard prompts up. By the
reply's length: a long wrong reply is then punished less for each of its tokens than a short one, and replies grow. The
constant in its place, `max_tokens`, only sets the scale. Assumes that lengths are compared under one `max_tokens`. A
group whose rewards are all equal teaches nothing; a batch of replies much shorter than `max_tokens` has a small loss
and takes a learning rate to match (AdamW does, a clipped norm does not)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auscult.train import policy_gradient
from auscult.train.algorithm import Objective
from auscult.train.policy_gradient import centred


@dataclass(frozen=True, kw_only=True)
class Algorithm(policy_gradient.PolicyGradient):
    """Options of Dr. GRPO."""

    clip: float = 0.2
    """Policy ratios outside 1 ± this earn no gradient (epsilon in the paper)."""

    @property
    def loss(self) -> Objective:
        return Objective(name="clip", average="constant", length=self.max_tokens, clip=self.clip)

    def advantages(self, rewards: Sequence[float]) -> list[float]:
        """Rewards centred on their group, never scaled."""
        return centred(rewards, scale=False)
