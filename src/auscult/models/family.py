"""What a family's file offers: the options of a model, how one is made from nothing, and how a saved one is opened.

Options load without torch, so that `--help` answers at once; a family imports its network when one is asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.core.config import Plugin
from auscult.core.errors import ConfigError
from auscult.models.learning import Learn, Learning
from auscult.models.wording import Wording

if TYPE_CHECKING:
    from auscult.models.listener import Listener

FAMILIES = Plugin("family", "auscult.models.families")


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


def family_of(model_type: str) -> str | None:
    """The name of the family whose checkpoints say `model_type` in their config.json; None where there is none."""
    kind = model_type.removeprefix("auscult_")
    return max((name for name in FAMILIES.names() if kind.startswith(name)), key=len, default=None)


def check_model(path: str) -> None:
    """Refuses what is plainly no model, before anything is written; what looks like a hub id is left to the hub."""
    folder = Path(path)
    hub_id = len(folder.parts) == 2 and not path.startswith(("/", "./", "../", "~"))
    if not hub_id and not folder.exists():
        raise ConfigError(f"there is no model in {path}; name the folder of a saved one, or a hub id")
    if (folder / "config.yaml").is_file() and not any(folder.glob("*config.json")):
        models = [str(model) for model in sorted([*folder.glob("model"), *folder.glob("*/model")])]
        there = f"name a model in it: {', '.join(models)}" if models else "it has no model yet: start its command again"
        raise ConfigError(f"{path} is a run folder, no model; {there}")
