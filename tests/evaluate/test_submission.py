"""What is sent to a benchmark, and every reason why something is not."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.cli import main
from auscult.core import forms
from auscult.core.errors import ConfigError, DataError
from auscult.core.types import Outcome, Parsed
from auscult.evaluate.outcomes import write_outcomes
from auscult.evaluate.scorers.choice import reading
from auscult.evaluate.submission import LONGEST, submission

GOLD = [
    {
        "id": f"v{number}_00-00-01_00-00-09",
        "question": "What is heard?",
        "choices": ["a dog", "a cat", "rain"],
        "answer": "a cat",
        "modality": "sound",
        "category": "Signal Layer",
        "sub-category": "Event",
        "language": "none",
    }
    for number in range(4)
]
GOOD = [
    {"id": row["id"], "thinking_prediction": "It meows.", "answer_prediction": reply}
    for row, reply in zip(GOLD, ["a cat", "B", "(B) a cat", "<answer>rain</answer>"], strict=True)
]


def lines(path: Path, rows: list) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    return lines(tmp_path / "gold.jsonl", GOLD)


def sent(data: bytes | None) -> list[dict]:
    with zipfile.ZipFile(io.BytesIO(data or b"")) as archive:
        assert archive.namelist() == ["result.jsonl"]
        return [json.loads(line) for line in archive.read("result.jsonl").decode().splitlines()]


def test_mmar_is_sent_as_the_text_of_the_option_that_was_meant(tmp_path: Path, gold: Path):
    made = submission("mmar", lines(tmp_path / "preds.jsonl", GOOD[::-1]), gold)
    assert made.faults == ()
    rows = sent(made.data)
    assert [row["id"] for row in rows] == [row["id"] for row in GOLD]
    assert [row["answer_prediction"] for row in rows] == ["a cat", "a cat", "a cat", "rain"]
    assert {tuple(row) for row in rows} == {("id", "thinking_prediction", "answer_prediction")}
    again = submission("mmar", lines(tmp_path / "other.jsonl", GOOD), gold)
    assert again.data == made.data


def test_a_run_of_ours_is_sent_with_what_it_thought(tmp_path: Path, gold: Path):
    reply = "<think>A meow, then a purr.</think><answer>B</answer>"
    parsed = forms.form("think").parse(reply, GOLD[0]["choices"])
    outcomes = [Outcome(row["id"], row["question"], "a cat", reply, parsed, True, "g", {}) for row in GOLD]
    write_outcomes(tmp_path / "samples_model.jsonl", outcomes)
    rows = sent(submission("mmar", tmp_path / "samples_model.jsonl", gold).data)
    assert {(row["thinking_prediction"], row["answer_prediction"]) for row in rows} == {
        ("A meow, then a purr.", "a cat")
    }
    outcomes[2] = replace(outcomes[2], input="What was heard in another version?")
    write_outcomes(tmp_path / "samples_model.jsonl", outcomes)
    [fault] = submission("mmar", tmp_path / "samples_model.jsonl", gold).faults
    assert str(fault).endswith(
        ":3: v2_00-00-01_00-00-09: it answers another question, 'What was heard in another version?', than the gold "
        "file asks; predict on this version"
    )
    outcomes[2] = replace(outcomes[2], input="What is heard?")
    outcomes[1] = Outcome(GOLD[1]["id"], "What is heard?", "a cat", "", Parsed(None, "failed"), False, "g", {})
    write_outcomes(tmp_path / "samples_model.jsonl", outcomes)
    [fault] = submission("mmar", tmp_path / "samples_model.jsonl", gold).faults
    assert (fault.where, fault.id) == (f"{tmp_path}/samples_model.jsonl:2", GOLD[1]["id"])


@pytest.mark.parametrize(
    ("line", "put", "said"),
    [
        (2, {**GOOD[1], "answer_prediction": "a horse"}, "none of the choices (not_a_choice)"),
        (2, {**GOOD[1], "answer_prediction": "A or B"}, "none of the choices (several_answers)"),
        (2, {**GOOD[1], "answer_prediction": " "}, "answer is empty"),
        (2, {**GOOD[1], "answer_prediction": 3}, "no text"),
        (2, {**GOOD[1], "thinking_prediction": " \n"}, "thinking is empty"),
        (2, {**GOOD[1], "thinking_prediction": ["so"]}, "no text"),
        (2, {**GOOD[1], "thinking_prediction": "x" * LONGEST}, "10,000 characters; fewer than 10,000"),
        (2, {key: GOOD[1][key] for key in ("id", "answer_prediction")}, "thinking is empty"),
        (2, {"id": GOOD[1]["id"]}, "no prediction"),
        (2, {**GOOD[1], "question": "What is seen?"}, "another question, 'What is seen?', than the gold file asks"),
        (2, {**GOOD[1], "question": "What is  heard?", "choices": ["a cat", "a dog", "rain"]}, "its choices are not"),
        (5, {**GOOD[1], "answer_prediction": "rain"}, "the id stands at"),
        (5, GOOD[1], "the id stands at"),
        (5, {**GOOD[1], "id": "v9"}, "no question of the benchmark"),
        (5, {"answer_prediction": "rain"}, "no `id`"),
        (5, '{"id": "v9", "answ', "no JSON"),
    ],
)
def test_each_fault_is_found_at_its_line(tmp_path: Path, gold: Path, line: int, put, said: str):
    rows = [*GOOD[: line - 1], put, *GOOD[line:]]
    made = submission("mmar", lines(tmp_path / "preds.jsonl", rows), gold)
    assert made.data is None
    [fault] = made.faults
    assert fault.where == f"{tmp_path}/preds.jsonl:{line}"
    assert said in str(fault)


def test_thinking_of_9999_characters_is_sent(tmp_path: Path, gold: Path):
    rows = [{**row, "thinking_prediction": "x" * (LONGEST - 1)} for row in GOOD]
    assert submission("mmar", lines(tmp_path / "preds.jsonl", rows), gold).faults == ()


def test_all_faults_are_listed_and_nothing_is_written(tmp_path: Path, gold: Path, capsys: pytest.CaptureFixture[str]):
    rows = [{**GOOD[0], "thinking_prediction": "", "answer_prediction": "a horse"}, GOOD[1], GOOD[1]]
    preds, out = lines(tmp_path / "preds.jsonl", rows), tmp_path / "submission.zip"
    assert main(["submit", "mmar", str(preds), "--gold", str(gold), "--out", str(out)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    *told, last = shown.err.splitlines()
    assert [line.partition(": ")[0] for line in told] == [
        f"{preds}:1",
        f"{preds}:1",
        f"{preds}:3",
        f"{preds}",
        f"{preds}",
    ]
    assert "5 faults, so nothing is written" in last
    assert not out.exists()
    assert main(["submit", "mmar", str(preds), "--gold", str(gold), "--out", str(out), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert (told["written"], len(told["faults"])) == (None, 5)


def test_mmau_is_sent_with_both_keys_and_what_cannot_be_read_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    base = {"task": "sound", "difficulty": "easy", "category": "x", "sub-category": "y", "dataset": "z"}
    published = [
        {"id": f"q{n}", "audio_id": f"q{n}.wav", "question": "?", "choices": ["one", "two"], "answer": "one", **base}
        for n in range(1000)
    ]
    replies = ["<think>so</think><answer>(B)</answer>", "no idea, sorry", "", *["one"] * 997]
    rows = [{**row, "model_output": reply} for row, reply in zip(published, replies, strict=True)]
    preds, out = tmp_path / "preds.json", tmp_path / "out.json"
    preds.write_text(json.dumps(rows), encoding="utf-8")
    assert main(["submit", "mmau", str(preds), "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "replies replaced by the text of the option that they name: 1\n" in shown.err
    assert "replies that name no option and are sent as they are: 2\n" in shown.err
    assert shown.out == f"{out}: 1,000 rows\n"
    expected = ["two", "no idea, sorry", "", *["one"] * 997]
    assert json.loads(out.read_text(encoding="utf-8")) == [
        {**row, "model_output": answer, "model_prediction": answer}
        for row, answer in zip(published, expected, strict=True)
    ]
    # The gold file makes bare predictions a whole submission, and knows which question is missing.
    gold = tmp_path / "gold.json"
    gold.write_text(json.dumps(published), encoding="utf-8")
    bare = [{"id": row["id"], "model_prediction": reply} for row, reply in zip(published, replies, strict=True)]
    made = submission("mmau", lines(tmp_path / "bare.jsonl", bare), gold)
    assert made.data == out.read_bytes()
    assert [fault.id for fault in submission("mmau", lines(tmp_path / "bare.jsonl", bare[:-1]), gold).faults] == [
        "q999"
    ]
    word_for_word = tmp_path / "verbatim.json"
    assert main(["submit", "mmau", str(preds), "--out", str(word_for_word), "--verbatim"]) == 0
    assert "replaced" not in capsys.readouterr().err
    assert [row["model_output"] for row in json.loads(word_for_word.read_text(encoding="utf-8"))] == replies
    with pytest.raises(ConfigError, match="cannot be sent verbatim"):
        submission("mmar", preds, verbatim=True)
    # Predictions that carry their questions cannot say what they lack, but the benchmark's size is known.
    preds.write_text(json.dumps(rows[:-1]), encoding="utf-8")
    with pytest.raises(DataError, match="has 999 questions, mmau has 1,000 or 9,000"):
        submission("mmau", preds)


def test_a_torn_line_is_a_fault_beside_the_others_and_never_a_question_less(tmp_path: Path):
    rows: list = [{**GOLD[0], "id": f"q{n}", **{key: GOOD[0][key] for key in list(GOOD[0])[1:]}} for n in range(1000)]
    rows[7], rows[9] = json.dumps(rows[7])[:-40], {**rows[9], "answer_prediction": "a horse"}
    found = submission("mmar", lines(tmp_path / "carried.jsonl", rows))
    assert [fault.where.partition(":")[2] for fault in found.faults] == ["8", "10"]
    (tmp_path / "gold_torn.jsonl").write_text("\n".join(map(json.dumps, GOLD))[:-40], encoding="utf-8")
    with pytest.raises(DataError, match=r"gold_torn\.jsonl:4: no JSON .*its question is lost"):
        submission("mmar", lines(tmp_path / "preds.jsonl", GOOD[:3]), tmp_path / "gold_torn.jsonl")


def test_a_file_to_send_is_named_as_what_it_is(tmp_path: Path, gold: Path):
    assert main(["submit", "mmar", str(gold), "--gold", str(gold), "--out", str(tmp_path / "sent.json")]) == 2


def test_the_questions_of_mmau_test_mini_are_sent_whole(testdata: Path, tmp_path: Path):
    gold = testdata / "text" / "mmau-test-mini.json"
    published = json.loads(gold.read_text(encoding="utf-8"))
    preds = lines(tmp_path / "p.jsonl", [{"id": row["id"], "model_output": row["choices"][0]} for row in published])
    made = submission("mmau", preds, gold)
    assert (made.rows, made.faults) == (1000, ())
    full = json.loads(made.data or b"")
    assert [{key: row[key] for key in published[0]} for row in full] == [
        {key: row[key] for key in published[0]} for row in published
    ]


def test_only_known_submissions_are_made(tmp_path: Path, gold: Path):
    with pytest.raises(ConfigError, match="mmar, mmau"):
        submission("vqarad", gold, gold)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=40))
def test_what_is_sent_is_what_rewards_and_evaluation_read(tmp_path_factory: pytest.TempPathFactory, reply: str):
    folder = tmp_path_factory.getbasetemp()
    row = {"id": GOLD[0]["id"], "thinking_prediction": "so", "answer_prediction": reply}
    made = submission("mmar", lines(folder / "preds.jsonl", [row]), lines(folder / "gold.jsonl", GOLD[:1]))
    read = reading(reply, GOLD[0]["choices"])
    assert read.answer == (None if made.data is None else sent(made.data)[0]["answer_prediction"])


def test_a_gold_file_that_is_no_whole_set_is_said(tmp_path: Path, gold: Path, capsys: pytest.CaptureFixture[str]):
    preds = lines(tmp_path / "preds.jsonl", GOOD)
    assert main(["submit", "mmar", str(preds), "--gold", str(gold), "--out", str(tmp_path / "out.zip")]) == 0
    assert f"auscult: {gold} has 4 questions, mmar has 1,000: this is no whole submission\n" in capsys.readouterr().err


def test_many_faults_are_counted_and_some_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    many = [{**GOLD[0], "id": f"q{n}"} for n in range(30)]
    gold = lines(tmp_path / "gold.jsonl", many)
    preds = lines(tmp_path / "preds.jsonl", [{"id": row["id"], "answer_prediction": "a horse"} for row in many])
    submit = ["submit", "mmar", str(preds), "--gold", str(gold), "--out", str(tmp_path / "out.zip")]
    assert main(submit) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 22
    assert told[-2:] == [
        "and 40 more (--json lists all)",
        "auscult: 60 faults, so nothing is written; mend these rows first",
    ]
    lines(preds, [*GOOD[:1], {"id": "v9", "answer_prediction": "a cat", "thinking_prediction": "so"}])
    assert main([*submit[:4], str(lines(tmp_path / "one.jsonl", GOLD[:1])), *submit[5:]]) == 2
    assert "auscult: 1 fault, so nothing is written" in capsys.readouterr().err
