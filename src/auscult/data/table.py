"""CSV tables, strictly: a head of different names, and as many cells in every row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from auscult.core.errors import DataError
from auscult.data import rows


def read(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row with where it stands (`captions.csv:17`, the line that it ends on), by the names of its columns.

    Raises DataError for a file that cannot be read or has no head, and a row of more or fewer cells.
    """
    table = csv.reader(io.StringIO(rows.read_text(path), newline=""), strict=True)
    try:
        head = [name.strip() for name in next(table, [])]
        if not head:
            raise DataError(f"{path}: no rows; write a first line that names the columns")
        if len(set(head)) < len(head):
            raise DataError(f"{path}: its columns are {head}; write a first line that names each of them once")
        for cells in table:
            if not cells:  # a blank line
                continue
            if len(cells) != len(head):
                raise DataError(
                    f"{path}:{table.line_num}: {len(cells)} cells under {len(head)} columns; put text with commas into "
                    "quotes"
                )
            yield f"{path}:{table.line_num}", dict(zip(head, cells, strict=True))
    except csv.Error as problem:
        raise DataError(f"{path}:{table.line_num}: no valid CSV ({problem}); correct its quotes") from problem
