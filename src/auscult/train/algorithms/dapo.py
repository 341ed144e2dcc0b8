"""Decoupled Clip and Dynamic Sampling Policy Optimization (Yu et al. 2025, arXiv 2503.14476, section 3, eq. 8).

    advantage_i = (r_i - mean(r)) / (std(r) + 1e-4)
    loss = - mean over all tokens of the batch of min(ratio A, clip(ratio, 1 - clip, 1 + clip_high) A)

Four changes to GRPO, each an option here: more room above 1 than below, so that unlikely tokens may become likely
(3.1); groups whose rewards are all equal are replaced by others, `max_batches` (3.2); every token counts the same,
whatever the length of its reply (3.3); replies that were cut teach nothing, `mask_cut`, or are punished softly, which
is the reward `overlong` (3.4). The equation takes the mean over the tokens of one prompt's group and weighs prompts
alike; ours is over the batch, where a prompt with long replies counts for more. Assumes a stream with prompts enough
that the policy is undecided about; where there are none, a step learns from fewer groups, or from none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auscult.train import policy_gradient
from auscult.train.algorithm import Objective
from auscult.train.policy_gradient import centred


@dataclass(frozen=True, kw_only=True)
class Algorithm(policy_gradient.PolicyGradient):
    """Options of DAPO."""

    scale: bool = True
    """Divide advantages by the group's standard deviation."""
    clip: float = 0.2
    """Policy ratios below 1 - this earn no gradient."""
    clip_high: float = 0.28
    """Policy ratios above 1 + this earn no gradient."""
    max_batches: int = 10
    """Draws a step may make until `prompts` groups differ in their rewards; 0 draws once and keeps every group."""
    mask_cut: bool = True
    """Learn nothing from replies that were cut at max_tokens: they may have been on their way to a right answer."""

    @property
    def loss(self) -> Objective:
        return Objective(name="clip", average="token", clip=self.clip, clip_high=self.clip_high)

    def advantages(self, rewards: Sequence[float]) -> list[float]:
        """Rewards centred on their group."""
        return centred(rewards, self.scale)
