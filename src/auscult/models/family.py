"""What a family's file offers: the options of a model, how one is made from nothing, and how a saved one is opened.

Options load without torch, so that `--help` answers at once; a family imports its network when one is asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auscult.models.wording import Wording

if TYPE_CHECKING:
    from auscult.models.listener import Listener


@dataclass(frozen=True, kw_only=True)
class Model(ABC):
    """Options of a model. Subclasses are named `Model` too, one a file in `families/`."""

    path: str | None = None
    """Folder of a saved listener to begin with; null makes a random one of the shape below."""

    @abstractmethod
    def build(self, texts: Iterable[str], tags: Iterable[str], wording: Wording, seed: int) -> Listener:
        """A random listener whose tokenizer is learnt from `texts`, each of `tags` one token."""

    @abstractmethod
    def load(self, path: str | Path, wording: Wording) -> Listener:
        """The listener saved in the folder `path`. Raises ConfigError when there is none."""
