"""Captions find their clips, as frames or as recordings; what is missing is listed, and no clip crosses a split."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import DataError, MediaError
from auscult.core.types import Audio, Frames, Sample
from auscult.data.check import check
from auscult.data.frames import About, FrameSet, writing
from auscult.data.source import Samples
from auscult.data.sources.captions import Source, read

HEAD = ["audiocap_id", "youtube_id", "start_time", "caption"]
ROWS: list[list[Any]] = [
    [1, "-0RWZT-miFs", 420, "A key turns, and a car starts"],
    [2, "a_b_c", 30, "Rain falls"],
    [3, "-0RWZT-miFs", 420, 'A man says "so", keys jangle'],
    [4, "a_b_c", 0, "Wind"],
    [5, "zzzzzzzzzzz", 7, "A dog barks"],
]


def write(path: Path, head: list[str], rows: list[list[Any]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    return str(path)


def frame_set(path: Path, clips: list[tuple[str, float]]) -> str:
    with writing(path, About(4, 1.0, "uint8", 4 / 255, -2.0)) as writer:
        for number, (name, start) in enumerate(clips):
            writer.add(name, np.full((10, 4), number % 256, np.uint8), start=start)
    return str(path)


def record(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 800), 8000)


def recording(sample: Sample) -> str:
    media = sample.media[0]
    return str(media.path) if isinstance(media, Audio) else ""


def listed(samples: Samples) -> list[Sample]:
    return [samples[n] for n in range(samples.size or 0)]


def both(source: Source) -> dict[str, Sample]:
    return {sample.id: sample for name in ("train", "heldout") for sample in listed(source.split(name, 0))}


def test_captions_of_a_clip_are_its_answers_and_its_frames_are_found_by_id_and_start(tmp_path: Path):
    root = write(tmp_path / "train.csv", HEAD, ROWS)
    one = frame_set(tmp_path / "bal", [("a_b_c", 0.0), ("other", 30.0), ("a_b_c", 30.0), ("zzzzzzzzzzz", 7.0)])
    two = frame_set(tmp_path / "unbal", [("-0RWZT-miFs", 420.0)])
    source = Source(root=root, frames=(one, two), heldout_share=0.4)
    found = both(source)
    assert {name: sample.answers for name, sample in found.items()} == {
        "-0RWZT-miFs_420": ("A key turns, and a car starts", 'A man says "so", keys jangle'),
        "a_b_c_30": ("Rain falls",),
        "a_b_c_0": ("Wind",),
        "zzzzzzzzzzz_7": ("A dog barks",),
    }
    sample = found["a_b_c_30"]
    assert (sample.group, sample.question) == ("a_b_c", "Describe this sound.")
    media = sample.media[0]
    assert isinstance(media, Frames)
    assert np.array_equal(media.values, FrameSet.open(one).values(2))
    assert (media.rate, found["a_b_c_0"].media == sample.media) == (1.0, False)
    sides = [{sample.group for sample in listed(source.split(name, 0))} for name in ("train", "heldout")]
    assert not sides[0] & sides[1]
    assert source.missing("train", 0) == ()
    assert [row.sample for row in source.rows("train", 0)] == listed(source.split("train", 0))


def test_recordings_are_found_by_their_names_anywhere_in_the_folder(tmp_path: Path):
    root = write(tmp_path / "train.csv", HEAD, ROWS)
    names = ["-0RWZT-miFs_420.flac", "more/a_b_c_30.wav", "a_b_c_0.000.ogg", "zzzzzzzzzzz_7.wav", "a_b_c_31.wav"]
    for name in names:
        record(tmp_path / "audio" / name)
    (tmp_path / "audio" / "notes_7.txt").write_text("no recording")
    found = both(Source(root=root, audio=str(tmp_path / "audio"), heldout_share=0.4))
    assert {name: Path(recording(sample)).name for name, sample in found.items()} == {
        "-0RWZT-miFs_420": "-0RWZT-miFs_420.flac",
        "a_b_c_30": "a_b_c_30.wav",
        "a_b_c_0": "a_b_c_0.000.ogg",
        "zzzzzzzzzzz_7": "zzzzzzzzzzz_7.wav",
    }
    record(tmp_path / "audio" / "again" / "a_b_c_30.flac")
    with pytest.raises(DataError, match="are recordings of one clip"):
        both(Source(root=root, audio=str(tmp_path / "audio")))


def test_missing_clips_are_listed_and_too_many_are_an_error(tmp_path: Path):
    root = write(tmp_path / "train.csv", HEAD, ROWS)
    held = write(tmp_path / "val.csv", HEAD, [[9, "held", 1, "A bell"]])
    frames = frame_set(tmp_path / "set", [("a_b_c", 0.0), ("a_b_c", 29.0), ("zzzzzzzzzzz", 7.0), ("held", 1.0)])
    with pytest.raises(DataError, match=r"train\.csv: 2 of 4 clips are not in the frame sets .*: -0RWZT-miFs_420, a_b"):
        Source(root=root, heldout=held, frames=(frames,), max_missing=0.49).split("train", 0)
    source = Source(root=root, heldout=held, frames=(frames,), max_missing=0.5)
    assert source.missing("train", 0) == ("-0RWZT-miFs_420", "a_b_c_30")
    assert source.missing("heldout", 0) == ()
    assert [sample.id for sample in listed(source.split("train", 0))] == ["a_b_c_0", "zzzzzzzzzzz_7"]
    many = write(tmp_path / "many.csv", HEAD, [[n, f"id{n}", n, "A"] for n in range(9)])
    with pytest.raises(
        DataError, match=r"9 of 9 clips are not in .*: id0_0, .*, id4_4 and 4 more; name where they are"
    ):
        Source(root=many, heldout=held, frames=(frames,), max_missing=0.99).split("train", 0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no files"):
        Source(root=root, audio=str(tmp_path / "empty")).split("train", 0)
    with pytest.raises(DataError, match=r"is no folder; name the one of the recordings \(--data\.audio\)"):
        Source(root=root, audio=str(tmp_path / "none")).split("train", 0)


def test_official_splits_are_kept_and_nothing_is_in_both(tmp_path: Path):
    frames = frame_set(tmp_path / "set", [(f"id{n}", 0.0) for n in range(4)])
    root = write(tmp_path / "train.csv", HEAD, [[n, f"id{n}", 0, "A"] for n in range(3)])
    held = write(tmp_path / "val.csv", HEAD, [[9, "id3", 0, "B"], [10, "id3", 0, "C"]])
    source = Source(root=root, heldout=held, frames=(frames,))
    assert [sample.id for sample in listed(source.split("train", 1))] == ["id0_0", "id1_0", "id2_0"]
    assert [sample.answers for sample in listed(source.split("heldout", 1))] == [("B", "C")]
    leak = write(tmp_path / "leak.csv", HEAD, [[9, "id1", 10, "B"]])  # another clip of the same video
    with pytest.raises(DataError, match="1 groups are both in training and held out: id1"):
        Source(root=root, heldout=leak, frames=(frames,)).split("train", 0)


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        (
            ["file_name", *(f"caption_{n}" for n in range(1, 4))],
            [["a b.wav", "A", "B", "C"], ["sub/c.wav", "D", "", ""]],
        ),
        (["file", "caption"], [["a b.wav", "A"], ["sub/c.wav", "D"], ["a b.wav", "B"], ["a b.wav", "C"]]),
        (
            ["", "path", "caption"],
            [[0, "./a b.wav", "A"], [1, "sub//c.wav", "D"], [2, "a b.wav", "B"], [3, ".//a b.wav", "C"]],
        ),
    ],
)
def test_a_csv_of_files_and_captions(tmp_path: Path, head: list[str], rows: list[list[Any]]):
    root = write(tmp_path / "captions.csv", head, rows)
    for name in ("a b.wav", "sub/c.wav"):
        record(tmp_path / name)
    found = both(Source(root=root, heldout_share=0.5))
    assert {name: (sample.answers, sample.group) for name, sample in found.items()} == {
        "a b.wav": (("A", "B", "C"), "a b.wav"),
        "sub/c.wav": (("D",), "sub/c.wav"),
    }
    assert found["a b.wav"].media == (Audio(str(tmp_path / "a b.wav")),)
    (tmp_path / "a b.wav").write_bytes(b"RIFF")
    with pytest.raises(MediaError, match="1 of 1 recordings cannot be used"):
        both(Source(root=root, heldout_share=0.5))
    frames = frame_set(tmp_path / "set", [("sub/c.wav", float("nan")), ("a b.wav", float("nan"))])
    heard = {name: sample.media[0] for name, sample in both(Source(root=root, frames=(frames,))).items()}
    opened = FrameSet.open(frames)
    assert heard == {"a b.wav": opened.media(1), "sub/c.wav": opened.media(0)}


def test_files_of_one_name_in_two_folders_are_two_and_groups_hold_together(tmp_path: Path):
    for folder in ("dev", "eval"):
        record(tmp_path / folder / "a.wav")
    dev, held = (
        write(tmp_path / folder / "c.csv", ["file", "caption"], [["a.wav", "A"]]) for folder in ("dev", "eval")
    )
    assert len(listed(Source(root=dev, heldout=held).split("train", 0))) == 1
    with pytest.raises(DataError, match=r"1 groups are both in training and held out: .*/dev/a\.wav"):
        Source(root=dev, heldout=held, audio=str(tmp_path / "dev")).split("train", 0)
    rows = [[f"{n}.wav", "A", f"field {n // 3}"] for n in range(12)]
    for row in rows:
        record(tmp_path / row[0])
    source = Source(root=write(tmp_path / "c.csv", ["file", "caption", "group"], rows), heldout_share=0.5)
    sides = [{sample.group for sample in listed(source.split(name, 3))} for name in ("train", "heldout")]
    assert (sides[0] & sides[1], len(sides[0]), len(sides[1])) == (set(), 2, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no rows; write a first line that names the columns"),
        ("caption,caption\na,b\n", "names each of them once"),
        ("youtube_id,start_time,caption\n", "no rows"),
        ("youtube_id,start_time,caption\nx,0,\n", r":2: no caption"),
        ("youtube_id,start_time,caption\n,0,a\n", r":2: `youtube_id` is empty"),
        ("youtube_id,start_time,caption\nx,soon,a\n", r":2: `start_time` is 'soon'"),
        ("youtube_id,start_time,caption\nx,nan,a\n", r":2: `start_time` is 'nan'"),
        ("youtube_id,start_time,caption\nx,-1,a\n", r":2: `start_time` is '-1'"),
        ("youtube_id,caption\nx,a\n", r":2: `start_time` is None"),
        (
            "name,caption\nx,a\n",
            r"csv has no column `youtube_id` or one of file_name, file, audio, path, but name, cap",
        ),
        ("file,captoin\nx,a\n", r"csv has no column `caption`, or `caption_1` and on, but file, captoin; rename"),
        ("file,caption\nx,a,b\n", r":2: 3 cells under 2 columns; put text with commas into quotes"),
        ('file,caption\nx,"a\n', r": no valid CSV"),
        ("file,caption,group\nx,a,1\nx,b,2\n", r":3: the group is '2', but .*:2 says '1'"),
        ("file,caption\nhttps://host/a.wav,a\n", ":2: `audio` is the address https://host/a.wav; download it"),
        ("file,caption\nx,\ny,\nz,a\n", "2 of 3 rows cannot be used"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path: Path, text: str, said: str):
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read(tmp_path / "c.csv")


def test_check_lists_every_row_and_recording_that_cannot_be_used(tmp_path: Path):
    for name in ("-0RWZT-miFs_420.wav", "a_b_c_30.wav"):
        record(tmp_path / "audio" / name)
    path = write(tmp_path / "train.csv", HEAD, [*ROWS, [6, "", 1, "Nobody's"], [7, "x", 1, ""]])
    found = check(path, audio_root=tmp_path / "audio")
    assert (found.kind, found.rows, found.sound_rows, found.recordings) == ("captions", 6, 2, 4)
    assert found.reasons == {"missing": 2, "bad_row": 2}
    assert [(problem.row, problem.reason) for problem in found.problems] == [
        ("5", "missing"),
        ("6", "missing"),
        ("7", "bad_row"),
        ("8", "bad_row"),
    ]
    assert "a_b_c_0.wav does not exist" in found.problems[0].message
    assert found.samples[0].answers == ("A key turns, and a car starts", 'A man says "so", keys jangle')


def test_check_counts_captions_that_a_clip_has_twice(tmp_path: Path):
    record(tmp_path / "a.wav")
    rows = [["a.wav", "a dog"], ["a.wav", "a bark"], ["a.wav", "a dog"]]
    found = check(Path(write(tmp_path / "all.csv", ["file", "caption"], rows)))
    said = "captions that a clip has more than once, each time an answer: 1, a.wav: a dog"
    assert said in found.notes
    assert said in found.lines()
    assert check(Path(write(tmp_path / "once.csv", ["file", "caption"], rows[:2]))).notes == ()


def test_check_says_what_was_left_out_of_a_split(tmp_path: Path):
    root = write(tmp_path / "train.csv", HEAD, ROWS)
    held = write(tmp_path / "val.csv", HEAD, [[n, f"held{n}", 1, "A bell"] for n in range(9)])
    frames = frame_set(tmp_path / "set", [("a_b_c", 0.0), ("-0RWZT-miFs", 420.0), ("zzzzzzzzzzz", 7.0), ("held8", 1.0)])
    found = check(Source(root=root, heldout=held, frames=(frames,), max_missing=0.9))
    assert (found.rows, found.problems) == (4, ())
    assert found.notes == (
        "train: 1 of 4 clips are left out: a_b_c_30",
        "heldout: 8 of 9 clips are left out: held0_1, held1_1, held2_1, held3_1, held4_1 and 3 more",
    )


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0")).map(str.strip).filter(bool)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 4), WORDS), min_size=1, max_size=12))
def test_every_caption_is_kept_once_in_order(tmp_path_factory: pytest.TempPathFactory, made: list[tuple[int, str]]):
    """Whatever it holds: quotes, commas, line ends."""
    path = tmp_path_factory.mktemp("csv") / "c.csv"
    write(path, ["file", "caption"], [[f"{clip}.wav", text] for clip, text in made])
    for clip in read(path):
        assert list(clip.captions) == [text for number, text in made if f"{number}.wav" == clip.name]


@pytest.mark.parametrize(
    "options",
    [{"heldout_share": 0.0}, {"max_missing": 1.0}, {"max_missing": -0.1}, {"audio": "a", "frames": ("b",)}],
)
def test_options_that_cannot_be(options: dict[str, Any]):
    with pytest.raises(ValueError, match="set"):
        Source(root="a.csv", **options)


def test_audiocaps_as_published(testdata: Path, tmp_path: Path):
    """Its validation split: 495 clips of five captions."""
    path = testdata / "text" / "audiocaps_val.csv"
    clips = read(path)
    assert (len(clips), {len(clip.captions) for clip in clips}) == (495, {5})
    keys = [(clip.name, float(clip.start or 0)) for clip in clips]
    source = Source(root=str(path), frames=(frame_set(tmp_path / "set", keys[::-1]),), heldout_share=0.2)
    found = both(source)
    assert len(found) == 495
    first = clips[0]
    assert found[first.id].answers == first.captions
    assert found[first.id].media[0] == FrameSet.open(tmp_path / "set").media(494)
    assert 90 <= len(listed(source.split("heldout", 0))) <= 108
