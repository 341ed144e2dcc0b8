"""How many words the answer shares with an accepted one: token F1, 0.0 to 1.0.

    2 P R / (P + R)    P, R: shared words / words of the answer, of the gold; words counted as often as they occur

As in the SQuAD evaluation (Rajpurkar et al. 2016, arXiv 1606.05250): articles left out, case and punctuation aside, the
best of several golds. Other than there, a hyphen separates words. It pays for a list of all answers with the share of
the right one, so it counts only where the form can read an answer: with choices, a list of them is none.

    rewards:
      token_f1: {weight: 0.6, kwargs: {explanation: correct_answer_explanation}}
"""

from __future__ import annotations

from collections import Counter

from auscult.core.types import Rollout, Sample
from auscult.rewards.words import words_of


def token_f1(sample: Sample, rollout: Rollout, *, explanation: str | None = None) -> float | None:
    """F1 of the answer with the best accepted answer; with `explanation`, the tag that holds the gold explanation, F1
    of all that the reply says outside of its thinking with that. 0.0 for a reply without an answer; None where no gold
    has a word."""
    golds = sample.answers if explanation is None else (sample.tags.get(explanation, ""),)
    bags = [words for gold in golds if (words := bag(gold))]
    if not bags:
        return None
    answer = rollout.parsed.answer
    if answer is None:
        return 0.0
    said = bag(answer) if explanation is None else bag(rollout.text) - bag(rollout.parsed.thought or "")
    return max(f1(said, words) for words in bags)


def f1(one: Counter[str], other: Counter[str]) -> float:
    """F1 of two bags of words, the second not empty."""
    return 2 * (one & other).total() / (one.total() + other.total())


def bag(text: str) -> Counter[str]:
    """The words of a text and how often each occurs, articles left out."""
    return Counter(word for word in words_of(text) if word not in ("a", "an", "the"))
