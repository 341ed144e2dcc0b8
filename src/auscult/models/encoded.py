"""What frozen encoders said, kept: a clip that is heard in every epoch is encoded once.

Bounded in bytes, the least recently used goes first; with a folder, what was computed stays on disk for the next run.
Keys name the content, the kind and the encoder's own fingerprint, so another encoder never finds them.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from auscult.core.runs import write_bytes

MEMORY = 2 << 30
"""Bytes in memory unless told otherwise: about 500 half minutes through a Whisper-large encoder in 16 bits."""


class EncoderCache:
    """Tensors by name. Values are kept on the CPU and given back as they were, bit for bit."""

    def __init__(self, limit: int = MEMORY, folder: Path | None = None) -> None:
        """`limit` bounds the bytes in memory; `folder` keeps everything on disk too."""
        self.limit = limit
        self.folder = folder
        self.bytes = 0
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    def get(self, key: str, device: torch.device) -> Tensor | None:
        """The tensor called `key` on `device`; None when it is not known."""
        if key in self._kept:
            self._kept.move_to_end(key)
        elif (path := self._path(key)) is not None and path.is_file():
            self._keep(key, load(path.read_bytes())["rows"])
        else:
            return None
        return self._kept[key].to(device)

    def put(self, key: str, rows: Tensor) -> None:
        """Remembers a tensor without its graph."""
        rows = rows.detach().cpu().contiguous()
        self._keep(key, rows)
        if (path := self._path(key)) is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, save({"rows": rows}))

    def clear(self) -> None:
        """Forgets what is in memory."""
        self._kept.clear()
        self.bytes = 0

    def _keep(self, key: str, rows: Tensor) -> None:
        self.bytes += rows.nbytes - (self._kept[key].nbytes if key in self._kept else 0)
        self._kept[key] = rows
        while self.bytes > self.limit and len(self._kept) > 1:
            self.bytes -= self._kept.popitem(last=False)[1].nbytes

    def _path(self, key: str) -> Path | None:
        if self.folder is None:
            return None
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"
