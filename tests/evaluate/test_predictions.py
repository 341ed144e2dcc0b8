"""Predictions in every format come out the same, and what is wrong with a file is said by line and id."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.core.errors import DataError
from auscult.core.types import Outcome, Parsed
from auscult.evaluate import predictions
from auscult.evaluate.outcomes import write_outcomes

Rows = list[dict[str, Any]]


def as_list(path: Path, rows: Rows) -> Path:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def as_lines(path: Path, rows: Rows, end: str = "\n") -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + end, encoding="utf-8")
    return path


def as_gzip(path: Path) -> Path:
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    return packed


def as_zip(path: Path, name: str = "result.jsonl") -> Path:
    packed = path.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("__MACOSX/._result.jsonl", "x")
        archive.write(path, name)
    return packed


REPLY = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(st.dictionaries(st.text("abc123", min_size=1, max_size=5), REPLY, min_size=1, max_size=6))
def test_every_format_gives_the_same_texts(tmp_path_factory: pytest.TempPathFactory, texts: dict[str, str]):
    folder = tmp_path_factory.mktemp("formats")
    rows: Rows = [{"id": name, "answer_prediction": text} for name, text in texts.items()]
    lines, whole = as_lines(folder / "a.jsonl", rows), as_list(folder / "b.json", rows)
    bare = as_lines(folder / "c.jsonl", rows, end="")
    by_id = folder / "d.json"
    by_id.write_text(json.dumps({row["id"]: {"answer_prediction": row["answer_prediction"]} for row in rows}))
    for path in (lines, whole, bare, by_id, as_gzip(bare), as_gzip(whole), as_zip(bare)):
        found = predictions.read(path)
        assert dict(found.texts) == texts, path
        assert found.problems == ()


@pytest.mark.parametrize("key", ["model_output", "model_prediction", "answer_prediction", "response"])
def test_every_key_is_read(tmp_path: Path, key: str):
    found = predictions.read(as_list(tmp_path / "p.json", [{"id": 7, key: "dog"}, {"id": "8", key: ""}]))
    assert found.texts == {"7": "dog", "8": ""}
    assert found.keys == {key: 2}
    assert found.places == {"7": f"{tmp_path}/p.json[0]", "8": f"{tmp_path}/p.json[1]"}


def test_both_keys_may_agree_or_one_be_null(tmp_path: Path):
    rows: Rows = [
        {"id": "1", "model_output": "dog", "model_prediction": "dog"},
        {"id": "2", "model_output": None, "model_prediction": "cow", "response": "long story: cow"},
    ]
    assert predictions.read(as_list(tmp_path / "p.json", rows)).texts == {"1": "dog", "2": "cow"}


def test_both_keys_that_differ_are_an_error_that_key_mends(tmp_path: Path):
    rows: Rows = [{"id": "1", "model_output": "dog", "model_prediction": "cow"}]
    path = as_lines(tmp_path / "p.jsonl", rows)
    with pytest.raises(DataError, match=r"p\.jsonl:1: `model_output` and `model_prediction`.*--key model_output"):
        predictions.read(path)
    assert predictions.read(path, "model_prediction").texts == {"1": "cow"}


def test_a_wrong_key_is_named_with_its_neighbour(tmp_path: Path):
    path = as_list(tmp_path / "p.json", [{"id": "1", "my_output": "dog"}])
    with pytest.raises(DataError, match="--key my_output"):
        predictions.read(path, "my_outputs")
    with pytest.raises(DataError, match="name the key of the predictions with --key"):
        predictions.read(path)


def test_whatever_is_wrong_is_counted_with_its_line(tmp_path: Path):
    path = tmp_path / "p.jsonl"
    lines = [
        '{"id": "1", "model_output": "dog"}',
        '{"id": "1", "model_output": "dog"}',
        '{"model_output": "dog"}',
        '{"id": "2", "model_output": 3}',
        '{"id": "3"}',
        '{"id": "9", "model_output": "x"}',
        '["no object"]',
        '{"id": "4", "model_output": "d',
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    problems = predictions.read(path).against(["1", "2", "3", "4"])
    assert {(p.reason, p.where.rpartition(":")[2], p.id) for p in problems} == {
        ("repeated", "2", "1"),
        ("no_id", "3", None),
        ("not_text", "4", "2"),
        ("no_key", "5", "3"),
        ("unknown", "6", "9"),
        ("torn", "7", None),
        ("torn", "8", "4"),
        ("missing", str(path), "4"),
    }


def test_two_rows_of_one_id_that_differ_are_an_error(tmp_path: Path):
    rows: Rows = [{"id": "1", "model_output": "dog"}, {"id": "1", "model_output": "cow"}]
    with pytest.raises(DataError, match=r"p\.jsonl:2: the id '1' stands at .*p\.jsonl:1 too"):
        predictions.read(as_lines(tmp_path / "p.jsonl", rows))


def test_a_samples_file_of_ours_is_read_back(tmp_path: Path):
    def outcome(name: str, reply: str, problem: str | None) -> Outcome:
        parsed = Parsed(None if problem else reply, problem)
        return Outcome(name, "?", "dog", reply, parsed, False, name, {})

    path = tmp_path / "samples.jsonl"
    write_outcomes(path, [outcome("1", "dog", None), outcome("2", "", "empty"), outcome("3", "", "no_prediction")])
    found = predictions.read(path)
    assert found.texts == {"1": "dog", "2": ""}, "a question that was never answered has no prediction"
    assert Counter(problem.reason for problem in found.problems) == {"no_key": 1}


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "no row that can be read"),
        (b"[{}", "cut off"),
        (b"[1]", "no JSON object"),
        (b"\x1f\x8b\x08torn", "cannot be unpacked"),
        (b"PK\x03\x04torn", "cannot be unpacked"),
        (b'{"id": "\xff"}', "UTF-8 at byte 8"),
        (b'{"id": "1", "model_output": "a", "model_output": "b"}', "occurs twice"),
    ],
)
def test_a_file_of_which_nothing_can_be_read_is_refused(tmp_path: Path, data: bytes, complaint: str):
    path = tmp_path / "p.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match=complaint):
        predictions.read(path)


def test_a_mark_of_byte_order_is_no_text(tmp_path: Path):
    path = tmp_path / "p.json"
    path.write_bytes(b'\xef\xbb\xbf[{"id": "1", "model_output": "dog"}]')
    assert predictions.read(path).texts == {"1": "dog"}


def test_a_zip_with_two_results_is_refused(tmp_path: Path):
    packed = tmp_path / "p.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.jsonl", "{}")
        archive.writestr("b.jsonl", "{}")
    with pytest.raises(DataError, match="2 JSON files"):
        predictions.read(packed)


def test_half_a_character_does_not_stop_the_file(tmp_path: Path):
    path = tmp_path / "p.json"
    path.write_text('[{"id": "1", "model_output": "dog \\ud83d"}, {"id": "2", "model_output": "\\ud83d\\ude00"}]')
    texts = predictions.read(path).texts
    assert texts["2"] == "\U0001f600"
    assert texts["1"].startswith("dog ")
    "".join(texts.values()).encode()
