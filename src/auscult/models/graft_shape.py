"""What a new graft is made of; loads without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from auscult.core.config import at_least


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
    encoder_width: int = 128
    """Width of the audio encoder."""
    encoder_layers: int = 2
    """Layers of the audio encoder."""
    encoder_dropout: float = 0.0
    """Dropout in the audio encoder, in supervised training only."""
    source: Literal["mel", "frames"] = "mel"
    """What is heard: log-mel of recordings, or feature frames that the data hold, for example VGGish at 1 Hz."""
    features: int = 80
    """Mel bands, or values of a frame (128 for VGGish)."""
    pool: int = 4
    """Pairs of 10 ms feature rows that become one audio token, 4 is 80 ms; with frames, frames that become one."""
    vocabulary: int = 512
    """Tokens at most; 256 of them are bytes."""
    max_seconds: float = 30.0
    """Longest clip that is heard whole, seconds."""

    def __post_init__(self) -> None:
        counts = ("layers", "heads", "encoder_layers", "features", "pool", "tokens", "projector_layers")
        at_least({name: (getattr(self, name), 1) for name in counts})
        at_least({"vocabulary": (self.vocabulary, 300)})  # 256 bytes, the special tokens and the tags
        if self.width % self.heads or self.heads % max(1, self.heads // 2):
            raise ValueError(f"width is {self.width} and heads {self.heads}: set a width that is a multiple of heads")
        if self.encoder_width % 8:
            raise ValueError(f"encoder_width is {self.encoder_width}: set a multiple of 8, it has 4 heads")
