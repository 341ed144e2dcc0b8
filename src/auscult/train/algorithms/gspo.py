"""Group Sequence Policy Optimization (Zheng et al. 2025, arXiv 2507.18071, section 4.1, eq. 5 to 7).

    advantage_i = (r_i - mean(r)) / (std(r) + 1e-4)
    s_i  = exp( mean over the reply's tokens of log p(token) - log p_old(token) )
    loss = - mean over replies of min(s_i A, clip(s_i, 1 - clip, 1 + clip_high) A)

A reply is rewarded as a whole, so its ratio is taken as a whole: ratios of single tokens are noise that grows with the
length, and in a mixture of experts they jump when a token is routed otherwise. The mean within s_i keeps its range the
same for all lengths, and hundreds of times narrower than a token's: hence the small numbers. Before the first
update every s_i is 1 and the gradient is GRPO's. A reply beyond the range is left out whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auscult.train import policy_gradient
from auscult.train.algorithm import Objective
from auscult.train.policy_gradient import centred


@dataclass(frozen=True, kw_only=True)
class Algorithm(policy_gradient.PolicyGradient):
    """Options of GSPO."""

    scale: bool = True
    """Divide advantages by the group's standard deviation."""
    clip: float = 3e-4
    """Replies whose ratio is below 1 - this earn no gradient."""
    clip_high: float = 4e-4
    """Replies whose ratio is above 1 + this earn no gradient."""

    @property
    def loss(self) -> Objective:
        return Objective(name="clip", average="sequence", ratio="sequence", clip=self.clip, clip_high=self.clip_high)

    def advantages(self, rewards: Sequence[float]) -> list[float]:
        """Rewards centred on their group."""
        return centred(rewards, self.scale)
