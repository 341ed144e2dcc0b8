"""The Thinker of Qwen3-Omni: audio and images, a mixture of experts. The network is in `hub/qwen3_omni.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.models import family
from auscult.models.wording import Wording

if TYPE_CHECKING:
    from auscult.models.hub.qwen3_omni import Qwen3OmniListener


@dataclass(frozen=True, kw_only=True)
class Model(family.Pretrained):
    """Options of the Thinker of Qwen3-Omni."""

    def build(self, texts: Iterable[str], tags: Iterable[str], wording: Wording, seed: int) -> Qwen3OmniListener:
        from auscult.models.hub import qwen3_omni  # loads torch, which a recipe's --help does without

        return qwen3_omni.tiny(texts, tags, wording, seed)

    def open(self, path: str | Path, wording: Wording, **how: Any) -> Qwen3OmniListener:
        from auscult.models.hub import qwen3_omni  # loads torch, which a recipe's --help does without

        return qwen3_omni.load(path, wording, **how)
