"""What of a model learns, how its weights are held, how much is kept of what its encoders said; loads without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from auscult.core.config import at_least

Learn = Literal["train", "adapt", "freeze"]


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685)."""

    rank: int = 16
    """Rank of the update of each matrix."""
    alpha: float = 32.0
    """The update is scaled by alpha / rank (by alpha / sqrt(rank) with rslora)."""
    dropout: float = 0.05
    """Dropout before the update, in supervised training only."""
    targets: tuple[str, ...] = ()
    """Names of the linear layers that are adapted, for example q_proj; none means all."""
    experts: bool = False
    """Adapt the experts of a mixture too; then no adapter drops out, whatever `dropout` says (peft cannot, there)."""
    rslora: bool = False
    """Rank-stabilised scaling (arXiv 2312.03732)."""
    dora: bool = False
    """Weight-decomposed adapters (arXiv 2402.09353)."""

    def __post_init__(self) -> None:
        at_least({"rank": (self.rank, 1)})
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}: set a share of 0 or more and less than 1")


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A memory of what frozen encoders said, so that no clip or image is encoded twice."""

    memory_gb: float = 2.0
    """GB in the memory of each process; the least recently used goes first. Half a minute through a Whisper-large
    encoder takes 4 MB in 16 bits."""
    pictures_mb: float = 512.0
    """MB of decoded images, too, in the memory of each process; a film of 512 x 512 takes 0.26 MB."""
    folder: str | None = None
    """Folder that keeps it for later stages and other runs too, which may share it; null keeps nothing on disk."""
    disk_gb: float = 20.0
    """GB in that folder; the least recently used files are removed first, whichever run wrote them."""

    def __post_init__(self) -> None:
        if not (self.memory_gb >= 0 and self.disk_gb >= 0 and self.pictures_mb >= 0):
            limits = f"memory_gb is {self.memory_gb}, disk_gb {self.disk_gb}, pictures_mb {self.pictures_mb}"
            raise ValueError(f"{limits}: set 0 or more")


@dataclass(frozen=True, kw_only=True)
class Learning:
    """What each part of a model does in training. A part that the model lacks is passed over."""

    language: Learn = "train"
    """The language model: train its weights, adapt them by LoRA, or freeze them."""
    audio: Learn = "train"
    """The audio encoder."""
    image: Learn = "train"
    """The vision encoder."""
    projector: Learn = "train"
    """What lies between encoders and language model."""
    lora: Lora = field(default_factory=Lora)
    """The adapters of the parts that are adapted."""
    weights: Literal["auto", "float32", "bfloat16", "nf4"] = "auto"
    """How frozen weights are held: auto is bfloat16 on a GPU and float32 elsewhere; nf4 holds the language model in 4
    bits (QLoRA, arXiv 2305.14314). Weights that are trained are always float32."""

    cache: Cache = field(default_factory=Cache)
    """What is kept of what frozen encoders said."""

    @property
    def parts(self) -> dict[str, Learn]:
        """What each part does, by its name."""
        return {
            "language": self.language,
            "audio": self.audio,
            "image": self.image,
            "projector": self.projector,
        }
