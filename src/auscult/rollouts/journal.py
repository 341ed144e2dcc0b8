"""The journals of replies: every reply is on the disk before anybody uses it, under the hash of everything that it
depends on (policy, model, sampling, seed, prompt with its media, number)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auscult.core.errors import RunError
from auscult.core.journal import Journal
from auscult.core.runs import read_jsonl


def replies(path: Path, policy: str) -> Journal:
    """The replies of one call, whoever asked for them. Raises RunError when one is by another policy than `policy`."""
    journal = Journal(path)
    for row in journal.rows():
        if row.get("policy") != policy:
            raise RunError(
                f"{path}: the reply {row.get('number')} to {row.get('sample')} is by policy {row.get('policy')}, "
                f"not by {policy}; it would be stale: delete the file and sample again"
            )
    return journal


def past(folder: Path) -> Iterator[dict[str, Any]]:
    """Every row of every journal in `folder`: what earlier processes spent."""
    for path in sorted(folder.glob("*.jsonl")):
        yield from read_jsonl(path).rows
