"""BLEU of the answer against the sample's answers: 0.0 to 1.0, on PTB tokens (`captioning.bleu`).

BLEU is made for corpora; of a single caption it is a coarse figure, and close to 0 without a common n-gram of the
longest kind.
"""

from __future__ import annotations

from functools import lru_cache

from auscult.core.errors import ConfigError
from auscult.core.types import Rollout, Sample
from auscult.rewards.captioning.bleu import Matches, References
from auscult.rewards.captioning.ngrams import ORDERS
from auscult.rewards.captioning.tokens import tokenize


def bleu(sample: Sample, rollout: Rollout, *, n: int = ORDERS) -> float | None:
    """BLEU-`n`, n from 1 to 4; 0.0 for a reply without an answer, None for a sample without one. Raises ConfigError for
    another n."""
    if not 1 <= n <= ORDERS:
        raise ConfigError(f"reward 'bleu' has n {n}; set 1 <= n <= {ORDERS}")
    if not sample.answers:
        return None
    if rollout.parsed.answer is None:
        return 0.0
    return Matches.of(tokenize(rollout.parsed.answer), _references(sample.answers)).bleu()[n - 1]


@lru_cache(maxsize=256)
def _references(answers: tuple[str, ...]) -> References:
    return References.of([tokenize(answer) for answer in answers])
