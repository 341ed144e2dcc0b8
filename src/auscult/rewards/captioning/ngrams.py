"""The n-grams of a caption, n = 1 to 4: what BLEU matches and CIDEr-D weighs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

ORDERS = 4
"""The longest n-gram, tokens; both metrics are defined with it."""
Ngram = tuple[str, ...]
Counts = tuple[Counter[Ngram], ...]
"""How often each n-gram occurs, one counter for each n."""


def ngrams(tokens: Sequence[str]) -> Counts:
    """The n-grams of one caption. A token with a blank inside, such as a telephone number, is several words here, as it
    is in the official code (but not in its ROUGE-L)."""
    words = " ".join(tokens).split()
    second, third, fourth = words[1:], words[2:], words[3:]
    return (
        Counter(zip(words, strict=False)),
        Counter(zip(words, second, strict=False)),
        Counter(zip(words, second, third, strict=False)),
        Counter(zip(words, second, third, fourth, strict=False)),
    )
