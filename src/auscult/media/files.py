"""Opening a media file: every way in which there is none has its name."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader

from auscult.core.errors import MediaError

REASONS = {
    "missing": "no such file, or the sample names none",
    "not_a_file": "a folder, a pipe or a device",
    "unreadable": "the operating system refuses to open it",
    "empty": "0 bytes",
}


@contextmanager
def opened(path: str | None, name: str) -> Iterator[BufferedReader]:
    """The file, open for reading and not empty; `name` is what an error calls it.

    Raises MediaError with a reason from `REASONS`.
    """
    if path is None:
        raise MediaError(f"{name} has neither a file nor content; give one of them", reason="missing")
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # asked first: opening a pipe would wait for ever
            raise MediaError(f"{name} is not a file; name one", reason="not_a_file")
        file = open(path, "rb")  # noqa: SIM115 - closed below; the errors of the caller's body must not land here
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a NUL in the name
        sentence = f"{name} does not exist; check the path and the folder it is relative to"
        raise MediaError(sentence, reason="missing") from error
    except OSError as error:
        sentence = f"{name} cannot be opened ({error.strerror}); check its permissions"
        raise MediaError(sentence, reason="unreadable") from error
    with file:
        if not status.st_size:
            raise MediaError(f"{name} is empty (0 bytes); fetch it again, or leave it out", reason="empty")
        yield file
