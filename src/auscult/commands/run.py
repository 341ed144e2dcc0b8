"""`auscult run | sft | rest | grpo | eval RECIPE`: what a recipe says, or a part of it."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from auscult.commands.arguments import Parser
from auscult.commands.output import quiet, show
from auscult.commands.recipes import asked
from auscult.core.errors import ConfigError
from auscult.trackers import TRACKERS, tracking

if TYPE_CHECKING:
    from auscult.recipe import Recipe


def run(command: str, arguments: list[str]) -> int:
    """Runs a recipe, or the part of it that `command` names."""
    parser = Parser(
        command, "RECIPE [--preset NAME] [--model DIR] [--out DIR] [--json] [--overwrite] [--key value ...]"
    )
    parser.add_argument("--model", metavar="DIR", help="saved model to begin with; short for --model.path")
    parser.add_argument("--out", metavar="DIR", help=f"run folder (default: {_folder('runs/NAME', command)})")
    parser.add_argument("--json", action="store_true", help="print one JSON object with all figures")
    parser.add_argument("--overwrite", action="store_true", help="delete what is in the run folder and begin again")
    if command == "run":
        parser.add_argument(
            "--stage",
            metavar="NAME",
            help="one stage alone, in the same run folder, in this order: prepare, pretrain, sft, rest, grpo, evaluate "
            "(default: all that is left)",
        )
    parser.add_argument(
        "--tracker",
        metavar="NAME",
        choices=TRACKERS,
        help="hand the figures on to tensorboard, trackio or wandb too (default: nobody)",
    )
    found = asked(parser, arguments, data=True)
    return work(command, *found) if found else 0


def _folder(name: str, command: str) -> str:
    """What the run folder is called when nobody says."""
    return name if command == "run" else f"{name}-{command}"


def work(command: str, recipe: Recipe, known: argparse.Namespace) -> int:
    """Does it, and shows what came out."""
    quiet()
    from auscult import pipeline
    from auscult.console import Reporter
    from auscult.core.config import to_dict

    out = Path(known.out) if known.out else pipeline.folder(_folder(recipe.name, command))
    if out.is_file():
        raise ConfigError(f"{command}: --out {out} is a file; name a folder")
    spoken, stage = shlex.join(["auscult", *sys.argv[1:]]), getattr(known, "stage", None)
    if stage is not None and known.overwrite:
        raise ConfigError(f"{command}: --overwrite deletes all stages in {out}; leave it or --stage {stage} out")
    if command != "run":
        recipe = pipeline.only(recipe, None if command == "eval" else command)
    with Reporter() as bars, tracking(known.tracker, out, to_dict(recipe), bars, bars.say) as (tell, tracker):
        figures = pipeline.run(recipe, out, spoken, tell, say=bars.say, overwrite=known.overwrite, stage=stage)
        if tracker is not None and figures:
            tracker.results(figures.get("results", {}))
    if "stage" in figures:
        print(json.dumps(figures) if known.json else figures["made"])
    elif figures:  # of several processes the first one speaks
        show(out, figures, as_json=known.json)
    return 0
