"""Reading rows strictly: JSON without surprises, keys that are known, values of one type, errors that say where.

Every helper takes `where`, the file and row as a person would look for them (`data/train.jsonl:17`), and raises
DataError with it, the key, and what to write instead.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from auscult.core.errors import DataError
from auscult.core.types import Audio, Image, Sample
from auscult.core.yaml12 import flow

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|data:", re.IGNORECASE)
MORE = "add the others, or take it out for an open question"
"""What to do about a single option."""
_HASH = re.compile(r"[0-9a-f]{64}")


def load_json(text: str, where: str) -> Any:
    """A JSON value. What no two readers take alike is refused: keys that occur twice, NaN, Infinity, and characters of
    which an escape spells only half."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        if "\\ud" in text.casefold():
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        before = error.object[max(0, error.start - 20) : error.start]
        raise DataError(f"{where}: half a character (a lone surrogate) after `{before}`; correct the escape") from error
    except (ValueError, RecursionError) as error:
        problem = str(error)
        if isinstance(error, json.JSONDecodeError) and "\n" not in text:  # `where` names the line already
            problem = f"{error.msg.removesuffix(' at')} at column {error.colno}"
        raise DataError(f"{where}: no valid JSON ({problem}); correct it") from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key `{twice}` occurs twice")
    return row


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
"""Decodes as `load_json` does, half characters aside."""


def read_text(path: Path) -> str:
    """The text of a UTF-8 file."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: no text in UTF-8 at byte {error.start}; save its rows as JSON in UTF-8") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); check the path (of a recipe's data: --data.root)"
        ) from error


def mapping(value: Any, where: str) -> dict[str, Any]:
    """`value` if it is a JSON object."""
    if not isinstance(value, dict):
        raise DataError(f"{where}: {_kind(value)} instead of an object; write {{...}}")
    return value


def check_keys(row: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Refuse keys that nobody reads: a misspelt `choices` would otherwise be an open question."""
    known = tuple(known)
    for key in row:
        if key not in known:
            place = "; what else is known of a row goes into its `tags`" if "tags" in known else ""
            raise DataError(f"{where}: unknown key `{key}`{_guess(key, known)}; the keys are {', '.join(known)}{place}")


def required(row: Mapping[str, Any], key: str, where: str) -> Any:
    """The value under `key`."""
    if row.get(key) is None:
        raise DataError(f"{where}: no `{key}`{_guess(key, row)}; add it")
    return row[key]


def text(value: Any, key: str, where: str, *, blank: bool = False) -> str:
    """`value` if it is text (that says something, unless `blank` is allowed)."""
    if not isinstance(value, str):
        raise DataError(f"{where}: `{key}` is {_kind(value)} instead of text; put it into quotes")
    if not blank and not value.strip():
        raise DataError(f"{where}: `{key}` is empty; fill it in, or remove the row")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: `{key}` holds half a character (a lone surrogate); correct the escape") from error
    return value


def texts(value: Any, key: str, where: str) -> tuple[str, ...]:
    """`value` if it is a list of texts; none for null."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise DataError(f"{where}: `{key}` is {_kind(value)} instead of a list; write [...]")
    return tuple(text(item, f"{key}[{number}]", where) for number, item in enumerate(value))


def tags(value: Any, where: str) -> dict[str, str]:
    """`value` if it is an object of texts; none for null."""
    if value is None:
        return {}
    found = mapping(value, f"{where}: `tags`").items()
    return {text(key, "tags", where, blank=True): text(item, f"tags.{key}", where, blank=True) for key, item in found}


def audio(value: Any, where: str, folder: Path) -> Audio:
    """A recording: a path, or {"audio": path, "start", "end", "sha256"}; relative paths are relative to `folder`."""
    row = {"audio": value} if isinstance(value, str) else mapping(value, where)
    check_keys(row, ("audio", "start", "end", "sha256"), where)
    start, end = (_seconds(row.get(key), key, where) for key in ("start", "end"))
    return Audio(path=_file(row, "audio", where, folder), start=start, end=end, sha256=_digest(row, where))


def image(value: Any, where: str, folder: Path) -> Image:
    """An image: a path, or {"image": path, "frame", "sha256"}; relative paths are relative to `folder`."""
    row = {"image": value} if isinstance(value, str) else mapping(value, where)
    check_keys(row, ("image", "frame", "sha256"), where)
    frame = row.get("frame")
    if frame is not None and (isinstance(frame, bool) or not isinstance(frame, int) or frame < 0):
        raise DataError(f"{where}: `frame` is {flow(frame)} instead of a whole number; write 0 for the first picture")
    return Image(path=_file(row, "image", where, folder), sha256=_digest(row, where), frame=frame)


def _file(row: Mapping[str, Any], key: str, where: str, folder: Path) -> str:
    path = text(required(row, key, where), key, where)
    if _URL.match(path):
        raise DataError(f"{where}: `{key}` is the address {path[:80]}; download it and name the file")
    if "\0" in path:
        raise DataError(f"{where}: `{key}` holds a zero character, which no file name has; correct it")
    return str(folder / path)


def _digest(row: Mapping[str, Any], where: str) -> str | None:
    digest = row.get("sha256")
    if digest is not None and not (isinstance(digest, str) and _HASH.fullmatch(digest)):
        raise DataError(f"{where}: `sha256` is not 64 hex digits in lower case; correct it, or leave it out")
    return digest


def _seconds(value: Any, key: str, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= sys.float_info.max:
        raise DataError(f"{where}: `{key}` is {flow(value)} instead of seconds from 0 on; write a number")
    return float(value)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _guess(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), 1)
    return f" (did you mean `{near[0]}`?)" if near else ""


def refuse_bad(bad: Sequence[DataError], count: int, *check: str) -> None:
    """Raises the first of the `bad` rows, if any; with others it says how many of the `count` rows they are, and how to
    see them: `check` are the arguments with which `auscult data check` lists them all, the file first."""
    if len(bad) > 1:
        raise DataError(
            f"{check[0]}: {len(bad)} of {count} rows cannot be used, first: {bad[0]}; "
            f"to see all of them: {shlex.join(['auscult', 'data', 'check', *check])}"
        ) from bad[0]
    if bad:
        raise bad[0]


def flaws(sample: Sample) -> list[tuple[str, str]]:
    """What makes a well-formed sample unanswerable or unheard, each as a reason to count and a sentence."""
    found: list[tuple[str, str]] = []
    if not sample.media:
        found.append(("no_media", "nothing is to be heard or seen in any turn; add the audio or the image"))
    if not sample.question:
        found.append(("no_question", "the last turn asks nothing; add its text"))
    if len(sample.choices) == 1:
        found.append(("one_choice", f"{sample.choices[0]!r} is its only option, and always right; {MORE}"))
    strangers = [answer for answer in sample.answers if sample.choices and answer not in sample.choices]
    if strangers:
        message = f"the answer {strangers[0]!r} is none of the choices {list(sample.choices)}; correct one of them"
        found.append(("answer_not_a_choice", message))
    return found
