"""How much the reply repeats itself: 0.0, falling to -1.0.

    - (1 - distinct n-grams / n-grams)

The repetition penalty of Yeo et al. 2025 (arXiv 2502.03373, appendix C.2) as one number a reply, over words instead of
tokens; 0.0 for a reply with less than n words."""

from __future__ import annotations

from auscult.core.errors import ConfigError
from auscult.core.types import Rollout, Sample
from auscult.rewards.words import words_of


def repetition(sample: Sample, rollout: Rollout, *, size: int = 3) -> float:
    """Minus the share of the reply's n-grams of `size` words that occurred before in it. Raises ConfigError unless
    size >= 1."""
    if size < 1:
        raise ConfigError(f"reward 'repetition' has size {size}; set the words of an n-gram, 1 or more")
    words = words_of(rollout.text)
    grams = list(zip(*(words[start:] for start in range(size)), strict=False))
    return len(set(grams)) / len(grams) - 1 if grams else 0.0
