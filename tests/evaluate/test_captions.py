"""Files of captions are scored as the official Java pipeline scores them, and no row is lost on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from auscult.cli import main
from auscult.commands import captions as command
from auscult.core.errors import DataError
from auscult.evaluate.captions import Captioned, read_captions, read_documents, score
from auscult.rewards.captioning.frequencies import read_frequencies

OFFICIAL = {
    "bleu_1": 0.5041298775,
    "bleu_2": 0.3348984285,
    "bleu_3": 0.2229528446,
    "bleu_4": 0.1449174503,
    "rouge_l": 0.3958084294,
    "cider_d": 0.4017237346,
}
"""pycocoevalcap with the Java tokenizer on `aac_example_1.csv` (`design/SCORING.md`), to the ten digits noted."""


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_official_values(testdata: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = testdata / "captions" / "aac_example_1.csv"
    assert command.score([str(file), "--json", "--out", str(tmp_path)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {name: said[name] for name in OFFICIAL} == pytest.approx(OFFICIAL, abs=1e-10)
    assert (said["captions"], said["empty"], said["references"], said["unread"]) == (464, 14, [5, 5], {})
    (results,) = tmp_path.glob("results_*.json")
    assert json.loads(results.read_text())["cider_d"] == said["cider_d"]
    (samples,) = tmp_path.glob("samples_captions_*.jsonl")
    each = [json.loads(line) for line in samples.read_text().splitlines()]
    assert len(each) == 464
    assert sum(row["cider_d"] for row in each) / 464 == pytest.approx(said["cider_d"])
    assert sum(row["rouge_l"] for row in each) / 464 == pytest.approx(said["rouge_l"])


def test_csv_and_json_lines_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        'id,caption_predicted,caption_1,caption_2\nx,"a, b",a dog,\ny,,rain,"it ""rains"""\n'
    )
    numbered = tmp_path / "b.csv"
    numbered.write_text(
        'id,caption_predicted,caption_reference_01,caption_reference_02\nx,"a, b",a dog,\ny,,rain,it "rains"\n'
    )
    rows = lines(
        tmp_path / "a.jsonl",
        {"id": "x", "prediction": "a, b", "references": ["a dog"]},
        {"id": "y", "prediction": None, "references": ["rain", 'it "rains"']},
    )
    expected = (Captioned("x", "a, b", ("a dog",)), Captioned("y", "", ("rain", 'it "rains"')))
    assert read_captions(rows) == expected
    for table in (tmp_path / "a.csv", numbered):
        found = read_captions(table)
        assert tuple(replace(one, blank=0) for one in found) == expected
        assert [one.blank for one in found] == [1, 0]


def test_columns_are_known_in_any_case_with_blanks_around(tmp_path: Path) -> None:
    plain, typed = tmp_path / "plain.csv", tmp_path / "typed.csv"
    plain.write_text("id,caption_predicted,caption_1,caption_2\n1,a dog barks,a cat meows,a dog barks\n")
    typed.write_text("ID, Caption_Predicted,caption_1, CAPTION_2 \n1,a dog barks,a cat meows,a dog barks\n")
    assert read_captions(typed) == read_captions(plain)
    assert score(read_captions(typed)).corpus["bleu_1"] == pytest.approx(1.0)
    clips = tmp_path / "train.csv"
    clips.write_text("YouTube_ID,Caption\nx,a\nx,b\ny,c\n")
    assert read_documents(clips, by="youtube_ID").references == (("a", "b"), ("c",))


def test_what_is_read_from_no_column_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "a.csv"
    table.write_text("caption_predicted,caption_1,caption_two,caption\na dog,a dog,a cat,b\nrain,rain,wind,c\n")
    assert command.score([str(table)]) == 0
    assert "Not read: `caption_two` (2 rows), `caption` (2 rows)." in capsys.readouterr().out
    rows = lines(
        tmp_path / "a.jsonl",
        {"prediction": "a dog", "references": ["a dog"], "captions": ["a cat"]},
        {"prediction": "rain", "references": ["rain"]},
    )
    assert command.score([str(rows), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unread"] == {"captions": 1}
    assert command.run("captions", ["df", str(table), "--out", str(tmp_path / "df.json")]) == 0
    assert "Not read: `prediction` (2 rows), `caption_two` (2 rows), `caption` (2 rows)." in capsys.readouterr().out


def test_a_clip_that_comes_again_is_told_and_counts_again(tmp_path, capsys):
    head, rows = "file_name,caption_predicted,caption_1\n", ["a.wav,a dog,a dog\n", "b.wav,rain,wind\n"]
    file, again = tmp_path / "once.csv", tmp_path / "again.csv"
    file.write_text(head + "".join(rows))
    again.write_text(head + "".join(rows) + rows[0])
    assert main(["score", "captions", str(again)]) == 0
    assert "`file_name` names 2 clips in 3 rows, a.wav more than once: each row counts." in capsys.readouterr().out
    assert score(read_captions(again)).to_dict()["repeated"] == {"file_name": 2}
    assert score(read_captions(file)).to_dict()["repeated"] == {}
    assert len(score(read_captions(again)).each) == 3


def test_an_empty_prediction_counts_as_zero_and_is_counted(tmp_path: Path) -> None:
    rows = [Captioned(str(n), text, ("a dog barks", "rain falls")) for n, text in enumerate(["a dog barks", " "])]
    rows.append(Captioned("2", "an engine idles", ("an engine idles",)))
    scored = score(rows)
    assert scored.empty == 1
    assert scored.each[1] == pytest.approx(dict.fromkeys(OFFICIAL, 0.0))
    assert scored.corpus["rouge_l"] == pytest.approx(2 / 3)
    assert score([rows[0], rows[2]]).corpus["bleu_1"] == pytest.approx(1.0)
    assert (scored.corpus["bleu_1"] or 0) < 0.9, "the missing words make the corpus too short"


def test_one_row_has_no_weights_for_cider(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", {"prediction": "a dog", "references": ["a dog"]})
    assert command.score([str(file)]) == 0
    assert "not computed" in capsys.readouterr().out
    assert score(read_captions(file)).corpus["cider_d"] is None


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"references": ["a"]}, "prediction"),
        ({"prediction": "a"}, "references"),
        ({"prediction": "a", "references": []}, "reference"),
        ({"prediction": "a", "references": [" "]}, r"references\[0\]"),
        ({"prediction": 3, "references": ["a"]}, "prediction"),
        ({"id": 1, "prediction": "a", "references": ["a"]}, "twice"),
        ([], "object"),
    ],
)
def test_what_cannot_be_scored_is_named(tmp_path: Path, row: object, complaint: str) -> None:
    file = lines(tmp_path / "a.jsonl", {"id": 1, "prediction": "a", "references": ["a"]}, row)
    with pytest.raises(DataError, match=rf"a\.jsonl:2.*{complaint}"):
        read_captions(file)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("caption_predicted,caption_1\na,b\nc\n", r":3.*cells"),
        ("caption_predicted,caption_1\na,b\nc,\n", r":3.*no reference"),
        ("prediction_x,caption_1\na,b\n", r":2.*caption_predicted"),
        ('caption_predicted,caption_1\na,"b\n', "valid CSV"),
        ("caption_predicted,caption_1\n", "no rows"),
        ("", "no rows"),
        ("caption_predicted,caption_1,caption_1\na,b,c\n", "once"),
        ("caption_predicted,caption_1,Caption_1\na,b,c\n", r":2.*two columns are the `caption_1`"),
        ("caption_predicted,Prediction,caption_1\na,b,c\n", r":2.*two columns are the `prediction`"),
        ('caption_predicted,references\na,"[""b""]"\n', r":2.*`references` is text instead of a list"),
    ],
)
def test_what_is_no_table_of_captions_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=rf"a\.csv.*{complaint}"):
        read_captions(tmp_path / "a.csv")


def test_frequencies_are_counted_by_clip(testdata: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, out = testdata / "text" / "audiocaps_val.csv", tmp_path / "df.json"
    assert command.run("captions", ["df", str(train), "--out", str(out), "--by", "youtube_id", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["documents"] == 495 == read_frequencies(out).documents
    assert said["unread"] == {"audiocap_id": 2475, "start_time": 2475}
    assert max(read_frequencies(out).counts.values()) <= 495
    assert command.run("captions", ["df", str(train), "--out", str(out)]) == 0
    assert read_frequencies(out).documents == 2475
    assert json.loads(out.read_text())["sha256"]


def test_references_of_training_files(tmp_path: Path) -> None:
    samples = lines(
        tmp_path / "a.jsonl", {"answers": ["a", "b"]}, {"answer": "c"}, {"references": ["d"]}, {"caption": "e"}
    )
    found = read_documents(samples)
    assert found.references == (("a", "b"), ("c",), ("d",), ("e",))
    assert found.unread == {}
    with pytest.raises(DataError, match=r"a\.jsonl:1.*clip"):
        read_documents(samples, by="clip")
    with pytest.raises(DataError, match="1 clips"):
        read_documents(lines(tmp_path / "b.jsonl", {"answer": "c"}))


def test_empty_cells_among_the_references_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "t.csv"
    table.write_text("caption_predicted,caption_1,caption_2\na dog,a dog barks,\nrain,rain falls, \na cat,a cat,cats\n")
    assert main(["score", "captions", str(table), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["blank_references"] == 2
    for words in (
        ["score", "captions", str(table)],
        ["captions", "df", str(table), "--out", str(tmp_path / "df.json")],
    ):
        assert main(words) == 0
        assert "Empty cells among the references, which are none: 2." in capsys.readouterr().out


def test_clips_of_several_rows_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """AudioCaps' validation set has five rows a clip: as clips of their own they make five times the documents."""
    train, out = tmp_path / "val.csv", str(tmp_path / "df.json")
    rows = [f"{n},vid{n // 5},{n // 5},clip {n // 5} said {n}" for n in range(20)]
    train.write_text("\n".join(["audiocap_id,youtube_id,start_time,caption", *rows]))
    assert main(["captions", "df", str(train), "--out", out, "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["repeated"] == {"youtube_id": 4}
    assert "`youtube_id` names 4 clips in 20 rows" in said.err
    assert "add --by youtube_id" in said.err
    assert main(["captions", "df", str(train), "--out", out, "--by", "youtube_id", "--json"]) == 0
    said = capsys.readouterr()
    assert (json.loads(said.out)["documents"], said.err) == (4, "")


@pytest.mark.parametrize(
    ("name", "data", "complaint"),
    [
        ("c.csv.gz", b"\x1f\x8b\x08\x00", "a packed file; unpack it"),
        ("c.txt", b"caption_predicted,caption_1\na,b\n", "no JSON lines, for it begins with b'caption_predicted"),
        ("c", b"caption_predicted,caption_1\na,b\n", "name a CSV file .csv"),
        ("c.csv", b"caption_predicted;caption_1\na;b\n", "part columns with commas, not semicolons"),
        ("c.csv", b"caption_predicted,ref1\na,b\n", "the row has prediction, ref1; rename what holds them"),
        ("none.csv", None, "there is no such file; check the path"),
    ],
)
def test_another_kind_of_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, data: bytes | None, complaint: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    assert main(["score", "captions", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert "data.root" not in said


def test_json_lines_take_the_name_that_csv_has(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"caption_predicted": "a dog", "references": ["a dog barks"]}\n')
    [row] = read_captions(path)
    assert row.prediction == "a dog"


@pytest.mark.parametrize("flag", ["--clap", "--sbert"])
def test_a_model_that_is_no_folder_and_no_hub_id_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    path = lines(tmp_path / "c.jsonl", {"prediction": "a dog", "references": ["a dog barks"]})
    assert main(["score", "captions", str(path), flag, "nope"]) == 2
    assert f"{flag} nope: there is no such folder" in capsys.readouterr().err
