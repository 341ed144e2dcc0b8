"""A judge's prompt: a text file with places for what is judged, known by its name and hash.

It is a Jinja template. What a place names must be there, and one that shows nothing of the reply is refused: it would
judge nothing. Text that a model wrote belongs in `{{ ... | quoted }}`, one JSON string that it cannot end, so that it
cannot speak to the judge in the prompt's own voice.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from auscult.core.errors import ConfigError

if TYPE_CHECKING:
    from jinja2 import Environment, Template

FOLDER = Path(__file__).parent
SHOWS = frozenset({"reply", "answer", "thought"})
"""Fields of which a prompt must show one."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a judge is told."""

    name: str
    """Of a shipped prompt, or the file."""
    text: str
    """The template."""
    fields: frozenset[str]
    """What its places name."""

    @property
    def sha256(self) -> str:
        """Hash of the template, hex: a result made with another wording is another result."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def render(self, **fields: Any) -> str:
        """The prompt about one reply. Raises ConfigError when a place names something that is not among `fields`."""
        if unknown := sorted(self.fields - fields.keys()):
            near = get_close_matches(unknown[0], fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(fields))}"
            raise ConfigError(f"the judge's prompt {self.name} names {unknown[0]!r}, which is not known here; {hint}")
        from jinja2 import TemplateError

        try:
            return _template(self.text).render(fields).strip()
        except TemplateError as problem:
            raise ConfigError(f"the judge's prompt {self.name} cannot be filled: {problem}; mend the file") from problem


def shipped() -> list[str]:
    """Names of the prompts of this package."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def read_prompt(name: str) -> Prompt:
    """A shipped prompt by name, or a text file by path. Raises ConfigError when there is none, or it is of no use."""
    path = FOLDER / f"{name}.txt" if name in shipped() else Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        near = get_close_matches(name, shipped(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"name a text file, or one of {', '.join(shipped())}"
        raise ConfigError(f"there is no judge's prompt {name!r} ({type(problem).__name__}); {hint}") from problem
    from jinja2 import TemplateError, meta

    try:
        fields = meta.find_undeclared_variables(_environment().parse(text))
    except TemplateError as problem:
        raise ConfigError(f"{path} is no template: {problem}; mend it") from problem
    if not fields & SHOWS:
        raise ConfigError(
            f"{path} shows the judge nothing of the reply; put {{{{ answer | quoted }}}} where it is to stand (or "
            "reply, or thought)"
        )
    return Prompt(name, text, frozenset(fields))


@lru_cache(maxsize=16)
def _template(text: str) -> Template:
    return _environment().from_string(text)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Knows no files, and nothing of Python but what stands in a template's fields."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    cast(Any, environment).filters["quoted"] = _quoted
    return environment


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
