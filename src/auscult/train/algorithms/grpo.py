"""Group Relative Policy Optimization (Shao et al. 2024, arXiv 2402.03300, section 4.1, eq. 3).

    advantage_i = r_i - mean(r)                      the group is its own baseline; no critic
    advantage_i = (r_i - mean(r)) / (std(r) + 1e-4)  with `scale: true`, as in the paper
    loss = - mean over replies, then over a reply's tokens, of min(ratio A, clip(ratio, 1 - clip, 1 + clip) A)

Assumes that replies of a group may be compared by their rewards alone. Dividing by the deviation weighs groups that
are nearly decided as much as open ones (Liu et al. 2025, arXiv 2503.20783, section 3.1), so it is an option here and
not the default. A group whose rewards are all equal has advantages 0 and teaches nothing. The mean within a reply
makes each token of a long reply count less than one of a short reply (`dr_grpo`, `dapo`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auscult.train import policy_gradient
from auscult.train.algorithm import Objective
from auscult.train.policy_gradient import centred


@dataclass(frozen=True, kw_only=True)
class Algorithm(policy_gradient.PolicyGradient):
    """Options of GRPO."""

    scale: bool = False
    """Divide advantages by the group's standard deviation."""
    clip: float = 0.2
    """Policy ratios outside 1 ± this earn no gradient (epsilon in the paper)."""

    @property
    def loss(self) -> Objective:
        return Objective(name="clip", average="sequence", clip=self.clip)

    def advantages(self, rewards: Sequence[float]) -> list[float]:
        """Rewards centred on their group."""
        return centred(rewards, self.scale)
