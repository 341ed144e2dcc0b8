"""Group Relative Policy Optimization (Shao et al. 2024, arXiv 2402.03300, section 4.1).

    advantage_i = r_i - mean(r)                     the group is its own baseline; no critic
    advantage_i = (r_i - mean(r)) / (std(r) + 1e-4)  with `scale: true`, as in the paper

Dividing by the deviation weighs groups that are nearly decided as much as open ones (Liu et al. 2025, arXiv
2503.20783, section 3.1), so it is an option here and not the default. A group whose rewards are all equal has
advantages 0 and teaches nothing. A rollout that could not be scored is left out of the group's mean; it is counted by
the rubric's statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import Any

from auscult.core.config import at_least
from auscult.core.types import Credit, Group, Sampling
from auscult.train import algorithm
from auscult.train.algorithm import Objective, Request


@dataclass(frozen=True, kw_only=True)
class Algorithm(algorithm.Algorithm):
    """Options of GRPO."""

    group: int = 8
    """Replies to each prompt."""
    temperature: float = 1.0
    """Sampling temperature of the rollouts."""
    top_p: float = 1.0
    """Nucleus of the rollouts; log-probabilities are always those of the whole distribution."""
    max_tokens: int = 64
    """Longest reply, tokens."""
    rewards: Mapping[str, float | Mapping[str, Any]] = field(default_factory=lambda: {"choice": 1.0, "form": 0.1})
    """Weight of each reward by name or import path, or {weight, function, kwargs}."""
    scale: bool = False
    """Divide advantages by the group's standard deviation."""
    clip: float = 0.2
    """Policy ratios outside 1 ± this earn no gradient (epsilon in the paper)."""
    kl: float = 0.0
    """Weight of the divergence from the policy that the stage began with (beta in the paper); 0 keeps no reference."""
    passes: int = 1
    """Optimiser steps on each batch of rollouts (mu in the paper)."""

    def __post_init__(self) -> None:
        algorithm.Algorithm.__post_init__(self)
        at_least({"group": (self.group, 2), "max_tokens": (self.max_tokens, 1), "passes": (self.passes, 1)})
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}: replies of a group must differ, set a number above 0")

    @property
    def request(self) -> Request:
        sampling = Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)
        return Request(group=self.group, sampling=sampling, rewards=self.rewards)

    @property
    def objective(self) -> Objective:
        return Objective(name="clip", clip=self.clip, kl=self.kl, temperature=self.temperature, passes=self.passes)

    def credits(self, group: Group) -> list[Credit]:
        """Rewards centred on their group."""
        graded = [(r, s.total) for r, s in zip(group.rollouts, group.scores, strict=True) if s.total is not None]
        if not graded:
            return []
        rewards = [total for _, total in graded]
        mean, spread = fmean(rewards), (pstdev(rewards) + 1e-4 if self.scale else 1.0)
        return [Credit(group.sample, rollout, (reward - mean) / spread) for rollout, reward in graded]
