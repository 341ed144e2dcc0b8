"""The command line: a command becomes a call.

Results go to stdout (`--json`: one object and nothing else), everything said on the way to stderr. Exit codes: 0
success, 2 a mistake that the user can mend, 130 interrupted, 143 terminated, 141 whoever read the output has gone
before the end, 1 a defect of ours (with its traceback). Every command imports what it needs when it runs: `auscult
--help` must not wait for torch."""

from __future__ import annotations

import argparse
import codecs
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from auscult.commands import COMMANDS, file_of
from auscult.commands.arguments import HELP, SETTINGS, nearest
from auscult.core.errors import AuscultError, ConfigError


class Terminated(BaseException):
    """SIGTERM: a scheduler, a container or `kill` ends the process."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Torch's threads wait for each other at every small operation. Going to sleep at once costs a quiet machine 1.7
    # times the time; staying awake (the default), 10 to 40 times beside another program. So: awake for microseconds.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    codecs.register_error("auscult", _escaped)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="auscult")
    code = 141
    try:
        with _terminable():
            code = _dispatch(arguments)
        sys.stdout.flush()  # here, where a reader that has gone is no traceback
        return code
    except AuscultError as problem:
        print(f"auscult: {problem}", file=sys.stderr)
        return 2
    except argparse.ArgumentError as problem:
        print(f"auscult: {problem}; auscult {arguments[0]} --help says what it takes", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("auscult: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except Terminated:
        print("auscult: terminated; the same command goes on from here", file=sys.stderr)
        return 143
    except BrokenPipeError:  # `auscult list | head`: the reader has seen enough, but a run was not finished for that
        for stream in (sys.stdout, sys.stderr):  # the last flush, at exit, would fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return code


def _escaped(problem: UnicodeError) -> tuple[str, int]:
    """Characters that the terminal's encoding has not got as JSON escapes them, so that --json stays JSON there too."""
    if not isinstance(problem, UnicodeEncodeError):
        raise problem
    lost = problem.object[problem.start : problem.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{lost[at : at + 4]}" for at in range(0, len(lost), 4)), problem.end


@contextmanager
def _terminable() -> Generator[None]:
    """SIGTERM ends the command as Ctrl-C does, with a last line; a second one ends it at once.

    Not among several processes, where one that waits for another in torch would not hear of it: there it is the end at
    once, as torchrun expects. Nor where somebody else handles the signal, or main runs in a thread.
    """
    alone = os.environ.get("WORLD_SIZE", "1") == "1" and threading.current_thread() is threading.main_thread()
    if not alone or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise Terminated


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in (*HELP, "help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        from auscult import __version__

        print(f"auscult {__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        raise ConfigError(f"there is no command {name!r}{nearest(name, COMMANDS)}; auscult --help lists them")
    return importlib.import_module(f"auscult.commands.{file_of(name)}").run(name, rest)


def _help() -> str:
    commands = "\n".join(f"  {name:<8} {text}" for name, text in COMMANDS.items())
    return (
        "auscult teaches language models to listen and to look, and measures whether they did.\n\n"
        f"usage: auscult COMMAND ...\n\n{commands}\n\n"
        "  auscult run quickstart      train a small listener from nothing, a few minutes on two cores\n"
        "  auscult COMMAND --help      what a command takes\n\n"
        f"{SETTINGS}"
    )
