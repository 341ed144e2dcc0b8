"""JSON from a run folder, read strictly: every complaint names the file, the line and the key that is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from auscult.core.errors import RunError
from auscult.core.runs import read_jsonl

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record:
    """One JSON object and where it stands, so that every complaint names file, line and key."""

    where: str
    """For example `run/rollouts/showcase.jsonl, line 3`."""
    values: Mapping[str, Any]
    """The object."""

    def wrong(self, key: str, says: str) -> RunError:
        return RunError(f"{self.where}: key {key!r} {says}; mend the file, or run the stage that writes it again")

    def of(self, key: str, kind: type[T] | tuple[type[T], ...], called: str) -> T:
        if key not in self.values:
            raise self.wrong(key, "is missing")
        value = self.values[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.wrong(key, f"is {value!r:.60}, not {called}")
        return value

    def text(self, key: str) -> str:
        return self.of(key, str, "a text")

    def text_or_none(self, key: str) -> str | None:
        return None if self.values.get(key) is None else self.text(key)

    def number(self, key: str) -> float:
        value = float(self.of(key, (int, float), "a number"))
        if not math.isfinite(value):
            raise self.wrong(key, f"is {value}, not a finite number")
        return value

    def number_or_none(self, key: str) -> float | None:
        return None if self.values.get(key) is None else self.number(key)

    def fraction(self, key: str) -> float:
        value = self.number(key)
        if not 0 <= value <= 1:
            raise self.wrong(key, f"is {value}, not a fraction from 0 to 1")
        return value

    def count(self, key: str) -> int:
        value = self.of(key, int, "a whole number")
        if value < 0:
            raise self.wrong(key, f"is {value}, not a count")
        return value

    def pair(self, key: str, *, lowest: float, highest: float) -> tuple[float, float]:
        ends = self.of(key, list, "a list [low, high]")
        numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
        if len(ends) != 2 or not numbers or not lowest <= ends[0] <= ends[1] <= highest:
            raise self.wrong(key, f"is {ends!r:.60}, not [low, high] from {lowest:g} to {highest:g}")
        return float(ends[0]), float(ends[1])

    def texts(self, key: str) -> list[str]:
        found = self.of(key, list, "a list of texts") if key in self.values else []
        if not all(isinstance(item, str) for item in found):
            raise self.wrong(key, f"is {found!r:.60}, not a list of texts")
        return found

    def records(self, key: str) -> list[Record]:
        found = self.of(key, list, "a list of objects") if key in self.values else []
        if not all(isinstance(item, dict) for item in found):
            raise self.wrong(key, f"is {found!r:.60}, not a list of objects")
        return [Record(f"{self.where}, {key} {at + 1}", item) for at, item in enumerate(found)]

    def record(self, key: str) -> Record:
        """The object under `key`; one that is missing or null is empty."""
        found = self.of(key, dict, "an object") if self.values.get(key) is not None else {}
        return Record(f"{self.where}, in {key!r}", found)

    def children(self) -> Iterator[tuple[str, Record]]:
        return ((key, self.record(key)) for key in self.values)


def text_of(run: Path, file: str) -> str | None:
    """The file as text, or None when the run does not have it."""
    if not (run / file).is_file():
        return None
    try:
        return (run / file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RunError(f"{run / file} is not UTF-8 ({error.reason} at byte {error.start}); write it again") from error


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        says = f"is not JSON ({error.msg} at column {error.colno})"
        raise RunError(f"{where} {says}; mend it, or run the stage that writes it again") from error


def _record(where: str, value: object) -> Record:
    if not isinstance(value, dict):
        raise RunError(f"{where} is not a JSON object; mend it, or run the stage that writes it again")
    return Record(where, value)


def object_of(run: Path, file: str) -> Record:
    return _record(str(run / file), _parsed(str(run / file), text_of(run, file) or ""))


def list_of(run: Path, file: str) -> list[Record]:
    text = text_of(run, file)
    found = [] if text is None else _parsed(str(run / file), text)
    if not isinstance(found, list):
        raise RunError(f"{run / file} is not a JSON list; mend it, or run the stage that writes it again")
    return [_record(f"{run / file}, item {at + 1}", item) for at, item in enumerate(found)]


def lines_of(run: Path, file: str) -> Iterator[Record]:
    """The objects of a JSON lines file; a file that is not there has none. A last line that a kill cut off is the
    step that was in hand, which the run does again."""
    if (run / file).is_file():
        for at, row in enumerate(read_jsonl(run / file).rows, start=1):
            yield Record(f"{run / file}, line {at}", row)
