"""What an engine is: prompts in, groups of replies out, with the log-probability of every reply token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from auscult.core.types import Rollout, Sampling
from auscult.models.listener import Prompt


class Engine(Protocol):
    """Anything that answers prompts."""

    def roll(self, prompts: Sequence[Prompt], group: int, sampling: Sampling, seed: int) -> list[tuple[Rollout, ...]]:
        """`group` rollouts for each prompt, in the order of the prompts; the same seed gives the same replies."""
        ...
