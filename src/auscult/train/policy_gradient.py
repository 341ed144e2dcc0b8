"""What the policy gradients share: options of sampling and learning, and the way from a group's scores to credits.

An algorithm's file says two things of its own: how rewards become advantages, and which loss follows them. Here is the
rest, the same for all:

- A rollout that could not be scored teaches nothing and is left out of the group's baseline.
- A reply that was cut at `max_tokens` counts in the baseline; with `mask_cut` it teaches nothing either.
- Groups that teach nothing may be replaced by others from the stream (`max_batches`; DAPO, arXiv 2503.14476, section
  3.2). The policy then learns from prompts of middling difficulty only; what was dropped is logged.
- Log-probabilities come from two programs, engine and learner. `old: learner` divides by the learner's own and weighs
  each token by how far the two are apart (`objectives.importance`). Where an engine tells none, the learner's are
  taken and counted (`logps_recomputed`)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, pstdev
from typing import Any, Literal

from auscult.core.config import at_least
from auscult.core.types import Credit, Group, Sampling
from auscult.train.algorithm import Algorithm, Objective, Request


@dataclass(frozen=True, kw_only=True)
class PolicyGradient(Algorithm):
    """Options that every policy gradient has."""

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
    kl: float = 0.0
    """Weight of the divergence from the policy that the stage began with (beta in the papers); 0 keeps no reference."""
    passes: int = 1
    """Optimiser steps on each batch of rollouts (mu in the papers)."""
    max_batches: int = 0
    """Draws a step may make until `prompts` groups differ in their rewards; 0 draws once and keeps every group."""
    mask_cut: bool = False
    """Learn nothing from replies that were cut at max_tokens: they may have been on their way to a right answer."""
    old: Literal["rollout", "learner"] = "rollout"
    """Old log-probabilities of the policy ratio: the engine's, or the learner's own, each token weighed by min(learner
    / engine, cap)."""
    cap: float = 2.0
    """Largest such weight."""

    def __post_init__(self) -> None:
        Algorithm.__post_init__(self)
        at_least({"group": (self.group, 2), "max_tokens": (self.max_tokens, 1), "passes": (self.passes, 1)})
        at_least({"max_batches": (self.max_batches, 0)})
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}: replies of a group must differ, set a number above 0")
        low, high = self.loss.clip_range
        if low <= 0 or high <= 0:
            raise ValueError(f"ratios are clipped {low} below and {high} above 1: set numbers above 0")
        if self.cap < 1:
            raise ValueError(f"cap is {self.cap}: below 1 it would weigh down what agrees, set at least 1")

    @property
    @abstractmethod
    def loss(self) -> Objective:
        """The loss that is the algorithm's own; `objective` adds the options that all have."""

    @abstractmethod
    def advantages(self, rewards: Sequence[float]) -> list[float]:
        """What each rollout of a group is worth, from the rewards of those that could be scored (never empty)."""

    @property
    def request(self) -> Request:
        sampling = Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)
        return Request(group=self.group, sampling=sampling, rewards=self.rewards, max_batches=self.max_batches)

    @property
    def objective(self) -> Objective:
        return replace(
            self.loss, kl=self.kl, temperature=self.temperature, passes=self.passes, old=self.old, cap=self.cap
        )

    def credits(self, group: Group) -> list[Credit]:
        """Each scored rollout with its advantage."""
        graded = [(r, s.total) for r, s in zip(group.rollouts, group.scores, strict=True) if s.total is not None]
        if not graded:
            return []
        worth = self.advantages([total for _, total in graded])
        return [
            Credit(group.sample, rollout, advantage)
            for (rollout, _), advantage in zip(graded, worth, strict=True)
            if not (self.mask_cut and rollout.stop == "length")
        ]


def centred(rewards: Sequence[float], scale: bool) -> list[float]:
    """Rewards less their mean, with `scale` over their deviation + 1e-4. Exactly 0 where all are equal, which rounding
    of the mean would not give."""
    if len(set(rewards)) == 1:
        return [0.0] * len(rewards)
    mean, spread = fmean(rewards), (pstdev(rewards) + 1e-4 if scale else 1.0)
    return [(reward - mean) / spread for reward in rewards]
