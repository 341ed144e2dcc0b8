"""Damaged files through score, submit, compare and errors: an answer or a sentence, never a traceback."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from auscult.cli import main

Row = dict[str, Any]
STRANGE: tuple[Any, ...] = (None, 5, 1.5, True, [], {}, "", "\ud83d", [[1]], {"a": 1}, 10**400, ["x", 3], "\x00")
"""What nobody expects under a key."""
NEST = "[" * 100_000
ASKED: Mapping[str, tuple[Row, str]] = {
    "mmau": (
        {"id": "1", "audio_id": "1.wav", "question": "?", "choices": ["a", "b"], "answer": "a", "task": "sound"},
        "model_output",
    ),
    "mmar": (
        {"id": "v_00-00-01_00-00-02", "question": "?", "choices": ["a", "b"], "answer": "b", "modality": "sound"},
        "answer_prediction",
    ),
    "vqarad": (
        {"qid": "1", "image_name": "a.jpg", "question": "?", "answer": "yes", "answer_type": "CLOSED"},
        "response",
    ),
    "rexvqa": (
        {"id": "1", "question": "?", "options": ["A. x", "B. y"], "correct_answer": "B", "ImagePath": ["a.png"]},
        "response",
    ),
    "jsonl": ({"id": "1", "audio": "a.wav", "question": "?", "answer": "a", "tags": {"t": "0"}}, "resps"),
    "voicebench": ({"prompt": "?\nA. x\nB. y", "reference": "A"}, "response"),
    "audiobench": ({"instruction": "? Choices: (A) x (B) y", "answer": "(A) x", "audio": "a.wav"}, "model_prediction"),
}
"""A row of each benchmark, and where its prediction stands."""
EVALUATED: Row = {
    "id": "1",
    "input": "?",
    "target": "a",
    "resps": ["a"],
    "correct": True,
    "parsed": {"answer": "a", "problem": None, "thought": None, "well_formed": True},
    "group": "g",
    "tags": {"t": "0"},
}


def rows_of(row: Row) -> list[Row]:
    """Eight rows with ids of their own."""
    return [{**row, **{key: f"{row[key]}{n}" for key in ("id", "qid") if key in row}} for n in range(8)]


def damaged(rows: Sequence[Row], draw: random.Random, *, lines: bool = False) -> bytes:
    """The rows as a file, strange values in a few of them, perhaps packed, perhaps torn or with bytes changed."""
    rows = [dict(row) for row in rows]
    for row in draw.sample(rows, draw.randint(0, 3)):
        row[draw.choice([*row, "tags", "group", "resps", "choices", "parsed"])] = draw.choice(STRANGE)
    said = [json.dumps(row) for row in rows]
    if draw.random() < 0.05:
        said[0] = said[0].replace('"a"', NEST)
    data = ("\n".join(said) if lines or draw.random() < 0.5 else f"[{','.join(said)}]").encode()
    if (packing := draw.random()) < 0.1:
        data = gzip.compress(data)
    elif packing < 0.3:
        packed = io.BytesIO()
        with zipfile.ZipFile(
            packed, "w", draw.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
        ) as archive:
            archive.writestr("result.jsonl", data)
        data = packed.getvalue()
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4) if draw.random() < 0.4 else 0):
        place = draw.randrange(len(changed) or 1)
        changed[place : place + draw.choice([1, 1, 1, 9, 10_000])] = bytes(
            draw.choices(range(256), k=draw.randint(0, 1))
        )
    return bytes(changed)


def commands(draw: random.Random) -> Iterator[list[str]]:
    """Writes files and says what is asked of them."""
    for name, rows in (("samples_a.jsonl", rows_of(EVALUATED)), ("samples_b.jsonl", rows_of(EVALUATED))):
        Path(name).write_bytes(damaged(rows, draw, lines=True))
    yield ["compare", "samples_a.jsonl", "samples_b.jsonl", "--common"]
    yield ["errors", "samples_a.jsonl"]
    name = draw.choice(list(ASKED))
    row, key = ASKED[name]
    gold = rows_of(row)
    given: list[Row] = [{**one, key: draw.choice(["a", "B", ["b"]])} for one in gold]
    bare = [{part: one[part] for part in ("id", "qid", key) if part in one} for one in given]
    Path("g.json").write_bytes(damaged(gold, draw) if draw.random() < 0.5 else json.dumps(gold).encode())
    Path("p.json").write_bytes(damaged(draw.choice([given, bare]), draw))
    against = ["--gold", "g.json"] if draw.random() < 0.7 else []
    yield ["score", name, "p.json", *against, "--out", "out"]
    yield ["errors", "p.json", "--benchmark", name, *against]
    sent = draw.choice(["mmar", "mmau"])
    yield ["submit", sent, "p.json", *against, "--out", {"mmar": "s.zip", "mmau": "s.json"}[sent]]


@pytest.mark.parametrize("seed", range(3))
def test_no_damage_is_a_traceback(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    draw, codes = random.Random(seed), []
    for _ in range(30):
        for command in commands(draw):
            try:
                codes.append(main([*command, "--json"]))
            except Exception as defect:
                raise AssertionError(f"auscult {' '.join(command)}") from defect
            said = capsys.readouterr()
            assert codes[-1] in (0, 2)
            if said.out:
                json.loads(said.out, parse_constant=pytest.fail)
            assert said.out if codes[-1] == 0 else said.err.startswith("auscult: ")
    assert min(codes.count(0), codes.count(2)) > 15, "some files are sound, some are not"


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_with_any_byte_changed_is_read_or_refused(
    packing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    gold = rows_of(ASKED["mmar"][0])
    with zipfile.ZipFile("p.zip", "w", packing) as archive:
        archive.writestr(
            "result.jsonl", "\n".join(json.dumps({"id": row["id"], "answer_prediction": "b"}) for row in gold)
        )
    Path("g.json").write_text(json.dumps(gold))
    whole, draw = Path("p.zip").read_bytes(), random.Random(packing)
    for place in range(0, len(whole), 5):
        changed = bytearray(whole)
        changed[place] ^= draw.randrange(1, 256)
        Path("p.zip").write_bytes(changed)
        assert main(["score", "mmar", "p.zip", "--gold", "g.json", "--out", "out", "--json"]) in (0, 2), place
    capsys.readouterr()
