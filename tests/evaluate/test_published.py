"""The leak guard reads every benchmark's gold file as it was published, and a run says what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auscult.cli import main
from auscult.core.errors import ConfigError, DataError
from auscult.data.prints import name_of
from auscult.evaluate.published import rows_of
from auscult.report.reading import figures_of

MMAR = {
    "id": "qx8hrhBZJ98_00-01-32_00-02-02",
    "audio_path": "./audio/qx8hrhBZJ98_00-01-32_00-02-02.wav",
    "question": "What is heard?",
    "choices": ["a", "b"],
    "answer": "a",
}
VQARAD = {"qid": 7, "image_name": "film.jpg", "question": "Is it?", "answer": "Yes", "answer_type": "CLOSED"}
REXVQA = {"question": "Which?", "options": ["A. Edema", "B. None"], "correct_answer": "A", "ImagePath": ["a.png"]}


def written(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("name", "text", "media"),
    [
        ("vqarad", json.dumps([VQARAD]), "film.jpg"),
        ("rexvqa", json.dumps({"r1": REXVQA}, indent=1), "a.png"),
        ("voicebench", json.dumps({"prompt": "Say it.", "reference": "it", "audio": "1.wav"}), "1.wav"),
        ("audiobench", json.dumps([{"instruction": "Say it.", "answer": "it", "audio": "2.wav"}]), "2.wav"),
        ("ifeval", json.dumps({"key": 3, "prompt": "x", "instruction_id_list": ["y"], "kwargs": [{}]}), "3.wav"),
    ],
)
def test_a_file_is_known_by_its_rows(tmp_path: Path, name: str, text: str, media: str) -> None:
    file = tmp_path / "gold.json"
    file.write_text(text)
    found, notes = rows_of(str(file))
    assert ([name_of(part) for row in found for part in row.sample.media], notes) == ([Path(media).stem], ())
    assert rows_of(f"{name}:{file}") == (found, ())
    ((moved,), _) = rows_of(str(file), tmp_path / "other")
    assert str(tmp_path / "other" / media) in repr(moved.sample.media)


def test_what_several_could_be_is_asked_for(tmp_path: Path) -> None:
    file = written(tmp_path / "gold.jsonl", MMAR)
    with pytest.raises(DataError, match=r"may be of mmar or mmau; say which, for example mmar:"):
        rows_of(file)
    (row,), _ = rows_of(f"mmar:{file}")
    assert row.where == f"{file}: {MMAR['id']}"
    with pytest.raises(ConfigError, match=r"mmar is a benchmark; name its file too, mmar:FILE \(https://"):
        rows_of("mmar")
    with pytest.raises(DataError, match=r"none\.jsonl: cannot be read"):
        rows_of(f"mmar:{tmp_path / 'none.jsonl'}")


def test_files_of_samples_stay_what_they_are_and_what_they_lack_is_said(tmp_path: Path) -> None:
    good = {"id": "1", "audio": "a.wav", "question": "What?", "answer": "x"}
    found, notes = rows_of(written(tmp_path / "mine.jsonl", good, {"torn": 1}))
    assert [row.where for row in found] == [f"{tmp_path / 'mine.jsonl'}:1"]
    assert "1 rows are no samples and were left out" in notes[0]
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        rows_of(str(tmp_path / "gone.jsonl"))
    (tmp_path / "a:b.jsonl").write_text(json.dumps(good))
    assert len(rows_of(str(tmp_path / "a:b.jsonl"))[0]) == 1


def test_a_clip_of_mmar_is_found_in_training_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = {"id": "1", "audio": "qx8hrhBZJ98_95_105.wav", "question": "What?", "answer": "x"}
    train = written(tmp_path / "train.jsonl", mine)
    against = f"mmar:{written(tmp_path / 'gold.jsonl', MMAR)}"
    assert main(["data", "leaks", train, "--against", against, "--json"]) == 2
    (leak,) = json.loads(capsys.readouterr().out)["leaks"]
    assert (leak["kind"], leak["note"]) == ("youtube", "qx8hrhBZJ98, 10 s in common")


def test_a_run_asks_the_guard_about_a_published_file(
    testdata: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"id": path.stem, "audio": str(path), "question": MMAR["question"], "answer": "x", "group": path.stem}
        for path in sorted((testdata / "fsdd").glob("7_theo_1*.wav"))
    ]
    rows[0]["tags"] = {"youtube_id": "qx8hrhBZJ98", "start": "95"}
    root, gold = written(tmp_path / "my.jsonl", *rows), written(tmp_path / "gold.jsonl", MMAR)
    command = ["run", "sounds", "--data", f"{{source: jsonl, root: {root}, heldout_share: 0.2}}", "--out"]
    assert main([*command, str(tmp_path / "a"), "--leaks", f"{{against: ['mmar:{gold}']}}"]) == 2
    assert f"1 of {len(rows) - 2} training samples are in mmar:{gold} (youtube 1)" in capsys.readouterr().err
    nothing = written(tmp_path / "nothing.jsonl", {"torn": 1})
    assert main([*command, str(tmp_path / "b"), "--leaks", f"{{against: ['{nothing}']}}"]) == 2
    assert f"nothing of {nothing} can be compared" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_the_page_of_a_run_says_what_the_guard_left_out(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: x")
    assert "Leak guard" not in dict(figures_of(tmp_path).environment)
    (tmp_path / "leaks.json").write_text(json.dumps({"said": ["0 of 2 training rows", "gold: 1 rows are no samples"]}))
    assert dict(figures_of(tmp_path).environment)["Leak guard"] == "0 of 2 training rows; gold: 1 rows are no samples"
