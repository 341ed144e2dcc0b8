"""What frozen encoders said, kept: a clip that is heard in every epoch is encoded once, and with a folder once for all
stages and runs that share it.

Memory and folder are bounded in bytes, and in both the least recently used goes first. In memory a name (the encoder's
own fingerprint, the clip's hash) is enough. On disk it is hashed together with what the encoder was given, bit for bit:
another run may have another processor. A file is written whole or not at all and begins with the hash of the rest, so
what was torn is noticed, counted and computed again.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from auscult.core.errors import ConfigError
from auscult.core.runs import write_bytes
from auscult.models.learning import Cache

GB = 10**9
SEAL = hashlib.sha256().digest_size
"""Bytes of the hash that a file begins with."""
SLACK = 0.9
"""A folder that is full is emptied to this share of its limit, so that it is not looked through at every file."""


class EncoderCache:
    """Tensors by name. Values are kept on the CPU and given back as they were, bit for bit."""

    def __init__(self, options: Cache | None = None) -> None:
        """Raises ConfigError when the folder cannot be written."""
        options = options or Cache()
        self.limit = options.memory_gb * GB
        self.bytes = 0
        self.folder = None if options.folder is None else _Folder(Path(options.folder), options.disk_gb * GB)
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    @property
    def torn(self) -> int:
        """Files that were not as they were written."""
        return self.folder.torn if self.folder else 0

    def get(self, name: str, inputs: Mapping[str, Tensor], device: torch.device) -> Tensor | None:
        """The tensor called `name`, made of `inputs`, on `device`; None when it is not known."""
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name].to(device)
        rows = self.folder.read(_hashed(name, inputs)) if self.folder else None
        if rows is None:
            return None
        self._keep(name, rows)
        return rows.to(device)

    def put(self, name: str, inputs: Mapping[str, Tensor], rows: Tensor) -> None:
        """Remembers a tensor without its graph."""
        rows = rows.detach().cpu().contiguous()
        self._keep(name, rows)
        if self.folder:
            self.folder.write(_hashed(name, inputs), rows)

    def clear(self) -> None:
        """Forgets what is in memory."""
        self._kept.clear()
        self.bytes = 0

    def _keep(self, name: str, rows: Tensor) -> None:
        self.bytes += rows.nbytes - (self._kept[name].nbytes if name in self._kept else 0)
        self._kept[name] = rows
        while self.bytes > self.limit and len(self._kept) > 1:
            self.bytes -= self._kept.popitem(last=False)[1].nbytes


class _Folder:
    """Tensors in files, `limit` bytes of them. Several processes may use it at once."""

    def __init__(self, path: Path, limit: float) -> None:
        self.path = path.expanduser()
        self.limit = limit
        self.torn = 0
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"model.cache.folder: {error}; name a folder that can be written") from error
        self.bytes = sum(size for _, size, _ in self._files())
        """What is there, as far as this process knows."""

    def read(self, name: str) -> Tensor | None:
        path = self._file(name)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(data[SEAL:]).digest() != data[:SEAL]:
            self.torn += 1
            return None
        with suppress(FileNotFoundError):  # another process has just made room
            os.utime(path)
        return load(data[SEAL:])["rows"]

    def write(self, name: str, rows: Tensor) -> None:
        data = save({"rows": rows})
        write_bytes(self._file(name), hashlib.sha256(data).digest() + data)
        self.bytes += SEAL + len(data)
        if self.bytes > self.limit:
            self._make_room()

    def _make_room(self) -> None:
        files = sorted(self._files())
        self.bytes = sum(size for _, size, _ in files)
        for _, size, path in files:
            if self.bytes <= SLACK * self.limit:
                return
            path.unlink(missing_ok=True)
            self.bytes -= size

    def _files(self) -> list[tuple[int, int, Path]]:
        """Time of last use, size and path of each file."""
        found: list[tuple[int, int, Path]] = []
        for path in self.path.glob("*/[!.]*"):  # not what another process is writing just now
            with suppress(FileNotFoundError):
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_size, path))
        return found

    def _file(self, name: str) -> Path:
        return self.path / name[:2] / name


def _hashed(name: str, inputs: Mapping[str, Tensor]) -> str:
    """Names of tensors, their types, shapes and content all count."""
    given = save({key: value.contiguous() for key, value in inputs.items()})
    return hashlib.sha256(name.encode() + given).hexdigest()
