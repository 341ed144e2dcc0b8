"""What a data source is: a frozen dataclass of options that hands out samples by index.

The same index always gives the same sample, so a training position is a number and a resumed run sees what it would
have seen. A source is endless (it makes samples: `size` is None) or finite (it reads them)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from auscult.core.seeds import rng
from auscult.core.types import Sample

Split = Literal["train", "heldout"]


class Samples(Protocol):
    """Samples by index."""

    @property
    def size(self) -> int | None:
        """How many there are; None when they never end."""
        ...

    def __getitem__(self, index: int, /) -> Sample: ...


@dataclass(frozen=True)
class Listed:
    """Finitely many samples, held in memory (their media are not)."""

    samples: tuple[Sample, ...]

    @property
    def size(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int, /) -> Sample:
        return self.samples[index]


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """Options of a data format. Subclasses are named `Source` too, one a file in `data/sources/`."""

    @abstractmethod
    def split(self, name: Split, seed: int) -> Samples:
        """The training or the held-out samples; no `group` is in both."""


def order(samples: Samples, start: int, count: int, seed: int) -> Sequence[Sample]:
    """Samples number `start` to `start + count` of a training order: a fresh permutation every epoch for a finite
    source.

    A batch may reach over the end of an epoch; nothing is dropped and nothing repeats within an epoch.
    """
    if samples.size is None:
        return [samples[index] for index in range(start, start + count)]
    chosen: list[Sample] = []
    epoch, permutation = -1, None
    for position in range(start, start + count):
        if permutation is None or position // samples.size != epoch:
            epoch = position // samples.size
            permutation = rng(seed, "order", epoch).permutation(samples.size)
        chosen.append(samples[int(permutation[position % samples.size])])
    return chosen
