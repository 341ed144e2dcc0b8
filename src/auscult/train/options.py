"""Options that all stages share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from auscult.core.config import at_least


@dataclass(frozen=True, kw_only=True)
class Train:
    """What all stages share."""

    optimizer: Literal["adamw", "adamw8bit", "paged_adamw8bit"] = "adamw"
    """AdamW with its moments in 32 bits, or in 8 (a quarter of their memory; arXiv 2110.02861), or in 8 bits and moved
    to the computer's memory while the GPU is full. 8 bits need bitsandbytes: pip install 'auscult[nf4]'."""
    learning_rate: float = 1e-3
    """Peak learning rate of a stage that states none of its own."""
    warmup: int = 10
    """Steps of linear warm-up."""
    weight_decay: float = 0.01
    """Decoupled weight decay, on matrices only."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's decay rates."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    prompt_batch: int = 64
    """Prompts that are computed at once."""
    reply_batch: int = 128
    """Replies that are computed at once."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the passes; auto is bfloat16 on a GPU that has it and float32 elsewhere. Weights stay float32."""
    agreement: float = 0.05
    """The run stops when learner and rollouts differ by more than this, mean |log-prob difference| before the first
    update."""
    empty_steps: int = 10
    """The run stops after so many steps in a row in which no reply was better than another one to its prompt."""
    save_every: int = 1
    """Steps between checkpoints: what a kill can cost."""
    keep_last: int = 1
    """Checkpoints that are kept while a stage runs."""
    check_every: int = 0
    """Steps between checks on held-out samples; 0 checks nothing. The last step is checked too."""
    check_limit: int = 200
    """Held-out samples of a check."""
    keep: Literal["last", "best"] = "last"
    """What a stage hands on: its last weights, or those of its best check. What chose the weights flatters them."""
    patience: int = 0
    """A stage stops after so many checks in a row without a better one; 0 never stops early."""
    min_delta: float = 0.0
    """A check is better when it is better by more than this: a share of the samples, or CIDEr-D of captions."""

    def __post_init__(self) -> None:
        if (self.keep == "best" or self.patience) and not self.check_every:
            raise ValueError("keep: best and patience need checks: set check_every")
        at_least({"keep_last": (self.keep_last, 1), "check_every": (self.check_every, 0)})
        at_least({"check_limit": (self.check_limit, 1), "patience": (self.patience, 0)})
        counts = {"prompt_batch": self.prompt_batch, "reply_batch": self.reply_batch, "save_every": self.save_every}
        counts["empty_steps"] = self.empty_steps
        at_least({**{name: (value, 1) for name, value in counts.items()}, "warmup": (self.warmup, 0)})
