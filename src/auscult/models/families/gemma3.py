"""Gemma 3 and MedGemma: images. The network is in `hub/gemma3.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.models import family
from auscult.models.gemma3_shape import Shape
from auscult.models.wording import Wording

if TYPE_CHECKING:
    from auscult.models.hub.gemma3 import Gemma3Listener


@dataclass(frozen=True, kw_only=True)
class Model(family.Pretrained, Shape):
    """Options of Gemma 3 and MedGemma: `path` of one, or what a small random one is made of."""

    def build(self, texts: Iterable[str], tags: Iterable[str], wording: Wording, seed: int) -> Gemma3Listener:
        from auscult.models.hub import gemma3  # loads torch, which a recipe's --help does without

        return gemma3.build(self, texts, tags, wording, seed)

    def open(self, path: str | Path, wording: Wording, **how: Any) -> Gemma3Listener:
        from auscult.models.hub import gemma3  # loads torch, which a recipe's --help does without

        return gemma3.load(path, wording, **how)
