"""The graft family: a small listener made from nothing, or ears, pretrained or new, on a language model that you
have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.core.forms import form
from auscult.models import family
from auscult.models.graft_shape import Shape
from auscult.models.wording import Wording

if TYPE_CHECKING:
    from auscult.models.graft_listener import GraftListener


@dataclass(frozen=True, kw_only=True)
class Model(family.Model, Shape):
    """Options of a graft: what a new one is made of, or `path` of a saved one."""

    def build(self, texts: Iterable[str], tags: Iterable[str], wording: Wording, seed: int) -> GraftListener:
        from auscult.models import graft_listener  # loads torch, which a recipe's --help does without

        return graft_listener.build(self, texts, tags, wording, seed, copied=self.language == "train")

    def open(self, path: str | Path, wording: Wording, **how: Any) -> GraftListener:
        from auscult.models import graft_listener  # loads torch, which a recipe's --help does without

        return graft_listener.load(path, wording, self.base, **how)


def tiny(folder: Path, seed: int = 0) -> Path:
    """Writes a random-weight checkpoint of the smallest useful shape to `folder`."""
    texts = ["How many sounds? What is the sum of the two digits? low tone, click 0 1 2 3 4 5 6 7 8 9"]
    shape = Model(width=32, layers=2, heads=2, encoder_width=32, encoder_layers=1, vocabulary=300)
    shape.build(texts, form("think").tags(), Wording(), seed).save(folder)
    return folder
