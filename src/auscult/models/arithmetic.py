"""The arithmetic of passes, whatever is computed."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def arithmetic(precision: str, device: str) -> AbstractContextManager[object]:
    """What `precision` asks for on a `device` of this type: `float32`, `bfloat16`, or `auto`, which is bfloat16 on a
    GPU that has it. Weights stay as they are held."""
    able = device == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16" or (precision == "auto" and able))
