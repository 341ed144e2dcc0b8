"""What a data source is: a frozen dataclass of options that hands out samples by index.

The same index always gives the same sample, so a training position is a number and a resumed run sees what it would
have seen. A source is endless (it makes samples: `size` is None) or finite (it reads them)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from auscult.core.errors import DataError
from auscult.core.seeds import rng
from auscult.core.types import Image, Sample
from auscult.data.headers import refuse_unusable

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
        """The training or the held-out samples; no `group` is in both.

        What cannot be used is found here, as far as headers tell, and not when training comes to it.
        """

    def notes(self, name: Split, seed: int) -> tuple[str, ...]:
        """What a person should know of a split, in sentences: what was left out of it."""
        return ()

    def missing(self, name: Split, seed: int) -> tuple[str, ...]:
        """Ids of what is left out of a split, as far as it has any: `notes` counts them and names the first."""
        return ()


@dataclass(frozen=True, slots=True)
class Row:
    """A sample as somebody wrote it down."""

    where: str
    """File and row as a person would look for them: `data.jsonl:17`."""
    sample: Sample
    """What it says; its media were not looked at."""
    key: str = "audio"
    """The key that names its recordings."""


@dataclass(frozen=True, kw_only=True)
class Written(Source):
    """A source that reads its samples from files of rows."""

    @abstractmethod
    def rows(self, name: Split, seed: int) -> list[Row]:
        """The rows of a split. Raises DataError for the first one that cannot be used."""

    @abstractmethod
    def checked(self, name: Split) -> tuple[str, ...]:
        """What `auscult data check` is given to look at a split's rows, their file first."""

    def split(self, name: Split, seed: int) -> Listed:
        """Raises DataError when a row cannot be used, and MediaError when a recording or an image cannot."""
        rows = self.rows(name, seed)
        found = [
            (f"{row.where}: `{'image' if isinstance(media, Image) else row.key}`: ", media)
            for row in rows
            for media in row.sample.media
        ]
        refuse_unusable(found, *self.checked(name))
        return Listed(tuple(row.sample for row in rows))


def refuse_unfound(heldout: str | None) -> None:
    """Raises DataError for a file of held-out rows that is not there; what else cannot be read says so when it is."""
    if heldout is not None and not Path(heldout).exists():
        raise DataError(
            f"{heldout}: there is no such file of held-out rows; check the path (--data.heldout), or hold out a share "
            "of the training rows (--data.heldout null)"
        )


def each(samples: Samples) -> Iterator[Sample]:
    """Finitely many samples, one after the other: of a large set none is kept."""
    return (samples[number] for number in range(samples.size or 0))


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
