"""`auscult run | sft | rest | grpo | eval | export RECIPE`: what a recipe says, or a part of it."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from auscult.commands import STAGES
from auscult.commands.arguments import HELP, Parser
from auscult.commands.output import quiet, show
from auscult.commands.recipes import open_recipe, recipe_names, settings
from auscult.core.errors import ConfigError

if TYPE_CHECKING:
    from auscult.recipe import Recipe

SWITCHES = ("--json", "--overwrite", *HELP)
"""Arguments that take no value."""


def run(command: str, arguments: list[str]) -> int:
    """Runs a recipe, or the part of it that `command` names."""
    usage = "RECIPE [--model DIR] [--out DIR] [--json] [--overwrite] [--key value ...]"
    parser = Parser(command, usage)
    parser.add_argument(
        "recipe", metavar="RECIPE", nargs="?", help=f"{', '.join(recipe_names())}, a YAML file or a run folder"
    )
    parser.add_argument("--model", metavar="DIR", help="saved model to begin with; short for --model.path")
    parser.add_argument("--out", metavar="DIR", help="run folder (default: runs/NAME)")
    parser.add_argument("--json", action="store_true", help="print one JSON object with all figures")
    parser.add_argument("--overwrite", action="store_true", help="delete what is in the run folder and begin again")
    # `--model DIR` is a flag here, `--model.width 64` a setting: argparse takes the first and leaves the second.
    known, rest = parser.parse_known_args([word for word in _first(arguments) if word not in HELP])
    from auscult.core.config import parse_overrides

    overrides = parse_overrides(rest)
    if known.model is not None:
        # A section is told from a folder by its brace: `--model '{family: gemma3, path: ...}'`.
        key = "model" if known.model.lstrip().startswith("{") else "model.path"
        if key in overrides:
            raise ConfigError(f"the command line: --model and --{key} name the model twice; keep one")
        overrides[key] = known.model
    if set(HELP) & set(arguments):
        print(parser.format_help())
        print(f"settings{f' of {known.recipe}' if known.recipe else ''}:\n{settings(known.recipe, overrides)}")
        return 0
    if known.recipe is None:
        raise ConfigError(f"{command}: name a recipe: {', '.join(recipe_names())}, a YAML file or a run folder")
    return work(command, open_recipe(known.recipe, overrides), known)


def _first(arguments: Sequence[str]) -> list[str]:
    """The recipe before everything else: argparse would take the value of a setting that stands before it for one."""
    for place, word in enumerate(arguments):
        before = arguments[place - 1] if place else ""
        a_value = before.startswith("--") and "=" not in before and before not in SWITCHES
        if not word.startswith("-") and not a_value:
            return [word, *arguments[:place], *arguments[place + 1 :]]
    return list(arguments)


def work(command: str, recipe: Recipe, known: argparse.Namespace) -> int:
    """Does it, and shows what came out."""
    quiet()
    from auscult import pipeline
    from auscult.console import Reporter

    spoken = shlex.join(["auscult", *sys.argv[1:]])
    out = (
        Path(known.out)
        if known.out
        else pipeline.folder(recipe.name if command == "run" else f"{recipe.name}-{command}")
    )
    if command == "export":
        if recipe.model.path is None or known.out is None:
            raise ConfigError("export: name the model and where its plain checkpoint goes: --model DIR --out DIR")
        pipeline.export(recipe, recipe.model.path, out, overwrite=known.overwrite)
        print(json.dumps({"checkpoint": str(out)}) if known.json else out)
        return 0
    if command in STAGES:
        recipe = pipeline.only(recipe, None if command == "eval" else command)
    with Reporter() as tell:
        figures = pipeline.run(recipe, out, spoken, tell, say=tell.say, overwrite=known.overwrite)
    if figures:  # of several processes the first one speaks
        show(out, figures, as_json=known.json)
    return 0
