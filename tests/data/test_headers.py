"""Opening a source finds every medium that cannot be used, before anything is trained: counted, and the first named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auscult.cli import main
from auscult.core.errors import MediaError
from auscult.data import headers, waiting
from auscult.data.source import Source
from auscult.data.sources import digits, jsonl, mcq, sounds
from auscult.data.waiting import telling
from auscult.media.image import encode_png

ROW = {"question": "What?", "answer": "dog"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Good and bad media, named by what is wrong with them."""
    noise = np.random.default_rng(0).normal(0, 0.1, 8000)
    for number in range(6):
        soundfile.write(tmp_path / f"good{number}.wav", noise, 8000)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "torn.wav").write_bytes((tmp_path / "good0.wav").read_bytes()[:9000])
    (tmp_path / "head.flac").write_bytes(b"fLaC\0\0\0\x22")
    (tmp_path / "good.png").write_bytes(encode_png(np.zeros((4, 4, 3), np.uint8)))
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


def jsonl_source(folder: Path, *names: Any, **options: Any) -> jsonl.Source:
    path = folder / "data file.jsonl"
    keys = ["image" if str(name).endswith("png") else "audio" for name in names]
    rows = [
        {**ROW, "id": str(n), key: name, "group": str(n)} for n, (key, name) in enumerate(zip(keys, names, strict=True))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    other = folder / "heldout.jsonl"
    other.write_text(json.dumps({**ROW, "id": "h", "audio": "good5.wav", "group": "h"}))
    return jsonl.Source(root=str(path), **{"heldout": str(other), **options})


def refusal(source: Source, name: Any = "train") -> str:
    with pytest.raises(MediaError) as caught:
        source.split(name, 0)
    return str(caught.value)


@pytest.mark.parametrize("bad", ["none.wav", "empty.wav", "torn.wav", "head.flac", "text.png", "."])
def test_what_cannot_be_used_is_found_when_the_source_is_opened(folder: Path, bad: str) -> None:
    assert jsonl_source(folder, "good0.wav", "good.png").split("train", 0).size == 2
    said = refusal(jsonl_source(folder, "good0.wav", "good.png", bad))
    assert "1 of 3 recordings and images cannot be used" in said
    assert f"{folder / 'data file.jsonl'}:3: `{'image' if bad == 'text.png' else 'audio'}`: " in said
    assert said.endswith(f"auscult data check '{folder / 'data file.jsonl'}'")


def test_files_are_counted_once_however_many_rows_name_them(folder: Path) -> None:
    sections = [{"audio": "good1.wav", "start": 0.1 * n} for n in range(5)]
    source = jsonl_source(folder, "good0.wav", *sections, "torn.wav", "empty.wav", "none.wav", "torn.wav")
    said = refusal(source)
    assert "3 of 5 recordings cannot be used (torn 1, empty 1, missing 1), first: " in said
    assert ".jsonl:7: `audio`: " in said


def test_sections_must_fit_their_recordings(folder: Path) -> None:
    said = refusal(jsonl_source(folder, "good0.wav", {"audio": "good0.wav", "start": 0.5, "end": 1.5}))
    assert "1 of 1 recordings cannot be used (bad_section 1)" in said
    assert "bad_section 1" in refusal(jsonl_source(folder, {"audio": "good0.wav", "start": 1e308}))


def test_a_picture_that_is_torn_further_in_is_found_where_they_are_few(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encode_png(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    for number in range(3):
        (folder / f"cut{number}.png").write_bytes(whole[: len(whole) // 2])
    source = jsonl_source(folder, "good0.wav", "good.png", *(f"cut{number}.png" for number in range(3)))
    said = refusal(source)
    assert "3 of 5 recordings and images cannot be used (torn 3), first: " in said
    assert "data file.jsonl:3: `image`: " in said
    assert said.endswith("data file.jsonl' --decode")
    monkeypatch.setattr(headers, "WHOLE", 3)
    assert source.split("train", 0).size == 5
    for number in range(3):
        (folder / f"cut{number}.png").write_bytes(whole)
    monkeypatch.undo()
    assert source.split("train", 0).size == 5, "what was mended is looked at again"


def test_each_split_looks_at_its_own_files(folder: Path) -> None:
    source = jsonl_source(folder, "torn.wav")
    assert source.split("heldout", 0).size == 1
    (folder / "good5.wav").unlink()
    said = refusal(source, "heldout")
    assert "heldout.jsonl:1: `audio`: " in said
    assert said.endswith(f"auscult data check {folder / 'heldout.jsonl'}")


def test_question_lists(folder: Path) -> None:
    names = ("good0.wav", "good1.wav", "torn.wav", "none.wav")
    path = folder / "elsewhere.json"
    path.write_text(json.dumps([{**ROW, "sound": name, "split": "test"} for name in names]))
    said = refusal(mcq.Source(root=str(path), audio_root=str(folder)), "heldout")
    assert "2 of 4 recordings cannot be used" in said
    assert f"{path}[2]: `sound`: {folder / 'torn.wav'} is torn" in said
    assert said.endswith(f"auscult data check {path} --audio {folder}")


def test_who_waits_for_a_large_set_is_told_and_nobody_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, said = jsonl_source(folder, "good0.wav", "good1.wav", "good.png"), list[tuple[str, int, int]]()
    with telling(lambda what, done, total, _: said.append((what, done, total))):
        source.split("train", 0)
        assert said == []  # a moment
        monkeypatch.setattr(waiting, "PATIENCE", 0.0)
        source.split("train", 0)
    source.split("train", 0)
    assert said == [*(("opening files", done, 3) for done in (1, 2, 3)), ("decoding pictures", 1, 1)]


def test_a_long_check_tells_how_far_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.0)
    jsonl_source(folder, "good0.wav", "good1.wav")
    assert main(["data", "check", str(folder / "data file.jsonl"), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["rows"] == 2
    reading, first, second = printed.err.splitlines()
    assert reading.startswith("reading data file.jsonl, MB ")
    assert first == "checking files               1/2"
    assert second.startswith("checking files               2/2")


def test_folders_of_recordings(tmp_path: Path) -> None:
    for number in range(10):
        for label in ("dog", "rain"):
            (tmp_path / "sounds" / label).mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / "sounds" / label / f"1-{label}{number}-A.wav", np.ones(800) * 0.1, 8000)
        for speaker in ("ann", "bob"):
            (tmp_path / "digits").mkdir(exist_ok=True)
            soundfile.write(tmp_path / "digits" / f"{number}_{speaker}_0.wav", np.arange(800) / 1e3 * 0.1, 8000)
    folders = [sounds.Source(root=str(tmp_path / "sounds"), heldout_share=0.01)]
    folders += [digits.Source(root=str(tmp_path / "digits"), heldout_speakers=("bob",))]
    for source, bad in zip(folders, ("rain/*.wav", "*_ann_0.wav"), strict=True):
        for path in sorted(Path(source.root).glob(bad))[:4]:
            path.write_bytes(path.read_bytes()[:60])
        said = refusal(source)
        assert " recordings cannot be used (torn " in said
        assert said.endswith(f"auscult data check {source.root}")
        assert int(said.split(": ")[1].split()[0]) in (3, 4)  # one of `rain` may be held out
