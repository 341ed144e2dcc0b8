"""How every command reads its arguments: what cannot be understood is a sentence, never a page of usage."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from auscult.commands import COMMANDS
from auscult.core.errors import ConfigError

HELP = ("-h", "--help")
SETTINGS = """\
Every setting of the recipe can be given as --key value, for example --train.learning_rate 3e-4 or --grpo.steps 50;
`auscult run RECIPE --help` lists them with their defaults."""


class Parser(argparse.ArgumentParser):
    """Raises instead of exiting, and knows no abbreviations, which would swallow settings."""

    def __init__(self, command: str, usage: str) -> None:
        """`usage` is what follows the command."""
        super().__init__(
            prog=f"auscult {command}",
            usage=f"auscult {command} {usage}",
            description=COMMANDS[command],
            epilog=SETTINGS if "RECIPE" in usage else None,
            allow_abbrev=False,
            exit_on_error=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.command = command

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{self.command}: {message}; usage: {self.usage}")

    def helped(self, arguments: Sequence[str]) -> bool:
        """Whether help was asked for, which is then printed."""
        asked = bool(set(HELP) & set(arguments))
        if asked:
            print(self.format_help())
        return asked


def nearest(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """`, did you mean X?`, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {found[0]!r}?" if found else ""
