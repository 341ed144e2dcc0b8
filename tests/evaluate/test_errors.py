"""Where a run is wrong: the order of its parts, their reasons, and what leaves for another try."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.cli import main
from auscult.core.errors import ConfigError, DataError
from auscult.core.types import Outcome, Parsed
from auscult.data.sources.jsonl import Source
from auscult.evaluate.errors import errors_of, write_again
from auscult.evaluate.labels import NONE
from auscult.evaluate.outcomes import write_outcomes


def row(number: int, correct: bool, problem: str | None = None, **tags: str) -> Outcome:
    parsed = Parsed(None if problem else "yes", problem)
    return Outcome(
        f"q{number}", f"What is {number}?", "the gold answer", "a reply", parsed, correct, f"c{number}", tags
    )


def rows_of(counts: dict[str, tuple[int, int]]) -> list[Outcome]:
    """Rows by kind: so many, of which so many are wrong."""
    marks = [(kind, place >= wrong) for kind, (n, wrong) in counts.items() for place in range(n)]
    return [row(number, correct, kind=kind) for number, (kind, correct) in enumerate(marks)]


def test_the_worst_is_what_is_most_surely_bad():
    found = errors_of(rows_of({"rare": (1, 1), "often": (50, 40), "never": (30, 0), "half": (50, 25)}))
    assert [part.value for part in found.by["kind"]] == ["often", "half", "rare", "never"]
    assert (found.total.n, found.total.wrong) == (131, 66)
    assert found.by["kind"][0].rate == 0.8
    assert found.by["kind"][0].interval[0] < 0.8 < found.by["kind"][0].interval[1]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["a", "b", ""])), min_size=1, max_size=30))
def test_parts_add_up_to_all_rows(drawn: list[tuple[bool, str]]):
    rows = [row(n, ok, **({"kind": kind} if kind else {}), half=str(n % 2)) for n, (ok, kind) in enumerate(drawn)]
    found = errors_of(rows)
    assert set(found.by) | set(found.left_out) == {tag for one in rows for tag in one.tags}
    for parts in found.by.values():
        assert sum(part.n for part in parts) == len(rows)
        assert sum(part.wrong for part in parts) == found.total.wrong == sum(not ok for ok, _ in drawn)
        assert [part.interval[0] for part in parts] == sorted((part.interval[0] for part in parts), reverse=True)


def test_replies_without_an_answer_say_why():
    rows = [row(0, False, "empty", kind="x"), row(1, False, "empty"), row(2, False, "several_answers"), row(3, False)]
    found = errors_of(rows, ["kind"])
    assert found.total.unread == {"empty": 2, "several_answers": 1}
    assert {part.value: part.unread for part in found.by["kind"]}["x"] == {"empty": 1}
    assert {part.value: part.n for part in found.by["kind"]} == {"x": 1, NONE: 3}
    with pytest.raises(ConfigError, match="did you mean 'kind'"):
        errors_of(rows, ["kinds"])


def test_what_leaves_has_no_gold_answer_and_cannot_be_trained_on(tmp_path: Path):
    rows = [row(0, True), row(1, False), row(2, False, "empty")]
    again = tmp_path / "again.jsonl"
    assert write_again(again, rows) == 2
    text = again.read_text(encoding="utf-8")
    assert [json.loads(line) for line in text.splitlines()] == [
        {"id": "q1", "input": "What is 1?"},
        {"id": "q2", "input": "What is 2?"},
    ]
    assert "gold" not in text
    with pytest.raises(DataError):
        Source(root=str(again)).split("train", 0)


def test_the_command_prints_writes_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = rows_of({"hard": (20, 15), "easy": (20, 2)})
    for label, order in (("zero", 0), ("one", 1)):
        write_outcomes(tmp_path / f"samples_{label}.jsonl", rows if order else rows[::-1])
        (tmp_path / f"results_{label}.json").write_text(json.dumps({"order": order}), encoding="utf-8")
    write_outcomes(tmp_path / "samples_one_silence.jsonl", rows)
    again = tmp_path / "again.jsonl"
    assert main(["errors", str(tmp_path), "--json", "--export", str(again)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == str(tmp_path / "samples_one.jsonl")
    assert [part["value"] for part in told["by"]["kind"]] == ["hard", "easy"]
    assert len(again.read_text(encoding="utf-8").splitlines()) == told["total"]["wrong"] == 17
    assert main(["errors", str(tmp_path), "--label", "zero", "--by", "kind"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("hard") < shown.index("easy")
    assert "75.0%" in shown
    assert main(["errors", str(tmp_path), "--label", "two"]) == 2
    assert "it has one, one_silence, zero" in capsys.readouterr().err
    assert main(["errors", str(tmp_path), "--byy", "kind"]) == 2
    assert "did you mean '--by'" in capsys.readouterr().err
