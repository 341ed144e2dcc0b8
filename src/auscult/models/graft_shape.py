"""What a new graft is made of; loads without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from auscult.core.config import at_least

RANDOM: Mapping[str, Any] = {
    "source": "mel",
    "features": 80,
    "encoder_width": 128,
    "encoder_layers": 2,
    "encoder_dropout": 0.0,
    "pool": 4,
}
"""What a random encoder is, where nothing else is said. A pretrained one is what it is."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a graft is made of: an encoder, a projector and a language model; those that are not named are random ones,
    of the shape that follows."""

    encoder: str | None = None
    """Folder of a pretrained encoder, RUN or RUN/encoder of `auscult pretrain`, which says what is heard; null makes a
    random one."""
    base: str | None = None
    """Folder or hub id of a causal language model, or of one whose language part is one (MedGemma); its tokenizer and
    chat template come with it. null makes a small random Gemma 3 text model."""
    projector_kind: Literal["mlp", "qformer", "perceiver"] = "mlp"
    """From encoder to language model: mlp gives a token for each moment of the encoder, the others `tokens` a clip."""
    tokens: int = 32
    """Audio tokens of a clip, with projector_kind qformer or perceiver."""
    projector_layers: int = 2
    """Layers of those two."""
    width: int = 128
    """Width of the language model."""
    layers: int = 4
    """Layers of the language model."""
    heads: int = 4
    """Attention heads; half as many key/value heads."""
    encoder_width: int | None = None
    """Width of the audio encoder; null is 128, or what a pretrained one has."""
    encoder_layers: int | None = None
    """Layers of the audio encoder; null is 2, or what a pretrained one has."""
    encoder_dropout: float | None = None
    """Dropout in a random audio encoder, in supervised training only; null is none."""
    source: Literal["mel", "frames"] | None = None
    """What is heard: log-mel of recordings, or feature frames that the data hold, for example VGGish at 1 Hz; null is
    mel, or what a pretrained encoder hears."""
    features: int | None = None
    """Mel bands, or values of a frame (128 for VGGish); null is 80, or what a pretrained encoder hears."""
    pool: int | None = None
    """Pairs of 10 ms feature rows that become one audio token of a random encoder, with frames, frames that become one;
    null is 4, which is 80 ms. A pretrained one has its patches."""
    vocabulary: int = 512
    """Tokens at most; 256 of them are bytes."""
    max_seconds: float = 30.0
    """Longest clip that is heard whole, seconds."""

    def __post_init__(self) -> None:
        counts = ("layers", "heads", "encoder_layers", "features", "pool", "tokens", "projector_layers")
        at_least({name: (value, 1) for name in counts if (value := getattr(self, name)) is not None})
        at_least({"vocabulary": (self.vocabulary, 300)})  # 256 bytes, the special tokens and the tags
        if self.width % self.heads or self.heads % max(1, self.heads // 2):
            raise ValueError(f"width is {self.width} and heads {self.heads}: set a width that is a multiple of heads")
        if self.encoder_width is not None and self.encoder_width % 8:
            raise ValueError(f"encoder_width is {self.encoder_width}: set a multiple of 8, it has 4 heads")

    def random(self) -> dict[str, Any]:
        """What a random encoder is, by the names of `RANDOM`."""
        said = {name: getattr(self, name) for name in RANDOM}
        return {name: RANDOM[name] if value is None else value for name, value in said.items()}
