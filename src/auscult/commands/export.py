"""`auscult export RECIPE --model DIR --out DIR`: a saved model as a plain checkpoint."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from auscult.commands.arguments import Parser
from auscult.commands.output import quiet
from auscult.commands.recipes import asked
from auscult.core.errors import ConfigError

if TYPE_CHECKING:
    from auscult.recipe import Recipe

READ = ("device", "model", "wording")
"""The settings of a recipe that matter here."""


def run(command: str, arguments: list[str]) -> int:
    """Merges an adapter into its weights, and writes them."""
    parser = Parser(command, "RECIPE --model DIR --out DIR [--json] [--overwrite] [--key value ...]")
    parser.add_argument("--model", metavar="DIR", help="saved model to export, such as runs/NAME/sft/model (required)")
    parser.add_argument("--out", metavar="DIR", help="folder of the plain checkpoint (required)")
    parser.add_argument("--json", action="store_true", help="print one JSON object that says where it is")
    parser.add_argument("--overwrite", action="store_true", help="replace the checkpoint that is there")
    found = asked(parser, arguments, sections=READ)
    return work(*found) if found else 0


def work(recipe: Recipe, known: argparse.Namespace) -> int:
    """Does it, and says where the checkpoint is."""
    if recipe.model.path is None or known.out is None:
        raise ConfigError("export: name the model and where its plain checkpoint goes: --model DIR --out DIR")
    quiet()
    from auscult import pipeline

    pipeline.export(recipe, recipe.model.path, Path(known.out), overwrite=known.overwrite)
    print(json.dumps({"checkpoint": known.out}) if known.json else known.out)
    return 0
