"""Every command that a reader may copy from the documentation is understood: its recipe, its settings, its flags; and
every file, option and make target that it speaks of is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from auscult import cli
from auscult.commands import eval as eval_command
from auscult.commands import export, recipes, run
from auscult.evaluate.exam import Exam
from auscult.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("src/auscult/recipes/*.yaml")]
SYNOPSIS = re.compile(r"\[|\.\.\.| \| |, auscult")
"""What stands in a synopsis and in no command."""


def commands(text: str) -> list[str]:
    """What follows `auscult` in code, its captions and comments left out."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in fenced for line in block.splitlines()]
    lines += [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
    lines += re.findall(r"^# command +(.*)", text, re.MULTILINE)
    found = (re.match(r"(?:.* -m )?auscult (.*?)(?:  +.*| +#.*)?$", line) for line in lines)
    return [
        match[1]
        for match in found
        if match and not SYNOPSIS.search(match[1].replace("{family: qwen2_audio, path: ...}", ""))
    ]


CASES = [(page.name, command) for page in PAGES for command in commands(page.read_text())]


def test_commands_are_found():
    assert len(CASES) > 15
    assert ("README.md", "run sounds --data.root ESC10") in CASES
    assert ("training.md", "run quickstart") in CASES  # behind torchrun


@pytest.mark.parametrize(("page", "command"), CASES, ids=[f"{page}: {command}" for page, command in CASES])
def test_a_command_is_understood(page, command, monkeypatch, capsys):
    asked: list[Recipe | Exam] = []
    monkeypatch.setattr(run, "work", lambda name, recipe, known: asked.append(recipe) or 0)
    monkeypatch.setattr(eval_command, "_family", lambda path: "graft")  # no model lies where a page says
    monkeypatch.setattr(eval_command, "_work", lambda exam, *_, **__: asked.append(exam) or 0)
    monkeypatch.setattr(export, "work", lambda recipe, known: asked.append(recipe) or 0)
    monkeypatch.setattr(recipes, "look_for_data", lambda *_: None)  # a page calls them FOLDER or my.jsonl
    words = shlex.split(re.sub(r"\b(RECIPE|my-recipe|COMMAND)\b", "quickstart", command))
    words = ["mmau" if word == "BENCHMARK" else word for word in words]
    if words[1:2] == [str(Path("runs/quickstart"))]:
        words[1] = "quickstart"
    if words[0] in ("run", "sft", "rest", "grpo", "eval", "export"):
        assert cli.main(words) == 0, capsys.readouterr().err
        assert asked or "--help" in words
    elif not words[0].startswith("-"):
        assert cli.main([*(words[:2] if words[1:2] in (["audioset"], ["frames"]) else words[:1]), "--help"]) == 0
        flags = {word for word in words if word.startswith("--") and "." not in word}
        assert flags <= {*re.findall(r"--[a-z][\w.]*", capsys.readouterr().out), "--key", "--help"}


@pytest.mark.parametrize("page", [page for page in PAGES if page.suffix == ".md"], ids=lambda page: page.name)
def test_what_a_page_speaks_of_is_there(page):
    text = page.read_text()
    linked = [page.parent / target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    named = [ROOT / path for path in re.findall(r"`((?:src|tests|docs|benchmarks)/[a-z0-9_/-]+\.\w+)", text)]
    assert not [path for path in linked + named if not path.exists()]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:^|`)make (\w+)", text, re.MULTILINE)) <= set(targets)
