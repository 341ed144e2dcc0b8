"""Predictions as a benchmark wants them sent, or every reason why they cannot be.

The answer of each row is read by `scorers.choice.reading`, that is by `core.forms` and `core.answer`, as rewards and
evaluation read it; what is written is the text of the option that was meant.

    mmar    the Interspeech 2026 Audio Reasoning Challenge (audio-reasoning-challenge.github.io): a zip with
            `result.jsonl`, a line {"id", "thinking_prediction", "answer_prediction"} for each question. The thinking is
            neither empty nor as long as 10,000 characters, and the answer is one of the choices
    mmau    github.com/Sakshi113/MMAU: the questions as published, each with the answer under `model_output` (which the
            official script reads) and under `model_prediction` (which its README names). A reply that names an option
            is replaced by its text, which the official rule calls right more often than what was said ("The answer is
            X." is wrong to it), and counted; one that names none is sent as it is, and counted. `verbatim` sends all
            as they are

Both want every question once and no other, as the gold file asks it. Whatever is wrong is listed with its file and
line, not only the first.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from auscult.core.errors import ConfigError, DataError
from auscult.core.types import Parsed, Sample
from auscult.evaluate import predictions, records
from auscult.evaluate.benchmark import Benchmark, find
from auscult.evaluate.predictions import Predictions
from auscult.evaluate.records import Records
from auscult.evaluate.scorers.choice import reading

SIZES = {"mmar": (1_000,), "mmau": (1_000, 9_000)}
"""Benchmarks whose form of submission is known, and how many questions each of their sets has."""
ENDINGS = {"mmar": ".zip", "mmau": ".json"}
"""What the name of the file to send ends with."""
THOUGHT = "thinking_prediction"
"""Key of the thinking in predictions and in a submission to MMAR."""
LONGEST = 10_000
"""Characters that thinking must stay below."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that keeps predictions from being sent."""

    where: str
    """File and line; for a question without a row, the file."""
    id: str | None
    """Of the question, when it is known."""
    what: str
    """What is wrong, in words."""

    def __str__(self) -> str:
        return f"{self.where}: {'' if self.id is None else f'{self.id}: '}{self.what}"


@dataclass(frozen=True, slots=True)
class Submission:
    """What is sent, or why nothing is."""

    name: str
    """The benchmark."""
    data: bytes | None
    """The file; None when there is a fault. The same predictions give the same bytes."""
    rows: int
    """Questions."""
    replaced: int
    """Replies that were replaced by the text of the option they name."""
    unread: int
    """Replies that name no option and are sent as they are."""
    lacks: str | None
    """What to say of a gold file that is no whole set of the benchmark's questions; None of one that is."""
    faults: tuple[Fault, ...]
    """All that is wrong: unreadable lines, then rows in the order of the file, then questions without a row."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A question with its prediction."""

    sample: Sample
    """The question."""
    gold: Mapping[str, Any]
    """It, as published."""
    where: str
    """File and line of the prediction."""
    row: Mapping[str, Any]
    """The prediction's row, as it stands there."""
    text: str
    """The prediction."""
    parsed: Parsed
    """It, as it is read."""
    thought: Any
    """The thinking: text, unless the file has something else there."""


def submission(name: str, path: Path, gold: Path | None = None, key: str = "", *, verbatim: bool = False) -> Submission:
    """The file to send for the predictions in `path`; `key` names the key of their texts, by default the usual ones.
    With `verbatim` they are sent word for word, which only mmau takes.

    Without `gold` the predictions must carry the questions, all of them. Raises ConfigError for a benchmark whose form
    is not known, DataError for files that cannot be read, questions that are not a whole set, or rows that contradict
    themselves.
    """
    if name not in SIZES:
        raise ConfigError(f"nothing is known of how {name!r} wants its predictions; there are {', '.join(SIZES)}")
    if verbatim and name != "mmau":
        raise ConfigError(
            f"{name} takes the texts of options only, so its replies cannot be sent verbatim; leave it out"
        )
    file = records.read(path)
    asked = records.read(gold) if gold else file
    chosen = find(name)(gold=str(gold or path))
    once, repeated = _once(file, chosen)
    samples = chosen.samples_of(asked if gold else replace(once, broken=()))
    count = len(samples) + len(once.broken)  # those are named as faults
    if gold is None and count not in SIZES[name]:  # a file cannot say what it lacks
        raise DataError(
            f"{path}: has {count:,} questions, {name} has {' or '.join(f'{size:,}' for size in SIZES[name])}; "
            "answer all of them, or name the gold file with --gold"
        )
    published = {chosen.id_of(record.row, record.number): record.row for record in asked.rows}
    found = predictions.of(once, key, chosen.id_of)
    rows = list(_rows(samples, found, published))
    faults = [*repeated, *_unasked(found, samples)]
    faults += [Fault(row.where, row.sample.id, what) for row in rows for what in (*_stale(row), *_wrong(name, row))]
    order = {record.where: record.number for record in file.rows}
    faults = (*_unreadable(file), *sorted(faults, key=lambda fault: order[fault.where]), *_missing(found, samples))
    sent = [row.text if verbatim or row.parsed.answer is None else row.parsed.answer for row in rows]
    data = None if faults else {"mmar": _mmar, "mmau": _mmau}[name](rows, sent)
    return Submission(
        name,
        data,
        len(samples),
        sum(row.text != text for row, text in zip(rows, sent, strict=True)),
        sum(row.parsed.answer is None for row in rows),
        None if count in SIZES[name] else _lacks(name, count, asked.path),
        faults,
    )


def _lacks(name: str, count: int, gold: Path) -> str:
    sizes = " or ".join(f"{size:,}" for size in SIZES[name])
    return f"{gold} has {count:,} questions, {name} has {sizes}: this is no whole submission"


def _once(file: Records, chosen: Benchmark) -> tuple[Records, list[Fault]]:
    """The file with the first row of each id, and a fault for each further one."""
    first: dict[str, str] = {}
    faults: list[Fault] = []
    kept = []
    for record in file.rows:
        name = chosen.id_of(record.row, record.number)
        if name is not None and name in first:
            faults.append(Fault(record.where, name, f"the id stands at {first[name]} already; keep one row"))
            continue
        kept.append(record)
        if name is not None:
            first[name] = record.where
    return replace(file, rows=tuple(kept)), faults


def _rows(
    samples: Sequence[Sample], found: Predictions, published: Mapping[str | None, Mapping[str, Any]]
) -> Iterator[_Row]:
    """Each question that has a text, as it is read."""
    for sample in samples:
        if (text := found.texts.get(sample.id)) is not None:
            parsed = reading(text, sample.choices)
            row = found.rows[sample.id]
            thought = row.get(THOUGHT, parsed.thought)
            yield _Row(sample, published[sample.id], found.places[sample.id], row, text, parsed, thought)


def _unreadable(file: Records) -> Iterator[Fault]:
    for broken in file.broken:
        yield Fault(broken.where, None, f"{broken.why}; mend the line")


def _unasked(found: Predictions, samples: Sequence[Sample]) -> Iterator[Fault]:
    """Rows that answer no question, and rows without an answer."""
    asked = {sample.id for sample in samples}
    words = {"no_id": "no `id`; add it", "no_key": "no prediction", "not_text": "the prediction is no text"}
    for problem in found.problems:
        if problem.reason in words:
            yield Fault(problem.where, problem.id, words[problem.reason])
    for name, where in found.places.items():
        if name not in asked:
            yield Fault(where, name, "no question of the benchmark has this id; remove the row")


def _missing(found: Predictions, samples: Sequence[Sample]) -> Iterator[Fault]:
    for sample in samples:
        if sample.id not in found.places:
            yield Fault(str(found.path), sample.id, "no row answers this question; ask it and add the row")


def _stale(row: _Row) -> Iterator[str]:
    """What of the question reads otherwise in the prediction's row, where that carries it: another version was asked.
    A samples file of ours has the question as `input`."""
    asked = row.row.get("question", row.row.get("input") if "resps" in row.row else None)
    if isinstance(asked, str) and asked.split() != row.sample.question.split():
        yield f"it answers another question, {asked[:60]!r}, than the gold file asks; predict on this version"
    choices = row.row.get("choices")
    if isinstance(choices, list) and tuple(choices) != row.sample.choices:
        yield "its choices are not those of the gold file; predict on this version"


def _wrong(name: str, row: _Row) -> Iterator[str]:
    """What is wrong with the prediction itself. MMAU's rule takes any text, and calls an empty one wrong."""
    if name != "mmar":
        return
    if not row.text.strip():
        yield "the answer is empty"
    elif row.parsed.answer is None:
        yield f"the answer {row.text[-80:]!r} is none of the choices ({row.parsed.problem})"
    thought = "" if row.thought is None else row.thought
    if not isinstance(thought, str):
        yield f"`{THOUGHT}` is no text"
    elif not thought.strip():
        yield f"the thinking is empty; give `{THOUGHT}`, or replies that think"
    elif len(thought) >= LONGEST:
        yield f"the thinking has {len(thought):,} characters; fewer than {LONGEST:,} may be sent"


def _mmar(rows: Sequence[_Row], sent: Sequence[str]) -> bytes:
    """The zip, without times and without compression, whose bytes would depend on the library's version."""
    lines = [
        {"id": row.sample.id, THOUGHT: row.thought, "answer_prediction": answer}
        for row, answer in zip(rows, sent, strict=True)
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("result.jsonl"), text.encode())
    return packed.getvalue()


def _mmau(rows: Sequence[_Row], sent: Sequence[str]) -> bytes:
    """The questions as published, with the answer under both keys."""
    full = [
        {**row.gold, "model_output": answer, "model_prediction": answer} for row, answer in zip(rows, sent, strict=True)
    ]
    return (json.dumps(full, indent=2, ensure_ascii=False) + "\n").encode()
