"""Supervised fine-tuning: imitate the demonstration of each sample.

    loss = - mean over target tokens of log p(token | prompt, tokens before it)

The prompt is never trained on. Demonstrations are written by the run's form, so they look exactly as a reward will
want them."""

from __future__ import annotations

from dataclasses import dataclass

from auscult.core.types import Credit, Group
from auscult.train import algorithm
from auscult.train.algorithm import Objective


@dataclass(frozen=True, kw_only=True)
class Algorithm(algorithm.Algorithm):
    """Options of supervised fine-tuning."""

    @property
    def request(self) -> None:
        return None

    @property
    def objective(self) -> Objective:
        return Objective(name="imitate")

    def credits(self, group: Group) -> list[Credit]:
        """Every demonstration, at full strength."""
        return [Credit(group.sample, rollout, 1.0) for rollout in group.rollouts]
