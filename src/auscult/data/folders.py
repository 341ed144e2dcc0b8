"""The files of a data folder, every one of them accounted for: taken, ignored by name, or refused."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from auscult.core.errors import DataError

SHOWN = 5
"""How many foreign files a refusal names."""


def walk(root: Path, ignore: Sequence[str] = ()) -> list[Path]:
    """All files below `root` in order of their paths, without those that `ignore` names.

    A pattern of `ignore` fits a file, or a folder with all its files. Raises DataError when `root` holds no file.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder; set root to the folder that holds the recordings")

    def ignored(path: Path) -> bool:
        return any(fnmatchcase(part, pattern) for part in path.relative_to(root).parts for pattern in ignore)

    files = sorted(path for path in root.rglob("*") if path.is_file() and not ignored(path))
    if not files:
        raise DataError(f"{root} holds no files; set root to the folder that holds the recordings")
    return files


def refuse_foreign(root: Path, foreign: Sequence[Path], wanted: str) -> None:
    """Raises DataError that counts and names the `foreign` files, if any; `wanted` says what they should have been."""
    if foreign:
        names = ", ".join(str(path.relative_to(root)) for path in foreign[:SHOWN])
        more = f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else ""
        raise DataError(
            f"{root}: {len(foreign)} files are not {wanted}: {names}{more}; "
            "remove them or name them in `ignore`, for example ignore: ['.*', '*.md']"
        )
