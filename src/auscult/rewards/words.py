"""The words of a text, for rewards that count or compare them."""

from __future__ import annotations

import re
import unicodedata

_SIGNS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # kana and ideographs, written without spaces: each counts as a word
_WORD = re.compile(rf"[{_SIGNS}]|[^\W_{_SIGNS}]+(?:['’][^\W_{_SIGNS}]+)*")
_TAG = re.compile(r"</?[a-z][\w-]*>", re.IGNORECASE)


def words_of(text: str) -> list[str]:
    """Words in order, under NFKC and case folded; tags and punctuation are no words."""
    return _WORD.findall(unicodedata.normalize("NFKC", _TAG.sub(" ", text)).casefold())
