"""The arithmetic of passes, whatever is computed."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def arithmetic(precision: str, device: str) -> AbstractContextManager[object]:
    """What `precision` asks for on a `device` of this type: `float32`, `bfloat16`, or `auto`, which is bfloat16 on a
    GPU that has it. Weights stay as they are held."""
    able = device == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16" or (precision == "auto" and able))


def repeatable() -> None:
    """From here on torch computes the same numbers every time, and warns where it cannot. New memory is not filled with
    NaN first, as torch then would by itself: that is a search for what reads unwritten values, and 5 % of a run."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
