"""Reinforced Self-Training (Gulcehre et al. 2023, arXiv 2308.08998, section 3, algorithm 1).

    grow      sample `group` replies to each of `prompts` prompts from the policy as it stands
    improve   imitate those that were right:  loss = - mean over tokens of weight * log p(token | what is before it)

A step is a whole iteration of this, in a run folder of its own (`train/rest.py`). Where we depart from the paper: one
improvement follows each growth, no demonstrations are mixed in, and the filter is a choice of right replies instead of
a rising threshold, by how many of a prompt's replies were right:

    unsolved 0   |  hard up to 25 %  |  middle up to 75 %  |  easy below 100 %  |  solved 100 %      (any `group`)

The rate is over replies that said something and could be scored. A reply that never came (`failed`), that is blank
(`empty`) or that no reward could judge (`ungraded`) is no evidence that a prompt is hard: without any other the prompt
is `unanswered`. Assumes that a right answer was rightly reasoned; what is right by luck is imitated too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from auscult.core.config import at_least
from auscult.core.types import Credit, Group, Rollout, Sample, Sampling, Score
from auscult.train import algorithm
from auscult.train.algorithm import Objective, Request

Kind = Literal["right", "wrong", "unparsed", "empty", "ungraded", "failed"]
"""What became of a reply that was asked for; `unparsed` said something that its form cannot read."""
Band = Literal["unsolved", "hard", "middle", "easy", "solved", "unanswered"]
"""How much of a prompt the policy can do."""
KINDS: tuple[Kind, ...] = get_args(Kind)
BANDS: tuple[Band, ...] = get_args(Band)
JUDGED: tuple[Kind, ...] = ("right", "wrong", "unparsed")
"""The replies that a rate is over."""


def band(rate: float | None) -> Band:
    """The band of a prompt of which the share `rate` was right; None is a prompt without judged replies."""
    if rate is None:
        return "unanswered"
    if rate in (0, 1):
        return "solved" if rate else "unsolved"
    return "hard" if rate <= 0.25 else "middle" if rate <= 0.75 else "easy"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What a right reply counts by the band of its prompt; 0 leaves the band out. By default prompts of all bands
    count about alike, for an easy one has more right replies; a solved one teaches nothing new."""

    hard: float = 1.0
    """At most a quarter of the replies is right."""
    middle: float = 0.5
    """More than a quarter, at most three quarters."""
    easy: float = 0.25
    """More than three quarters, not all."""
    solved: float = 0.0
    """All are right."""

    def __post_init__(self) -> None:
        weights = self.of
        if not all(0 <= weight < math.inf for weight in weights.values()) or not any(weights.values()):
            raise ValueError(f"weights are {dict(weights)}: set numbers of 0 or more, at least one above 0")

    @property
    def of(self) -> Mapping[Band, float]:
        """By band; what has no right reply has no weight."""
        return {"hard": self.hard, "middle": self.middle, "easy": self.easy, "solved": self.solved}


@dataclass(frozen=True, kw_only=True)
class Algorithm(algorithm.Algorithm):
    """Options of reinforced self-training. `steps` are iterations, `prompts` those of an iteration."""

    steps: int = 3
    """Iterations: sample, filter, train, compare."""
    prompts: int = 1024
    """Prompts an iteration; never more than there are, so a large number takes a whole data set."""
    learning_rate: float | None = 2e-5
    """Peak learning rate; null takes train.learning_rate."""
    decay: tuple[float, ...] = (1.0, 0.5, 0.25)
    """Share of it that each iteration has, in turn; the last one holds for those that follow."""
    group: int = 16
    """Replies to each prompt."""
    temperature: float = 0.9
    """Sampling temperature."""
    top_p: float = 0.95
    """Nucleus."""
    max_tokens: int = 64
    """Longest reply, tokens."""
    rewards: Mapping[str, float | Mapping[str, Any]] = field(default_factory=lambda: {"choice": 1.0, "form": 0.1})
    """Weight of each reward by name or import path, or {weight, function, kwargs}; their total ranks right replies."""
    correct: str = "choice"
    """The reward that says which replies are right."""
    threshold: float = 1.0
    """A reply is right when that reward is at least this."""
    filter: Literal["all", "best", "top_k", "learning_zone"] = "top_k"
    """Which right replies of a prompt are kept: all, the best, the top_k best, or all with the weight of their band."""
    top_k: int = 3
    """How many with filter top_k."""
    weights: Weights = field(default_factory=Weights)
    """Of the bands with filter learning_zone."""
    sample_batch: int = 32
    """Prompts that are sampled before they are written down: what a kill can cost."""
    train_batch: int = 32
    """Prompts of an optimiser step, with all their kept replies."""
    epochs: int = 1
    """How often an iteration learns from what it kept."""
    max_drop: float = 0.0
    """An iteration is kept when its held-out accuracy is not lower than before by more than this share."""
    after_drop: Literal["stop", "go_on"] = "stop"
    """What follows an iteration that was rolled back: the end, or another one from the model of before."""

    def __post_init__(self) -> None:
        algorithm.Algorithm.__post_init__(self)
        at_least({"group": (self.group, 1), "max_tokens": (self.max_tokens, 1), "top_k": (self.top_k, 1)})
        at_least({"sample_batch": (self.sample_batch, 1), "train_batch": (self.train_batch, 1)})
        at_least({"epochs": (self.epochs, 1)})
        names = [name.rpartition(":")[2] for name in self.rewards]
        if self.correct not in names:
            raise ValueError(f"correct is {self.correct}, but the rewards are {', '.join(names)}: name one of them")
        if not self.decay or not all(0 < share < math.inf for share in self.decay):
            raise ValueError(f"decay is {list(self.decay)}: set one or more numbers above 0")
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}: replies of a group must differ, set a number above 0")
        if not 0 <= self.max_drop <= 1:
            raise ValueError(f"max_drop is {self.max_drop}: set a share from 0 to 1")

    @property
    def request(self) -> Request:
        sampling = Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)
        return Request(group=self.group, sampling=sampling, rewards=self.rewards)

    @property
    def objective(self) -> Objective:
        return Objective(name="imitate")

    def credits(self, group: Group) -> list[Credit]:
        """The right replies that the filter keeps, each with its weight; none for a prompt that it leaves out."""
        right = [number for number, kind in enumerate(self.kinds(group)) if kind == "right"]
        weight = 1.0
        if self.filter == "learning_zone":
            weight = self.weights.of.get(band(self.rate(group)), 0.0)
        elif self.filter != "all":
            right = sorted(right, key=lambda number: -(group.scores[number].total or 0.0))  # of equals, the first drawn
            right = right[: self.top_k if self.filter == "top_k" else 1]
        return [Credit(group.sample, group.rollouts[number], weight) for number in right if weight]

    def kinds(self, group: Group) -> list[Kind]:
        """What became of each rollout, in order. Those that failed left none."""
        return [self._kind(*pair) for pair in zip(group.rollouts, group.scores, strict=True)]

    def rate(self, group: Group) -> float | None:
        """Share of the judged replies that is right; None without any."""
        judged = [kind for kind in self.kinds(group) if kind in JUDGED]
        return judged.count("right") / len(judged) if judged else None

    def _kind(self, rollout: Rollout, score: Score) -> Kind:
        if not rollout.text.strip():
            return "empty"
        value = score.parts[self.correct]
        if value is None or score.total is None:
            return "ungraded"
        if value >= self.threshold:
            return "right"
        return "unparsed" if rollout.parsed.answer is None else "wrong"

    def peak(self, iteration: int, default: float) -> float:
        """Peak learning rate of iteration 1, 2, ...; `default` stands in for a learning rate of null."""
        share = self.decay[min(iteration, len(self.decay)) - 1]
        return share * (default if self.learning_rate is None else self.learning_rate)


@dataclass(frozen=True, kw_only=True)
class Improvement(algorithm.Algorithm):
    """The second half of an iteration: imitation of what its filter kept, `prompts` prompts an optimiser step."""

    kept: Mapping[str, Sequence[Credit]]
    """Credits by the id of their sample."""

    @property
    def request(self) -> None:
        return None

    @property
    def objective(self) -> Objective:
        return Objective(name="imitate")

    def demonstrations(self, sample: Sample) -> Group:
        """The kept replies to a sample."""
        return Group(sample, tuple(credit.rollout for credit in self.kept[sample.id]), ())

    def credits(self, group: Group) -> list[Credit]:
        """Each kept reply with its weight."""
        return list(self.kept[group.sample.id])
