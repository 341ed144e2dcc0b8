"""`letter`: the whole reply is the capital letter of an option, as strict medical multiple choice wants it.

`B`, `(B)`, `[B]`, `B.`, `B)` and `B:` are letters, with white space around them; `b`, `Option B` and `B. text` are not.
Our own rule; its strictness is its use: beside `choice` it shows how much of a score is the parser's.
"""

from __future__ import annotations

import re
from string import ascii_uppercase

from auscult.core.types import Parsed, Sample
from auscult.evaluate.verdict import Verdict, option, want_options

_LETTER = re.compile(r"[(\[]?([A-Z])[)\].:]?", re.ASCII)


def letter(reply: str, item: Sample) -> Verdict:
    """Right when the reply is the letter of an accepted option."""
    want_options(item)
    found = _LETTER.fullmatch(reply.strip())
    if not found:
        return Verdict(False, Parsed(None, "no_answer" if reply.strip() else "empty"))
    return option(item, ascii_uppercase.index(found[1]))
