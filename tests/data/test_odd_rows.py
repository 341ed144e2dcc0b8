"""Rows as no format foresees them: every one is read or refused with its place, and the check goes on to its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auscult.core.errors import AuscultError
from auscult.data.check import Report, check
from auscult.data.sources import jsonl, mcq

FULL = {"id": "1", "turns": [{"role": "user", "content": [{"audio": "a.wav", "start": 0}, "What?"]}], "answers": ["x"]}
COMPACT = {"id": "1", "audio": "a.wav", "question": "What?", "answer": "x", "tags": {"a": "b"}, "group": "g"}
CHOICE = {"id": "1", "sound": "a.wav", "question": "<sound> Which? (A) x (B) y", "answer": "(A) x", "task": "count"}
SPOKEN = {
    "id": "1",
    "sound": ["a.wav"],
    "conversations": [{"from": "human", "value": "Hm?"}, {"from": "gpt", "value": "x"}],
}

odd = st.recursive(
    st.sampled_from([None, True, -1, 10**400, 1e308, 0.5, "", " ", "\0", "\ud800", "<sound>", "../a b%20\n.wav", "(A)"])
    | st.text(st.characters(exclude_categories=()), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["audio", "from", "x", "\udfff"]), inner)
    ),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something may be put instead."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inside for place in places(item, (*path, key)))]


def put(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """`value` with `new` at the place."""
    if not place:
        return new
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    changed = {key: put(item, place[1:], new) if key == place[0] else item for key, item in inside}
    return changed if isinstance(value, dict) else list(changed.values())


@st.composite
def rows(draw: st.DrawFn) -> tuple[bool, Any]:
    """Whether the row is one of a question list, and a good row in which something is odd."""
    row = draw(st.sampled_from([FULL, COMPACT, CHOICE, SPOKEN]))
    if draw(st.booleans()):
        row = {
            **row,
            draw(st.sampled_from(["thought", "choices", "split", "duration", "audio_id", "\ud800"])): draw(odd),
        }
    return "sound" in row, put(row, draw(st.sampled_from(places(row))), draw(odd))


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=rows(), mark=st.sampled_from(["", "\ufeff"]), end=st.sampled_from(["\n", "\r\n"]))
def test_odd_rows_are_read_or_refused(tmp_path: Path, drawn: tuple[bool, Any], mark: str, end: str) -> None:
    listed, row = drawn
    path = tmp_path / "a.json"
    good = {**(CHOICE if listed else COMPACT), "id": "good", "sound" if listed else "audio": "b.wav"}
    written = json.dumps([good, row]) if listed else json.dumps(good) + end + json.dumps(row)
    path.write_text(mark + written + end, encoding="utf-8", newline="")
    source = (mcq if listed else jsonl).Source(root=str(path))
    assert isinstance(outcome(lambda: check(path)), list) or listed  # such a file is JSON as a whole, or none
    for name in ("train", "heldout"):
        outcome(lambda: source.rows(name, 0))  # noqa: B023 - called at once
        assert isinstance(outcome(lambda: source.split(name, 0)), AuscultError)  # noqa: B023 - there is no recording


def outcome(act: Callable[[], Any]) -> Any:
    """What came out, which can be written down, or the refusal, which can be printed."""
    try:
        found = act()
    except AuscultError as error:
        str(error).encode()
        return error
    if isinstance(found, Report):
        json.dumps(found.to_dict(), ensure_ascii=False).encode()
        found = found.lines()
        "".join(found).encode()
    return found
