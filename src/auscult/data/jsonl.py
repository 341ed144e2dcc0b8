"""The native data format: one sample a line, in JSON, with media named where they are heard.

    {"id": "17",
     "turns": [{"role": "user", "content": [{"audio": "clips/17.flac", "start": 2.5, "end": 9.0}, "How many dogs?"]}],
     "answers": ["two"], "choices": ["one", "two"], "group": "clip-17", "tags": {"task": "count"}}

An image is {"image": "scans/17.png"}. For one recording (or image) and one question there is a compact row:

    {"id": "17", "audio": "clips/17.flac", "question": "How many dogs?", "answer": "two", "choices": ["one", "two"]}

Relative paths are relative to the file's own folder, so the folder can be moved as a whole. What `write` writes, `read`
reads back equal; what cannot be used (an unknown key, an answer that is no choice, an id that occurs twice) is a
DataError with file, line and key. Nothing is skipped but blank lines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from auscult.core.errors import DataError
from auscult.core.runs import write_text
from auscult.core.types import Frames, Image, Media, Sample, Turn
from auscult.core.yaml12 import flow
from auscult.data import rows
from auscult.data.source import Row

KEYS = ("id", "turns", "answers", "choices", "thought", "group", "tags")
COMPACT_KEYS = ("id", "audio", "image", "question", "answer", "choices", "thought", "group", "tags")
ROLES = ("system", "user", "assistant")


def write(path: Path | str, samples: Iterable[Sample]) -> int:
    """Write the samples, whole or not at all; returns how many there were.

    Media below the file's folder are named relative to it, others by absolute path. Raises DataError when a sample has
    media that are in memory only, or could not be read back.
    """
    path = Path(path)
    lines: list[str] = []
    seen: set[str] = set()
    for sample in samples:
        where = f"sample {sample.id!r} for {path}"
        row = _row(sample, path.parent)
        _check(sample_of(row, where, path.parent), where, seen)  # what `read` would refuse is refused here
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(lines))
    return len(lines)


def read(path: Path | str) -> list[Sample]:
    """All samples of a file. Raises DataError with file, line and key for the first row that cannot be used, and with
    the number of such rows."""
    return [row.sample for row in read_rows(Path(path))]


def read_rows(path: Path) -> list[Row]:
    """All samples of a file with the lines on which they stand. Raises DataError as `read` does."""
    seen: set[str] = set()
    found: list[Row] = []
    bad: list[DataError] = []
    for number, text in lines(path):
        where = f"{path}:{number}"
        try:
            sample = sample_of(rows.load_json(text, where), where, path.parent)
            _check(sample, where, seen)
        except DataError as error:
            bad.append(error)
        else:
            found.append(Row(where, sample))
    rows.refuse_bad(bad, len(found) + len(bad), str(path))
    if not found:
        raise DataError(f"{path}: no rows; write one sample a line")
    return found


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, each with its number from 1 on."""
    for number, line in enumerate(rows.read_text(path).split("\n"), 1):  # not splitlines: U+2028 may stand in a text
        if line.strip():
            yield number, line


def sample_of(value: Any, where: str, folder: Path) -> Sample:
    """A sample from one row, full or compact. Raises DataError for what does not have the shape of a row."""
    row = rows.mapping(value, where)
    compact = "turns" not in row and ("audio" in row or "image" in row or "question" in row)
    rows.check_keys(row, COMPACT_KEYS if compact else KEYS, where)
    if compact:
        media: list[Media] = []
        if row.get("image") is not None:
            media.append(rows.image(row["image"], f"{where}: `image`", folder))
        if row.get("audio") is not None or not media:
            media.append(rows.audio(rows.required(row, "audio", where), f"{where}: `audio`", folder))
        question = rows.text(rows.required(row, "question", where), "question", where)
        turns = (Turn("user", (*media, question)),)
        answers = () if row.get("answer") is None else (rows.text(row["answer"], "answer", where),)
    else:
        turns = _turns(rows.required(row, "turns", where), where, folder)
        answers = rows.texts(row.get("answers"), "answers", where)
    thought = row.get("thought")
    return Sample(
        id=rows.text(rows.required(row, "id", where), "id", where),
        turns=turns,
        answers=answers,
        choices=rows.texts(row.get("choices"), "choices", where),
        thought=None if thought is None else rows.text(thought, "thought", where, blank=True),
        group="" if row.get("group") is None else rows.text(row["group"], "group", where, blank=True),
        tags=rows.tags(row.get("tags"), where),
    )


def _turns(value: Any, where: str, folder: Path) -> tuple[Turn, ...]:
    if not isinstance(value, list) or not value:
        raise DataError(f'{where}: `turns` is not a list of turns; write [{{"role": "user", "content": [...]}}]')
    turns = tuple(_turn(item, f"{where}: `turns[{number}]`", folder) for number, item in enumerate(value))
    if turns[-1].role != "user":
        raise DataError(f"{where}: the last of `turns` is the {turns[-1].role}'s; put the reply into `answers`")
    return turns


def _turn(value: Any, where: str, folder: Path) -> Turn:
    row = rows.mapping(value, where)
    rows.check_keys(row, ("role", "content"), where)
    role, content = rows.required(row, "role", where), rows.required(row, "content", where)
    if role not in ROLES:
        raise DataError(f"{where}: `role` is {flow(role)}; write one of {', '.join(ROLES)}")
    parts = [content] if isinstance(content, str) else content
    if not isinstance(parts, list) or not parts:
        raise DataError(f"{where}: `content` is neither text nor a list of texts and media; correct it")
    return Turn(role, tuple(_part(part, f"{where}: `content[{number}]`", folder) for number, part in enumerate(parts)))


def _part(value: Any, where: str, folder: Path) -> str | Media:
    if isinstance(value, str):
        return rows.text(value, "content", where, blank=True)
    if isinstance(value, dict) and "image" in value:
        return rows.image(value, where, folder)
    return rows.audio(value, where, folder)


def _check(sample: Sample, where: str, seen: set[str]) -> None:
    for _, sentence in rows.flaws(sample):
        raise DataError(f"{where}: {sentence}")
    if sample.id in seen:
        raise DataError(f"{where}: the id {sample.id!r} occurs twice; give each row its own")
    seen.add(sample.id)


def _row(sample: Sample, folder: Path) -> dict[str, Any]:
    """The full row; what is empty is left out."""
    turns = [
        {"role": turn.role, "content": [_written(part, sample.id, folder) for part in turn.content]}
        for turn in sample.turns
    ]
    row = {
        "id": sample.id,
        "turns": turns,
        "answers": list(sample.answers),
        "choices": list(sample.choices),
        "thought": sample.thought,
        "group": sample.group,
        "tags": dict(sample.tags),
    }
    return {key: value for key, value in row.items() if value or (key == "thought" and value is not None)}


def _written(part: str | Media, name: str, folder: Path) -> Any:
    if isinstance(part, str):
        return part
    if isinstance(part, Frames) or part.path is None:
        raise DataError(f"sample {name!r} has media in memory only; write them to files first (FLAC keeps them exact)")
    path, home = os.path.abspath(part.path), os.path.abspath(folder)
    inside = os.path.commonpath([path, home]) == home
    where = os.path.relpath(path, home) if inside else path
    if isinstance(part, Image):
        row = {"image": where, "frame": part.frame, "sha256": part.sha256}
    else:
        row = {"audio": where, "start": part.start, "end": part.end, "sha256": part.sha256}
    return {key: value for key, value in row.items() if value is not None}
