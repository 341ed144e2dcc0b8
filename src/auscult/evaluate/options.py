"""Options of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from auscult.core.config import at_least
from auscult.core.types import Sampling


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """How held-out samples are answered, and what is measured."""

    metric: Literal["choice", "captions"] = "choice"
    """What replies are measured by: whether the answer is right, or, of captions, how well it agrees with all answers
    of the sample (CIDEr-D, ROUGE-L, BLEU)."""
    limit: int | None = None
    """Questions at most; null asks all."""
    temperature: float = 0.0
    """Sampling temperature; 0 is greedy."""
    max_tokens: int = 64
    """Longest reply, tokens."""
    batch: int = 128
    """Questions that are answered at once."""
    calibration: bool = False
    """Measure how sure the model is of its answers too, and whether it should be: one more pass over every question
    with options, with all of them; a third of the evaluation's time where model and replies are small."""
    showcase: int = 20
    """Sampled rollouts that the report plays."""

    def __post_init__(self) -> None:
        at_least({"limit": (1 if self.limit is None else self.limit, 1), "showcase": (self.showcase, 0)})
        if self.calibration and self.metric != "choice":
            raise ValueError(f"calibration is of answers, and metric is {self.metric}: leave it out")
        at_least({"max_tokens": (self.max_tokens, 1), "batch": (self.batch, 1)})

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, max_tokens=self.max_tokens)
