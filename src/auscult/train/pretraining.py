"""Options of pretraining; loads without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from auscult.core.config import at_least
from auscult.models.mae_shape import Masking


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """How a masked autoencoder is trained; the defaults are those of system 1 (AudioSet's frames)."""

    epochs: int = 100
    """Times that every clip is seen."""
    batch: int = 64
    """Windows of a step; of shorter clips there are the more."""
    window: int = 10
    """Longest stretch of a clip that is seen at once, feature rows."""
    masking: Masking = "random"
    """What is hidden: patches at random, whole moments, whole bands, or stretches of moments."""
    ratio: float = 0.75
    """Share of patches that is hidden."""
    span: int = 4
    """Moments of a stretch, for masking: chunk."""
    learning_rate: float = 1e-4
    """Peak learning rate."""
    warmup: float = 0.05
    """Share of the steps in which it rises; then it falls to 0 along a cosine."""
    weight_decay: float = 0.05
    """Decoupled weight decay, on matrices only."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    average: float = 0.0
    """Decay of a moving average of the weights, which is then what is kept, for example 0.999; 0 keeps none."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the passes; auto is bfloat16 on a GPU that has it and float32 elsewhere. Weights stay float32."""
    log_every: int = 10
    """Steps that a row of metrics is the mean of."""
    save_seconds: float = 30.0
    """Seconds between checkpoints: what a kill can cost. When they are written changes no number."""
    probe_every: int = 0
    """Epochs between probes of what the encoder knows; 0 probes at the end only."""

    def __post_init__(self) -> None:
        at_least({name: (getattr(self, name), 1) for name in ("epochs", "batch", "window", "span", "log_every")})
        if not 0 < self.ratio < 1:
            raise ValueError(f"ratio is {self.ratio}: set a share between 0 and 1")
        if not 0 <= self.average < 1 or not 0 <= self.warmup < 1:
            raise ValueError(f"average is {self.average} and warmup {self.warmup}: set shares from 0 to below 1")
