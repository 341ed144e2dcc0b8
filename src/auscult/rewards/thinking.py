"""Whether a right answer was thought about at the wanted length: 1.0 at the target, falling to 0.0 on both sides.

    n <= target   clip(1 - alpha (target - n) + delta, 0, 1)
    n >  target   clip(    alpha (target - n) + delta, 0, 1)        n: words of the thinking

The form that AudSemThinker's training script gives (Wijngaard et al. 2025, arXiv 2505.14142, `grpo_main_omni.py`) to
the maximum length constraint of L1 (Aggarwal and Welleck 2025, arXiv 2503.04697, eq. 2). With its alpha and delta, 20
to 25 words of 25 earn 1.0, 15 earn 0.5, 26 earn 0.4. Departing from the script, as the paper has it: only a right
answer is paid, and nothing ever for an empty thought. It counts words and does not read them: give `repetition` a
weight beside it.
"""

from __future__ import annotations

from auscult.core.errors import ConfigError
from auscult.core.types import Rollout, Sample
from auscult.rewards.choice import choice
from auscult.rewards.words import words_of


def thinking(
    sample: Sample, rollout: Rollout, *, target: int = 25, alpha: float = 0.1, delta: float = 0.5
) -> float | None:
    """0.0 to 1.0 for thinking of about `target` words before an answer that `choice` calls right, else 0.0; None where
    `choice` cannot tell. Raises ConfigError unless target >= 1, alpha > 0 and delta >= 0."""
    if target < 1 or alpha <= 0 or delta < 0:
        raise ConfigError(
            f"reward 'thinking' has target {target}, alpha {alpha} and delta {delta}; set target >= 1, alpha > 0 and "
            "delta >= 0"
        )
    right = choice(sample, rollout)
    length = len(words_of(rollout.parsed.thought or ""))
    if not right or not length:
        return right and 0.0
    missing = alpha * (target - length)
    return min(max(delta + (1 - missing if length <= target else missing), 0.0), 1.0)
