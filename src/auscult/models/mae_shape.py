"""The shape of a masked autoencoder; loads without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from auscult.core.config import at_least

Masking = Literal["random", "time", "frequency", "chunk"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Shape of an encoder and of the decoder that trains it."""

    patch_rows: int = 1
    """Feature rows of a patch: 1 with frames; with log-mel 10 ms each."""
    patch_features: int = 0
    """Features of a patch, a divisor of all there are; 0 takes all, so that a patch is a moment."""
    width: int = 512
    """Width of the encoder."""
    layers: int = 6
    """Layers of the encoder."""
    heads: int = 8
    """Attention heads of the encoder."""
    decoder_width: int = 256
    """Width of the decoder."""
    decoder_layers: int = 2
    """Layers of the decoder."""
    decoder_heads: int = 4
    """Attention heads of the decoder."""
    normalise: bool = False
    """Whether each hidden patch is to be predicted with its own mean and deviation taken off."""

    def __post_init__(self) -> None:
        counts = ("patch_rows", "width", "layers", "heads", "decoder_width", "decoder_layers", "decoder_heads")
        at_least({name: (getattr(self, name), 1) for name in counts})
        for width, heads in (("width", "heads"), ("decoder_width", "decoder_heads")):
            if getattr(self, width) % (4 * getattr(self, heads)):
                raise ValueError(
                    f"{width} is {getattr(self, width)}: set a multiple of 4 x {heads}, {4 * getattr(self, heads)}"
                )
