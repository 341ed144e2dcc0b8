"""Whether the reply says what stands in a source that it was not shown, for example a radiologist's report.

    evidence words said / max(enough, words said that the prompt did not show)

Evidence is what stands in the source but not in the prompt, its options included, so echoing the prompt earns nothing;
and who recites a vocabulary says much that the source does not hold. A word counts once; tags, words of one letter and
the commonest English ones do not count. A reply without an answer has no evidence for it.

    rewards:
      evidence: {weight: 0.2, kwargs: {source: [report.Findings, report.Impression]}}
"""

from __future__ import annotations

from collections.abc import Sequence

from auscult.core.errors import ConfigError
from auscult.core.types import Rollout, Sample
from auscult.rewards.words import words_of

_COMMON = frozenset(
    words_of(
        "about after all also an and any are as at be been because before but by can could did do does each for from "
        "had has have he her his how if in into is it its may more most my no nor not of on one only option or other "
        "our out over she should so some such than that the their them then there these they this those through to "
        "too under up was we were what when where which who will with within without would you your"
    )
)


def evidence(sample: Sample, rollout: Rollout, *, source: Sequence[str], enough: int = 3) -> float | None:
    """0.0 to 1.0, which `enough` words of evidence and no other new word earn; None where no tag of the sample named in
    `source` says anything that the prompt does not. Raises ConfigError unless enough >= 1."""
    if enough < 1:
        raise ConfigError(f"reward 'evidence' has enough {enough}; set the words that are enough, 1 or more")
    tags = [source] if isinstance(source, str) else source
    shown = _telling(*(part for turn in sample.turns for part in turn.content if isinstance(part, str)))
    shown |= _telling(*sample.choices)
    hidden = _telling(*(sample.tags.get(tag, "") for tag in tags)) - shown
    if not hidden:
        return None
    said = _telling(rollout.text) - shown
    return len(said & hidden) / max(enough, len(said)) if rollout.parsed.answer is not None else 0.0


def _telling(*texts: str) -> set[str]:
    return {word for text in texts for word in words_of(text) if len(word) > 1 or not word.isascii()} - _COMMON
