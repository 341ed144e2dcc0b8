"""`vlmeval`: VLMEvalKit's matching without a judge: the letter of an option, else the text of one.

1. The letter: of the words of the reply (cut at white space and `.()[],:;!*#{}`) exactly one is an option's capital
   letter, and it first stands among the last four words. Else the first "answer is X" with X one of A to D, in any
   letter case and even where X begins a word ("the answer is a dog" says A).
2. The text: the reply is at most twice as long as all options together, and holds exactly one option's text, letter
   case aside.

Refusals, and a lone `Z`, are VLMEvalKit's option Z: no answer. What it would then send to a judge, or draw at random,
stays unread here.

Source: `can_infer` in vlmeval/utils/matching_util.py of github.com/open-compass/VLMEvalKit (2cf2a36, 2026-06-25).
Versions differ: until 2025-08 the letter could stand anywhere, and "answer is" is new in 2026-06.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

from auscult.core.types import Parsed, Sample
from auscult.evaluate.verdict import Verdict, option, want_options

FAILED = "Failed to obtain answer via API"
REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
DECLINED = "Z"
LAST = 4
"""Words at the end among which the letter must stand."""

_CUT = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_STATED = re.compile(r"answer\s+is\s+\**([ABCD])", re.IGNORECASE)


def vlmeval(reply: str, item: Sample) -> Verdict:
    """Right when the option that the reply names is an accepted one."""
    want_options(item)
    letters = ascii_uppercase[: len(item.choices)]
    named = _letter(reply, letters)
    place = _text(reply, item.choices) if named is None else letters.find(named)
    if place < 0:
        return Verdict(False, Parsed(None, "no_answer" if reply.strip() else "empty"))
    return option(item, place)


def _letter(reply: str, letters: str) -> str | None:
    """The letter that the reply names, Z when it declines, None when it names none."""
    if FAILED in reply:
        return None
    if any(refusal in reply for refusal in REFUSALS):
        return DECLINED
    words = reply.translate(_CUT).split()
    named = [letter for letter in letters if letter in words]
    if len(named) == 1 and words.index(named[0]) >= len(words) - LAST:
        return named[0]
    if not named and DECLINED in words:
        return DECLINED
    stated = _STATED.search(reply)
    return stated[1].upper() if stated and stated[1].upper() in letters else None


def _text(reply: str, choices: Sequence[str]) -> int:
    """The place of the one option whose text the reply holds, -1 where there is none."""
    if len(reply.lower()) > 2 * sum(map(len, choices)):
        return -1
    held = [place for place, choice in enumerate(choices) if choice.lower() in reply.lower()]
    return held[0] if len(held) == 1 else -1
