"""How a sample is put to a model, whichever model it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How a sample is put to the model."""

    form: str = "think"
    """Shape of the answer: think, solution, answer_line, semantic or label."""
    instruction: bool = True
    """Add the form's instruction to the question (a model trained from scratch learns the form from demonstrations)."""
    choices: bool = True
    """Write the options, lettered, under the question."""
    too_long: Literal["error", "trim", "chunk"] = "error"
    """What to do with a clip that is longer than the model takes: refuse, keep its beginning, or hear it in pieces."""
