"""How every command reads its arguments: what cannot be understood is a sentence, never a page of usage."""

from __future__ import annotations

import argparse
import difflib
import json
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

    def parse_args(self, args: Sequence[str] | None = None, namespace: None = None) -> argparse.Namespace:  # type: ignore[override]
        """All of `args` understood; what is left over is a mistake, with the flag that was probably meant."""
        known, rest = self.parse_known_args(args)
        self.refuse_misspelt(rest)
        if rest:
            self.error(f"it takes no {' '.join(rest)}")
        return known

    def refuse_misspelt(self, words: Sequence[str], settings: Sequence[str] = ()) -> None:
        """Refuses what is nearly a flag of this command, and none of the `settings` that it takes too."""
        for flag in [word.partition("=")[0] for word in words if word.startswith("--")]:
            known = [*self._option_string_actions, *(f"--{name}" for name in settings)]
            near = difflib.get_close_matches(flag, known, n=1)
            if near and near[0] in self._option_string_actions and "." not in flag and flag not in known:
                self.error(f"there is no {flag}, did you mean {near[0]!r}?")

    def helped(self, arguments: Sequence[str]) -> bool:
        """Whether help was asked for, which is then printed."""
        asked = bool(set(HELP) & set(arguments))
        if asked:
            print(self.format_help())
        return asked


def option_lines(
    cls: type, values: Mapping[str, Any], overrides: Mapping[str, str], sections: Sequence[str] = ()
) -> str:
    """Every setting of `cls` (in `sections`, by default all) with its value and its text, for --help."""
    from dataclasses import MISSING

    from auscult.core.config import describe

    lines: list[str] = []
    for option in describe(cls, values, overrides):
        if sections and option.key.partition(".")[0] not in sections:
            continue
        value = "required" if option.value is MISSING else json.dumps(option.value, default=str, ensure_ascii=False)
        lines.append(f"  --{option.key:<28} {option.type} = {value}\n        {option.text}")
    return "\n".join(lines)


def nearest(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """`, did you mean X?`, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {found[0]!r}?" if found else ""
