"""What whatever takes long shares: the device it takes, how its time is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

from auscult.core.errors import ConfigError
from auscult.core.runs import write_json

Say = Callable[[str], None]
"""Told a sentence for whoever waits."""


def device(name: str) -> torch.device:
    """The device called `name`."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is cuda, but torch sees no GPU here; set --device cpu, or install torch with CUDA")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def clock(path: Path, seconds: float) -> None:
    """Adds the time that this process took to what earlier ones took, but for those that were killed outright."""
    environment = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**environment, "seconds": environment.get("seconds", 0.0) + seconds})
