"""Samples in the native format (`data/jsonl.py`): two files, or one file whose groups are split.

With `heldout`, the second file is held out as it is, and no group of it may occur in the first. Without,
`heldout_share` of the groups is held out, the same ones for the same seed. The group of a row that names none is its
recording: that is what splits go by, and what errors are clustered by.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from auscult.core.errors import DataError
from auscult.core.types import Sample
from auscult.data import jsonl, source
from auscult.data.rows import refuse_bad
from auscult.data.splits import assert_disjoint, group_of, split_groups


@dataclass(frozen=True, kw_only=True)
class Source(source.Written):
    """Options of a native JSONL file."""

    root: str
    """The JSONL file; all of its samples are for training when `heldout` is given."""
    heldout: str | None = None
    """The JSONL file of held-out samples; null splits `root`."""
    heldout_share: float = 0.1
    """Share of the groups of `root` that is held out; of no effect when `heldout` is given."""

    def __post_init__(self) -> None:
        if not 0 < self.heldout_share < 1:
            raise ValueError(f"heldout_share is {self.heldout_share}: set a share between 0 and 1")

    def rows(self, name: source.Split, seed: int) -> list[source.Row]:
        """Raises DataError when a row cannot be used, has no answer, or stands on both sides."""
        train, heldout = self._sides(seed)
        assert_disjoint((row.sample for row in train), (row.sample for row in heldout))
        chosen = train if name == "train" else heldout
        unanswered = [
            DataError(f"{row.where}: sample {row.sample.id!r} has no answer; add it, or remove the row")
            for row in chosen
            if not row.sample.answers
        ]
        refuse_bad(unanswered, len(chosen), *self.checked(name))
        return chosen

    def checked(self, name: source.Split) -> tuple[str, ...]:
        return (self.root if name == "train" or self.heldout is None else self.heldout,)

    def _sides(self, seed: int) -> tuple[list[source.Row], list[source.Row]]:
        source.refuse_unfound(self.heldout)
        rows = self._read(self.root)
        if self.heldout is not None:
            return rows, self._read(self.heldout)
        held = split_groups([row.sample.group for row in rows], self.heldout_share, seed, where=self.root)
        return [row for row in rows if row.sample.group not in held], [row for row in rows if row.sample.group in held]

    def _read(self, file: str) -> list[source.Row]:
        rows = jsonl.read_rows(Path(file))
        return [replace(row, sample=replace(row.sample, group=self._group(row.sample))) for row in rows]

    def _group(self, sample: Sample) -> str:
        """Its group, else its recording as seen from the file's folder: the same split on every machine."""
        home = os.path.realpath(Path(self.root).parent)
        return sample.group or os.path.relpath(group_of(sample), home)
