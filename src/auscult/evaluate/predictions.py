"""Somebody's predictions: the raw texts to be scored, by the id of their question.

Read untouched in every format of `records`. The text of a row stands under one of the keys of the official scripts,
`model_output` and `model_prediction` (MMAU), `answer_prediction` (MMAR); without them under `response` (VoiceBench) or
in `resps` (a samples file of ours). A key may be null in a row that has another. Two keys with different texts in one
row, and two rows of one id with different texts, are errors: only the user can say which one counts (`--key`).

Whatever else is wrong with a row is a `Problem` with its file and line. The row then has no text, and its question no
prediction: the official total leaves it out, the strict total counts it as wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from auscult.core.errors import DataError
from auscult.evaluate import records
from auscult.evaluate.records import Records

OFFICIAL = ("model_output", "model_prediction", "answer_prediction")
"""Keys that the official scripts and their READMEs name; they must not contradict each other."""
KEYS = (*OFFICIAL, "response", "resps")
"""All keys that are looked for, the official ones first."""
GOLD = ("answer", "answers", "correct_answer", "reference")
"""Keys under which gold files say what is right: they are never proposed as the key of predictions."""
ONLY = "only"
"""Key of the hash of the file of ids that chose the questions of an exam (`auscult eval --only FILE`)."""
UNGIVEN = ("no_prediction", "failed")
"""Problems of an outcome whose question was never answered: it has no reply to score."""

Identify = Callable[[Mapping[str, Any], int], str | None]
"""The id of a row, from what it says and its place in the file; None when it has none."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A row, or a question, that could not be scored as it stands."""

    reason: str
    """A short word to count by: `torn`, `no_id`, `no_key`, `not_text`, `repeated`, `unknown`, `missing`,
    `gold_repeated`."""
    where: str
    """File and line; for a question without a row, the file."""
    id: str | None
    """Of the question, when it is known."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a file says."""

    file: Records
    """The rows as they stand there."""
    texts: Mapping[str, str]
    """Raw text to be scored, by id, in the order of the file; an empty text is a prediction."""
    places: Mapping[str, str]
    """File and line of every row with an id, by id."""
    rows: Mapping[str, Mapping[str, Any]]
    """Those rows, by id: `thinking_prediction` and what else stands in them."""
    keys: Mapping[str, int]
    """How many texts each key gave."""
    problems: tuple[Problem, ...]
    """What was wrong, in the order of the file."""

    @property
    def path(self) -> Path:
        """The file."""
        return self.file.path

    @property
    def only(self) -> str | None:
        """Hash of the file of ids that chose what was asked; None where no row names one."""
        return next((row[ONLY] for row in self.rows.values() if isinstance(row.get(ONLY), str)), None)

    def against(self, ids: Iterable[str]) -> tuple[Problem, ...]:
        """All problems when the questions have these ids: also rows nobody asked for, and questions without a row."""
        asked = dict.fromkeys(ids)
        unknown = [Problem("unknown", where, name) for name, where in self.places.items() if name not in asked]
        missing = [Problem("missing", str(self.path), name) for name in asked if name not in self.places]
        return (*self.problems, *unknown, *missing)


def by_id(row: Mapping[str, Any], number: int) -> str | None:
    """The row's `id`, text or a whole number."""
    name = row.get("id")
    return str(name) if isinstance(name, int | str) and not isinstance(name, bool) and name != "" else None


def read(path: Path, key: str = "", identify: Identify = by_id) -> Predictions:
    """The predictions of a file; `key` names the key of the texts when the usual ones are not it.

    Raises DataError when nothing can be read, no row has the key, a row has two keys that differ, or two rows of one id
    differ.
    """
    return of(records.read(path), key, identify)


def of(file: Records, key: str = "", identify: Identify = by_id) -> Predictions:
    """`read`, of a file whose rows are in memory."""
    looked = (key,) if key else KEYS
    if not any(name in record.row for record in file.rows for name in looked):
        raise DataError(_keyless(file, key))
    texts: dict[str, str] = {}
    places: dict[str, str] = {}
    rows: dict[str, Mapping[str, Any]] = {}
    keys: Counter[str] = Counter()
    problems = [Problem("torn", broken.where, broken.id) for broken in file.broken]
    for record in file.rows:
        name = identify(record.row, record.number)
        if name is None:
            problems.append(Problem("no_id", record.where, None))
            continue
        used, text, reason = _text(record.row, looked, record.where)
        if name in places:
            problems.append(Problem("repeated", record.where, name))
            if None not in (text, texts.get(name)) and text != texts[name]:
                raise DataError(
                    f"{record.where}: the id {name!r} stands at {places[name]} too, with another prediction; keep one"
                )
        if reason:
            problems.append(Problem(reason, record.where, name))
        if text is not None and name not in texts:
            texts[name], places[name], rows[name] = text, record.where, record.row
            keys[used] += 1
        places.setdefault(name, record.where)
        rows.setdefault(name, record.row)
    return Predictions(file, texts, places, rows, dict(keys), tuple(problems))


def _text(row: Mapping[str, Any], looked: tuple[str, ...], where: str) -> tuple[str, str | None, str | None]:
    """The key that was read, its text, and why there is none."""
    values = {name: _reply(row, name, where) for name in looked if name in row}
    there = {name: value for name, value in values.items() if value is not None}
    official = {name: value for name, value in there.items() if name in OFFICIAL}
    if len(set(map(repr, official.values()))) > 1:
        raise DataError(
            f"{where}: {' and '.join(f'`{name}`' for name in official)} say different things; "
            f"choose one with --key {next(iter(official))}"
        )
    if not there:
        unanswered = not values or "resps" in values
        return "", None, "no_key" if unanswered else "not_text"
    used, value = next(iter(there.items()))
    return (used, value, None) if isinstance(value, str) else (used, None, "not_text")


def _reply(row: Mapping[str, Any], key: str, where: str) -> Any:
    """The value under a key; of a samples file's list its one reply, None where the question was never answered."""
    value = row[key]
    if key != "resps" or not isinstance(value, list):
        return value
    parsed = row.get("parsed")
    if not value or (isinstance(parsed, dict) and parsed.get("problem") in UNGIVEN):
        return None
    if len(value) > 1:
        raise DataError(f"{where}: `resps` holds {len(value)} replies; write the one to be scored")
    return value[0]


def _keyless(file: Records, key: str) -> str:
    if len(file.rows) == 1 and not file.broken and (wrapped := _wrapped(next(iter(file.rows)).row)):
        return f"{file.path}: {wrapped}"
    there = list(dict.fromkeys(name for record in file.rows for name in record.row))
    if not key:
        return f"{file.path}: no row has {', '.join(KEYS)}; name the key of the predictions with --key ({there[:12]})"
    there = [name for name in there if name not in GOLD]
    near = get_close_matches(key, there, n=1)
    hint = f"did you mean --key {near[0]}?" if near else f"its rows have {', '.join(there[:12])}; name one of them"
    return f"{file.path}: no row has the key `{key}`; {hint}"


def _wrapped(row: Mapping[str, Any]) -> str | None:
    """What to do with an object that is no row: a list of rows under a key, or a text for each id."""
    for key, value in row.items():
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            return f"its rows stand under `{key}`; write that list alone"
    if len(row) > 1 and "id" not in row and all(isinstance(value, str) for value in row.values()):
        first = next(iter(row))
        return f'an object of texts; write a row for each id, {{"id": "{first}", "model_output": "..."}}'
    return None
