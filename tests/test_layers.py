"""Work flows one way: every import, wherever it hides, is one that the table of the architecture allows.

`violations` reads the sources (imports in functions, relative ones, those for type checkers and `import_module("...")`
too); `loaders` really imports modules and reports who reached for a heavy library, however indirectly. Both take the
folder that holds the package `auscult`, so that each rule is also tried on a small package that breaks it.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parent.parent / "src"

STAGES = ("core", "media", "data", "models", "rollouts", "rewards", "train", "evaluate", "report")
TABLE: Mapping[str, tuple[str, ...]] = {
    "core": (),
    "media": ("core",),
    "data": ("core", "media"),
    "curate": ("core", "media", "data"),
    "models": ("core", "media"),
    "rollouts": ("core", "media", "models"),
    "rewards": ("core", "media"),
    "train": ("core", "media", "data", "models", "rollouts", "rewards"),
    "evaluate": ("core", "media", "data", "models", "rollouts", "rewards"),
    "report": ("core",),
    # The files beside the folders: what a person sees, options of an experiment, its wiring, and who calls that.
    "console": ("core",),
    "doctor": ("core", "media"),
    "footprint": ("core", "models", "recipe"),
    "recipe": ("core", "data", "models", "rollouts", "train", "evaluate"),
    "showcase": ("core", "media"),
    "session": ("core",),
    "trackers": ("core",),
    "encoders": (*STAGES, "recipe", "session"),
    "pipeline": (*STAGES, "recipe", "showcase", "session", "encoders"),
    "exams": (*STAGES, "pipeline", "showcase", "session"),
    "commands": (
        *STAGES,
        "curate",
        "console",
        "doctor",
        "footprint",
        "recipe",
        "session",
        "trackers",
        "pipeline",
        "exams",
        "encoders",
        "asking",
    ),
    "cli": ("core", "commands"),
    "__main__": ("cli",),
    "asking": ("core", "media", "models", "rollouts", "evaluate"),
    "": ("asking",),
}
"""Who may import whom, besides its own folder; `` is `auscult/__init__.py`."""
NO_FILES_OF_CODE = "recipes"
TORCH = ("torch", "transformers", "accelerate", "peft")
TORCHLESS = ("core", "media", "data", "rewards", "evaluate", "report")
"""Folders that name no torch at any depth. `curate`, `recipe`, `commands` and `cli` may, but load without it."""
ASKS_A_MODEL = ("auscult.evaluate.evaluation",)
"""The files in them that do, because they run a model."""
ASKS_ONE_LATE = ("auscult.rewards.clap", "auscult.rewards.fense", "auscult.rewards.sbert")
"""The files in them that name it in functions only, and load without it."""
LOADS_WITHOUT_TORCH = (*TORCHLESS, "curate", "console", "doctor", "footprint", "recipe", "trackers", "commands", "cli")


def modules(root: Path) -> dict[str, Path]:
    """Every module of the package under `root`, by dotted name."""
    found: dict[str, Path] = {}
    for path in sorted((root / "auscult").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(name: str, path: Path) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Line, module and names of each import statement in a file, at any depth, made absolute."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name, ()) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                yield node.lineno, ".".join([*above, *([module] if module else [])]), tuple(a.name for a in names)
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                if node.args and isinstance(node.args[0], ast.Constant):
                    yield node.lineno, str(node.args[0].value), ()
            case _:
                pass


def layer(name: str) -> str:
    """The row of the table that a module stands in."""
    return name.split(".")[1] if "." in name else ""


def violations(root: Path) -> list[str]:
    """What the sources under `root` do that the architecture does not allow, a sentence each."""
    known = modules(root)
    found: list[str] = []
    graph: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        here = path.relative_to(root)
        if layer(name) not in TABLE:
            found.append(f"{here}: `{layer(name)}` is not in the table of the architecture")
            continue
        for line, module, names in imported(name, path):
            if (
                module.partition(".")[0] in TORCH
                and layer(name) in TORCHLESS
                and name not in (*ASKS_A_MODEL, *ASKS_ONE_LATE)
            ):
                found.append(f"{here}:{line}: imports {module}, but `{layer(name)}` does without torch")
            if module.partition(".")[0] != "auscult":
                continue
            # `from auscult.data import source` imports the module, `from auscult.data import Sample` the package.
            targets = {full if (full := f"{module}.{item}") in known else module for item in names} or {module}
            graph[name] |= targets & known.keys()
            for target in sorted(targets):
                if target not in known:
                    found.append(f"{here}:{line}: imports {target}, which does not exist")
                elif layer(target) not in (layer(name), *TABLE[layer(name)], ""):
                    found.append(f"{here}:{line}: `{layer(name)}` may not import `{layer(target)}` ({target})")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as problem:
        found.append(f"cycle: {' -> '.join(problem.args[1])}")
    recipes = root / "auscult" / NO_FILES_OF_CODE
    odd = [p for p in recipes.rglob("*") if p.is_file() and p.suffix != ".yaml" and "__pycache__" not in p.parts]
    return found + [f"{path.relative_to(root)}: `{NO_FILES_OF_CODE}` holds YAML only" for path in odd]


WATCH = """
import importlib, sys

class Watch:
    # Refuses the heavy libraries and remembers who asked, because `except ImportError` would hide a mere refusal.
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in heavy:
            print(f"{module} loads {name}")
            raise ModuleNotFoundError(name)

heavy, *modules = [argument.split(",") for argument in sys.argv[1:]]
sys.meta_path.insert(0, Watch())
for module in modules[0]:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as problem:
        if str(problem) not in heavy:
            raise
"""


def loaders(root: Path, names: list[str], heavy: tuple[str, ...]) -> list[str]:
    """Which of the modules `names` under `root` load one of the `heavy` libraries when they are imported."""
    command = [sys.executable, "-c", WATCH, ",".join(heavy), ",".join(names)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def without_torch(root: Path) -> list[str]:
    """The modules under `root` that must load without torch."""
    rows = tuple(f"auscult.{row}" for row in LOADS_WITHOUT_TORCH)
    return [
        name
        for name in modules(root)
        if name == "auscult"
        or ((name.startswith(tuple(f"{r}." for r in rows)) or name in rows) and name not in ASKS_A_MODEL)
    ]


def test_every_import_is_one_that_the_table_allows():
    assert len(modules(SOURCES)) > 10, "the sources were not found"
    assert violations(SOURCES) == []


def test_what_needs_no_torch_loads_without_it():
    names = without_torch(SOURCES)
    assert {"auscult.core.types", "auscult.evaluate.statistics", "auscult.cli"} <= set(names)
    assert loaders(SOURCES, names, TORCH) == []


def test_the_command_line_starts_without_anything_heavy():
    heavy = (*TORCH, "numpy", "scipy", "soundfile", "soxr", "matplotlib", "jinja2", "tokenizers", "rich", "av")
    assert loaders(SOURCES, ["auscult.cli"], heavy) == []


def plant(root: Path, files: Mapping[str, str]) -> Path:
    """A small package under `root` that breaks no rule, with `files` laid over it."""
    clean = {
        "__init__.py": "",
        "core/__init__.py": "",
        "core/types.py": "import numpy",
        "data/__init__.py": "",
        "data/source.py": "from auscult.core.types import Sample\nfrom auscult.core import types",
        "data/sources/__init__.py": "",
        "data/sources/scenes.py": "from ..source import Source\nfrom ...core import types",
        "evaluate/__init__.py": "",
        "evaluate/statistics.py": "from auscult.core import types",
        "models/__init__.py": "",
        "models/graft.py": "import torch\nfrom auscult.core.types import Sample",
        "rewards/__init__.py": "",
        "commands/__init__.py": "",
        "commands/run.py": "def run():\n    import torch\n    from auscult.models import graft",
        "cli.py": "from auscult.commands import run",
        "recipes/quickstart.yaml": "name: quickstart",
    }
    for name, text in {**clean, **files}.items():
        path = root / "auscult" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_a_clean_package_has_no_violation(tmp_path: Path):
    assert violations(plant(tmp_path, {})) == []


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("core/types.py", "import auscult.data.source", "`core` may not import `data`"),
        ("rewards/choice.py", "from auscult.data.source import Source", "`rewards` may not import `data`"),
        ("rewards/choice.py", "from auscult.data import source", "`rewards` may not import `data`"),
        (
            "rewards/choice.py",
            "def f():\n    class A:\n        from auscult import data",
            "`rewards` may not import `data`",
        ),
        ("rewards/choice.py", "from ..data.source import Source", "`rewards` may not import `data`"),
        ("rewards/choice.py", "from .. import data", "`rewards` may not import `data`"),
        ("data/sources/scenes.py", "from ...models import graft", "`data` may not import `models`"),
        (
            "rewards/choice.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from auscult.models.graft import Graft",
            "`rewards` may not import `models`",
        ),
        (
            "rewards/choice.py",
            "import importlib\nimportlib.import_module('auscult.models.graft')",
            "`rewards` may not import `models`",
        ),
        (
            "models/graft.py",
            "try:\n    pass\nexcept ImportError:\n    import auscult.rewards",
            "may not import `rewards`",
        ),
        ("models/graft.py", "import auscult.cli", "`models` may not import `cli`"),
        ("models/graft.py", "from auscult.core.typos import Sample", "auscult.core.typos, which does not exist"),
        ("tools/__init__.py", "", "`tools` is not in the table"),
        ("helpers.py", "", "`helpers` is not in the table"),
        ("data/torn.py", "import torch", "imports torch, but `data` does without"),
        ("data/torn.py", "def f():\n    from torch.nn import Linear", "imports torch.nn, but `data` does without"),
        ("evaluate/statistics.py", "def f():\n    import transformers", "`evaluate` does without torch"),
        ("recipes/odd.py", "", "`recipes` holds YAML only"),
        ("core/types.py", "def f():\n    from auscult.core import types", "cycle: auscult.core.types"),
    ],
)
def test_a_planted_violation_is_reported(tmp_path: Path, file: str, text: str, complaint: str):
    found = violations(plant(tmp_path, {file: text}))
    assert any(complaint in sentence and (file in sentence or "cycle" in sentence) for sentence in found), found


@pytest.mark.parametrize("late", [False, True])
def test_a_cycle_of_two_files_in_one_folder_is_reported(tmp_path: Path, late: bool):
    second = "from auscult.core.types import Sample"
    files = {
        "core/types.py": "from auscult.core import forms",
        "core/forms.py": f"def f():\n    {second}" if late else second,
    }
    found = violations(plant(tmp_path, files))
    assert [sentence for sentence in found if sentence.startswith("cycle")], found


def test_a_cycle_through_a_package_is_reported(tmp_path: Path):
    files = {
        "core/__init__.py": "from auscult.core.types import Sample",
        "core/types.py": "from auscult.core import Form",
    }
    assert any("cycle" in sentence for sentence in violations(plant(tmp_path, files)))


@pytest.mark.parametrize(
    ("files", "guilty"),
    [
        ({"core/types.py": "import torch"}, "auscult.core.types loads torch"),
        (
            {"core/types.py": "try:\n    import torch\nexcept ImportError:\n    torch = None"},
            "auscult.core.types loads torch",
        ),
        # A library of somebody's that imports torch itself.
        ({"core/types.py": "import outside", "../outside.py": "import torch.nn"}, "auscult.core.types loads torch"),
        ({"data/source.py": "from auscult.models import graft"}, "auscult.data.source loads torch"),
        ({"__init__.py": "import transformers"}, "auscult loads transformers"),
    ],
)
def test_a_planted_load_of_torch_is_reported(tmp_path: Path, files: dict[str, str], guilty: str):
    sources = {"core/types.py": "class Sample: ...", "data/sources/scenes.py": "", "data/source.py": "", **files}
    root = plant(tmp_path, sources)
    assert guilty in loaders(root, without_torch(root), TORCH)


def test_a_load_inside_a_function_is_none(tmp_path: Path):
    root = plant(tmp_path, {"core/types.py": "class Sample: ...", "data/source.py": "", "data/sources/scenes.py": ""})
    assert loaders(root, without_torch(root), TORCH) == []
