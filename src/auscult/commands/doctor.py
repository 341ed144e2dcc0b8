"""`auscult doctor`: what this machine can do; with --recipe, how much GPU memory a recipe needs."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from auscult.commands.arguments import Parser
from auscult.core.errors import ConfigError

if TYPE_CHECKING:
    from auscult.footprint import Footprint

GPUS = (16.0, 24.0, 80.0)


def run(command: str, arguments: list[str]) -> int:
    """Looks, or adds up; the exit code of looking is 2 where something needed is missing."""
    parser = Parser(command, "[--recipe NAME [--preset NAME] [--gpu GB ...] [--key value ...]] [--json]")
    parser.add_argument("--recipe", metavar="NAME", help="say how much GPU memory this recipe needs instead, and where")
    parser.add_argument("--preset", metavar="NAME", action="append", default=[], help="a preset of it")
    parser.add_argument("--model", metavar="DIR", help="the model it begins with (default: its own)")
    parser.add_argument("--gpu", metavar="GB", nargs="+", type=float, help="memory of your GPU, GB (default: 16 24 80)")
    parser.add_argument("--images", metavar="N", type=int, default=1, help="images of a question (default: 1)")
    parser.add_argument("--words", metavar="N", type=int, default=256, help="tokens of its text (default: 256)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if parser.helped(arguments):
        return 0
    known, rest = parser.parse_known_args(arguments)
    if known.recipe is not None:
        return _needs(parser, known, rest)
    parser.refuse_misspelt(rest)
    if rest or known.gpu or known.preset or known.model:
        parser.error("name the recipe that is to fit: --recipe NAME")
    return _examined(known)


def _examined(known: argparse.Namespace) -> int:
    from dataclasses import asdict

    from auscult.doctor import examine

    checks = examine()
    if known.json:
        print(json.dumps({check.name: asdict(check) for check in checks}))
    else:
        for check in checks:
            mark, advice = ("ok", "") if check.good else ("no", f" - {check.advice}")
            print(f"{mark}  {check.name:<14} {check.found}{advice}")
    return 0 if all(check.good or check.optional for check in checks) else 2


def _needs(parser: Parser, known: argparse.Namespace, rest: list[str]) -> int:
    from auscult.commands.recipes import open_recipe, overrides_of
    from auscult.footprint import Asked, figures, footprints, smaller

    overrides = overrides_of(parser, rest)
    if known.model is not None:
        overrides["model.path"] = known.model
    gpus = known.gpu or GPUS
    if min(gpus) <= 0 or known.images < 0 or known.words < 1:
        raise ConfigError("doctor: --gpu is above 0 GB, --images 0 or more, --words 1 or more")
    recipe, asked = open_recipe(known.recipe, overrides, known.preset), Asked(known.images, known.words)
    found = footprints(recipe, asked)
    if known.json:
        stages = [{**figures(one), "fits": {f"{gpu:g}": one.verdict(gpu) for gpu in gpus}} for one in found]
        print(json.dumps({"recipe": recipe.name, "images": known.images, "words": known.words, "stages": stages}))
        return 0
    images = "1 image" if known.images == 1 else f"{known.images:,} images"
    print(f"of questions with {images} and {known.words:,} tokens of text (--images N, --words N)")
    for one in found:
        _show(one, gpus)
        if one.verdict(min(gpus)) != "yes" and (less := list(smaller(recipe, one.stage, asked))):
            told = ", ".join(f"{setting} ({_gb(other.total)} GB)" for setting, other in less)
            print(f"less, each alone: {told}")
    print("\nAn estimate: parts as autograd keeps them on a CPU; no GPU was asked. GB are 10^9 bytes.")
    return 0


def _show(found: Footprint, gpus: list[float] | tuple[float, ...]) -> None:
    """The parts of a stage, the greatest first, and where it fits."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from auscult.footprint import ERROR

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"stage {found.stage}", title_justify="left")
    table.add_column("")
    table.add_column("GB", justify="right")
    for when, parts in (("always", found.parts), ("while learning", found.learning), ("while asked", found.rolling)):
        for name, value in sorted(parts.items(), key=lambda part: -part[1]):
            if value:
                table.add_row(f"{when}: {name}", _gb(value))
    table.add_row("at the worst moment, with gaps and CUDA's own", _gb(found.total), style="bold")
    Console().print(table)
    low, high = found.total * (1 - ERROR), found.total * (1 + ERROR)
    told = {"yes": "fits", "perhaps": "may fit, within the error of this sum", "no": "does not fit"}
    print(f"needs {_gb(found.total)} GB, {_gb(low)} to {_gb(high)}")
    for gpu in gpus:
        print(f"{gpu:g} GB: {told[found.verdict(gpu)]}")


def _gb(value: float) -> str:
    from auscult.footprint import GB

    return f"{value / GB:.2f}" if value < GB else f"{value / GB:.1f}"
