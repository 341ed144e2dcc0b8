"""What a new Gemma 3 is made of; loads without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from auscult.core.config import at_least


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a random Gemma 3 is made of; of no effect with `path`."""

    width: int = 32
    """Width of language model and vision tower."""
    layers: int = 2
    """Layers of either, an even number: every other one of the language model is a sliding window."""
    sliding: int = 24
    """Tokens that a sliding window reaches back; the default is shorter than a prompt with an image."""
    patch: int = 7
    """Side of a square patch, pixels."""
    image_tokens: int = 16
    """Tokens of an image, a square number, of four patches each: 16 with a patch of 8 see 64 x 64 pixels."""
    vocabulary: int = 512
    """Tokens at most; 256 of them are bytes."""

    def __post_init__(self) -> None:
        at_least({name: (getattr(self, name), 1) for name in ("sliding", "patch", "image_tokens")})
        at_least({"vocabulary": (self.vocabulary, 300)})  # 256 bytes, the special tokens and the tags
        if self.width < 8 or self.width % self.heads or self.width % self.vision_heads:
            raise ValueError(f"width is {self.width}: set a multiple of 8, it has {self.heads} attention heads")
        if self.layers < 2 or self.layers % 2:
            raise ValueError(f"layers is {self.layers}: set an even number, of two or more")
        if math.isqrt(self.image_tokens) ** 2 != self.image_tokens:
            raise ValueError(f"image_tokens is {self.image_tokens}: set a square number, for example 16")

    @property
    def heads(self) -> int:
        """Attention heads of the language model; half as many key/value heads."""
        return max(4, self.width // 128)

    @property
    def vision_heads(self) -> int:
        """Attention heads of the vision tower."""
        return max(2, self.width // 256)

    @property
    def side(self) -> int:
        """Height and width of an image as the tower sees it, pixels."""
        return 2 * self.patch * math.isqrt(self.image_tokens)
