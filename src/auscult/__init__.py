"""auscult teaches language models to listen and to look, and measures whether they did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auscult.asking import AuscultModel

__all__ = ["AuscultModel", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Loads torch only for whoever asks for a model."""
    if name == "AuscultModel":
        from auscult.asking import AuscultModel

        return AuscultModel
    raise AttributeError(f"module 'auscult' has no attribute {name!r}")
