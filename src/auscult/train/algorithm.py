"""What an algorithm is: the options of a stage, and a function from a finished group to credits.

The trainer is blind to which one it runs. It collects groups (demonstrations, or the rollouts that the algorithm asks
for), takes the credits, and learns from them with the objective that the algorithm names. Algorithms hold no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from auscult.core.config import at_least
from auscult.core.types import Credit, Group, Sample, Sampling


@dataclass(frozen=True, kw_only=True)
class Request:
    """The rollouts that an algorithm learns from."""

    group: int
    """Replies to each prompt."""
    sampling: Sampling
    """How they are drawn."""
    rewards: Mapping[str, float | Mapping[str, Any]]
    """Weight of each reward by name or import path."""
    max_batches: int = 0
    """Draws a step may make to replace groups that teach nothing; 0 keeps such groups and draws once."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss, without the data."""

    name: Literal["imitate", "clip", "cispo"]
    """Which function of `objectives.py`."""
    average: Literal["token", "sequence", "constant"] = "token"
    """What the batch's loss is a mean of: all its tokens; each reply's mean; each reply's sum divided by `length`."""
    length: int = 1
    """The constant that a reply's sum is divided by, whatever its own length."""
    ratio: Literal["token", "sequence"] = "token"
    """What the policy ratio compares: each token, or the geometric mean over a reply."""
    clip: float = 0.2
    """How far below 1 a policy ratio counts."""
    clip_high: float | None = None
    """How far above 1; None is as far as below."""
    kl: float = 0.0
    """Weight of the divergence from the policy that the stage began with; 0 keeps no reference."""
    temperature: float = 1.0
    """The policy is the softmax of logits / temperature, as it was when the replies were drawn."""
    passes: int = 1
    """Optimiser steps on each collected batch."""
    old: Literal["rollout", "learner"] = "rollout"
    """Whose log-probabilities the ratio divides by: the engine's, or the learner's from before the first update."""
    cap: float = 2.0
    """With the learner's, each token weighs min(learner / engine, cap): the two compute the same policy apart."""

    @property
    def clip_range(self) -> tuple[float, float]:
        """How far below and above 1 a policy ratio counts."""
        return self.clip, self.clip if self.clip_high is None else self.clip_high


@dataclass(frozen=True, kw_only=True)
class Algorithm(ABC):
    """Options every stage has. Subclasses are named `Algorithm` too, one a file in `algorithms/`."""

    steps: int = 100
    """Batches that are collected and learnt from."""
    prompts: int = 16
    """Prompts a step."""
    learning_rate: float | None = None
    """Peak learning rate; null takes train.learning_rate."""
    final_rate: float = 0.1
    """Share of the peak rate that the cosine ends at; 1 keeps the peak to the end."""

    def __post_init__(self) -> None:
        at_least({"steps": (self.steps, 1), "prompts": (self.prompts, 1)})

    @property
    @abstractmethod
    def request(self) -> Request | None:
        """The rollouts to sample for each prompt; None collects demonstrations."""

    @property
    @abstractmethod
    def objective(self) -> Objective:
        """How credits become a loss."""

    def targets(self, sample: Sample) -> tuple[str, ...]:
        """Which of a sample's answers are demonstrated, each by a reply of its own."""
        return sample.answers[:1]

    @abstractmethod
    def credits(self, group: Group) -> list[Credit]:
        """What each rollout of a finished group teaches. A rollout without a score teaches nothing."""
