r"""`string_match`, the published rule of MMAU and MMAR, exactly.

Text becomes the set of its lower-case tokens `\b\w+\b`. A prediction P is right for the answer A when it is not empty,
A is a subset of P, and P shares nothing with W, the union over the options C with C != A of C - A.

Known holes, so it is a benchmark's rule and never a reward: options with one token set ("From far to near" and "From
near to far") pass for each other, "The answer is X." fails where another option has a "the" or an "is", and a list of
all options passes where W is empty.

Source: `string_match` in evaluation.py of github.com/Sakshi113/MMAU (7468292) and code/evaluation.py of
github.com/ddlBoJack/MMAR (a355584). Ours adds what was read: the one option for which the reply would pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from auscult.core.types import Parsed, Sample
from auscult.evaluate.verdict import Verdict

_TOKEN = re.compile(r"\b\w+\b")


def string_match(reply: str, item: Sample) -> Verdict:
    """Right when the reply holds every token of an answer and none that only other options have."""
    said = tokens(reply)
    if not said:
        return Verdict(False, Parsed(None, "empty"))
    options = [tokens(choice) for choice in item.choices]
    for answer in item.answers:
        if passes(said, tokens(answer), options):
            return Verdict(True, Parsed(answer))
    credited = [c for c, own in zip(item.choices, options, strict=True) if own and passes(said, own, options)]
    if len(set(credited)) == 1:
        return Verdict(False, Parsed(credited[0]))
    return Verdict(False, Parsed(None, "several_answers" if credited else "not_a_choice"))


def tokens(text: str) -> set[str]:
    """The token set of a text."""
    return set(_TOKEN.findall(text.lower()))


def passes(said: set[str], answer: set[str], options: Iterable[set[str]]) -> bool:
    """Whether the tokens of a prediction that is not empty pass for those of an answer among `options`."""
    return answer <= said and not any(said & (option - answer) for option in options)
