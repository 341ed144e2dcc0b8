"""What a family's file offers: the options of a model, how one is made from nothing, and how a saved one is opened.

Options load without torch, so that `--help` answers at once; a family imports its network when one is asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.models.learning import Learn, Learning
from auscult.models.wording import Wording

if TYPE_CHECKING:
    from auscult.models.listener import Listener


@dataclass(frozen=True, kw_only=True)
class Model(Learning, ABC):
    """Options of a model. Subclasses are named `Model` too, one a file in `families/`."""

    path: str | None = None
    """Folder or hub id of the checkpoint to begin with; null makes a small random one."""

    @abstractmethod
    def build(self, texts: Iterable[str], tags: Iterable[str], wording: Wording, seed: int) -> Listener:
        """A random listener whose tokenizer is learnt from `texts`, each of `tags` one token."""

    @abstractmethod
    def open(self, path: str | Path, wording: Wording, **how: Any) -> Listener:
        """The plain checkpoint in the folder `path`; `how` goes to `from_pretrained`. Raises ConfigError when there is
        none."""

    def load(self, path: str | Path, wording: Wording) -> Listener:
        """The listener in `path`, plain or adapted, with its parts set to learn as these options say."""
        from auscult.models import adapters  # loads torch, which a recipe's --help does without

        return adapters.load(path, wording, self, self.open)


@dataclass(frozen=True, kw_only=True)
class Pretrained(Model):
    """Options of a model that somebody trained: its language model is adapted, its encoders are kept."""

    language: Learn = "adapt"
    audio: Learn = "freeze"
    image: Learn = "freeze"
    projector: Learn = "freeze"
