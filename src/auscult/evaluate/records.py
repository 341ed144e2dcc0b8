"""Rows of JSON as others write them: predictions and gold files, read without a change to the file.

    [{...}, {...}]                   a JSON list
    {"id-1": {...}, "id-2": {...}}   an object of rows: the key becomes the row's `id`
    {...}\\n{...}                     JSON lines, with or without an end of the last line
    .gz of any of them, and a challenge's .zip with one such file in it

What a file is, its first bytes say, not its name. A row that cannot be read is `Broken`, never skipped: it names its
line, so that who scores can count it. A file of which nothing can be read is a DataError.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from auscult.core.errors import DataError

JSON = (".json", ".jsonl")
UNPACKING = (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What damaged or unknown packing raises; of the ValueErrors, UnicodeDecodeError is told apart before."""
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
    rows: tuple[Record, ...]
    """The rows in order."""
    broken: tuple[Broken, ...]
    """What could not be read."""
    cut: Broken | None = None
    """The last of these where it is a last line without its end, as a copy that was broken off has it."""


def read(path: Path) -> Records:
    """All rows of a file. Raises DataError when it cannot be read at all, or holds no row."""
    if path.is_dir():
        inside = ", ".join(sorted(str(file) for file in path.glob("predictions_*.jsonl"))) or "holds none of ours"
        raise DataError(f"{path}: a folder; name the file of predictions in it ({inside})")
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}); check the path") from problem
    text = _text(data, path)
    found = list(_rows(text, str(path)))
    records = tuple(record for record in found if isinstance(record, Record))
    broken = tuple(record for record in found if isinstance(record, Broken))
    if not records:
        why = f" ({broken[0].where}: {broken[0].why})" if broken else ""
        raise DataError(f"{path}: no row that can be read{why}; write a JSON list, or one JSON object a line")
    last = found[-1]
    cut = last if isinstance(last, Broken) and not text.startswith("[") and not text.endswith("\n") else None
    return Records(path, hashlib.sha256(data).hexdigest(), records, broken, cut)


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
        number = 0
        for line, written in enumerate(text.split("\n"), start=1):  # not splitlines: U+2028 may stand in a text
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
        value = json.loads(text, object_pairs_hook=_object)
        if "\\ud" in text.casefold():  # halves of a character, which no file can hold: U+FFFD stands for them
            value = json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
        return value
    except RecursionError:
        return ValueError("nested too deeply")
    except ValueError as problem:
        return problem


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    for key, value in pairs if len(row) < len(pairs) else ():
        if row[key] != value:
            raise ValueError(f"the key `{key}` occurs twice and differs")
    return row
