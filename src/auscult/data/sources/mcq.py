"""Questions about recordings in one JSON list, as AudioSkills, CountingQA and MMAU have them. Four kinds of rows:

    {"id": "1", "sound": "a.wav", "question": "<sound> How many? (A) 3 sounds (B) 4 sounds", "answer": "(A) 3 sounds"}
    {"id": "1", "sound": "a.wav", "question": "How many?", "choices": ["3 sounds", "4 sounds"], "answer": "3 sounds"}
    {"sound": "a.wav", "conversations": [{"from": "human", "value": "<sound> How?"}, {"from": "gpt", "value": "So."}]}
    {"id": "1", "audio_id": "a.wav", "question": ..., "choices": [...], "answer": ..., "task": ..., "difficulty": ...}

`<sound>` marks where the recording is heard; without it, before the first text. `sound` may be a list, with one mark
for each recording. Options in the question's text become choices and leave the text, because every prompt lists its
choices itself. The answer must then name one of them by text, letter or both ("(A) 4 sounds" is refused); the letter of
an answer without options ("(A) 3 sounds" to a question that lists none) says nothing, and is cut off.

Rows of the last kind, and rows whose `split` is a test, come from a benchmark: they can be held out, never trained on.
They are kept as published, even if an answer were none of its choices, because a score's denominator is all rows; in
any other file that is an error.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal

from auscult.core.answer import read_answer
from auscult.core.errors import DataError
from auscult.core.types import Audio, Sample, Turn
from auscult.core.yaml12 import flow
from auscult.data import rows, source
from auscult.data.splits import assert_disjoint, group_of, split_groups

MARK = "<sound>"
KEYS = ("id", "sound", "audio_id", "question", "choices", "answer", "conversations", "duration")
BENCHMARK_KEYS = ("audio_id", "task", "difficulty")
Role = Literal["system", "user", "assistant"]
SPEAKERS: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}

_INLINE = re.compile(r"\(([A-Z])\)[ \t]*(\S.*?)[ \t]*[,;]?(?=[ \t]*\([A-Z]\)|[ \t]*<sound>|[ \t]*$)", re.MULTILINE)
_LISTED = re.compile(r"^[ \t]*([A-Z])[.):][ \t]+(\S.*?)[ \t]*$", re.MULTILINE)
_LETTER = re.compile(r"\s*(?:\(([A-Z])\)|([A-Z])[.):])\s+(?=\S)")
_FINISHED = re.compile(r"(?:^|[.?!:;\n]|<sound>)\s*$")
_BRACKETED = re.compile(r"\s*\([A-Z]\)\s+(?=\S)")  # of an open answer only this is cut off: "J. Bach" is a name


@dataclass(frozen=True, kw_only=True)
class Source(source.Written):
    """Options of a JSON list of questions."""

    root: str
    """The JSON file."""
    audio_root: str = ""
    """Folder that the rows' paths are relative to; empty is the JSON file's own."""
    heldout_share: float = 0.1
    """Share of the groups that is held out."""
    group: str = ""
    """Key whose value must not cross the split, for example `speaker`; empty is the recording."""

    def __post_init__(self) -> None:
        if not 0 < self.heldout_share < 1:
            raise ValueError(f"heldout_share is {self.heldout_share}: set a share between 0 and 1")

    def rows(self, name: source.Split, seed: int) -> list[source.Row]:
        """All of a benchmark is held out. Raises DataError when a row cannot be used, or to train on a benchmark."""
        found = read(Path(self.root), Path(self.audio_root) if self.audio_root else None, self.group)
        rows = [row for row, _ in found]
        if any(benchmark for _, benchmark in found):
            if name == "train":
                raise DataError(
                    f"{self.root} holds benchmark rows ({', '.join(BENCHMARK_KEYS)}, or a test split): training on "
                    "them would make their scores worthless; train on another file, and evaluate with this one"
                )
            return rows
        groups = [group_of(row.sample) for row in rows]
        held = split_groups(groups, self.heldout_share, seed, where=self.root)
        train = [row for row, group in zip(rows, groups, strict=True) if group not in held]
        heldout = [row for row, group in zip(rows, groups, strict=True) if group in held]
        assert_disjoint((row.sample for row in train), (row.sample for row in heldout))
        return train if name == "train" else heldout

    def checked(self, name: source.Split) -> tuple[str, ...]:
        return (self.root, "--audio", self.audio_root) if self.audio_root else (self.root,)


def read(path: Path, audio_root: Path | None = None, group: str = "") -> list[tuple[source.Row, bool]]:
    """All rows of a file, each with whether it is a benchmark's. Raises DataError for the first unusable row, with the
    number of such rows."""
    seen: set[str] = set()
    found: list[tuple[source.Row, bool]] = []
    bad: list[DataError] = []
    for where, number, row in items(path):
        try:
            sample = sample_of(row, where, number, audio_root or path.parent, group)
            _check(sample, where, seen, benchmark=is_benchmark(row))
        except DataError as error:
            bad.append(error)
        else:
            found.append((source.Row(where, sample, _key(row)), is_benchmark(row)))
    rows.refuse_bad(bad, len(found) + len(bad), str(path), *(["--audio", str(audio_root)] if audio_root else []))
    return found


def _check(sample: Sample, where: str, seen: set[str], *, benchmark: bool) -> None:
    for _, sentence in [] if benchmark else rows.flaws(sample):
        raise DataError(f"{where}: {sentence}")
    if not sample.answers:
        raise DataError(f"{where}: no `answer`; add it")
    if sample.id in seen:
        raise DataError(f"{where}: the id {sample.id!r} occurs twice; give each row its own")
    seen.add(sample.id)


def items(path: Path) -> Iterator[tuple[str, int, Any]]:
    """The rows of the list: where each stands (`data.json[3]`), its number, and the row as it is there."""
    value = rows.load_json(rows.read_text(path), str(path))
    if not isinstance(value, list) or not value:
        raise DataError(f"{path}: not a JSON list of rows; write [{{...}}, ...]")
    for number, row in enumerate(value):
        yield f"{path}[{number}]", number, row


def is_benchmark(row: dict[str, Any]) -> bool:
    """Whether a row comes from an evaluation set, by what only those have."""
    return all(row.get(key) is not None for key in BENCHMARK_KEYS) or str(row.get("split", "")).casefold().startswith(
        "test"
    )


def sample_of(value: Any, where: str, number: int, audio_root: Path, group: str = "") -> Sample:
    """A sample from one row of any kind. Raises DataError for what does not have the shape of a row."""
    row = rows.mapping(value, where)
    sounds = _sounds(row, where, audio_root)
    if row.get("conversations") is not None:
        _refuse(row, ("question", "answer"), "conversations", where)
        turns, reply = _conversation(row["conversations"], where)
    else:
        question = rows.text(rows.required(row, "question", where), "question", where)
        turns: list[tuple[Role, str]] = [("user", question)]
        reply = None if row.get("answer") is None else rows.text(row["answer"], "answer", where)
    role, question = turns[-1]
    choices = strip_letters(rows.texts(row.get("choices"), "choices", where))
    if not choices:
        question, choices = pull_choices(question)
    if not choices and reply is not None and _BRACKETED.match(reply) and "(A)" in question:
        raise DataError(f"{where}: the answer names an option, but the question lists them unclearly; add `choices`")
    turns[-1] = (role, question)
    return Sample(
        id=_id(row, number),
        turns=_placed(turns, sounds, where),
        answers=() if reply is None else (resolve(reply, choices),),
        choices=choices,
        group=str(rows.required(row, group, where)) if group else os.path.normpath(_names(row, where)[0]),
        tags=_tags(row, where),
    )


def _id(row: dict[str, Any], number: int) -> str:
    return str(number) if row.get("id") in (None, "") else str(row["id"])


def _sounds(row: dict[str, Any], where: str, audio_root: Path) -> list[Audio]:
    return [rows.audio(name, where, audio_root) for name in _names(row, where)]


def _names(row: dict[str, Any], where: str) -> tuple[str, ...]:
    """The recordings as the row names them; the split goes by these, so that it is the same on every machine."""
    key = _key(row)
    value = rows.required(row, key, where)
    names = rows.texts(value, key, where) if isinstance(value, list) else (rows.text(value, key, where),)
    if not names:
        raise DataError(f"{where}: `{key}` is an empty list; name the recording")
    return names


def _key(row: Mapping[str, Any]) -> str:
    """The key that names the recordings."""
    return "audio_id" if row.get("sound") is None and row.get("audio_id") is not None else "sound"


def _refuse(row: dict[str, Any], keys: tuple[str, ...], beside: str, where: str) -> None:
    for key in keys:
        if row.get(key) is not None:
            raise DataError(f"{where}: `{key}` beside `{beside}`, which has its own; remove one of them")


def _conversation(value: Any, where: str) -> tuple[list[tuple[Role, str]], str | None]:
    """Turns up to the reply, and the reply; None when the last word is the user's."""
    if not isinstance(value, list) or not value:
        raise DataError(f'{where}: `conversations` is not a list of turns; write [{{"from": "human", "value": ...}}]')
    turns: list[tuple[Role, str]] = []
    for number, item in enumerate(value):
        there = f"{where}: `conversations[{number}]`"
        turn = rows.mapping(item, there)
        rows.check_keys(turn, ("from", "value"), there)
        speaker = rows.required(turn, "from", there)
        if not isinstance(speaker, str) or speaker not in SPEAKERS:
            raise DataError(f"{there}: `from` is {flow(speaker)}; write one of {', '.join(SPEAKERS)}")
        turns.append((SPEAKERS[speaker], rows.text(rows.required(turn, "value", there), "value", there)))
    reply = turns.pop()[1] if turns[-1][0] == "assistant" else None
    if not turns or turns[-1][0] != "user":
        raise DataError(f"{where}: `conversations` has no question of the user before its last reply; add it")
    return turns, reply


def _placed(turns: list[tuple[Role, str]], sounds: list[Audio], where: str) -> tuple[Turn, ...]:
    """The turns with each recording where its mark stands; all before the user's first text when there is no mark."""
    marks = sum(text.count(MARK) for _, text in turns)
    if marks not in (0, len(sounds)):
        raise DataError(f"{where}: {marks} marks {MARK} for {len(sounds)} recordings; write one mark for each, or none")
    waiting = iter(sounds)
    unmarked: list[str | Audio] = [] if marks else [*sounds]
    placed: list[Turn] = []
    for role, text in turns:
        if MARK in text and role != "user":
            raise DataError(f"{where}: {MARK} in a turn of the {role}; only the user's turns can be heard")
        content: list[str | Audio] = []
        if role == "user":
            content, unmarked = [*unmarked], []
        for number, piece in enumerate(text.split(MARK)):
            content += [next(waiting)] if number else []
            content += [piece.strip()] if piece.strip() else []
        if not content:
            raise DataError(f"{where}: the question is nothing but its options; say what is asked")
        placed.append(Turn(role, tuple(content)))
    return tuple(placed)


def pull_choices(text: str) -> tuple[str, tuple[str, ...]]:
    """The text without its list of options, and the options: "(A) dog (B) cat", or lines "A. dog".

    At least two letters from A on, with nothing between the options, after a finished sentence, its colon or its mark:
    "Is (A) louder than (B)?" lists nothing. Else the text is left as it is.
    """
    for pattern in (_INLINE, _LISTED):
        found = list(pattern.finditer(text))
        letters = "".join(match[1] for match in found)
        gaps = [text[one.end() : two.start()] for one, two in pairwise(found)]
        if len(found) > 1 and letters == ascii_uppercase[: len(found)] and not any(gap.strip() for gap in gaps):
            stem, rest = text[: found[0].start()], text[found[-1].end() :]
            if _FINISHED.search(stem):
                return f"{stem.rstrip()}\n{rest.lstrip()}".strip(), tuple(match[2] for match in found)
    return text, ()


def strip_letters(choices: tuple[str, ...]) -> tuple[str, ...]:
    """The choices without their letters, when every one has the letter of its place."""
    found = [_LETTER.match(choice) for choice in choices]
    letters = "".join(match[1] or match[2] for match in found if match)
    if len(choices) > 1 and letters == ascii_uppercase[: len(choices)]:
        return tuple(choice[match.end() :].strip() for choice, match in zip(choices, found, strict=True) if match)
    return choices


def resolve(answer: str, choices: tuple[str, ...]) -> str:
    """The answer as text: the choice that it names, or, without choices, itself without a letter."""
    if not choices:
        bare = _BRACKETED.match(answer)
        return answer[bare.end() if bare else 0 :].strip()
    parsed = read_answer(answer, choices)
    if parsed.answer is None:
        return answer.strip()  # none of them: `rows.flaws` says so, and `data check` counts it
    return parsed.answer


def _tags(row: dict[str, Any], where: str) -> dict[str, str]:
    """Every other key becomes a tag, in JSON unless it is text or texts; a known key misspelt is refused."""
    tags: dict[str, str] = {}
    for key, value in row.items():
        if key in KEYS and key != "duration":
            continue
        near = difflib.get_close_matches(key, KEYS, 1, cutoff=0.8) if key not in KEYS else []
        if near:
            raise DataError(f"{where}: unknown key `{key}`, did you mean `{near[0]}`? Correct it or rename it")
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            value = ", ".join(value)
        if value is not None:
            tags[key] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return tags
