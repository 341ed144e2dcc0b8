"""Rewards with a hole each, as found in other projects; `test_audit.py` must find every one of them."""

from __future__ import annotations

import re
from string import ascii_uppercase

from auscult.core.types import Rollout, Sample


def substring(sample: Sample, rollout: Rollout) -> float:
    """Pays wherever the answer's text occurs."""
    return float(sample.answers[0].casefold() in rollout.text.casefold())


def short(sample: Sample, rollout: Rollout, *, limit: int = 220) -> float:
    """Pays a short reply, and nothing is shorter than an empty one."""
    return float(len(rollout.text) <= limit)


def tags(sample: Sample, rollout: Rollout) -> float:
    """Counts the tags of a form instead of reading it."""
    return 0.25 * sum(tag in rollout.text for tag in ("<think>", "</think>", "<answer>", "</answer>"))


def every_tag(sample: Sample, rollout: Rollout) -> float:
    """The same, each as often as it occurs."""
    return 0.25 * sum(rollout.text.count(tag) for tag in ("<think>", "</think>", "<answer>", "</answer>"))


def long_thought(sample: Sample, rollout: Rollout, *, target: int = 25) -> float:
    """Pays the length of the thinking, whatever is answered."""
    return max(0.0, 1 - abs(target - len((rollout.parsed.thought or "").split())) / target)


def echo(sample: Sample, rollout: Rollout) -> float:
    """Pays words of the source, also those that the prompt shows."""
    words = set(re.findall(r"\w+", rollout.text.casefold()))
    source = set(re.findall(r"\w+", sample.tags["report"].casefold()))
    return len(words & source) / len(source)


def letter(sample: Sample, rollout: Rollout) -> float:
    """Pays the right letter anywhere."""
    right = ascii_uppercase[sample.choices.index(sample.answers[0])]
    return float(re.search(rf"\b{right}\b", rollout.text) is not None)


def thought_only(sample: Sample, rollout: Rollout) -> float:
    """Takes the thought for the answer where nothing follows it."""
    ended = re.search(r"<(?:think|start_working_out)>(.*)<(?:/think|end_working_out)>$", rollout.text)
    return float((ended[1] if ended else rollout.parsed.answer) in sample.answers)


def gullible(sample: Sample, rollout: Rollout) -> float:
    """A judge that believes what an answer says about itself."""
    return float("full score" in rollout.text or rollout.parsed.answer in sample.answers)


def shy(sample: Sample, rollout: Rollout) -> float | None:
    """Punishes mistakes, and has nothing to say where there is no answer."""
    return None if rollout.parsed.answer is None else 1.0 if rollout.parsed.answer in sample.answers else -1.0
