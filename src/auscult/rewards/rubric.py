"""A rubric: named rewards with weights, and what they say of a sample's rollouts.

A recipe writes it as `rewards: {choice: 1.0, form: 0.1}`. A name is a file in this folder (`choice.py` has the function
`choice`; there is no list to keep), or the part says which function it means:

    rewards:
      choice: 1.0
      number: {weight: 0.5, kwargs: {tolerance: 0.1}}
      brevity: {weight: 0.2, function: "./my_rewards.py:brevity"}
      my_package.rewards:polite: 0.1

The weight is applied here and nowhere else: `Score.parts` are the bare values and `Score.total` is their weighted sum.
A part that could not be computed is None and makes the total None; zero would be a judgement.
"""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from statistics import fmean, pstdev
from typing import Any, cast

import auscult.rewards
from auscult.core.config import loaded
from auscult.core.errors import ConfigError
from auscult.core.types import Group, Rollout, Sample, Score
from auscult.rewards.imported import GroupReward, RewardError, for_groups, load

_TAKEN = ("total", "ungraded")
"""Names that `statistics` uses beside those of the parts."""


@dataclass(frozen=True, slots=True)
class Part:
    """One reward in a rubric."""

    name: str
    """Its key in `Score.parts` and in the metrics."""
    weight: float
    """What its value counts in the total; negative for a penalty, 0 to watch it only."""
    reward: GroupReward
    """Grades the rollouts of one sample."""


@dataclass(frozen=True, slots=True)
class Rubric:
    """Named rewards and their weights."""

    parts: tuple[Part, ...]
    """In the order of the recipe; no two have the same name."""

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        if not names:
            raise ConfigError("a rubric needs at least one reward; name one, for example choice: 1.0")
        for part in self.parts:
            if names.count(part.name) > 1 or part.name in _TAKEN:
                raise ConfigError(f"the reward name {part.name!r} is taken; call the part otherwise")
            if not math.isfinite(part.weight):
                raise ConfigError(f"reward {part.name!r} has the weight {part.weight}; give it a finite number")

    @classmethod
    def from_config(cls, rewards: Mapping[str, float | Mapping[str, Any]]) -> Rubric:
        """A rubric from `name: weight` or `name: {weight, function, kwargs}`. Raises ConfigError for what cannot be."""
        return cls(tuple(_part(name, entry) for name, entry in rewards.items()))

    def score(self, sample: Sample, rollouts: Sequence[Rollout]) -> tuple[Score, ...]:
        """One score per rollout, in their order. Raises RewardError when a reward function fails."""
        columns = [part.reward(sample, rollouts) for part in self.parts]
        for part, column in zip(self.parts, columns, strict=True):
            if len(column) != len(rollouts):
                raise RewardError(
                    f"reward {part.name!r} gave {len(column)} values for the {len(rollouts)} rollouts of sample "
                    f"{sample.id!r}; make it give one for each"
                )
        return tuple(self._score(row) for row in zip(*columns, strict=True))

    def _score(self, values: Sequence[float | None]) -> Score:
        parts = {part.name: value for part, value in zip(self.parts, values, strict=True)}
        if any(value is None for value in values):
            return Score(parts, None)
        return Score(parts, math.fsum(part.weight * (parts[part.name] or 0.0) for part in self.parts))


def available() -> list[str]:
    """Names of the rewards in this folder: the files that have a function of their own name, and load."""
    found: list[str] = []
    for name in files():
        with suppress(ConfigError):
            if find(name) is not None:
                found.append(name)
    return found


def statistics(groups: Sequence[Group]) -> dict[str, float]:
    """Figures of the parts and the total over all rollouts of scored groups, keys such as `reward/choice/mean`.

    For each: `mean` and `std` (population) over graded rollouts, absent when there are none; `ungraded`, how many
    rollouts have no value; `flat_groups`, the share of groups whose graded values do not differ, which therefore teach
    nothing. `reward/ungraded` counts rollouts without a total.
    """
    scored = [group.scores for group in groups if group.scores]
    if not scored:
        return {}
    figures: dict[str, float] = {}
    for name in (*scored[0][0].parts, "total"):
        grades = [[score.total if name == "total" else score.parts[name] for score in scores] for scores in scored]
        known = [[value for value in values if value is not None] for values in grades]
        flat = [value for values in known for value in values]
        if flat:
            figures[f"reward/{name}/mean"] = fmean(flat)
            figures[f"reward/{name}/std"] = pstdev(flat)
        figures[f"reward/{name}/ungraded"] = float(sum(map(len, grades)) - len(flat))
        figures[f"reward/{name}/flat_groups"] = fmean(len(set(values)) < 2 for values in known)
    figures["reward/ungraded"] = figures["reward/total/ungraded"]
    return figures


def flat_parts(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Parts that taught nothing in the steps whose metrics `rows` are: their values differed within no group."""
    shares: dict[str, list[float]] = {}
    for row in rows:
        for key, value in row.items():
            name = key.removeprefix("reward/").removesuffix("/flat_groups")
            if key == f"reward/{name}/flat_groups" and name not in _TAKEN:
                shares.setdefault(name, []).append(value)
    return [name for name, flat in shares.items() if min(flat) == 1.0]


def _part(name: str, entry: object) -> Part:
    if isinstance(entry, Mapping):
        settings = dict(cast("Mapping[str, Any]", entry))
    else:
        settings: dict[str, Any] = {"weight": entry}
    keys = ("weight", "function", "kwargs")
    for key in settings:
        if key not in keys:
            near = get_close_matches(key, keys, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"a reward has {', '.join(keys)}"
            raise ConfigError(f"reward {name!r} has the unknown key {key!r}; {hint}")
    weight, kwargs = settings.get("weight"), settings.get("kwargs", {})
    if not isinstance(weight, int | float) or isinstance(weight, bool):
        raise ConfigError(f"reward {name!r} has the weight {weight!r}; give it a number, for example {name}: 1.0")
    if not isinstance(kwargs, Mapping):
        raise ConfigError(f"reward {name!r}: kwargs must be a mapping of option to value, not {kwargs!r}; indent them")
    function = _function(str(settings.get("function") or name))
    label = name.rpartition(":")[2]
    return Part(label, float(weight), for_groups(label, function, cast("Mapping[str, Any]", kwargs)))


def _function(name: str) -> Callable[..., Any]:
    if ":" in name:
        return load(name)
    function = find(name) if name in files() else None
    if function is None:
        near = get_close_matches(name, available(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(available())}"
        raise ConfigError(f"there is no reward {name!r}; {hint} (or name a function, package.module:function)")
    return function


def files() -> list[str]:
    """Names of the files in this folder; not all are rewards."""
    return sorted(module.name for module in pkgutil.iter_modules(auscult.rewards.__path__))


def find(name: str) -> Callable[..., Any] | None:
    """The reward in the file `name`; None when it has no function of its own name. Raises ConfigError when it does not
    load."""
    function = getattr(loaded(f"auscult.rewards.{name}"), name, None)
    return function if callable(function) else None
