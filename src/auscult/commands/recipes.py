"""A recipe by its name, as a file, or out of a run folder; and what to do with what is none."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from auscult.commands.arguments import nearest
from auscult.core.errors import ConfigError

if TYPE_CHECKING:
    from auscult.recipe import Recipe


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


def open_recipe(name: str, overrides: Mapping[str, str]) -> Recipe:
    from auscult.core.config import build
    from auscult.core.yaml12 import read_yaml
    from auscult.recipe import Recipe
    from auscult.rewards.imported import beside

    path = recipe_file(name)
    return build(Recipe, beside(read_yaml(path), path.parent), overrides, where=str(path))


def settings(name: str | None, overrides: Mapping[str, str]) -> str:
    """All settings of a recipe with their values, for --help."""
    from dataclasses import MISSING

    from auscult.core.config import describe
    from auscult.core.yaml12 import read_yaml
    from auscult.recipe import Recipe

    lines: list[str] = []
    for option in describe(Recipe, read_yaml(recipe_file(name)) if name else {}, overrides):
        value = "required" if option.value is MISSING else json.dumps(option.value, default=str, ensure_ascii=False)
        lines.append(f"  --{option.key:<28} {option.type} = {value}\n        {option.text}")
    return "\n".join(lines)
