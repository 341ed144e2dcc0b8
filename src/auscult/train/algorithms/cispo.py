"""Clipped IS-weight Policy Optimization, IS for importance sampling (MiniMax 2025, arXiv 2506.13585, section 3.1,
eq. 4 and 5).

    advantage_i = (r_i - mean(r)) / (std(r) + 1e-4)
    loss = - mean over all tokens of the batch of sg(clip(ratio, 1 - clip, 1 + clip_high)) A log p(token)

A REINFORCE whose importance weight is bounded and has no gradient (sg). PPO's clipping silences a token once its ratio
leaves the range, and the rare words that turn an argument leave it first; here they only weigh at most 1 + clip_high.
Assumes that the policy has not gone far: nothing but that bound and the KL term holds it. With one pass a batch every
ratio is 1 and the gradient is DAPO's. The paper bounds the weight from above only, so `clip` is 1 (a ratio is never
below 0); it gives no number for the upper bound. 5 is one of those between which Khatri et al. 2025 saw no difference
(4, 5, 8; arXiv 2510.13786, A.17). Equation 4 takes the mean over the tokens of one prompt's group; ours is the batch's,
as for `dapo`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auscult.train import policy_gradient
from auscult.train.algorithm import Objective
from auscult.train.policy_gradient import centred


@dataclass(frozen=True, kw_only=True)
class Algorithm(policy_gradient.PolicyGradient):
    """Options of CISPO."""

    scale: bool = True
    """Divide advantages by the group's standard deviation."""
    clip: float = 1.0
    """Importance weights are at least 1 - this."""
    clip_high: float = 4.0
    """Importance weights are at most 1 + this."""

    @property
    def loss(self) -> Objective:
        return Objective(name="cispo", average="token", clip=self.clip, clip_high=self.clip_high)

    def advantages(self, rewards: Sequence[float]) -> list[float]:
        """Rewards centred on their group."""
        return centred(rewards, self.scale)
