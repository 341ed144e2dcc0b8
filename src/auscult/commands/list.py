"""`auscult list`: everything that is found by its name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from auscult.commands.arguments import Parser
from auscult.commands.recipes import recipe_file, recipe_names
from auscult.core.errors import ConfigError


def run(command: str, arguments: list[str]) -> int:
    """Lists what there is; its exit code is 2 where a file does not load."""
    parser = Parser(command, "[--json]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if parser.helped(arguments):
        return 0
    known = parser.parse_args(arguments)
    from auscult.core.config import Plugin, presets_of
    from auscult.core.forms import FORMS
    from auscult.core.yaml12 import read_yaml
    from auscult.data.provision import Provision
    from auscult.data.source import Source
    from auscult.evaluate import benchmark, scoring
    from auscult.models.family import Model
    from auscult.rewards import rubric
    from auscult.rewards.judging.prompt import shipped
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

    recipes = working(recipe_names(), lambda name: read_yaml(recipe_file(name)))
    found: dict[str, Any] = {
        "recipes": {name: recipe.get("about", "") for name, recipe in recipes.items()},
        "presets": working(list(recipes), lambda name: list(presets_of(recipes[name], f"recipe {name}")) or None),
        "data": plugins("source", "auscult.data.sources", Source),
        "provisions": plugins("what", "auscult.data.provisions", Provision),
        "models": plugins("family", "auscult.models.families", Model),
        "algorithms": plugins("algorithm", "auscult.train.algorithms", Algorithm),
        "rewards": list(working(rubric.files(), rubric.find)),
        "benchmarks": list(working(benchmark.PLUGIN.names(), benchmark.find)),
        "scorers": list(working(scoring.SCORERS.names(), scoring.scorer)),
        "judged": list(shipped()),
        "forms": list(FORMS),
    }
    if known.json:
        print(json.dumps({**found, "broken": broken}, ensure_ascii=False))
    else:
        print("recipes")
        presets = found.pop("presets")
        for name, about in found.pop("recipes").items():
            named = f" (presets {', '.join(presets[name])})" if name in presets else ""
            print(f"  {name:<14} {about}{named}")
        for kind, names in found.items():
            print(f"{kind:<12} {', '.join(names)}")
    for problem in broken:
        print(f"auscult: {problem}", file=sys.stderr)
    return 2 if broken else 0
