"""`auscult data check FILE`: what is there, what is wrong and why, and what the model reads."""

from __future__ import annotations

import json
from pathlib import Path

from auscult.commands.arguments import Parser, nearest
from auscult.commands.output import quiet
from auscult.commands.recipes import open_recipe, recipe_names
from auscult.core.errors import ConfigError


def run(command: str, arguments: list[str]) -> int:
    """Checks data; its exit code is 2 where something is wrong."""
    parser = Parser(
        command, "check FILE [--show N] [--recipe RECIPE] [--decode] [--audio DIR] [--json] [--key value ...]"
    )
    parser.add_argument("what", choices=["check"], metavar="check")
    parser.add_argument(
        "file", metavar="FILE", help="samples (JSONL), questions (JSON), a folder of recordings, a recipe or its YAML"
    )
    parser.add_argument("--audio", metavar="DIR", help="folder of the recordings that a question file names")
    parser.add_argument(
        "--show", type=int, default=0, metavar="N", help="show N samples as the model reads them (default: 0)"
    )
    parser.add_argument(
        "--recipe", default="quickstart", metavar="RECIPE", help="whose model and wording to show them with"
    )
    parser.add_argument("--decode", action="store_true", help="decode every recording to its end, not its header only")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if parser.helped(arguments):
        return 0
    known, rest = parser.parse_known_args(arguments)
    from auscult.core.config import parse_overrides
    from auscult.data.check import check

    overrides = parse_overrides(rest)
    if known.file in recipe_names() or Path(known.file).suffix in (".yaml", ".yml"):
        known.recipe = known.file
        target = open_recipe(known.recipe, overrides).data
    else:
        target = Path(known.file)
        for key in [] if known.show else overrides:
            flags = ("show", "recipe", "decode", "audio", "json")
            raise ConfigError(
                f"data: --{key} says nothing of {known.file}{nearest(key, flags)}; leave it out, or show the samples "
                "as a recipe's model reads them (--show N)"
            )
    report = check(target, decode=known.decode, audio_root=Path(known.audio) if known.audio else None)
    if known.json:
        print(json.dumps(report.to_dict(), ensure_ascii=False))
        return 2 if report.problems else 0
    print("\n".join(report.lines()))
    if known.show and report.samples:
        quiet()
        from auscult import pipeline

        recipe = open_recipe(known.recipe, overrides)
        print("\n".join(pipeline.shown(recipe, report.samples, known.show)))
    return 2 if report.problems else 0
