"""Rows of a JSON file too large for memory: the file is gone through once, then every row is read from its place.

    {"id-1": {...}, "id-2": {...}}    an object of rows
    [{...}, {...}]                    a list of them
    {...}\\n{...}                      one after another, as in JSON lines (each shorter than `ROW`)
    a,b\\n1,2                         a table in CSV, which is small enough to be held

The standard library's scanner reads one row at a time out of a window of the file, so strings, escapes and brackets in
them are what JSON says they are, and memory does not grow with the file. Of each row the index keeps where it stands
and what a split needs (`Facts`), the texts as 64-bit hashes: 600,000 rows are 40 MB. Rows that cannot be used are
counted by reason, and past a share of them nothing is opened.

The index of a file larger than `SMALL` is kept in a folder, written whole or not at all. It belongs to the file's size,
time of change and sha256, and to a `key` that says how rows were read: what was only touched is hashed again, what
differs is gone through again. Smaller files are gone through whenever they are opened.
"""

from __future__ import annotations

import codecs
import fcntl
import hashlib
import itertools
import json
import os
import re
import shlex
from array import array
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from auscult.core.errors import DataError, RunError
from auscult.core.runs import atomic_folder, write_json
from auscult.data import rows, table
from auscult.data.waiting import counted

Kind = Literal["object", "list", "lines", "table"]

VERSION = 3
"""Of the layout; a folder of another one is written again."""
SMALL = 32 << 20
"""Bytes up to which a file's index is not kept."""
CHUNK = 1 << 20
"""Bytes that are read at a time."""
LARGEST = 64 << 20
"""Characters in which a row must end: a bracket that is never closed would otherwise read the file to its end."""
ROW = 1 << 20
"""Characters within which an object ends that is a row among others; a larger one holds rows."""
NAMED = 100
"""Rows that cannot be used whose sentences are kept; all are counted."""
COLUMNS = (
    "starts",
    "lengths",
    "numbers",
    "ids",
    "groups",
    "labels",
    "questions",
    "answers",
    "files",
    "bounds",
    "names",
)
TOLD = ("kind", "groups", "grouped", "labels", "unusable", "named")
"""What `rows.json` holds."""
_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class Span:
    """A row and where it stands."""

    start: int
    """First byte; of an object's row, that of its key."""
    length: int
    """Bytes."""
    key: str | None
    """Its key in an object of rows."""
    value: Any
    """What it says."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a row without reading it again."""

    id: str
    """Unique in the file."""
    group: str
    """What must not cross a split."""
    label: str
    """What kind of row it is, by which rows are chosen."""
    question: str
    """What is asked, about which media: equal for two rows that ask the same."""
    answer: str
    """What is right."""
    files: tuple[str, ...]
    """The media files it names."""
    grouped: str = ""
    """By what it stands in its group, for counting."""


class Unusable(DataError):
    """A row that cannot be used. `reason` is a short stable word for counting."""

    def __init__(self, message: str, *, reason: str = "bad_row") -> None:
        super().__init__(message)
        self.reason = reason


Decode = Callable[[str, int], tuple[Any, int]]
"""The JSON value at a place of a text, and where it ends; raises ValueError where there is none."""
Describe = Callable[[str, str, Any], Facts]
"""Reads a row: where it stands, its key in an object or else its number, what it says. Raises DataError for one that
cannot be used; an `Unusable` says its reason."""


@dataclass(frozen=True)
class Index:
    """The rows of a file, of which only the places are in memory."""

    path: Path
    """The file."""
    kind: Kind
    """How its rows are held together."""
    groups: tuple[str, ...]
    """Names of the groups."""
    grouped: dict[str, int]
    """Rows by what they stand in their groups by."""
    labels: tuple[str, ...]
    """Names of the kinds of rows."""
    unusable: dict[str, int]
    """Rows that are left out because they cannot be used, by reason."""
    named: tuple[str, ...]
    """What is wrong with the first of them."""
    columns: dict[str, NDArray[Any]] = field(repr=False)
    """By name, one value a row: `starts` and `lengths` in bytes, `numbers` in the file (unusable rows count too),
    hashes of `ids`, `questions` and `answers`, places in `groups` and `labels`. And `files`, which `bounds` divides
    among the rows [rows + 1]: places in `names`, the hashes of all files in ascending order."""
    stamp: tuple[int, int]
    """Size in bytes and time of change in ns of the file that this is the index of."""
    table: tuple[tuple[str, str, Any], ...] = field(default=(), repr=False)
    """The rows of a table."""

    def __len__(self) -> int:
        return len(self.columns["starts"])

    def __getitem__(self, number: int, /) -> tuple[str, str, Any]:
        """Where row `number` of those that can be used stands, its key in an object or else its number in the file, and
        what it says. Raises DataError for a file that was changed."""
        start, length = int(self.columns["starts"][number]), int(self.columns["lengths"][number])
        if self.kind == "table":
            return self.table[start]
        try:
            with self.path.open("rb") as file:
                if _stamp(os.fstat(file.fileno())) != self.stamp:
                    raise DataError("it was changed after it was opened")
                file.seek(start)
                text = file.read(length).decode()
            if self.kind != "object":
                name = str(self.columns["numbers"][number])
                where = place(self.path, self.kind, name)
                return where, name, rows.load_json(text, where)
            ((name, value),) = rows.load_json(f"{{{text}}}", str(self.path)).items()
            return place(self.path, self.kind, name), name, value
        except (OSError, ValueError, DataError) as error:
            raise DataError(f"{self.path}: row {number} cannot be read ({error}); open it again") from error

    def files(self, numbers: NDArray[np.integer[Any]]) -> NDArray[np.uint64]:
        """Hashes of the files that these rows name, each once, in ascending order."""
        chosen, named = np.zeros(len(self), bool), np.zeros(len(self.columns["names"]), bool)
        chosen[numbers] = True
        named[self.columns["files"][np.repeat(chosen, np.diff(self.columns["bounds"]))]] = True
        return self.columns["names"][named]

    def naming(self, file: int, numbers: NDArray[np.integer[Any]]) -> int:
        """The first of these rows that names a file, by its hash."""
        places = np.flatnonzero(self.columns["files"] == np.searchsorted(self.columns["names"], np.uint64(file)))
        naming = np.searchsorted(self.columns["bounds"], places, side="right") - 1
        return int(naming[np.isin(naming, numbers)][0])

    def repeated(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows that ask what an earlier one asks, and these earlier ones."""
        _, first, asked = np.unique(self.columns["questions"], return_index=True, return_inverse=True)
        earlier = first[asked]
        later = np.flatnonzero(earlier != np.arange(len(self)))
        return later, earlier[later]


def stamp_of(path: Path) -> tuple[int, int] | None:
    """Size in bytes and time of change in ns; None for what is not there."""
    try:
        return _stamp(path.stat())
    except OSError:
        return None


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def place(path: Path, kind: Kind, name: str) -> str:
    """Where a row stands, as a person would look for it."""
    if kind == "lines":
        return f"{path}: row {int(name) + 1}"
    return f"{path}[{name if kind == 'list' else repr(name)}]"


def open_index(
    path: Path, describe: Describe, *, key: str = "", folder: Path | None = None, max_unusable: float = 0.0
) -> Index:
    """The index of a file: the one in `folder` (by default FILE.index) where it is this file's, else a new one.

    Raises DataError for a file that cannot be read, more than a share of `max_unusable` rows that cannot be used, or an
    id that occurs twice.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
    if size <= SMALL or path.suffix.lower() == ".csv":
        found, _ = _gone_through(path, describe)
    else:
        folder = folder or path.with_name(f"{path.name}.index")
        with _alone(folder):
            found = _kept(path, folder, key)
            if found is None:
                found, sha256 = _gone_through(path, describe)
                _keep(found, folder, key, sha256)
    bad = sum(found.unusable.values())
    whole = bad + len(found)
    if not whole:
        raise DataError(f"{path}: no rows; write an object from id to row, a list of rows, or a row a line")
    if bad > max_unusable * whole or bad == whole:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in found.unusable.items())
        more = f"; to see all of them: {shlex.join(['auscult', 'data', 'check', str(path)])}" if bad > 1 else ""
        raise DataError(f"{path}: {bad:,} of {whole:,} rows cannot be used ({reasons}), first: {found.named[0]}{more}")
    return found


def rows_in(path: Path, decode: Decode = rows.STRICT.raw_decode) -> Iterator[tuple[str, str, Any]]:
    """The rows of a file as they come: where each stands, its key in an object or else its number, and what it says as
    `decode` reads it.

    Raises DataError for a file that cannot be read, and where it is no JSON or no table.
    """
    if path.suffix.lower() == ".csv":
        yield from ((where, str(number), row) for number, (where, row) in enumerate(table.read(path)))
        return
    with _opened(path) as file:
        yield from (named for _, named in _named(Window(file, path, decode)))


def kind_of(path: Path) -> Kind:
    """How the rows of a JSON file are held together. Raises DataError as `rows_in` does."""
    with _opened(path) as file:
        return Window(file, path).kind()


def spans(window: Window) -> Iterator[Span]:
    """The rows of a file in order. Raises DataError with the byte at which it is no JSON, or no rows."""
    kind = window.kind()
    closing = {"object": "}", "list": "]"}.get(kind, "")
    if closing:
        window.take(window.peek())
    if closing and window.peek() == closing:
        return
    while True:
        window.peek()
        start, name = window.byte, None
        if kind == "object":
            name = window.value()
            if not isinstance(name, str):
                raise window.error("a key that is no text")
            window.take(":")
            window.peek()
        value = window.value()
        yield Span(start, window.byte - start, name, value)
        following = window.peek()
        if kind == "lines" and following:
            continue
        if following == closing:
            break
        window.take(",")
    window.take(closing)
    if window.peek():
        raise window.error("something behind its end")


class Window:
    """A file that is read from its beginning to its end, a piece at a time."""

    def __init__(self, file: IO[bytes], path: Path, decode: Decode = rows.STRICT.raw_decode) -> None:
        self.path = path
        """The file."""
        self.decode = decode
        """What reads a value."""
        self.byte = 0
        """Where in the file reading has come to."""
        self.read = hashlib.sha256()
        """Of all that was read."""
        chunks = iter(lambda: file.read(CHUNK), b"")
        self._chunks = counted(f"reading {path.name}, MB", chunks, path.stat().st_size // CHUNK + 1)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text, self._at, self._ended = "", 0, False
        while not self._text and self._more():
            pass
        if self._text.startswith("\ufeff"):
            self._go(1)

    def kind(self) -> Kind:
        """How the rows are held together, by how the file begins."""
        opening = self.peek()
        if opening not in ("{", "["):
            raise self.error("neither an object nor a list of rows")
        if opening == "[":
            return "list"
        first, end = self._ahead()
        behind = self._text[end:].strip(" \t\n\r")[:1] if first else ""
        return (
            "object"
            if behind != "{" and (not first or all(isinstance(one, dict) for one in first.values()))
            else "lines"
        )

    def _ahead(self) -> tuple[dict[str, Any], int]:
        """The first object, to which it does not go, and where it ends; none where it is larger than `ROW`."""
        while True:
            with suppress(ValueError, RecursionError):
                value, end = json.JSONDecoder().raw_decode(self._text, self._at)
                if self._text[end:].strip(" \t\n\r") or not self._more():
                    return value, end
                continue
            if len(self._text) > ROW or not self._more():
                return {}, 0

    def peek(self) -> str:
        """The next character that is no white space, to which it goes; empty at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._go(space.end() if space else self._at)
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def take(self, expected: str) -> None:
        """Goes beyond the next character, which must be this one."""
        if self.peek() != expected:
            raise self.error(f"no `{expected}`")
        self._go(self._at + len(expected))

    def value(self) -> Any:
        """The next value, beyond which it goes."""
        while True:
            try:
                value, end = self.decode(self._text, self._at)
                if end < len(self._text) or self._ended:  # else a number may go on
                    self._go(end)
                    return value
            except json.JSONDecodeError as error:  # the value may only be cut off by the window
                if self._ended or len(self._text) - self._at > LARGEST:
                    raise self.error(f"no valid JSON ({error.msg})") from error
            except (ValueError, RecursionError) as error:
                raise self.error(f"no valid JSON ({error})") from error
            self._more()

    def error(self, what: str) -> DataError:
        """`what` stands where reading has come to."""
        end = ", where the file ends" if self._ended and self._at >= len(self._text) else ""
        return DataError(f"{self.path}: {what} at byte {self.byte:,}{end}; correct it, or fetch the file again")

    def _go(self, to: int) -> None:
        self.byte += len(self._text[self._at : to].encode())
        self._at = to

    def _more(self) -> bool:
        """Reads on, twice as far as what has not been enough; False at the end."""
        if self._ended:
            return False
        wanted = max(1, (len(self._text) - self._at) // CHUNK)
        data = b"".join(itertools.islice(self._chunks, wanted))
        self.read.update(data)
        try:
            text = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise self.error("no text in UTF-8 after the row") from error
        self._text, self._at, self._ended = self._text[self._at :] + text, 0, not data
        return True


def _gone_through(path: Path, describe: Describe) -> tuple[Index, str]:
    """The index of a file and its hash, which a table does without."""
    if path.suffix.lower() == ".csv":
        held = tuple(rows_in(path))
        found = ((number, 0, row) for number, row in enumerate(held))
        return _index(path, "table", (0, 0), found, describe, held), ""
    with _opened(path) as file:
        stamp = _stamp(os.fstat(file.fileno()))
        window = Window(file, path)
        kind = window.kind()
        found = ((span.start, span.length, named) for span, named in _named(window))
        return _index(path, kind, stamp, found, describe), window.read.hexdigest()


def _named(window: Window) -> Iterator[tuple[Span, tuple[str, str, Any]]]:
    """Each row with where it stands and its key or number."""
    kind = window.kind()
    for number, span in enumerate(spans(window)):
        name = str(number) if span.key is None else span.key
        yield span, (place(window.path, kind, name), name, span.value)


@contextmanager
def _opened(path: Path) -> Generator[IO[bytes]]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path (--data.root)") from error
    with file:
        yield file


def _index(
    path: Path,
    kind: Kind,
    stamp: tuple[int, int],
    found: Iterable[tuple[int, int, tuple[str, str, Any]]],
    describe: Describe,
    held: tuple[tuple[str, str, Any], ...] = (),
) -> Index:
    columns = {name: array("Q") for name in COLUMNS}
    columns["bounds"].append(0)
    groups: dict[str, int] = {}
    grouped: Counter[str] = Counter()
    labels: dict[str, int] = {}
    unusable: Counter[str] = Counter()
    named: list[str] = []
    for number, (start, length, row) in enumerate(found):
        try:
            facts = describe(*row)
        except DataError as error:
            unusable[getattr(error, "reason", "bad_row")] += 1
            named += [str(error)] if len(named) < NAMED else []
            continue
        group = groups.setdefault(facts.group, len(groups))
        grouped[facts.grouped] += 1
        label = labels.setdefault(facts.label, len(labels))
        hashes = (_hash(facts.question), _hash(facts.answer))
        values = (start, length, number, _hash(facts.id), group, label, *hashes)
        for column, value in zip(COLUMNS, values, strict=False):
            columns[column].append(value)
        columns["files"].extend(map(_hash, facts.files))
        columns["bounds"].append(len(columns["files"]))
    arrays: dict[str, NDArray[Any]] = {name: np.frombuffer(column, np.uint64) for name, column in columns.items()}
    arrays |= {name: arrays[name].astype(np.int64) for name in ("starts", "bounds")}
    arrays["names"], arrays["files"] = np.unique(arrays["files"], return_inverse=True)
    arrays |= {name: arrays[name].astype(np.int32) for name in ("lengths", "numbers", "groups", "labels", "files")}
    made = Index(
        path=path,
        kind=kind,
        groups=tuple(groups),
        grouped=dict(grouped),
        labels=tuple(labels),
        unusable=dict(unusable),
        named=tuple(named),
        columns=arrays,
        stamp=stamp,
        table=held,
    )
    _refuse_twice(made)
    return made


def _refuse_twice(found: Index) -> None:
    ids = found.columns["ids"]
    if len(np.unique(ids)) < len(ids):
        order = np.argsort(ids, kind="stable")
        again = order[1:][ids[order[1:]] == ids[order[:-1]]]
        first = int(np.flatnonzero(ids == ids[again[0]])[0])
        raise DataError(
            f"{found.path}: {len(again)} ids occur twice, first: {found[int(again[0])][0]} has that of "
            f"{found[first][0]}; give each row its own"
        )


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


def _keep(found: Index, folder: Path, key: str, sha256: str) -> None:
    size, changed = found.stamp
    about = {"version": VERSION, "key": key, "size": size, "mtime_ns": changed, "sha256": sha256}
    told = {name: getattr(found, name) for name in TOLD}
    try:
        with atomic_folder(folder) as aside:
            for name, column in found.columns.items():
                np.save(aside / f"{name}.npy", column, allow_pickle=False)
            write_json(aside / "rows.json", told)
            write_json(aside / "about.json", about)
    except RunError as error:
        raise DataError(f"{error}; or name a folder for the index (--data.index)") from error


def _kept(path: Path, folder: Path, key: str) -> Index | None:
    """The index in the folder; None where there is none of this file, as it is, read this way."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        status = path.stat()
        if (about["version"], about["key"], about["size"]) != (VERSION, key, status.st_size):
            return None
        if about["mtime_ns"] != status.st_mtime_ns:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != about["sha256"]:
                    return None
            write_json(folder / "about.json", {**about, "mtime_ns": status.st_mtime_ns})
        columns = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in COLUMNS}
        told = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
        lists = {name: tuple(told[name]) for name in ("groups", "labels", "named")}
        counts = {name: told[name] for name in ("grouped", "unusable")}
        return Index(path=path, kind=told["kind"], columns=columns, stamp=_stamp(status), **lists, **counts)
    except (OSError, ValueError, KeyError, TypeError):  # none, or a damaged one, which is written again
        return None


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Several processes that open one file wait for the first of them to go through it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f".{folder.name}.lock").open("w")
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written ({error.strerror}); name a folder for the index (--data.index)"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
