"""A journal of answers: one JSON line each, on the disk before anybody uses it.

Whoever was killed reads back what was answered and asks for the rest only. A row is found by its `key`, the hash of
everything that its answer depends on, so it can neither be taken for another's nor be asked for twice. A row with a
`text` is an answer, and the first one stays; a row with a `problem` is a failure, which counts until there is an
answer.

Several processes may share a file. Each appends under the kernel's lock (`flock`, which dies with its process) after it
has read what the others appended meanwhile; who comes second with an answer takes the one that stands there. A line
that a kill tore is skipped by readers and cut off by the next who appends.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from auscult.core.errors import RunError

Row = dict[str, Any]


class Journal:
    """The rows of one file."""

    def __init__(self, path: Path) -> None:
        """Reads what is there and changes nothing. Raises RunError that names a line which is no JSON object."""
        self.path = path
        self.counts: Counter[str] = Counter()
        """`read_back`, `torn` and `doubled` rows."""
        self._answers: dict[str, Row] = {}
        self._failures: dict[str, Row] = {}
        self._read = self._lines = 0
        self._torn_at = -1
        if path.exists():
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                self._catch_up(file)
        self.counts["read_back"] = len(self._answers)

    def __len__(self) -> int:
        """Answers there are."""
        return len(self._answers)

    def rows(self) -> Iterator[Row]:
        """All answers, then the last failure of whatever has none."""
        yield from self._answers.values()
        yield from self._failures.values()

    def answer(self, key: str) -> Row | None:
        """The answer to the request `key`; None when there is none yet."""
        return self._answers.get(key)

    def failure(self, key: str) -> Row | None:
        """How the request `key` failed the last time; None when it did not, or has an answer by now."""
        return self._failures.get(key)

    def add(self, row: Mapping[str, Any]) -> Row:
        """Appends an answer or a failure unless an answer stands there, and returns what does when the disk has it.

        Raises RunError when the file cannot be written.
        """
        # A lone surrogate, which a server can send, is no UTF-8 but has an escape in JSON.
        line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace") + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                self._mend(file)
                if (standing := self._answers.get(row["key"])) is not None:
                    self.counts["doubled"] += 1
                    return standing
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as problem:
            raise RunError(
                f"{self.path} cannot be written ({problem.strerror or problem}); make room there, or name another file"
            ) from problem
        self._read += len(line)
        self._lines += 1
        return self._take(json.loads(line))

    def _mend(self, file: IO[bytes]) -> None:
        """Reads what others appended, and ends the file in a whole line. The lock is ours, so nobody is writing."""
        if rest := self._catch_up(file):
            file.truncate(self._read)
            if _row(rest) is not None:
                file.write(rest + b"\n")
                self._read += len(rest) + 1
                self._lines += 1

    def _catch_up(self, file: IO[bytes]) -> bytes:
        """Reads from where it stopped; what follows the last line end is handed back, and taken if it is a row."""
        file.seek(self._read)
        *lines, rest = file.read().split(b"\n")
        for line in lines:
            self._read += len(line) + 1
            self._lines += 1
            row = _row(line)
            if row is None:
                raise RunError(f"{self.path}: line {self._lines} is no JSON object with a key; mend or delete the line")
            self._take(row)
        if (row := _row(rest)) is not None:
            self._take(row)
        elif rest and self._torn_at != self._read:
            self._torn_at = self._read
            self.counts["torn"] += 1
        return rest

    def _take(self, row: Row) -> Row:
        key = row["key"]
        standing = self._answers.get(key)
        if standing is not None:
            self.counts["doubled"] += standing != row
            return standing
        if "text" in row:
            self._answers[key] = row
            self._failures.pop(key, None)
        else:
            self._failures[key] = row
        return row


def _row(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return cast(Row, row) if isinstance(row, dict) and "key" in row else None
