"""How a sample is put to a model, whichever model it is: its turns, with a prompt's text around the last one.

A prompt is a text file, in `prompts/` beside this file or anybody's own:

    {question}              the text of the sample's last turn
    {choices}               its options, one a line, lettered
    {instruction}           how the answer is to be written: the form's own words
    {NAME}                  the sample's tag NAME, where `reveal_tags` allows it

A line of placeholders that are empty for a sample is left out. Tags say what kind of question it is, which a benchmark
does not tell whom it examines; so a prompt that shows one says so in the recipe or on the command line.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal

from auscult.core.errors import ConfigError, RenderError
from auscult.core.forms import form
from auscult.core.types import Sample
from auscult.media.window import Display

_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How a sample is put to the model."""

    form: str = "think"
    """Shape of the answer: think, solution, answer_line, semantic or label."""
    prompt: str = "baseline"
    """What is said around the question: baseline, expert, category, hints, structured, or a text file."""
    reveal_tags: tuple[str, ...] = ()
    """Tags of a sample that the prompt may show to the model, for example [category]; a benchmark's score counts
    without."""
    instruction: bool = True
    """Add the form's instruction to the question (a model trained from scratch learns the form from demonstrations)."""
    choices: bool = True
    """Write the options, lettered, under the question."""
    too_long: Literal["error", "trim", "chunk"] = "error"
    """What to do with a clip that is longer than the model takes: refuse, keep its beginning, or hear it in pieces."""
    display: Display = field(default_factory=Display)
    """How a picture is shown: its grey values, size and shape."""

    def __post_init__(self) -> None:
        before, question, after = template(self.prompt).partition("{question}")
        if not question or "{question}" in after:
            raise ValueError(f"prompt {self.prompt} must hold {{question}} once; mend the file")
        for name in _PLACE.findall(before + after):
            if name not in ("choices", "instruction", *self.reveal_tags):
                raise ValueError(
                    f"prompt {self.prompt} shows the model each sample's tag `{name}`; if that is meant, allow it with "
                    f"reveal_tags [{name}]"
                )


def prompts() -> list[str]:
    """The prompts that come with auscult."""
    folder = resources.files("auscult.models") / "prompts"
    return sorted(item.name.removesuffix(".txt") for item in folder.iterdir() if item.name.endswith(".txt"))


@cache
def template(name: str) -> str:
    """The text of the prompt `name`: one that comes with auscult, or a text file. Raises ConfigError."""
    known = prompts()
    if name in known:
        return (resources.files("auscult.models") / "prompts" / f"{name}.txt").read_text(encoding="utf-8")
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(known)}, or name a text file"
        raise ConfigError(f"there is no prompt {name!r}: {hint}") from problem


def messages(sample: Sample, wording: Wording) -> list[dict[str, Any]]:
    """The sample as chat messages: `role`, and `content` as a list of texts and media. Raises RenderError where a
    sample lacks a tag that the prompt shows."""
    said: list[dict[str, Any]] = [{"role": turn.role, "content": list(turn.content)} for turn in sample.turns]
    before, _, after = template(wording.prompt).partition("{question}")
    before, after = _filled(before, sample, wording).lstrip("\n"), _filled(after, sample, wording).rstrip("\n")
    content: list[Any] = said[-1]["content"]
    first = next((place for place, part in enumerate(content) if isinstance(part, str)), len(content))
    if before:
        content[first : first + 1] = [before + "".join(content[first : first + 1])]
    if after and content and isinstance(content[-1], str):
        content[-1] += after
    elif after:
        content.append(after.lstrip("\n"))
    return said


def _filled(text: str, sample: Sample, wording: Wording) -> str:
    """A part of a prompt with its placeholders replaced, without lines that became empty."""
    shown: dict[str, str] = {tag: sample.tags[tag] for tag in wording.reveal_tags if tag in sample.tags}
    letters = [f"({letter}) " for letter in ascii_uppercase] + [""] * len(sample.choices)
    options = [letter + choice for letter, choice in zip(letters, sample.choices, strict=False)]
    shown["choices"] = "\n".join(options) if wording.choices else ""
    shown["instruction"] = form(wording.form).instruction if wording.instruction else ""
    lines: list[str] = []
    for line in text.split("\n"):
        for name in _PLACE.findall(line):
            if name not in shown:
                raise RenderError(
                    f"sample {sample.id} has no tag `{name}`, which prompt {wording.prompt} shows; add it"
                )
        filled = _PLACE.sub(lambda place: shown[place[1]], line)
        if filled.strip() or not _PLACE.search(line):
            lines.append(filled)
    return "\n".join(lines)
