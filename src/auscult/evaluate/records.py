"""Rows of JSON as others write them: predictions and gold files, read without a change to the file.

    [{...}, {...}]                   a JSON list
    {"id-1": {...}, "id-2": {...}}   an object of rows: the key becomes the row's `id`
    {...}\\n{...}                     JSON lines, with or without an end of the last line
    .gz of any of them, and a challenge's .zip with one such file in it

What a file is, its first bytes say, not its name. A row that cannot be read is `Broken`, never skipped: it names its
line, so that who scores can count it. A file of which nothing can be read is a DataError.

The rows of a file larger than `SMALL` are not held: whoever goes through them reads them again (`data/index.py`).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import re
import sys
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from auscult.core.errors import DataError
from auscult.data import index
from auscult.data.index import SMALL

JSON = (".json", ".jsonl")
UNPACKING = (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What damaged or unknown packing raises; of the ValueErrors, UnicodeDecodeError is told apart before."""
PACKED = (b"PK\x03\x04", b"\x1f\x8b")
"""How zip and gz files begin."""
_ID = re.compile(r'"id"\s*:\s*"([^"\\]+)"')


@dataclass(frozen=True, slots=True)
class Record:
    """One row."""

    where: str
    """File and row as a person would look for them: `preds.jsonl:17`, or `preds.json[16]` in a list."""
    number: int
    """Its place in the file, from 0."""
    row: dict[str, Any]
    """What it says."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that is none."""

    where: str
    """File and row."""
    why: str
    """What is wrong with it."""
    id: str | None = None
    """Its id, where it can still be made out."""


@dataclass(frozen=True, slots=True)
class Records:
    """A file of rows."""

    path: Path
    """Where it is."""
    sha256: str
    """Of the file as it lies there, hex."""
    rows: Collection[Record]
    """The rows in order."""
    broken: tuple[Broken, ...]
    """What could not be read."""
    cut: Broken | None = None
    """The last of these where it is a last line without its end, as a copy that was broken off has it."""


@dataclass(frozen=True, slots=True)
class Streamed(Collection[Record]):
    """The rows of a large file, read whenever they are gone through. Raises DataError then if it has changed."""

    path: Path
    """The file."""
    count: int
    """How many it has."""
    stamp: tuple[int, int] | None
    """Its size and time of change."""

    def __len__(self) -> int:
        return self.count

    def __contains__(self, row: object) -> bool:
        return any(one == row for one in self)

    def __iter__(self) -> Iterator[Record]:
        if index.stamp_of(self.path) != self.stamp:
            raise DataError(f"{self.path}: it was changed while it was read; begin again")
        return (found for found in _streamed(self.path) if isinstance(found, Record))


def read(path: Path) -> Records:
    """All rows of a file. Raises DataError when it cannot be read at all, or holds no row."""
    if path.is_dir():
        inside = ", ".join(sorted(str(file) for file in path.glob("predictions_*.jsonl"))) or "holds none of ours"
        raise DataError(f"{path}: a folder; name the file of predictions in it ({inside})")
    try:
        with path.open("rb") as file:
            if path.stat().st_size > SMALL and not file.peek(4).startswith(PACKED):
                return _large(path, hashlib.file_digest(file, "sha256").hexdigest())
            data = file.read()
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}); check the path") from problem
    text = _text(data, path)
    found = list(_rows(text, str(path)))
    records = tuple(record for record in found if isinstance(record, Record))
    broken = tuple(record for record in found if isinstance(record, Broken))
    whole = text.startswith("[") or text.endswith("\n")
    return _found(Records(path, hashlib.sha256(data).hexdigest(), records, broken), found[-1:], whole)


def _large(path: Path, sha256: str) -> Records:
    stamp, count, broken, last = index.stamp_of(path), 0, list[Broken](), list[Record | Broken]()
    for record in _streamed(path):
        last = [record]
        if isinstance(record, Broken):
            broken.append(record)
        else:
            count += 1
    with path.open("rb") as file:
        file.seek(-1, io.SEEK_END)
        whole = index.kind_of(path) != "lines" or file.read() == b"\n"
    return _found(Records(path, sha256, Streamed(path, count, stamp), tuple(broken)), last, whole)


def _found(found: Records, last: Iterable[Record | Broken], whole: bool) -> Records:
    """A file that was gone through; `whole` says that it ends as its rows do."""
    if not found.rows:
        why = f" ({found.broken[0].where}: {found.broken[0].why})" if found.broken else ""
        raise DataError(f"{found.path}: no row that can be read{why}; write a JSON list, or one JSON object a line")
    cut = next((record for record in last if isinstance(record, Broken) and not whole), None)
    return replace(found, cut=cut)


def _streamed(path: Path) -> Iterator[Record | Broken]:
    """The rows of a file that is not packed, of which no more than one is held."""
    kind = index.kind_of(path)
    if kind == "lines":
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            try:
                yield from _lines(file, str(path))
            except UnicodeDecodeError as problem:
                raise DataError(f"{path}: no text in UTF-8 ({problem}); save its rows in UTF-8") from problem
        return
    for number, (where, name, value) in enumerate(index.rows_in(path, _value_at)):
        keyed = {"id": name} if kind == "object" else {}
        yield _record({**keyed, **value} if isinstance(value, dict) else value, where, number)


def _text(data: bytes, path: Path) -> str:
    try:
        if data.startswith(b"PK\x03\x04"):
            data = _member(data, path)
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DataError(f"{path}: no text in UTF-8 at byte {problem.start}; save its rows in UTF-8") from problem
    except UNPACKING as problem:
        raise DataError(f"{path}: cannot be unpacked ({problem}); pack it again") from problem


def _member(data: bytes, path: Path) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if name.endswith(JSON) and not name.startswith("__MACOSX/")]
        if len(names) != 1:
            raise DataError(f"{path}: holds {len(names)} JSON files {names[:4]}; pack only the one, as result.jsonl")
        return archive.read(names[0])


def _rows(text: str, path: str) -> Iterator[Record | Broken]:
    begins = text.lstrip()[:1]
    whole = _value(text) if begins in ("[", "{") else None
    if begins == "[":
        if not isinstance(whole, list):
            raise DataError(f"{path}: no valid JSON list ({whole}); it may be cut off: write it again")
        for number, value in enumerate(whole):
            yield _record(value, f"{path}[{number}]", number)
    elif isinstance(whole, dict) and whole and all(isinstance(value, dict) for value in whole.values()):
        for number, (name, value) in enumerate(whole.items()):
            yield Record(f"{path}[{name!r}]", number, {"id": name, **value})
    elif isinstance(whole, dict) and "\n" in text.strip():  # one row, or rows in a way that is none of ours
        yield Record(path, 0, whole)
    else:
        yield from _lines(text.split("\n"), path)  # not splitlines: U+2028 may stand in a text


def _lines(lines: Iterable[str], path: str) -> Iterator[Record | Broken]:
    number = 0
    for line, written in enumerate(lines, start=1):
        if written.strip():
            record = _record(_value(written), f"{path}:{line}", number)
            if isinstance(record, Broken) and (known := _ID.search(written)):
                record = replace(record, id=known[1])
            yield record
            number += 1


def _record(value: Any, where: str, number: int) -> Record | Broken:
    if isinstance(value, ValueError):
        return Broken(where, f"no JSON ({value})")
    return Record(where, number, value) if isinstance(value, dict) else Broken(where, "no JSON object")


def _value(text: str) -> Any:
    """The value, or the ValueError that says why it is none."""
    try:
        return _whole(json.loads(text, object_pairs_hook=_object), text)
    except RecursionError:
        return ValueError("nested too deeply")
    except ValueError as problem:
        return problem


def _value_at(text: str, at: int) -> tuple[Any, int]:
    value, end = _DECODER.raw_decode(text, at)
    return _whole(value, text[at:end]), end


def _whole(value: Any, text: str) -> Any:
    """The value without halves of a character, which no file can hold: U+FFFD stands for them."""
    if "\\ud" not in text.casefold():
        return value
    return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = {sys.intern(key): value for key, value in pairs}  # rows have the same keys
    for key, value in pairs if len(row) < len(pairs) else ():
        if row[key] != value:
            raise ValueError(f"the key `{key}` occurs twice and differs")
    return row


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
