"""What a provision is: how the files that a recipe's data are read from come to be there, fetched or made.

What is whole in its folder is left as it is, so the same command goes on where it was stopped."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from auscult.data.waiting import Tell


@dataclass(frozen=True, kw_only=True)
class Provision(ABC):
    """Options of a provision. Subclasses are named `Provision` too, one a file in `data/provisions/`."""

    folder: str
    """Folder that holds the files; what is whole in it is left as it is."""

    @abstractmethod
    def provide(self, tell: Tell) -> str:
        """Puts into the folder what is not there yet; says what is there, in a sentence. Raises AuscultError."""
