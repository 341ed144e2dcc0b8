"""`auscult data check FILE`: what is there, what is wrong and why, and what the model reads. `auscult data leaks TRAIN
--against BENCHMARK`: what of it is in a benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.commands.arguments import HELP, Parser, nearest
from auscult.commands.output import quiet
from auscult.commands.recipes import open_recipe, open_with_data, overrides_of, recipe_names
from auscult.core.errors import ConfigError

if TYPE_CHECKING:
    from auscult.data.leakage import Leak
    from auscult.data.sources import studies
    from auscult.recipe import Recipe

TAKES = "samples (JSONL), questions (JSON; on images CSV too), captions (CSV), a folder of recordings, a recipe or YAML"
ASKED = ("data.report", "data.group", "data.label_views", "data.thought", "data.images")
"""Settings of `data.source: studies` that say how a file's films are asked about."""
USAGES = {
    "check": "FILE [--show N] [--recipe RECIPE] [--preset NAME] [--decode] [--audio DIR] [--json] [--key value ...]",
    "leaks": "TRAIN --against BENCHMARK [BENCHMARK ...] [--audio DIR] [--cache DIR] [--show N] [--json] "
    "[--key value ...]",
}


def run(command: str, arguments: list[str]) -> int:
    """Checks or compares data; its exit code is 2 where something is wrong, or leaks."""
    if arguments[:1] == ["audioset"]:
        from auscult.commands import audioset

        return audioset.run(command, arguments[1:])
    if arguments[:1] == ["frames"]:
        from auscult.commands import frames

        return frames.run(command, arguments[1:])
    verb = next((word for word in arguments if word in USAGES), None)
    if verb is None and (set(HELP) & set(arguments)):
        print("\n".join(_parser(command, name).format_help() for name in USAGES))
        print("also: auscult data audioset --help, auscult data frames --help")
        return 0
    if verb is None:
        usages = " or ".join(f"auscult {command} {name} {usage}" for name, usage in USAGES.items())
        word = (
            f"invalid choice {arguments[0]!r}{nearest(arguments[0], [*USAGES, 'audioset', 'frames'])}"
            if arguments
            else "say what to do"
        )
        raise ConfigError(f"{command}: {word}; usage: {usages}, or auscult {command} audioset | frames --help")
    parser = _parser(command, verb)
    if parser.helped(arguments):
        return 0
    place = arguments.index(verb)
    rest = [*arguments[:place], *arguments[place + 1 :]]
    return _check(parser, rest) if verb == "check" else _leaks(parser, rest)


def _parser(command: str, verb: str) -> Parser:
    parser = Parser(command, f"{verb} {USAGES[verb]}")
    if verb == "check":
        parser.description = "what is in a data set, what is wrong with it and why, and how a model reads it"
        parser.add_argument("file", metavar="FILE", help=TAKES)
        parser.add_argument(
            "--show", type=int, default=0, metavar="N", help="show N samples as the model reads them (default: 0)"
        )
        parser.add_argument(
            "--recipe",
            metavar="RECIPE",
            help="whose model and wording to show them with, and of films its --data.report "
            "(default: quickstart, or the recipe that is checked)",
        )
        parser.add_argument(
            "--preset",
            metavar="NAME",
            action="append",
            default=[],
            help="settings that the recipe has under a name; may be given several times",
        )
        parser.add_argument(
            "--decode", action="store_true", help="decode every recording and picture to its end, not its header only"
        )
    else:
        parser.description = "which training rows are in a benchmark, by media, names and words; exit code 2 if any"
        parser.add_argument("train", metavar="TRAIN", help=f"{TAKES}, whose training split it is")
        parser.add_argument(
            "--against",
            nargs="+",
            required=True,
            metavar="BENCHMARK",
            help="what TRAIN must not contain: a benchmark's file as published (mmar:FILE says whose it is), or "
            "the same kinds; of a recipe, its held-out split",
        )
        parser.add_argument(
            "--cache", metavar="DIR", help="keep prints of media here, at most 2 GiB (default: none are kept)"
        )
        parser.add_argument(
            "--show", type=int, default=20, metavar="N", help="list N pairs (default: 20); --json has all"
        )
    parser.add_argument("--audio", metavar="DIR", help="folder of the recordings that a question file names")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _check(parser: Parser, arguments: Sequence[str]) -> int:
    known, rest = parser.parse_known_args(arguments)
    overrides = overrides_of(parser, rest)
    from auscult.console import Reporter
    from auscult.data.check import check
    from auscult.data.waiting import telling

    if known.preset and not known.recipe and not _is_recipe(known.file):
        raise ConfigError(f"data: --preset {known.preset[0]} is a recipe's; name that too: --recipe RECIPE")
    films = None
    if _is_recipe(known.file):
        known.recipe = known.file
        recipe = open_with_data(known.recipe, overrides, known.preset)
        target = recipe.data
    else:
        target, known.recipe = Path(known.file), known.recipe or "quickstart"
        how = {key: value for key, value in overrides.items() if key in ASKED} if _asks_of_films(target) else {}
        others = {key: value for key, value in overrides.items() if key not in how}
        for key in [] if known.show else others:
            raise ConfigError(
                f"data: --{key} says nothing of {known.file}; leave it out, or show the samples as a recipe's model "
                "reads them (--show N)"
            )
        recipe = open_recipe(known.recipe, others, known.preset)  # its mistakes are not to be told after a long check
        films = _films(target, recipe, how) if _asks_of_films(target) else None
    audio = Path(known.audio) if known.audio else None
    with Reporter() as tell, telling(tell):
        report = check(target, decode=known.decode, audio_root=audio, films=films)
    if known.json:
        print(json.dumps(report.to_dict(), ensure_ascii=False))
        return 2 if report.problems else 0
    print("\n".join(report.lines()))
    if known.show and report.samples:
        quiet()
        from auscult import pipeline

        shown = min(known.show, len(report.samples))
        print(f"\n{shown} of them, as the model and the wording of the recipe {known.recipe} show them:")
        print("\n".join(pipeline.shown(recipe, report.samples, known.show)))
    return 2 if report.problems else 0


def _asks_of_films(file: Path) -> bool:
    from auscult.data.sources import studies

    return file.is_file() and studies.fits(file)


def _films(file: Path, recipe: Recipe, how: Mapping[str, str]) -> studies.Source:
    """How the recipe would ask about the films of a file, with the settings of the command line over it."""
    from auscult.core.config import build, to_dict
    from auscult.data.sources import studies

    own = to_dict(recipe.data) if isinstance(recipe.data, studies.Source) else {}
    laid = {key.removeprefix("data."): value for key, value in how.items()}
    return build(studies.Source, {**own, "root": str(file)}, laid, where=f"the recipe {recipe.name}")


def _leaks(parser: Parser, arguments: Sequence[str]) -> int:
    known, rest = parser.parse_known_args(arguments)
    overrides = overrides_of(parser, rest)
    recipes = {name for name in (known.train, *known.against) if _is_recipe(name)}
    for key in [] if len(recipes) == 1 else overrides:
        named = f"{', '.join(sorted(recipes))} are several" if recipes else f"{known.train} is none"
        raise ConfigError(
            f"data: --{key} is a setting of a recipe, and {named}; name one recipe, before all options, or write the "
            "setting into its YAML"
        )
    from auscult.console import Reporter
    from auscult.data.leakage import compare, gathered, refuse_blind
    from auscult.data.prints import Cache
    from auscult.data.waiting import telling

    audio = Path(known.audio) if known.audio else None
    with Reporter() as tell, telling(tell):
        train, left = gathered([known.train], lambda name: _rows(name, "train", audio, overrides))
        benchmark, notes = gathered(known.against, lambda name: _rows(name, "heldout", audio, overrides))
    cache = Cache(Path(known.cache)) if known.cache else None
    with Reporter() as tell:
        found = compare(train, benchmark, cache=cache, tell=tell, notes=left + notes)
    refuse_blind(found, known.against)
    if known.json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        print("\n".join(found.lines()))
        _table(found.leaks, known.show)
    return 2 if found.leaks else 0


def _rows(name: str, side: Any, audio: Path | None, overrides: Mapping[str, str]) -> tuple[list[Any], tuple[str, ...]]:
    from auscult.data.leakage import rows_of
    from auscult.evaluate import published

    if not _is_recipe(name):
        return published.rows_of(name, audio)
    recipe = open_with_data(name, overrides)
    return rows_of(recipe.data, side, seed=recipe.seed)


def _is_recipe(name: str) -> bool:
    return name in recipe_names() or Path(name).suffix in (".yaml", ".yml")


def _table(leaks: Sequence[Leak], most: int) -> None:
    """The first pairs; what is more is counted."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not leaks[:most]:
        return
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("Training row", "Benchmark row", "Evidence", "Strength", "What"):
        drawn.add_column(Text(title), justify="right" if title == "Strength" else "left", overflow="fold")
    for leak in leaks[:most]:
        drawn.add_row(*map(Text, (leak.train, leak.benchmark, leak.kind, f"{leak.strength:.3f}", leak.note)))
    Console().print(drawn)
    if len(leaks) > most:
        print(f"and {len(leaks) - most:,} more (--json lists all)")
