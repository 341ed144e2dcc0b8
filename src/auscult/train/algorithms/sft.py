"""Supervised fine-tuning: imitate the demonstration of each sample.

    loss = - mean over target tokens of log p(token | prompt, tokens before it)

The prompt is never trained on. Demonstrations are written by the run's form, so they look exactly as a reward will
want them. Several references of one clip are replies to one prompt, which goes through the network once for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from auscult.core.types import Credit, Group, Sample
from auscult.train import algorithm
from auscult.train.algorithm import Objective


@dataclass(frozen=True, kw_only=True)
class Algorithm(algorithm.Algorithm):
    """Options of supervised fine-tuning."""

    references: Literal["first", "all"] = "first"
    """Which of a sample's answers are imitated; all of them, such as five captions of a clip, in the same step."""

    @property
    def request(self) -> None:
        return None

    @property
    def objective(self) -> Objective:
        return Objective(name="imitate")

    def targets(self, sample: Sample) -> tuple[str, ...]:
        return sample.answers if self.references == "all" else sample.answers[:1]

    def credits(self, group: Group) -> list[Credit]:
        """Every demonstration, at full strength."""
        return [Credit(group.sample, rollout, 1.0) for rollout in group.rollouts]
