"""YAML as people mean it: the scalars of the YAML 1.2 core schema, and no key twice.

PyYAML follows YAML 1.1, where `1e-4` is text, `no` is false, `1:30` is 90 and `010` is 8. Here `1e-4` is a number, `no`
and `1:30` are text and `010` is ten. What is written is quoted where either version would misread it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from yaml.reader import ReaderError

from auscult.core.errors import ConfigError

_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$")
_SCALARS = (
    ("null", re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"[-+]?[0-9]+$"), list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
)


class _Loader(yaml.SafeLoader):
    """Safe YAML 1.2 whose keys are text and stand once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = cast(Any, self).construct_object(key_node, deep=True)
            problem = "is not text: quote it" if not isinstance(key, str) else "is given twice: keep one"
            if not isinstance(key, str) or key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key `{key}` {problem}", problem_mark=key_node.start_mark)
            seen.add(key)
        return cast("dict[Any, Any]", super().construct_mapping(node, deep))

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Decimal digits; PyYAML's own would read octal from a leading zero."""
        return int(node.value)


class _Dumper(yaml.SafeDumper):
    """Safe YAML that quotes what either version takes for more than text."""

    def ignore_aliases(self, data: Any) -> bool:
        """Equal lists are written out twice: an anchor would puzzle the reader of a recipe."""
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Text; with an unusual line break in it (next line, separators) PyYAML's plain and single quotes lose it."""
        style = '"' if re.search("[\x85\u2028\u2029]", data) else None
        return cast(Any, self).represent_scalar("tag:yaml.org,2002:str", data, style)


cast(Any, _Loader).yaml_implicit_resolvers = {}
cast(Any, _Loader).add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
for _tag, _pattern, _first in _SCALARS:
    cast(Any, _Loader).add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)
cast(Any, _Dumper).add_representer(str, _Dumper.represent_str)
cast(Any, _Dumper).add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text; `where` names the text in the ConfigError that refuses it."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as problem:  # ValueError: a date such as 2026-13-01, tagged by hand
        raise ConfigError(f"{where} is not YAML that can be read: {_said(problem)}; correct it there") from problem


def _said(problem: yaml.YAMLError | ValueError) -> str:
    """What PyYAML says, with the place, but without the name that it gives to any text and the text itself."""
    if isinstance(problem, yaml.MarkedYAMLError) and problem.problem_mark is not None:
        mark, begun = problem.problem_mark, problem.context_mark
        since = f" that begins in line {begun.line + 1}" if begun and begun.line < mark.line else ""
        context = f"{problem.context}{since}, " if problem.context else ""
        return f"line {mark.line + 1}, column {mark.column + 1}: {context}{problem.problem}"
    if isinstance(problem, ReaderError):
        return f"character number {problem.position + 1} ({chr(problem.character)!a}) stands in no YAML"
    return " ".join(str(problem).split())


def read_yaml(path: Path | str) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises ConfigError when there is no such file, or no mapping in it."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path} cannot be read ({problem}); name a YAML file in UTF-8 that exists") from problem
    values = parse_yaml(text, str(path))
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}, but must hold `key: value` lines")
    return cast("dict[str, Any]", values or {})


def flow(value: Any, most: int = 60) -> str:
    """A value in a sentence: on one line as YAML has it, texts in quotes, cut after `most` characters."""
    text = _flow(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _flow(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_flow(inner)}' for key, inner in cast('Mapping[Any, Any]', value).items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_flow, cast('list[Any]', value)))}]"
    return repr(value)


def dump_yaml(values: Mapping[str, Any]) -> str:
    """YAML text that `parse_yaml` reads back equal; the order of keys is kept."""
    return yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
