"""Whoever waits for a large set to open is told how far that is, once it takes longer than a moment.

What opens a set is deep inside its source, which knows nobody to tell; so who wants to hear says so around the call:

    with telling(tell):
        samples = source.split("train", seed)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

Tell = Callable[[str, int, int, Mapping[str, Any]], None]
"""Told what is being done, how far it is, of how much, and the latest figures, if any."""
PATIENCE = 2.0
"""Seconds that nobody needs to be told about."""
T = TypeVar("T")
_TELL: ContextVar[Tell | None] = ContextVar("tell", default=None)


@contextmanager
def telling(tell: Tell) -> Generator[None]:
    """`tell` hears of whatever takes long in here."""
    before = _TELL.set(tell)
    try:
        yield
    finally:
        _TELL.reset(before)


def counted(what: str, items: Iterable[T], total: int) -> Iterator[T]:
    """The items as they come; when `PATIENCE` is over, whoever listens is told how many of the `total` have come."""
    tell, began = _TELL.get(), time.monotonic()
    for done, item in enumerate(items, 1):
        if tell is not None and time.monotonic() - began >= PATIENCE:
            tell(what, done, total, {})
        yield item
