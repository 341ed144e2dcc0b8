"""A journal of replies: one JSON line each, on the disk before anybody uses it.

A client that was killed reads its replies back and asks for the missing ones only. A row is found by the hash of
everything that its reply depends on (policy, model, sampling, seed, prompt with its media, number), so it can neither
be taken for another's nor be asked for twice. A failure is a row too, with its reason, and is asked for again.

One process writes at a time; the run folder's lock sees to that.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from auscult.core.errors import RunError
from auscult.core.runs import append_jsonl, read_jsonl, truncate_jsonl


class Journal:
    """The replies of one call, whoever asked for them."""

    def __init__(self, path: Path, policy: str) -> None:
        """Reads what is there. Raises RunError when a row is by another policy than `policy`."""
        self.path = path
        self.counts: Counter[str] = Counter()
        """`read_back`, `torn` and `doubled` rows."""
        self._replies: dict[str, dict[str, Any]] = {}
        if not path.exists():
            return
        rows, torn = read_jsonl(path)
        if torn is not None:
            self.counts["torn"] += 1
        truncate_jsonl(path, keep=lambda row: True)
        for row in rows:
            if row.get("policy") != policy:
                raise RunError(
                    f"{path}: the reply {row.get('number')} to {row.get('sample')} is by policy {row.get('policy')}, "
                    f"not by {policy}; it would be stale: delete the file and sample again"
                )
            if "text" in row:
                self._keep(row)
        self.counts["read_back"] = len(self._replies)

    def __len__(self) -> int:
        """Replies there are."""
        return len(self._replies)

    def reply(self, key: str) -> dict[str, Any] | None:
        """The reply to the request `key`; None when there is none yet."""
        return self._replies.get(key)

    def add(self, row: Mapping[str, Any]) -> None:
        """Appends a reply (it has a `text`) or a failure (it has a `problem`), and returns when the disk has it."""
        if "text" in row and not self._keep(dict(row)):
            return
        append_jsonl(self.path, row)
        handle = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _keep(self, row: dict[str, Any]) -> bool:
        new = row["key"] not in self._replies
        self.counts["doubled"] += not new
        self._replies.setdefault(row["key"], row)
        return new


def past(folder: Path) -> Iterator[dict[str, Any]]:
    """Every row of every journal in `folder`: what earlier processes spent."""
    for path in sorted(folder.glob("*.jsonl")):
        yield from read_jsonl(path).rows
