"""The files of a data folder, every one of them accounted for: taken, ignored by name, or refused."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from auscult.core.errors import DataError

SHOWN = 5
"""How many foreign files a refusal names."""


def walk(root: Path, ignore: Sequence[str] = (), setting: str = "--data.root") -> list[Path]:
    """All files below `root` in order of their paths, without those that `ignore` names. Links to folders are followed.

    A pattern of `ignore` fits a file, or a folder with all its files; `setting` is where the user named `root`. Raises
    DataError when `root` holds no file, or one whose name cannot be written down.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder; name the folder that holds the recordings ({setting})")
    files = sorted(_below(root, ignore, (os.path.realpath(root),)))
    if not files:
        raise DataError(f"{root} holds no files; name the folder that holds the recordings ({setting})")
    for path in files:
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{root}: the file name {os.fsencode(path)!r} is not UTF-8; rename the file") from error
    return files


def _below(folder: Path, ignore: Sequence[str], above: tuple[str, ...]) -> Iterator[Path]:
    """Everything that is no folder, links that lead nowhere too; `above` are the real paths of the folders around."""
    try:
        inside = list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from error
    for path in inside:
        if any(fnmatchcase(path.name, pattern) for pattern in ignore):
            continue
        if not path.is_dir():
            yield path
        elif (real := os.path.realpath(path)) not in above:  # a link to a folder around it has nothing new
            yield from _below(path, ignore, (*above, real))


def refuse_foreign(root: Path, foreign: Sequence[Path], wanted: str, setting: str = "--data.ignore") -> None:
    """Raises DataError that counts and names the `foreign` files, if any; `wanted` says what they should have been, and
    `setting` where they are ignored: `--ignore` takes words, a recipe's setting a list."""
    if foreign:
        names = ", ".join(str(path.relative_to(root)) for path in foreign[:SHOWN])
        more = f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else ""
        files = "1 file" if len(foreign) == 1 else f"{len(foreign)} files"
        raise DataError(
            f"{root}: {files} other than {wanted}: {names}{more}; "
            f"remove them or name them in `ignore`, for example {setting} "
            + ("'.*' '*.md'" if setting == "--ignore" else "\"['.*', '*.md']\"")
        )
