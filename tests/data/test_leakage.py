"""`data leaks`: what training has in common with a benchmark is found, named and counted; nothing else is."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from PIL import Image as Pillow

from auscult.cli import main
from auscult.core.errors import DataError
from auscult.core.seeds import rng
from auscult.core.types import Audio, Frames, Sample, Turn
from auscult.data import prints
from auscult.data.leakage import Found, Guard, compare, guarded, rows_of
from auscult.data.prints import NO_PRINT, Cache, look
from auscult.data.source import Listed, Row
from auscult.data.sources.scenes import Source as Scenes
from auscult.data.sources.sounds import Sounds
from auscult.data.sources.sounds import Source as Recordings

WORDS = "what does the second speaker promise the first one after the door has been closed behind them"


def row(number: int, question: str = "What?", *, media: Any = None, choices: tuple[str, ...] = (), **tags: str) -> Row:
    """A row about a recording that is not there, unless a medium is given."""
    part = media or Audio(f"/nowhere/{number}.wav")
    sample = Sample(str(number), (Turn("user", (part, question)),), ("x",), choices=choices, tags=tags)
    return Row(f"rows:{number}", sample)


def noise(seed: int = 0, seconds: float = 4.0) -> Audio:
    return Audio.of((0.1 * rng(seed, "noise").standard_normal(round(8000 * seconds))).astype(np.float32), 8000)


def pairs(found: Found) -> list[tuple[str, str, str]]:
    return [(leak.train, leak.benchmark, leak.kind) for leak in found.leaks]


@pytest.fixture
def altered(testdata: Path, tmp_path: Path) -> Path:
    """A training set of four rows that a benchmark of six has under other names, and of two that it has not."""
    clips = ("esc10/dog_bark/1-100032-a.ogg", "fsdd/7_theo_3.wav", "librispeech/1688/1688-142285-0002.flac")
    train, benchmark = [], []
    for number, name in enumerate(clips):
        wave, rate = soundfile.read(testdata / name, dtype="float32")
        again = soxr.resample(np.concatenate([np.zeros(rate, np.float32), wave]) * 0.25, rate, 16_000)
        soundfile.write(
            tmp_path / f"{number}.mp3", again, 16_000, bitrate_mode="CONSTANT", compression_level=(160 - 64) / 152
        )
        train.append({"id": f"t{number}", "audio": f"{number}.mp3", "question": "What?", "answer": "x"})
        benchmark.append({"id": f"b{number}", "audio": str(testdata / name), "question": "Who?", "answer": "x"})
    film = testdata / "cxr" / "2086b9e1.png"
    with Pillow.open(film) as picture:
        picture.convert("RGB").resize((448, 448)).save(tmp_path / "film.jpg", quality=60)
    train.append({"id": "t3", "image": "film.jpg", "question": "What?", "answer": "x"})
    benchmark.append({"id": "b3", "image": str(film), "question": "Who?", "answer": "x"})
    for name in ("fsdd/7_theo_4.wav", "esc10/dog_bark/1-32318-a.ogg"):
        train.append({"id": name, "audio": str(testdata / name), "question": "What?", "answer": "x"})
    for key, name in (("audio", "fsdd/7_theo_5.wav"), ("image", "cxr/a2eba651.png")):
        benchmark.append({"id": name, key: str(testdata / name), "question": "Who?", "answer": "x"})
    for name, rows in (("train", train), ("benchmark", benchmark)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return tmp_path


def test_altered_media_are_found_and_the_exit_code_says_so(altered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "leaks", str(altered / "train.jsonl"), "--against", str(altered / "benchmark.jsonl")]
    assert main([*command, "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert [(leak["train"][-1], leak["benchmark"][-1], leak["kind"]) for leak in found["leaks"]] == [
        ("1", "1", "audio"),
        ("2", "2", "audio"),
        ("3", "3", "audio"),
        ("4", "4", "image"),
    ]
    assert all(leak["strength"] > 0.9 for leak in found["leaks"])
    assert (found["train_rows"], found["benchmark_rows"], found["leaking_train_rows"]) == (6, 6, 4)
    assert found["evidence"] == {"audio": 3, "image": 1}
    assert found["leaks"][1]["note"].endswith("s compared, heard 1.01 s earlier there")
    assert main([*command, "--show", "2"]) == 2
    said = capsys.readouterr().out
    assert "4 of 6 training rows are in 4 of 6 benchmark rows\naudio       3 pairs\nimage       1 pairs\n" in said
    assert "and 2 more (--json lists all)" in said
    clean = ["data", "leaks", str(altered / "benchmark.jsonl"), "--against", str(altered / "clean.jsonl")]
    (altered / "clean.jsonl").write_text((altered / "train.jsonl").read_text().splitlines()[5])
    assert main(clean) == 0
    assert capsys.readouterr().out.startswith("0 of 6 training rows are in 0 of 1 benchmark rows\n")


def test_a_word_said_again_is_suspected_and_acquitted(testdata: Path) -> None:
    takes = [row(take, media=Audio(str(testdata / "fsdd" / f"9_jackson_{take}.wav"))) for take in (21, 24)]
    assert pairs(compare(takes[:1], takes)) == [("rows:21", "rows:21", "content")]


def test_prints_are_kept_and_what_is_damaged_is_made_again(altered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audios = [Audio(str(altered / f"{number}.mp3")) for number in range(3)]
    parts = [row(n, media=part) for n, part in enumerate(audios)]
    cache = Cache(altered / "cache")
    first = compare(parts, parts, cache=cache)
    kept = sorted((altered / "cache").rglob("*.npy"))
    assert len(kept) == 3
    with monkeypatch.context() as patch:
        patch.setattr(prints, "audio_print", lambda wave: pytest.fail("printed again"))
        assert compare(parts, parts, cache=cache) == first
    shutil.copy(altered / "0.mp3", altered / "again.mp3")  # another name, the same content
    kept[0].write_bytes(kept[0].read_bytes()[:-7])
    kept[1].write_bytes(b"")
    np.save(kept[2], np.zeros(3))
    assert compare(parts, parts, cache=cache) == first
    assert sorted((altered / "cache").rglob("*")) == sorted([*kept, *{file.parent for file in kept}])
    for age, file in enumerate(kept):
        os.utime(file, (age, age))
    Cache(altered / "cache", limit=kept[1].stat().st_size + kept[2].stat().st_size)
    assert sorted((altered / "cache").rglob("*.npy")) == kept[1:]


def test_the_same_bytes_are_content_where_sections_overlap(tmp_path: Path) -> None:
    one = noise(seconds=12)
    assert one.wave is not None
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", one.wave, 8000)
    benchmark = [row(0, media=Audio(str(tmp_path / "a.wav"), end=5.0))]
    train = [
        row(1, media=Audio(str(tmp_path / "b.wav"), start=4.0)),
        row(2, media=Audio(str(tmp_path / "b.wav"), start=6.0)),
        row(3, media=Audio(str(tmp_path / "b.wav"))),
    ]
    assert pairs(compare(train, benchmark)) == [("rows:1", "rows:0", "content"), ("rows:3", "rows:0", "content")]


def test_what_has_no_print_is_compared_by_bytes_and_counted(tmp_path: Path, testdata: Path) -> None:
    silence = str(testdata / "formats" / "digital_silence.wav")
    shutil.copy(silence, tmp_path / "copy.wav")
    (tmp_path / "torn.wav").write_bytes(Path(silence).read_bytes()[:5000])
    frames = Frames.of(np.ones((3, 4), np.float32), 1.0)
    benchmark = [row(0, media=Audio(silence)), row(1), row(2, media=frames)]
    train = [
        row(3, media=Audio(str(tmp_path / "copy.wav"))),
        row(4, media=Audio(str(testdata / "formats" / "silence.wav"))),
        row(5, media=Audio(str(tmp_path / "torn.wav"))),
        row(6, media=Frames.of(frames.values.copy(), 1.0)),
    ]
    found = compare(train, benchmark)
    assert pairs(found) == [("rows:3", "rows:0", "content"), ("rows:6", "rows:2", "content")]
    assert found.unprinted == {
        f"training: {NO_PRINT}": 3,
        f"benchmark: {NO_PRINT}": 2,
        "benchmark: missing": 1,
        "training: torn": 1,
    }
    assert look(Audio(str(tmp_path / "torn.wav"))).sha256 is not None
    said = "\n".join(found.lines())
    assert "media compared by names and bytes only: " in said
    assert "neither heard nor seen: benchmark: missing 1; say where they are, --audio DIR" in said


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        ("dQw4w9WgXcQ_30_40", "dQw4w9WgXcQ_35_45", 5.0),
        ("dQw4w9WgXcQ_30_40", "dQw4w9WgXcQ_40_50", None),
        ("YdQw4w9WgXcQ_30_40", "dQw4w9WgXcQ_000030", 10.0),  # AudioCaps', VGGSound's
        ("dQw4w9WgXcQ_30000_40000", "dQw4w9WgXcQ_39", 1.0),  # AudioSet's, in milliseconds
        ("dQw4w9WgXcQ_30000", "dQw4w9WgXcQ_32_33.5", 1.5),
        ("dQw4w9WgXcQ", "dQw4w9WgXcQ_90_100", 10.0),
        ("dQw4w9WgXcQ", "dQw4w9WgXcQ", float("inf")),
        ("dQw4w9WgXcQ_30_40", "aQw4w9WgXcQ_30_40", None),
        ("recording_1_30_40", "recording_1_30_40", None),  # eleven letters, but nothing drawn by chance
        ("helicopter1", "helicopter1", None),
        ("dQw4w9WgXcQ_00-01-32_00-02-02", "dQw4w9WgXcQ_95_105", 10.0),  # MMAR's
        ("dQw4w9WgXcQ_01-32_02-02", "dQw4w9WgXcQ_121_131", 1.0),
        ("dQw4w9WgXcQ_00-01-32_00-02-02", "dQw4w9WgXcQ_122_132", None),
        ("dQw4w9WgXcQ_03-00-00_03-30-00", "dQw4w9WgXcQ_03-29-59_03-40-00", 1.0),  # hours are no milliseconds
    ],
)
def test_youtube_sections(one: str, other: str, common: float | None) -> None:
    found = compare([row(1, media=Audio(f"/a/{one}.wav"))], [row(2, media=Audio(f"/b/{other}.flac"))])
    assert [leak.kind for leak in found.leaks] == ([] if common is None else ["youtube"])
    if common is not None:
        said = "neither says which section" if common == float("inf") else f"{common:g} s in common"
        assert found.leaks[0].note == f"dQw4w9WgXcQ, {said}"


def test_sections_of_bilibili() -> None:
    benchmark = [row(0, media=Audio("/a/BV1AeZzYTEKq_00-00-24_00-00-54.wav"))]
    train = [row(1, media=Audio("/b/BV1AeZzYTEKq_30_40.wav")), row(2, media=Audio("/b/BV1AeZzYTEKq_60_70.wav"))]
    assert [(leak.train, leak.note) for leak in compare(train, benchmark).leaks] == [
        ("rows:1", "BV1AeZzYTEKq, 10 s in common")
    ]


def test_youtube_ids_in_tags() -> None:
    benchmark = [row(0, youtube_id="abcdefghijk", start_time="30")]
    train = [
        row(1, youtube_id="abcdefghijk", start_time="39", end_time="60"),
        row(2, YTID="abcdefghijk", start_seconds="40"),
        row(3, ytid="abcdefghijk"),
        row(4, video_id="abcdefghijk", start_time="soon"),
        row(5, youtube_id="another"),
    ]
    found = compare(train, benchmark)
    assert [(leak.train[-1], leak.strength) for leak in found.leaks] == [("1", 0.1), ("3", 1.0), ("4", 1.0)]


def test_ids_count_only_where_they_are_not_alike_by_chance() -> None:
    telling = ("3fe64f3d-282c-4bc8-a753-68f8f6c35652", "synpic100132", "1-100032-a", "1688-142285-0002", "vqa_00d96e05")
    common = ("17", "clip-17", "000100132", "audio_000123", "question_0001", "train", "decade", "100132")
    rows = [
        Row(f"rows:{name}", Sample(name, (Turn("user", (Audio(f"/nowhere/{n}.wav"), "What?")),), ()))
        for n, name in enumerate((*telling, *common))
    ]
    assert pairs(compare(rows, rows)) == [(f"rows:{name}", f"rows:{name}", "id") for name in telling]
    files = [row(1, media=Audio("/a/synpic100132.wav")), row(2, media=Audio("/a/clip-17.wav"))]
    moved = [row(3, media=Audio("/b/synpic100132.mp3")), row(4, media=Audio("/b/clip-17.mp3"))]
    assert pairs(compare(files, moved)) == [("rows:1", "rows:3", "id")]


def test_words_tell_when_they_are_a_rows_own() -> None:
    benchmark = [row(0, f"{WORDS}?"), row(1, "What is heard in this recording?")]
    changed = WORDS.replace("second", "third")
    train = [
        row(2, f"  {WORDS.upper()} !"),
        row(3, f"Listen. Tell me {WORDS} and why"),
        row(4, changed),
        row(5, changed.replace("behind", "after")),
        row(6, "What is heard in this recording?"),
        row(7, " ".join(WORDS.split()[::-1])),
    ]
    found = compare(train, benchmark)
    assert [(leak.train[-1], leak.benchmark[-1], round(leak.strength, 2)) for leak in found.leaks] == [
        ("2", "0", 1.0),
        ("3", "0", 1.0),
    ]
    assert found.wordless == 1
    assert "too few words of their own to be known by: 1" in "\n".join(found.lines())


def test_choices_are_words_too_in_any_order() -> None:
    choices = ("a red bus passes twice", "somebody drops a tray", "the crowd begins to sing", "nothing at all")
    benchmark = [row(0, "What happens next?", choices=choices)]
    train = [row(1, "What happens next?", choices=choices[::-1]), row(2, "What happens next?", choices=choices[:1])]
    assert pairs(compare(train, benchmark)) == [("rows:1", "rows:0", "question")]


def asked(number: int, *turns: str, answers: tuple[str, ...] = ()) -> Row:
    """A row whose choices, if any, stand in its text; every second turn is a reply."""
    media = (Audio(f"/nowhere/{number}.wav"),)
    said = [Turn("assistant" if at % 2 else "user", (*media[at:], text)) for at, text in enumerate(turns)]
    return Row(f"rows:{number}", Sample(str(number), tuple(said), answers))


QUESTION = "Why does the speaker leave the room so early?"
CHOICES = ("a red bus passes", "somebody drops a tray", "the crowd sings")
LINES = "".join(f"\n{letter}. {choice}" for letter, choice in zip("ABC", CHOICES[::-1], strict=True))


@pytest.mark.parametrize(
    "turns",
    [
        (f"{QUESTION}{LINES}",),
        (f"{QUESTION} (A) {CHOICES[1]} (B) {CHOICES[2]} (C) {CHOICES[0]}",),
        (f"Listen to this first.\n{QUESTION}{LINES}\nAnswer with the letter of the option.",),
        (f"{QUESTION}{LINES}", "B", "Are you sure?"),
        (QUESTION, "Somebody drops a tray.", "Are you sure?"),
    ],
)
def test_choices_in_the_text_and_earlier_turns_count(turns: tuple[str, ...]) -> None:
    media = Audio("/nowhere/0.wav")
    sample = Sample("0", (Turn("user", (media, QUESTION)),), ("somebody drops a tray",), choices=CHOICES)
    assert pairs(compare([asked(1, *turns, answers=("Yes",))], [Row("rows:0", sample)])) == [
        ("rows:1", "rows:0", "question")
    ]


def test_an_answer_is_as_good_as_the_choices() -> None:
    sample = Sample("0", (Turn("user", (Audio("/0.wav"), QUESTION)),), ("somebody drops a tray",), choices=CHOICES)
    train = [asked(1, QUESTION, answers=("Somebody drops a tray",)), asked(2, QUESTION, answers=("nobody knows that",))]
    others = f"{QUESTION}\nA. nothing at all\nB. {CHOICES[1]}"
    train += [asked(number, others, answers=(letter,)) for number, letter in ((5, "B"), (6, "A"), (7, "(B)"))]
    found = compare(train, [Row("rows:0", sample)])
    assert pairs(found) == [(f"rows:{number}", "rows:0", "question") for number in (1, 5, 7)]
    twice = [asked(1, QUESTION, answers=("Somebody drops a tray",)), asked(1, "Another one?")]  # of one name
    assert compare(twice, [Row("rows:0", sample)]).rows == ("rows:1",)
    spoken = "the transcript of a long sentence that nobody would ever say twice in another recording"
    transcribe = [asked(number, "Transcribe.", answers=(spoken,)) for number in (3, 4)]
    assert pairs(compare(transcribe[:1], transcribe[1:])) == [("rows:3", "rows:4", "question")]


def test_templates_are_no_evidence() -> None:
    twice = [row(0, WORDS), row(1, WORDS)]  # asked of two recordings
    assert compare([row(2, WORDS)], twice).leaks == ()
    same = [row(0, WORDS, media=Audio("/nowhere/0.wav")), row(1, f"{WORDS} ", media=Audio("/nowhere/0.wav"))]
    assert len(compare([row(2, WORDS)], same).leaks) == 2  # of one, twice
    assert len(compare([row(n, WORDS) for n in range(1, 11)], twice[:1]).leaks) == 10
    assert compare([row(n, WORDS) for n in range(1, 12)], twice[:1]).leaks == ()


def test_languages_without_spaces_have_words() -> None:
    chinese = "录音中第二个说话的人在门关上之后答应了什么"
    assert pairs(compare([row(1, f"请问{chinese}?")], [row(0, chinese)])) == [("rows:1", "rows:0", "question")]


def test_rows_about_one_recording_all_leak_and_each_pair_is_named_once_a_kind() -> None:
    train = [row(0, media=noise()), row(1, media=noise()), row(2, media=noise(1))]
    benchmark = [row(3, media=noise()), row(4, media=noise())]
    found = compare(train, benchmark)
    assert pairs(found) == [(f"rows:{a}", f"rows:{b}", "content") for a in (0, 1) for b in (3, 4)]
    assert found.rows == ("rows:0", "rows:1")
    assert found.to_dict()["pairs"] == 4


def test_progress_is_told_for_every_medium() -> None:
    said: list[tuple[str, int, int]] = []
    compare([row(0), row(1)], [row(2)], tell=lambda what, done, total, _: said.append((what, done, total)))
    assert said == [("benchmark media", 1, 1), ("training media", 1, 2), ("training media", 2, 2)]


@pytest.fixture
def guard(altered: Path) -> Callable[..., Guard]:
    return lambda **options: Guard(against=(str(altered / "benchmark.jsonl"),), **options)


def samples(altered: Path) -> Listed:
    found = [json.loads(line) for line in (altered / "train.jsonl").read_text().splitlines()]
    clips = [one for one in found if "audio" in one]
    parts = [Audio(os.path.join(altered, one["audio"])) for one in clips]
    return Listed(tuple(row(number, media=part).sample for number, part in enumerate(parts)))


def test_training_is_refused_with_the_number_of_leaks(altered: Path, guard: Callable[..., Guard]) -> None:
    with pytest.raises(DataError, match=r"3 of 5 training samples are in .*\(audio 3\), first: train\[0\] is .*:1"):
        guarded(samples(altered), guard(), lambda *_: None)


def test_leaks_are_dropped_and_counted(altered: Path, guard: Callable[..., Guard]) -> None:
    train = samples(altered)
    with (altered / "benchmark.jsonl").open("a") as file:
        file.write("{\n")
    kept, found = guarded(train, guard(action="drop"), lambda *_: None)
    assert [kept[number] for number in range(kept.size or 0)] == list(train.samples[3:])
    assert found is not None
    assert found.rows == ("train[0]", "train[1]", "train[2]")
    assert found.notes == (
        f"{altered / 'benchmark.jsonl'}: 1 rows are no samples and were left out; `auscult data check` lists them",
    )
    with pytest.raises(DataError, match="all 3 training samples"):
        guarded(Listed(train.samples[:3]), guard(action="drop"), lambda *_: None)


def test_without_benchmarks_nothing_is_compared_and_without_an_end_nothing_can_be(guard: Callable[..., Guard]) -> None:
    endless = Scenes().split("train", 0)
    assert guarded(endless, Guard(), lambda *_: None) == (endless, None)
    with pytest.raises(DataError, match="drawn without end"):
        guarded(endless, guard(), lambda *_: None)


def test_a_guard_that_compares_nothing_stops_the_run(altered: Path) -> None:
    foreign, blind = altered / "foreign.jsonl", altered / "blind.jsonl"
    foreign.write_text('{"nothing": 1}\n')
    blind.write_text('{"id": "1", "audio": "gone.wav", "question": "What?", "answer": "x"}\n')
    known = str(altered / "benchmark.jsonl")
    for against, said in (
        ((known, str(foreign)), r"nothing of .*foreign\.jsonl can be compared \(.*1 rows are no samples"),
        ((str(blind),), r"none of the 1 rows of .*blind\.jsonl can be compared: .* where its media are"),
    ):
        with pytest.raises(DataError, match=said):
            guarded(samples(altered), Guard(against=against, action="drop"), lambda *_: None)
        assert main(["data", "leaks", str(altered / "train.jsonl"), "--against", *against]) == 2
    kept, found = guarded(samples(altered), Guard(against=(known, str(blind)), action="drop"), lambda *_: None)
    assert found is not None
    assert (kept.size, found.unknown) == (2, 1)
    assert "benchmark rows that could not be compared at all: 1" in found.to_dict()["said"]


def test_a_recipe_gives_its_own_side(altered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "leaks", "quickstart", "--against", str(altered / "benchmark.jsonl")]) == 2
    assert "the train split never ends and was left out" in capsys.readouterr().err
    recipe = altered / "mine.yaml"
    names = {name: str(altered / f"{name}.jsonl") for name in ("train", "benchmark")}
    recipe.write_text(
        f"name: mine\ndata: {{source: jsonl, root: {names['train']}, heldout: {names['benchmark']}}}\n"
        "model: {family: graft}\n"
    )
    assert main(["data", "leaks", str(recipe), "--against", str(recipe), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["train_rows"], found["benchmark_rows"], found["evidence"]) == (6, 6, {"audio": 3, "image": 1})
    (altered / "clean.jsonl").write_text((altered / "train.jsonl").read_text().splitlines()[5])
    settings = ["--data.root", names["benchmark"], "--data.heldout", str(altered / "clean.jsonl")]
    assert main(["data", "leaks", str(recipe), "--against", str(recipe), "--json", *settings]) == 0
    assert json.loads(capsys.readouterr().out)["train_rows"] == 6


def test_the_benchmark_on_file_is_known_by_its_words_but_for_templates(testdata: Path) -> None:
    rows, _ = rows_of(testdata / "text" / "mmau-test-mini.json", "heldout")
    for before, least in (("", 185), ("Listen closely. ", 185)):
        stolen = [
            row(number, f"{before}{one.sample.question}", choices=one.sample.choices)
            for number, one in enumerate(rows[:200])
        ]
        found = compare(stolen, rows)
        assert all(leak.benchmark.endswith(f"[{leak.train.removeprefix('rows:')}]") for leak in found.leaks)
        assert least < len(found.rows) < 200
    assert found.wordless == 61
    assert compare([row(n, "What is the main instrument in this recording?") for n in range(50)], rows).leaks == ()


def test_what_is_about_other_recordings_shares_no_words(testdata: Path) -> None:
    questions, _ = rows_of(testdata / "text" / "mmau-test-mini.json", "heldout")
    listed = (testdata / "text" / "VQAMed2019_Test_Questions_w_Ref_Answers.txt").read_text(errors="replace")
    films = [line.split("|") for line in listed.splitlines()]
    with (testdata / "text" / "audiocaps_val.csv").open() as file:
        captions = [line["caption"] for line in csv.DictReader(file)]
    drawn = Scenes().split("train", 0)
    train = [
        *(asked(number, question, answers=(answer,)) for number, (*_, question, answer) in enumerate(films)),
        *(asked(number, "Describe it.", answers=(caption,)) for number, caption in enumerate(captions)),
        *(Row(f"scenes:{number}", drawn[number]) for number in range(200)),
    ]
    assert len(train) > 3_000
    assert compare(train, questions).kinds.get("question", 0) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["data", "leaks", "x.jsonl"], "--against"),
        (["data", "leeks", "x"], "did you mean 'leaks'?"),
        (["data"], "usage: auscult data check"),
        (["data", "leaks", "/nowhere.jsonl", "--against", "/nowhere"], "/nowhere.jsonl"),
    ],
)
def test_mistakes_are_sentences(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_help_names_both_verbs_with_their_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "--help"]) == 0
    said = capsys.readouterr().out
    assert "usage: auscult data check FILE" in said
    assert "usage: auscult data leaks TRAIN --against BENCHMARK" in said
    assert main(["data", "leaks", "--help"]) == 0
    assert "data check FILE" not in capsys.readouterr().out


def test_shown_samples_name_the_recipe_whose_model_reads_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "quickstart", "--show", "1", "--data.heldout", "4"]) == 0
    assert "1 of them, as the model and the wording of the recipe quickstart show them:" in capsys.readouterr().out


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two classes of six recordings each."""
    for label in ("hiss", "rush"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for number in range(6):
            clip = noise(10 * (label == "rush") + number)
            soundfile.write(tmp_path / "sounds" / label / f"{number}.wav", np.asarray(clip.wave), 8000)
    return tmp_path / "sounds"


def test_questions_without_end_are_compared_by_their_recordings(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = Recordings(root=str(recordings)).split("train", 0)
    assert isinstance(train, Sounds)
    clips = train.rows()
    shutil.copy(clips[0].where, tmp_path / "theirs.wav")
    bench = tmp_path / "bench.jsonl"
    bench.write_text(json.dumps({"id": "b", "audio": "theirs.wav", "question": "What?", "answer": "x"}) + "\n")
    with pytest.raises(DataError, match=rf"1 of {len(clips)} training recordings are in .*{re.escape(clips[0].where)}"):
        guarded(train, Guard(against=(str(bench),)), lambda *_: None)
    kept, found = guarded(train, Guard(against=(str(bench),), action="drop"), lambda *_: None)
    assert found is not None
    assert found.rows == (clips[0].where,)
    assert isinstance(kept, Sounds)
    assert [row.where for row in kept.rows()] == [row.where for row in clips[1:]]
    told = "/".join(Path(clips[0].where).parts[-2:])
    assert told in {train[index].tags["file"] for index in range(60)}
    assert told not in {kept[index].tags["file"] for index in range(60)}
    rows, notes = rows_of(Recordings(root=str(recordings)), "train")
    assert ([row.where for row in rows], notes) == ([row.where for row in clips], ())
    label = Path(clips[0].where).parent.name
    with pytest.raises(DataError, match=rf"all training clips of \['{label}'\] are left out"):
        train.without([row.where for row in clips if Path(row.where).parent.name == label])
    leaks = ["data", "leaks", "sounds", "--data.root", str(recordings), "--against", str(bench)]
    assert main(leaks) == 2
    assert f"1 of {len(clips)} training rows are in 1 of 1 benchmark rows" in capsys.readouterr().out


def test_a_benchmark_that_is_not_there_is_named(altered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "leaks", str(altered / "train.jsonl"), "--against", "mmarr:gold.json"]) == 2
    assert "there is no file or folder mmarr:gold.json, did you mean 'mmar'?; check the path" in capsys.readouterr().err
    assert main(["data", "leaks", str(altered / "train.jsonl"), "--against", "gone.json"]) == 2
    said = capsys.readouterr().err
    assert "there is no file or folder gone.json; check the path" in said
