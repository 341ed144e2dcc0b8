"""A recipe by its name, as a file, or out of a run folder; and what to do with what is none."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.commands.arguments import HELP, Parser, nearest, option_lines
from auscult.core.errors import ConfigError

if TYPE_CHECKING:
    from auscult.recipe import Recipe


SWITCHES = ("--json", "--overwrite", *HELP)
"""Arguments that take no value."""


def recipe_names() -> list[str]:
    """The recipes that come with auscult."""
    folder = resources.files("auscult") / "recipes"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def recipe_file(name: str) -> Path:
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
        f"there is no recipe {name!r}{nearest(name, recipe_names())}; there is {', '.join(recipe_names())}, "
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


def asked(
    parser: Parser, arguments: list[str], *, data: bool = False, sections: Sequence[str] = ()
) -> tuple[Recipe, argparse.Namespace] | None:
    """The recipe that a command is given, with all settings in place, and the command's own flags; None when it was
    asked for help, which is then printed.

    `data` says that the command opens the recipe's data, and first makes those that the recipe makes; `sections` are
    those that its help is about, by default all.
    """
    parser.add_argument(
        "recipe", metavar="RECIPE", nargs="?", help=f"{', '.join(recipe_names())}, a YAML file or a run folder"
    )
    parser.add_argument(
        "--preset",
        metavar="NAME",
        action="append",
        default=[],
        help="settings that the recipe has under a name, which RECIPE --help lists; may be given several times",
    )
    # `--model DIR` is a flag here, `--model.width 64` a setting: argparse takes the first and leaves the second.
    known, rest = parser.parse_known_args([word for word in _first(arguments) if word not in HELP])
    overrides = overrides_of(parser, rest)
    if known.model is not None:
        # A section is told from a folder by its brace: `--model '{family: gemma3, path: ...}'`.
        key = "model" if known.model.lstrip().startswith("{") else "model.path"
        if key in overrides:
            raise ConfigError(f"the command line: --model and --{key} name the model twice; keep one")
        overrides[key] = known.model
    if set(HELP) & set(arguments):
        listed = settings(known.recipe, overrides, sections, known.preset)
        parser.epilog = None if sections else parser.epilog
        of = f" of {known.recipe}" if known.recipe else ""
        named = ", ".join(presets(known.recipe)) if known.recipe else ""
        print(parser.format_help() + (f"\npresets{of}: {named}\n" if named else ""))
        chosen = "".join(f", preset {name}" for name in known.preset)
        print(f"settings{of}{chosen}:\n{listed}")
        return None
    if known.recipe is None:
        raise ConfigError(f"{parser.command}: name a recipe: {', '.join(recipe_names())}, a YAML file or a run folder")
    recipe = open_recipe(known.recipe, overrides, known.preset)
    if data and recipe.prepare is None:
        refuse_unfound(recipe, known.recipe, overrides)
    return recipe, known


def overrides_of(parser: Parser, words: Sequence[str]) -> dict[str, str]:
    """The settings of a recipe among the words that are none of the command's own. Raises ConfigError for one that is
    nearly a flag of the command, and for what is no setting."""
    from dataclasses import fields

    from auscult.core.config import parse_overrides
    from auscult.recipe import Recipe

    parser.refuse_misspelt(words, [field.name for field in fields(Recipe)])
    return parse_overrides(words)


def _first(arguments: Sequence[str]) -> list[str]:
    """The recipe before everything else: argparse would take the value of a setting that stands before it for one."""
    for place, word in enumerate(arguments):
        before = arguments[place - 1] if place else ""
        a_value = before.startswith("--") and "=" not in before and before not in SWITCHES
        if not word.startswith("-") and not a_value:
            return [word, *arguments[:place], *arguments[place + 1 :]]
    return list(arguments)


def look_for_data(recipe: Recipe, name: str, key: str = "root") -> None:
    """Refuses a recipe whose own idea of where the data are is wrong here: the reader did not choose it."""
    file = getattr(recipe.data, key, None)
    if isinstance(file, str) and not Path(file).exists():
        if recipe.prepare is not None:
            raise ConfigError(f"there is no {file} yet, which recipe {name} makes: auscult run {name} --stage prepare")
        raise ConfigError(
            f"there is no {file} here, which recipe {name} assumes as `data.{key}`; name yours with --data.{key} "
            + ("FILE" if Path(file).suffix else "DIR")
            + (", or hold out a share of your own rows with --data.heldout null" if key == "heldout" else "")
        )


def open_recipe(name: str, overrides: Mapping[str, str], laid: Sequence[str] = ()) -> Recipe:
    """The recipe `name` with presets laid over it, and the settings of the command line over both. Raises ConfigError
    for what cannot be."""
    from auscult.core.config import build, with_presets
    from auscult.recipe import Recipe

    values, path = _read(name)
    return build(Recipe, with_presets(Recipe, values, laid, str(path)), overrides, where=str(path))


def open_with_data(name: str, overrides: Mapping[str, str], laid: Sequence[str] = ()) -> Recipe:
    """`open_recipe`, for a command that opens the recipe's data: refused where its own idea of their place is wrong."""
    recipe = open_recipe(name, overrides, laid)
    refuse_unfound(recipe, name, overrides)
    return recipe


def refuse_unfound(recipe: Recipe, name: str, overrides: Mapping[str, str]) -> None:
    """`look_for_data` and for its held-out rows, unless the command line says where they are."""
    for key in ("root", "heldout"):
        if not {"data", f"data.{key}"} & overrides.keys():
            look_for_data(recipe, name, key)


def settings(
    name: str | None, overrides: Mapping[str, str], sections: Sequence[str] = (), laid: Sequence[str] = ()
) -> str:
    """All settings of a recipe (in `sections`) with their values, for --help."""
    from auscult.core.config import with_presets
    from auscult.recipe import Recipe

    values, path = _read(name) if name else ({}, Path())
    return option_lines(Recipe, with_presets(Recipe, values, laid, str(path)), overrides, sections)


def presets(name: str) -> list[str]:
    """Names of the presets of a recipe."""
    from auscult.core.config import presets_of

    values, path = _read(name)
    return list(presets_of(values, str(path)))


def _read(name: str) -> tuple[Mapping[str, Any], Path]:
    """What the YAML of a recipe says, and where it is."""
    from auscult.core.yaml12 import read_yaml
    from auscult.rewards.imported import beside

    path = recipe_file(name)
    return beside(read_yaml(path), path.parent), path
