"""The command line: a command becomes a call.

Results go to stdout (`--json`: one object and nothing else), everything said on the way to stderr. Exit codes: 0
success, 2 a mistake that the user can mend, 130 interrupted, 141 whoever read the output has gone before the end, 1 a
defect of ours (with its traceback). Every command imports what it needs when it runs: `auscult --help` must not wait
for torch."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.core.errors import AuscultError, ConfigError

if TYPE_CHECKING:
    from auscult.recipe import Recipe

COMMANDS = {
    "run": "run a recipe: train, evaluate, report",
    "sft": "run only the supervised stage of a recipe",
    "rest": "run only the self-training stage of a recipe: sample, filter, imitate, keep or roll back",
    "grpo": "run only the reinforcement stage of a recipe",
    "eval": "evaluate a saved model on a recipe's held-out samples",
    "export": "write a saved model as a plain checkpoint, its adapter merged into its weights",
    "data": "check FILE: count what is there, what is wrong and why; show what the model reads",
    "report": "write the page of a run folder again and print its table",
    "list": "the recipes, data formats, model families, algorithms, rewards and forms there are",
    "doctor": "what this machine can do, and what is missing",
}
HELP = ("-h", "--help")
SWITCHES = ("--json", "--overwrite", *HELP)
"""Arguments of a recipe's commands that take no value."""
SETTINGS = """\
Every setting of the recipe can be given as --key value, for example --train.learning_rate 3e-4 or --grpo.steps 50;
`auscult run RECIPE --help` lists them with their defaults."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Torch's threads wait for each other at every small operation. Going to sleep at once costs a quiet machine 1.7
    # times the time; staying awake (the default), 10 to 40 times beside another program. So: awake for microseconds.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    code = 141
    try:
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
    except BrokenPipeError:  # `auscult list | head`: the reader has seen enough, but a run was not finished for that
        for stream in (sys.stdout, sys.stderr):  # the last flush, at exit, would fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return code


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
        raise ConfigError(f"there is no command {name!r}{_nearest(name, COMMANDS)}; auscult --help lists them")
    return HANDLERS[name](rest)


def _help() -> str:
    commands = "\n".join(f"  {name:<8} {text}" for name, text in COMMANDS.items())
    return (
        "auscult teaches language models to listen and to look, and measures whether they did.\n\n"
        f"usage: auscult COMMAND ...\n\n{commands}\n\n"
        "  auscult run quickstart      train a small listener from nothing, a few minutes on two cores\n"
        "  auscult COMMAND --help      what a command takes\n\n"
        f"{SETTINGS}"
    )


def _nearest(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    found = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {found[0]!r}?" if found else ""


def _parser(command: str, usage: str) -> argparse.ArgumentParser:
    """An argument parser that raises instead of exiting, and knows no abbreviations (they would swallow settings)."""
    parser = argparse.ArgumentParser(
        prog=f"auscult {command}",
        usage=f"auscult {command} {usage}",
        description=COMMANDS[command],
        epilog=SETTINGS if "RECIPE" in usage else None,
        allow_abbrev=False,
        exit_on_error=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def refuse(message: str) -> None:
        raise ConfigError(f"{command}: {message}; usage: auscult {command} {usage}")

    parser.error = refuse  # pyright: ignore[reportAttributeAccessIssue]
    return parser


# -- recipes -----------------------------------------------------------------------------------------------------------


def recipe_names() -> list[str]:
    """The recipes that come with auscult."""
    folder = resources.files("auscult") / "recipes"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def _recipe_file(name: str) -> Path:
    """The YAML of a recipe: a name that comes with auscult, a file, or a run folder to run again."""
    if name in recipe_names():
        return Path(str(resources.files("auscult") / "recipes" / f"{name}.yaml"))
    path = Path(name)
    if path.is_dir() and (path / "config.yaml").is_file():
        return path / "config.yaml"
    if path.exists() and (path.is_dir() or path.suffix.lower() not in (".yaml", ".yml", "")):
        raise ConfigError(f"{path} is no recipe, which is a YAML file; {_way_in(path)}")
    if path.is_file():
        return path
    raise ConfigError(
        f"there is no recipe {name!r}{_nearest(name, recipe_names())}; there is {', '.join(recipe_names())}, "
        "or give a YAML file"
    )


def _way_in(path: Path) -> str:
    """The command that takes this file or folder of data."""
    kind = {".jsonl": "jsonl", ".json": "mcq"}.get(path.suffix.lower())
    if kind is not None:
        return f"train on it with: auscult run sounds --data {shlex.quote(f'{{source: {kind}, root: {path}}}')}"
    if path.is_dir():
        return f"train on it, a folder of recordings for each class, with: auscult run sounds --data.root {path}"
    return (
        "write your questions about it as JSON lines (`auscult data check FILE` says what is wrong with them), and "
        "train on these with: auscult run sounds --data '{source: jsonl, root: FILE}'"
    )


def _open_recipe(name: str, overrides: Mapping[str, str]) -> Recipe:
    from auscult.core.config import build
    from auscult.core.yaml12 import read_yaml
    from auscult.recipe import Recipe
    from auscult.rewards.imported import beside

    path = _recipe_file(name)
    return build(Recipe, beside(read_yaml(path), path.parent), overrides, where=str(path))


def _settings(name: str | None, overrides: Mapping[str, str]) -> str:
    """All settings of a recipe with their values, for --help."""
    from dataclasses import MISSING

    from auscult.core.config import describe
    from auscult.core.yaml12 import read_yaml
    from auscult.recipe import Recipe

    lines: list[str] = []
    for option in describe(Recipe, read_yaml(_recipe_file(name)) if name else {}, overrides):
        value = "required" if option.value is MISSING else json.dumps(option.value, default=str, ensure_ascii=False)
        lines.append(f"  --{option.key:<28} {option.type} = {value}\n        {option.text}")
    return "\n".join(lines)


def _recipe_command(command: str, arguments: list[str]) -> int:
    parser = _parser(command, "RECIPE [--model DIR] [--out DIR] [--json] [--overwrite] [--key value ...]")
    parser.add_argument(
        "recipe", metavar="RECIPE", nargs="?", help=f"{', '.join(recipe_names())}, a YAML file or a run folder"
    )
    parser.add_argument("--model", metavar="DIR", help="saved model to begin with; short for --model.path")
    parser.add_argument("--out", metavar="DIR", help="run folder (default: runs/NAME)")
    parser.add_argument("--json", action="store_true", help="print one JSON object with all figures")
    parser.add_argument("--overwrite", action="store_true", help="delete what is in the run folder and begin again")
    # `--model DIR` is a flag here, `--model.width 64` a setting: argparse takes the first and leaves the second.
    known, rest = parser.parse_known_args([word for word in _recipe_first(arguments) if word not in HELP])
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
        print(f"settings{f' of {known.recipe}' if known.recipe else ''}:\n{_settings(known.recipe, overrides)}")
        return 0
    if known.recipe is None:
        raise ConfigError(f"{command}: name a recipe: {', '.join(recipe_names())}, a YAML file or a run folder")
    return _run(command, _open_recipe(known.recipe, overrides), known)


def _recipe_first(arguments: Sequence[str]) -> list[str]:
    """The recipe before everything else: argparse would take the value of a setting that stands before it for one."""
    for place, word in enumerate(arguments):
        before = arguments[place - 1] if place else ""
        a_value = before.startswith("--") and "=" not in before and before not in SWITCHES
        if not word.startswith("-") and not a_value:
            return [word, *arguments[:place], *arguments[place + 1 :]]
    return list(arguments)


def _run(command: str, recipe: Recipe, known: argparse.Namespace) -> int:
    _quiet()
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
    if command != "run":
        recipe = pipeline.only(recipe, None if command == "eval" else command)
    with Reporter() as tell:
        figures = pipeline.run(recipe, out, spoken, tell, say=tell.say, overwrite=known.overwrite)
    if figures:  # of several processes the first one speaks
        _show(out, figures, known.json)
    return 0


def _show(out: Path, figures: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures, ensure_ascii=False))
        return
    from rich.console import Console

    from auscult.report.table import print_table

    print_table(out, Console())
    print(f"\n{figures['report']}")


def _quiet() -> None:
    """Libraries are silent; what must be known is said by us."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


# -- the other commands ------------------------------------------------------------------------------------------------


def _data(arguments: list[str]) -> int:
    parser = _parser(
        "data", "check FILE [--show N] [--recipe RECIPE] [--decode] [--audio DIR] [--json] [--key value ...]"
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
    if set(HELP) & set(arguments):
        print(parser.format_help())
        return 0
    known, rest = parser.parse_known_args(arguments)
    from auscult.core.config import parse_overrides
    from auscult.data.check import check

    overrides = parse_overrides(rest)
    if known.file in recipe_names() or Path(known.file).suffix in (".yaml", ".yml"):
        known.recipe = known.file
        target = _open_recipe(known.recipe, overrides).data
    else:
        target = Path(known.file)
        for key in [] if known.show else overrides:
            flags = ("show", "recipe", "decode", "audio", "json")
            raise ConfigError(
                f"data: --{key} says nothing of {known.file}{_nearest(key, flags)}; leave it out, or show the samples "
                "as a recipe's model reads them (--show N)"
            )
    report = check(target, decode=known.decode, audio_root=Path(known.audio) if known.audio else None)
    if known.json:
        print(json.dumps(report.to_dict(), ensure_ascii=False))
        return 2 if report.problems else 0
    print("\n".join(report.lines()))
    if known.show and report.samples:
        _quiet()
        from auscult import pipeline

        recipe = _open_recipe(known.recipe, overrides)
        print("\n".join(pipeline.shown(recipe, report.samples, known.show)))
    return 2 if report.problems else 0


def _report(arguments: list[str]) -> int:
    parser = _parser("report", "RUN [--json]")
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object with all figures")
    if set(HELP) & set(arguments):
        print(parser.format_help())
        return 0
    known = parser.parse_args(arguments)
    from auscult.report.page import write_page
    from auscult.report.summary import summary

    out = Path(known.run)
    if not (out / "config.yaml").is_file():
        raise ConfigError(f"{out} is no run folder (it has no config.yaml); give one, for example runs/quickstart")
    write_page(out)
    _show(out, summary(out), known.json)
    return 0


def _list(arguments: list[str]) -> int:
    parser = _parser("list", "[--json]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if set(HELP) & set(arguments):
        print(parser.format_help())
        return 0
    known = parser.parse_args(arguments)
    from auscult.core.config import Plugin
    from auscult.core.forms import FORMS
    from auscult.core.yaml12 import read_yaml
    from auscult.data.source import Source
    from auscult.models.family import Model
    from auscult.rewards import rubric
    from auscult.train.algorithm import Algorithm

    broken: list[str] = []

    def working(names: Sequence[str], look: Callable[[str], Any]) -> dict[str, Any]:
        """What `look` finds under each name; one that does not load must not hide the others."""
        seen: dict[str, Any] = {}
        for name in names:
            try:
                seen[name] = look(name)
            except ConfigError as problem:
                broken.append(str(problem))
        return {name: one for name, one in seen.items() if one is not None}

    def plugins(key: str, package: str, base: type[Any]) -> list[str]:
        plugin = Plugin(key, package)
        return list(working(plugin.names(), lambda name: plugin.find(name, base)))

    found: dict[str, Any] = {
        "recipes": working(recipe_names(), lambda name: read_yaml(_recipe_file(name)).get("about", "")),
        "data": plugins("source", "auscult.data.sources", Source),
        "models": plugins("family", "auscult.models.families", Model),
        "algorithms": plugins("algorithm", "auscult.train.algorithms", Algorithm),
        "rewards": list(working(rubric.files(), rubric.find)),
        "forms": list(FORMS),
    }
    if known.json:
        print(json.dumps({**found, "broken": broken}, ensure_ascii=False))
    else:
        print("recipes")
        for name, about in found.pop("recipes").items():
            print(f"  {name:<12} {about}")
        for kind, names in found.items():
            print(f"{kind:<12} {', '.join(names)}")
    for problem in broken:
        print(f"auscult: {problem}", file=sys.stderr)
    return 2 if broken else 0


def _doctor(arguments: list[str]) -> int:
    parser = _parser("doctor", "[--json]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if set(HELP) & set(arguments):
        print(parser.format_help())
        return 0
    known = parser.parse_args(arguments)
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


RECIPE_COMMANDS = ("run", "sft", "rest", "grpo", "eval", "export")
HANDLERS: dict[str, Callable[[list[str]], int]] = {
    **{name: lambda rest, name=name: _recipe_command(name, rest) for name in RECIPE_COMMANDS},
    "data": _data,
    "report": _report,
    "list": _list,
    "doctor": _doctor,
}
