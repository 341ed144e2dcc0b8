"""Qwen2-Audio: audio. The network is in `hub/qwen2_audio.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.models import family
from auscult.models.wording import Wording

if TYPE_CHECKING:
    from auscult.models.hub.qwen2_audio import Qwen2AudioListener


@dataclass(frozen=True, kw_only=True)
class Model(family.Pretrained):
    """Options of Qwen2-Audio."""

    def build(self, texts: Iterable[str], tags: Iterable[str], wording: Wording, seed: int) -> Qwen2AudioListener:
        from auscult.models.hub import qwen2_audio  # loads torch, which a recipe's --help does without

        return qwen2_audio.tiny(texts, tags, wording, seed)

    def open(self, path: str | Path, wording: Wording, **how: Any) -> Qwen2AudioListener:
        from auscult.models.hub import qwen2_audio  # loads torch, which a recipe's --help does without

        return qwen2_audio.load(path, wording, **how)
