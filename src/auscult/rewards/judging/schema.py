"""A judge's answer: found in what it said, and held to its schema.

Of JSON Schema (draft 2020-12, section 6 of "Validation" and 10.3 of "Core") there is what judgements need; a keyword
that is not among them is refused, because a check that is not made must not look as if it were. A reasoning judge's
thinking is no answer. Otherwise the one JSON value in the text that fits is the answer, whatever words or code fences
stand around it; two different ones that fit are no answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast

Schema = Mapping[str, Any]

_KEYWORDS = frozenset(
    {"type", "enum", "minimum", "maximum", "minItems", "maxItems", "items", "prefixItems"}
    | {"properties", "required", "additionalProperties", "description"}
)
_STARTS = 256
"""Places where JSON may begin that are tried; a bound, because a judge can repeat itself."""


def read_judgement(text: str, schema: Schema) -> tuple[Any, str | None]:
    """The answer in `text` that fits the schema and None, or None and why there is none.

    Why: `no_json`, `schema: ` with what breaks it, `several_answers`. Raises ValueError for a schema that asks for more
    than is checked here.
    """
    said = text.rpartition("</think>")[2]
    values = list(_values(said))
    if not values:
        return None, "no_json"
    fitting = [value for value in values if breach(value, schema) is None]
    if not fitting:
        return None, f"schema: {breach(values[-1], schema)}"
    if any(not _same(value, fitting[0]) for value in fitting):
        return None, "several_answers"
    return fitting[0], None


def breach(value: Any, schema: Schema, where: str = "the answer") -> str | None:
    """The first thing in which `value` breaks the schema, as a sentence; None when it fits."""
    if unknown := schema.keys() - _KEYWORDS:
        raise ValueError(f"a judge's schema has the keyword {min(unknown)!r}; there are {', '.join(sorted(_KEYWORDS))}")
    if "enum" in schema and not any(_same(value, option) for option in schema["enum"]):
        return f"{where} is {_shown(value)}, not one of {_shown(schema['enum'])}"
    if "type" in schema and not _is(value, schema["type"]):
        return f"{where} is {_shown(value)}, not of type {schema['type']}"
    if _is(value, "number"):
        return _range(value, schema, where)
    if isinstance(value, list):
        return _list(cast("list[Any]", value), schema, where)
    return _object(cast("dict[str, Any]", value), schema, where) if isinstance(value, dict) else None


def _range(value: float, schema: Schema, where: str) -> str | None:
    if value < schema.get("minimum", value):
        return f"{where} is {value}, below {schema['minimum']}"
    return f"{where} is {value}, above {schema['maximum']}" if value > schema.get("maximum", value) else None


def _list(value: Sequence[Any], schema: Schema, where: str) -> str | None:
    least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
    if not least <= len(value) <= most:
        return f"{where} has {len(value)} entries, not {least if least == most else f'{least} to {most}'}"
    first, others = schema.get("prefixItems", ()), schema.get("items", {})
    kinds = (first[place] if place < len(first) else others for place in range(len(value)))
    inside = (breach(*pair, f"{where}[{place}]") for place, pair in enumerate(zip(value, kinds, strict=True)))
    return next((found for found in inside if found), None)


def _object(value: Mapping[str, Any], schema: Schema, where: str) -> str | None:
    known: Mapping[str, Schema] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            return f"{where} has no {name!r}"
    if schema.get("additionalProperties") is False and (more := value.keys() - known.keys()):
        return f"{where} has {min(more)!r}, which nobody asked for"
    inside = (breach(value[name], known[name], f"{where}.{name}") for name in known if name in value)
    return next((found for found in inside if found), None)


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "number": (int, float),
}


def _is(value: Any, kind: str) -> bool:
    """True is no number, 3.0 is an integer: JSON Schema has it so."""
    if kind == "integer":
        return _is(value, "number") and (isinstance(value, int) or value.is_integer())
    if kind not in _TYPES:
        raise ValueError(f"a judge's schema has the type {kind!r}; there are integer, {', '.join(_TYPES)}")
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _same(one: Any, other: Any) -> bool:
    """Equality of JSON values, in which true is not 1."""
    if isinstance(one, list) and isinstance(other, list):
        left, right = cast("list[Any]", one), cast("list[Any]", other)
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(one, dict) and isinstance(other, dict):
        first, second = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
        return first.keys() == second.keys() and all(_same(first[name], second[name]) for name in first)
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _values(text: str) -> list[Any]:
    """The JSON objects and lists that stand in the text, not those within one another."""
    found: list[Any] = []
    place = tries = 0
    while tries < _STARTS:
        starts = [start for mark in "{[" if (start := text.find(mark, place)) >= 0]
        if not starts:
            break
        place = min(starts)
        tries += 1
        try:
            value, place = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError):
            place += 1
            continue
        found.append(value)
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
