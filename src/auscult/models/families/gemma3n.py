"""Gemma 3n: audio, and images where timm is installed. The network is in `hub/gemma3n.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.models import family
from auscult.models.wording import Wording

if TYPE_CHECKING:
    from auscult.models.hub.gemma3n import Gemma3nListener


@dataclass(frozen=True, kw_only=True)
class Model(family.Pretrained):
    """Options of Gemma 3n."""

    def build(self, texts: Iterable[str], tags: Iterable[str], wording: Wording, seed: int) -> Gemma3nListener:
        from auscult.models.hub import gemma3n  # loads torch, which a recipe's --help does without

        return gemma3n.tiny(texts, tags, wording, seed)

    def open(self, path: str | Path, wording: Wording, **how: Any) -> Gemma3nListener:
        from auscult.models.hub import gemma3n  # loads torch, which a recipe's --help does without

        return gemma3n.load(path, wording, **how)
