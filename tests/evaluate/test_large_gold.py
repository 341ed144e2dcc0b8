"""A file too large for memory reads row for row as a small one does, and its score is the same."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.core.errors import DataError
from auscult.data import index
from auscult.evaluate import records, scoring
from auscult.evaluate.outcomes import write_outcomes

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["\u2028", "\ud83d", '"},{', "é"]
)
ROW = st.dictionaries(TEXT, TEXT | st.integers() | st.lists(TEXT, max_size=2) | st.none(), min_size=1, max_size=3)
STRANGER = st.integers() | st.none() | st.lists(st.integers(), max_size=2)


def both(path: Path) -> list[tuple[Any, ...]]:
    """What is read of a file that is held, and of one that is not."""
    told: list[tuple[Any, ...]] = []
    for small in (1 << 30, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(records, "SMALL", small)
            found = records.read(path)
            told.append((found.sha256, list(found.rows), list(found.rows), len(found.rows), found.broken, found.cut))
    return told


@given(rows=st.lists(ROW | STRANGER, min_size=1, max_size=5).filter(lambda rows: isinstance(rows[0], dict)))
def test_a_list_reads_alike(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.json"
    path.write_text(json.dumps(rows))
    held, streamed = both(path)
    assert held == streamed


@given(rows=st.dictionaries(TEXT.filter(bool), ROW, min_size=1, max_size=5))
def test_an_object_of_rows_reads_alike(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.json"
    path.write_text(json.dumps(rows))
    held, streamed = both(path)
    assert held == streamed


@given(rows=st.lists(ROW | STRANGER, min_size=1, max_size=5), cut=st.booleans(), mark=st.booleans())
def test_lines_read_alike(tmp_path_factory: pytest.TempPathFactory, rows: list[Any], cut: bool, mark: bool) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = ['{"id": "first"}', *map(json.dumps, rows), '{"id": "q9", "te' if cut else '{"id": "q9"}\n']
    path.write_text(("\ufeff" if mark else "") + "\n".join(lines), encoding="utf-8")
    held, streamed = both(path)
    assert held == streamed


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    rows = {
        f"q{number}": {
            "question": "What is seen?",
            "options": ["A. Normal", "B. Effusion"],
            "correct_answer": "AB"[number % 2],
            "ImagePath": [f"{number}.png", "side.png"],
            "Indication": "Cough",
            "PatientID": f"P{number // 2}",
            "task_name": "Presence",
        }
        for number in range(6)
    }
    (tmp_path / "gold.json").write_text(json.dumps(rows))
    said = [{"id": name, "model_output": "A", "question": "What is seen?"} for name in rows]
    (tmp_path / "said.json").write_text(json.dumps([*said[:4], {**rows["q5"], "id": "q5", "model_output": "B"}]))
    return tmp_path / "gold.json"


def scored(gold: Path) -> tuple[Any, ...]:
    work = scoring.work("rexvqa", gold.with_name("said.json"), gold)
    found = scoring.score(work, "choice")
    write_outcomes(gold.with_name("samples.jsonl"), found.outcomes)
    return found.to_dict(), work.problems, gold.with_name("samples.jsonl").read_text()


def test_a_score_is_the_same(gold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = scored(gold)
    monkeypatch.setattr(records, "SMALL", 0)
    assert scored(gold) == held
    assert held[0]["strict"]["total"] == {"correct": 3, "n": 6, "percent": 50.0}


@pytest.mark.parametrize("small", [1 << 30, 0])
def test_a_gold_that_is_cut_off_is_refused(gold: Path, monkeypatch: pytest.MonkeyPatch, small: int) -> None:
    monkeypatch.setattr(records, "SMALL", small)
    gold.write_text(gold.read_text()[:-9])
    with pytest.raises(DataError, match=r"no valid JSON|no JSON|where the file ends"):
        scored(gold)


@pytest.mark.parametrize("small", [1 << 30, 0])
def test_an_id_of_two_questions_that_look_alike_is_refused(
    gold: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    """They differ in their image alone, which is not kept."""
    monkeypatch.setattr(records, "SMALL", small)
    rows = [{"id": name, **row} for name, row in json.loads(gold.read_text()).items()]
    gold.write_text(json.dumps([*rows, {**rows[0], "ImagePath": ["other.png", "side.png"]}]))
    with pytest.raises(DataError, match="the id 'q0' occurs twice with different gold"):
        scored(gold)


def test_a_file_that_changes_meanwhile_is_refused(gold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "SMALL", 0)
    found = records.read(gold)
    os.utime(gold, ns=(1, 1))
    with pytest.raises(DataError, match="changed while it was read"):
        list(found.rows)


def test_one_row_is_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gold.json"
    path.write_text(json.dumps({f"q{number}": {"question": "x" * 1000} for number in range(2000)}))
    monkeypatch.setattr(records, "SMALL", 0)
    monkeypatch.setattr(index, "CHUNK", 1 << 12)
    monkeypatch.setattr(index, "ROW", 1 << 12)
    windows: list[int] = []
    go = index.Window.value

    def watched(window: index.Window) -> Any:
        windows.append(len(window._text))
        return go(window)

    monkeypatch.setattr(index.Window, "value", watched)
    found = records.read(path)
    assert sum(1 for _ in found.rows) == 2000
    assert max(windows) < 1 << 14
