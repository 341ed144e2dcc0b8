"""CIDEr-D of the answer against the sample's answers: 0.0 to 10.0, on PTB tokens (`captioning.cider`).

    rewards:
      cider: {weight: 1.0, kwargs: {df: train}}

With `train` a recipe's run counts the document frequencies of its own training samples, once, before the stage begins
(`train/frequencies.py`). Or `df` names a file that `auscult captions df TRAIN --out captions_df.json` has written. The
vectors of a sample's references are kept between its rollouts.
"""

from __future__ import annotations

from functools import lru_cache

from auscult.core.errors import ConfigError
from auscult.core.types import Rollout, Sample
from auscult.rewards.captioning.cider import Vector, cider_d
from auscult.rewards.captioning.frequencies import Frequencies, read_frequencies
from auscult.rewards.captioning.tokens import tokenize

NEEDS_DF = (
    "reward 'cider' needs document frequencies; give it kwargs: {df: train}, which counts those of the training "
    "samples, or a file that auscult captions df has written"
)
"""What to say to a recipe without any."""


def cider(sample: Sample, rollout: Rollout, *, df: str | None = None) -> float | None:
    """CIDEr-D with the document frequencies in the file `df`; 0.0 for a reply without an answer, None for a sample
    without one. Raises ConfigError when there is no file, or it is none."""
    if df is None:
        raise ConfigError(NEEDS_DF)
    frequencies = read_frequencies(df)
    if not sample.answers:
        return None
    if rollout.parsed.answer is None:
        return 0.0
    candidate = Vector.of(tokenize(rollout.parsed.answer), frequencies)
    return cider_d(candidate, _references(sample.answers, frequencies))


@lru_cache(maxsize=256)
def _references(answers: tuple[str, ...], frequencies: Frequencies) -> tuple[Vector, ...]:
    return tuple(Vector.of(tokenize(answer), frequencies) for answer in answers)
