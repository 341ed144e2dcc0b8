"""`data check`: each planted fault is found, named and counted; nothing else is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auscult.core.errors import DataError
from auscult.data.check import Report, check
from auscult.data.sources.digits import Source as Digits
from auscult.data.sources.jsonl import Source as Jsonl
from auscult.data.sources.sounds import Source as Sounds
from auscult.media.audio import content_hash
from auscult.media.image import encode_png

ROW = {"id": "1", "audio": "a.wav", "question": "What?", "answer": "dog", "choices": ["dog", "cat"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings of one second: `a.wav` is stereo at 16 kHz, `b.flac` mono at 8 kHz."""
    noise = np.random.default_rng(0).normal(0, 0.1, (16_000, 2))
    soundfile.write(tmp_path / "a.wav", noise, 16_000)
    soundfile.write(tmp_path / "b.flac", noise[:8_000, 0], 8_000)
    return tmp_path


def report(folder: Path, *rows: Any, decode: bool = False) -> Report:
    path = folder / "a.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return check(path, decode=decode)


def test_good_rows(folder: Path) -> None:
    rows = [
        {**ROW, "tags": {"task": "class"}, "group": "g"},
        {**ROW, "id": "2", "audio": "b.flac", "answer": "cat", "group": "g", "tags": {"task": "class"}},
        {**ROW, "id": "3", "audio": {"audio": "b.flac", "start": 0.5}, "answer": "dog"},
        {**ROW, "id": "4", "question": "Which?", "answer": "Dog.", "choices": []},
    ]
    found = report(folder, *rows)
    assert found.problems == ()
    assert (found.kind, found.rows, found.sound_rows, found.recordings, found.groups) == ("jsonl", 4, 4, 2, 3)
    assert found.durations is not None
    assert (found.durations.total, found.durations.min, found.durations.max) == (3.5, 0.5, 1.0)
    assert (found.rates, found.channels) == ({16_000: 1, 8_000: 1}, {2: 1, 1: 1})
    assert (found.choices, found.positions, found.chance) == ({0: 1, 2: 3}, {0: 2, 1: 1}, 0.5)
    assert (found.answers.top, found.majority) == ({"dog": 3, "cat": 1}, 0.75)
    assert found.tags["task"].top == {"class": 2}
    assert "no problems" in found.lines()


def test_every_planted_fault_is_found_with_its_row(folder: Path) -> None:
    (folder / "empty.wav").touch()
    (folder / "cut.wav").write_bytes((folder / "a.wav").read_bytes()[:20_000])
    (folder / "text.wav").write_text("no recording")
    rows = [
        ROW,
        {**ROW, "id": "2", "audio": "absent.wav"},
        {**ROW, "id": "3", "audio": "empty.wav"},
        {**ROW, "id": "4", "audio": "cut.wav"},
        {**ROW, "id": "5", "audio": "text.wav"},
        {**ROW, "id": "6", "audio": {"audio": "a.wav", "end": 2}},
        {**ROW, "id": "1", "question": "And now?"},
        {**ROW, "id": "8", "question": "what? ", "answer": "cat"},
        {**ROW, "id": "9"},
        {**ROW, "id": "10", "question": "Hm?", "answer": "cow"},
        {**ROW, "id": "11", "question": "Which?", "choices": ["dog", "dog"]},
        {**ROW, "id": "12", "question": "Who?", "answer": None},
        {**ROW, "id": "13", "answr": "dog"},
        '{"id": ',
        {"id": "15", "turns": [{"role": "user", "content": ["What?"]}], "answers": ["dog"]},
        {**ROW, "id": "16", "question": "How long?", "tags": {"duration": "7"}},
        {**ROW, "id": "17", "question": "Same?", "audio": {"audio": "a.wav", "sha256": "0" * 64}},
        {**ROW, "id": "18", "question": "Only?", "choices": ["dog"]},
    ]
    found = report(folder, *rows)
    assert [(problem.row, problem.reason) for problem in found.problems] == [
        ("2", "missing"),
        ("3", "empty"),
        ("4", "torn"),
        ("5", "not_audio"),
        ("6", "bad_section"),
        ("7", "duplicate_id"),
        ("8", "contradiction"),
        ("9", "question_repeats"),
        ("10", "answer_not_a_choice"),
        ("11", "choices_repeat"),
        ("12", "no_answer"),
        ("13", "bad_row"),
        ("14", "bad_row"),
        ("15", "no_media"),
        ("16", "duration_differs"),
        ("17", "hash_differs"),
        ("18", "one_choice"),
    ]
    assert {problem.file for problem in found.problems} == {str(folder / "a.jsonl")}
    assert all(problem.message.startswith(f"{problem.file}:{problem.row}: ") for problem in found.problems)
    assert (found.rows, found.sound_rows, found.reasons["bad_row"]) == (18, 1, 2)
    assert json.loads(json.dumps(found.to_dict()))["reasons"] == found.reasons
    assert any(line.startswith("bad_row: 2") for line in found.lines())


def test_a_recording_that_is_missing_costs_every_row_that_needs_it(folder: Path) -> None:
    found = report(folder, *({**ROW, "id": str(n), "question": f"{n}?", "audio": "no.wav"} for n in range(10)))
    assert found.reasons == {"missing": 10}
    assert found.recordings == 1
    assert "    and 7 more (--json lists all)" in found.lines()


def test_decoding_finds_what_headers_do_not_tell(folder: Path) -> None:
    soundfile.write(folder / "silent.wav", np.full(100, 9e-5), 16_000, subtype="FLOAT")
    soundfile.write(folder / "nan.wav", np.full(100, np.nan), 16_000, subtype="FLOAT")
    content = bytearray((folder / "b.flac").read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    (folder / "damaged.flac").write_bytes(content)
    names = ("a.wav", "silent.wav", "nan.wav", "damaged.flac")
    rows = [{**ROW, "id": name, "audio": name} for name in names]
    assert report(folder, *rows).problems == ()
    found = report(folder, *rows, decode=True)
    assert [(problem.row, problem.reason) for problem in found.problems] == [
        ("2", "silent"),
        ("3", "not_finite"),
        ("4", "torn"),
    ]


def test_the_right_hash_is_no_problem(folder: Path) -> None:
    audio = {"audio": "a.wav", "sha256": content_hash(folder / "a.wav")}
    assert report(folder, {**ROW, "audio": audio}).problems == ()


def test_question_lists(folder: Path, testdata: Path) -> None:
    rows = [
        {"id": "1", "sound": "a.wav", "question": "<sound> How many? (A) 3 (B) 4", "answer": "(A) 3", "duration": 1.2},
        {"id": "2", "sound": "b.flac", "question": "<sound> How many? (A) 3 (B) 4", "answer": "(A) 4", "duration": 9},
        {"id": "3", "sound": "no.wav", "conversations": [{"from": "human", "value": "<sound> What?"}]},
    ]
    (folder / "a.json").write_text(json.dumps(rows))
    found = check(folder / "a.json")
    assert [(problem.row, problem.reason) for problem in found.problems] == [
        ("1", "answer_not_a_choice"),
        ("1", "duration_differs"),
        ("2", "missing"),
        ("2", "no_answer"),
    ]
    assert found.problems[0].message.startswith(f"{folder / 'a.json'}[1]: ")
    mmau = check(testdata / "text" / "mmau-test-mini.json")
    assert mmau.reasons == {"missing": 1000, "choices_repeat": 27}
    assert round(max(mmau.positions.values()) / mmau.rows, 3) == 0.395  # "always the first option"


def test_folders(folder: Path, testdata: Path) -> None:
    (folder / "notes.txt").write_text("left out, and said so")
    (folder / "c.mp3").write_bytes(b"ID3 but then nothing")
    found = check(folder)
    assert (found.kind, found.rows, found.sound_rows) == ("folder", 3, 2)
    assert [(problem.file, problem.row) for problem in found.problems] == [(str(folder / "c.mp3"), "")]
    assert found.notes == ("1 other files were left out: .txt (1)",)
    assert check(testdata / "formats", decode=True).reasons == {
        "silent": 2
    }  # digital_silence.wav, and almost_silent.wav with its peak at -119 dB
    assert check(testdata / "esc10").tags["folder"].distinct == 10


def test_sources(folder: Path, testdata: Path) -> None:
    report(folder, *({**ROW, "id": str(n), "question": f"{n}?", "group": str(n % 4)} for n in range(8)))
    with pytest.raises(DataError, match="recordings are both in training and held out"):
        check(Jsonl(root=str(folder / "a.jsonl")))
    digits = check(Digits(root=str(testdata / "fsdd"), heldout=100), decode=True)
    assert (digits.rows, digits.problems, digits.majority) == (100, (), 0.1)
    assert digits.notes == ("the train split never ends and was left out",)
    assert any(line.startswith("recordings  100 made in memory") for line in digits.lines())


def test_a_source_with_unusable_media_is_checked_to_its_end(folder: Path) -> None:
    other = folder / "heldout.jsonl"
    other.write_text(json.dumps({**ROW, "id": "h", "audio": "b.flac", "group": "h"}))
    report(folder, ROW, {**ROW, "id": "2", "audio": "no.wav"}, {**ROW, "id": "3", "audio": "absent.wav"})
    found = check(Jsonl(root=str(folder / "a.jsonl"), heldout=str(other)))
    assert (found.rows, found.reasons) == (4, {"missing": 2})
    assert found.problems[0].message.startswith(f"{folder / 'a.jsonl'}:2: ")


def test_images_are_opened(folder: Path) -> None:
    whole = encode_png(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    (folder / "good.png").write_bytes(whole)
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("no picture")
    images = [
        *("good.png", "cut.png", "text.png", "none.png", "good.png"),
        {"image": "good.png", "sha256": "0" * 64},
        {"image": "good.png", "sha256": content_hash(folder / "good.png")},
    ]
    rows = [
        {"id": str(n), "image": name, "question": f"{n % 4}?", "answer": "dog"} for n, name in enumerate(images)
    ]  # the rows 0 and 4 ask the same of one image, the others do not
    found = report(folder, *rows)
    assert [(problem.row, problem.reason) for problem in found.problems] == [
        ("3", "not_image"),
        ("4", "missing"),
        ("5", "question_repeats"),
        ("6", "hash_differs"),
    ]
    assert (found.images, found.recordings) == ({"png": 2}, 0)
    assert "images      2 files (headers read): png (2)" in found.lines()
    assert report(folder, *rows, decode=True).reasons["torn"] == 1


def test_names_without_a_recording_id_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("dog/1-100-A", "dog/bark", "rain/2-200-A", "rain/drops"), 1):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"{name}.wav", np.ones(80) * 0.1 * number, 8000)
    for target in (tmp_path, Sounds(root=str(tmp_path))):
        assert "2 of 4 names carry no recording id" in "\n".join(check(target).lines())
    monkeypatch.chdir(tmp_path / "dog")
    assert check(".").notes == ()  # no folder of class folders


def test_other_files_are_told_what_they_are(folder: Path) -> None:
    files = {
        "recipe.yaml": ("name: mine\ndata:\n  source: jsonl\n", "settings and no data; check the file"),
        "list.csv": ("path,label\na.wav,dog\n", "no column `caption`, or `caption_1` and on, but path, label; rename"),
        "list.txt": ("a.wav dog\n", "holds no JSON; .* takes samples in JSONL, .*one object a line"),
        "object.json": ('{\n"data": []\n}', "one JSON object over many lines; write its rows"),
    }
    for name, (text, said) in files.items():
        (folder / name).write_text(text)
        with pytest.raises(DataError, match=said) as caught:
            check(folder / name)
        assert str(caught.value).startswith(f"{folder / name} ")
    with pytest.raises(DataError, match=f"a single recording; .*auscult data check {folder}$"):
        check(folder / "a.wav")
    os.mkfifo(folder / "pipe.jsonl")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        check(folder / "pipe.jsonl")
    (folder / "text").mkdir()
    with pytest.raises(DataError, match=r"text holds no files; .*--data\.root"):
        check(folder / "text")
    (folder / "text" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"1 files, but no recordings .*name the folder that the recordings lie in"):
        check(folder / "text")
    (folder / "text" / "my rows.jsonl").touch()
    with pytest.raises(DataError, match=r"auscult data check '.*my rows\.jsonl'$"):
        check(folder / "text")


def test_nothing_to_check_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "list.json").write_text("[]")
    for name in ("absent.jsonl", "a.txt", "list.json", "."):
        with pytest.raises(DataError):
            check(tmp_path / name)
