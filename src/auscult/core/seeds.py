"""Seeds by path: every random choice has an address, so its position in a run is all the generator state there is.

`rng(0, "scenes", "train", 17)` is the same stream in every process, on every machine, whatever was drawn before it.
Paths are hashed with SHA-256 (never with `hash()`, which differs between processes).
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed for the address `path` under `seed`."""
    parts = [part if isinstance(part, str) else int(part) for part in path]  # NumPy's integers are the same numbers
    address = repr((int(seed), *parts)).encode()
    return int.from_bytes(hashlib.sha256(address).digest()[:8], "big") >> 1


def rng(seed: int, *path: str | int) -> np.random.Generator:
    """A generator for the address `path` under `seed`."""
    return np.random.default_rng(derive(seed, *path))
