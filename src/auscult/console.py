"""What a person sees while something runs: bars on a terminal, a line now and then in a log. All of it goes to
stderr."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

EVERY = 10.0
"""Seconds between two lines of a log."""
SHOWN = {
    "loss": "loss {:.3f}",
    "reward/total/mean": "reward {:.3f}",
    "unparsed_share": "unparsed {:.0%}",
    "agreement/abs_diff": "agreement {:.1e}",
}
"""Figures worth a place on the line, and how they are written."""


def describe(figures: Mapping[str, Any]) -> str:
    """The figures worth a place on the line."""
    return "  ".join(text.format(figures[name]) for name, text in SHOWN.items() if figures.get(name) is not None)


class Reporter:
    """Tells how far things are, with rate and time left."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._log = not console.is_terminal
        self._what, self._began, self._first, self._told = "", 0.0, 0, 0.0
        self._bars = Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=self._log,
        )
        self._bar = None
        self._stopped: int | None = None
        self._before: dict[int, Callable[..., Any]] = {}

    def __enter__(self) -> Reporter:
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            if callable(before) and threading.current_thread() is threading.main_thread():
                self._before[number] = before
                signal.signal(number, self._stop)
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()
        for number, before in self._before.items():
            signal.signal(number, before)

    def say(self, text: str) -> None:
        """One line that stays, above the bars where there are any."""
        if self._log:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _stop(self, number: int, *_: object) -> None:
        """What is done about the signal without us, remembered: Python swallows what is raised while it finalises an
        object."""
        self._stopped = number
        self._before[number](number, None)

    def __call__(self, what: str, done: int, total: int, figures: Mapping[str, Any]) -> None:
        if self._stopped is not None:
            self._before[self._stopped](self._stopped, None)
        now = time.monotonic()
        if what != self._what:
            # The first call comes when its first piece is done, so the rate counts from there.
            self._what, self._began, self._first, self._told = what, now, done, now
            self._bar = self._bars.add_task(what, total=total, rate="", figures="")
        rate = (done - self._first) / max(now - self._began, 1e-9)
        text = f"{rate:.1f}/s" if done > self._first else ""
        if self._bar is not None:
            self._bars.update(self._bar, completed=done, rate=text, figures=describe(figures))
        if self._log and (done == total or done == self._first or now - self._told >= EVERY):
            self._told = now
            left = f"  {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
            print(f"{what:<28} {done}/{total}  {text}{left}  {describe(figures)}".rstrip(), file=sys.stderr, flush=True)
