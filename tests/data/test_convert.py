"""Records become frame sets and shards: all that can be used, in order, the same bytes each time, drops counted."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tfrecord as independent

from auscult.core.errors import DataError
from auscult.core.seeds import rng
from auscult.data import tfrecord
from auscult.data.audioset import EMBEDDING, Clip, encode
from auscult.data.convert import convert
from auscult.data.frames import FrameSet, Lost
from auscult.data.shards import write_shards

LABELS = "index,mid,display_name\n" + "".join(f"{n},/m/{n},name {n}\n" for n in range(527))


def clip(number: int) -> Clip:
    draw = rng(number, "clip")
    rows = draw.integers(0, 256, (int(draw.integers(1, 11)), 128), dtype=np.uint8)
    labels = tuple(draw.choice(527, size=draw.integers(1, 4), replace=False).tolist())
    return Clip(f"-id{number:08d}", float(10 * number), float(10 * number + 10), labels, rows)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder as AudioSet's archive unpacks, two files and seven clips a part."""
    root = tmp_path / "records" / "audioset_v1_embeddings"
    for part, folder in enumerate(("bal_train", "eval")):
        (root / folder).mkdir(parents=True)
        for file in range(2):
            numbers = range(100 * part + 10 * file, 100 * part + 10 * file + 3 + file)
            tfrecord.write(root / folder / f"0{file}.tfrecord", [encode(clip(number)) for number in numbers])
    (root.parent / "class_labels_indices.csv").write_text(LABELS)
    return root


def same(found: FrameSet, numbers: list[int]) -> bool:
    expected = [clip(number) for number in numbers]
    return len(found) == len(numbers) and all(
        found.id(n) == one.id
        and found.starts[n] == one.start
        and tuple(found.labels_of(n)) == one.labels
        and np.array_equal(found.stored(n), one.frames)
        for n, one in enumerate(expected)
    )


def archive(root: Path, to: Path) -> Path:
    with tarfile.open(to, "w:gz") as tar:
        tar.add(root, root.name, filter=lambda member: member)
    return to


BALANCED, EVAL = [0, 1, 2, 10, 11, 12, 13], [100, 101, 102, 110, 111, 112, 113]


def test_each_folder_becomes_a_frame_set(published: Path, tmp_path: Path):
    told: list[tuple[str, int, int]] = []
    balanced, held = convert(published, tmp_path / "out", tell=lambda *said: told.append(said[:3]))
    assert told == [("files of records", done, 4) for done in (1, 2, 3, 4)]
    assert (balanced.path, balanced.clips, balanced.dropped, balanced.published) == (
        tmp_path / "out/bal_train",
        7,
        {},
        22_176,
    )
    found = FrameSet.open(balanced.path, check=True)
    assert balanced.frames == len(found.frames)
    assert same(found, BALANCED)
    assert same(FrameSet.open(held.path), EVAL)
    assert found.about.labels[2] == "name 2", "the labels' names are found beside the records"
    assert found.values(0)[0, 0] == np.float32(clip(0).frames[0, 0]) * np.float32(4 / 255) - 2


def test_the_archive_is_read_without_unpacking_it(published: Path, tmp_path: Path):
    archive(published, tmp_path / "records" / "features.tar.gz")
    before = sorted(tmp_path.rglob("*"))
    (held,) = convert(tmp_path / "records", tmp_path / "out", only=["eval"])
    assert same(FrameSet.open(held.path, check=True), EVAL)
    new = sorted(path.name for path in set(tmp_path.rglob("*")) - set(before))
    assert new == ["about.json", "clips.npz", "eval", "frames.npy", "out"]


def test_a_single_file_and_the_same_bytes_twice(published: Path, tmp_path: Path):
    file = published / "eval" / "01.tfrecord"
    one, other = (convert(file, tmp_path / name)[0] for name in ("one", "other"))
    assert same(FrameSet.open(one.path), EVAL[3:])
    for path in one.path.iterdir():
        assert path.read_bytes() == (other.path / path.name).read_bytes()


def test_what_cannot_be_used_is_counted_and_listed(published: Path, tmp_path: Path):
    data = [encode(clip(number)) for number in range(4)]
    theirs = independent.TFRecordWriter.serialize_tf_sequence_example(
        {"video_id": (b"x", "byte"), "start_time_seconds": (0.0, "float"), "end_time_seconds": (1.0, "float")},
        {EMBEDDING: ([bytes(128)], "byte")},
    )
    broken = bytearray(tfrecord.record(data[1]))
    broken[200] ^= 4
    torn = tfrecord.record(data[3])[:-1]
    parts = [tfrecord.record(data[0]), bytes(broken), tfrecord.record(theirs), tfrecord.record(data[0]), torn]
    file = published / "eval" / "01.tfrecord"
    file.write_bytes(b"".join(parts))
    with pytest.raises(
        DataError, match=r"eval: 4 of 8 records cannot be used \(.*no_labels 1.*01\.tfrecord: record at"
    ):
        convert(published, tmp_path / "out", max_dropped=0.49)
    assert not (tmp_path / "out" / "bal_train").exists(), "all parts or none"
    held = convert(published, tmp_path / "out", max_dropped=0.5)[1]
    assert held.dropped == {"payload_crc": 1, "no_labels": 1, "repeated": 1, "torn": 1}
    found = FrameSet.open(held.path)
    assert same(found, [*EVAL[:3], 0])
    assert found.dropped == held.dropped
    listed = [json.loads(line) for line in (held.path / "dropped.jsonl").read_text().splitlines()]
    assert [row["reason"] for row in listed] == ["payload_crc", "no_labels", "repeated", "torn"]
    offset = len(parts[0])
    assert listed[0]["what"].startswith(f"{file}: record at byte {offset}: the checksum")
    assert listed[1]["what"].startswith(f"{file}: record at byte {offset + len(broken)}: x: `labels`")
    again = offset + len(broken) + len(parts[2])
    assert listed[2] == {
        "reason": "repeated",
        "file": str(file),
        "offset": again,
        "lost_bytes": 0,
        "what": f"{file}: record at byte {again}: -id00000000 at 0 s comes again, with the same frames and labels",
    }
    (unlabelled,) = convert(published, tmp_path / "more", only=["eval"], labelled=False, max_dropped=0.5)
    assert unlabelled.clips == 5


def test_a_repeat_says_what_is_other_than_the_first_time(tmp_path: Path):
    first, other = clip(0), clip(1)
    twice = [first, other, first._replace(frames=other.frames), first._replace(labels=other.labels), other]
    (tmp_path / "eval").mkdir()
    tfrecord.write(tmp_path / "eval" / "00.tfrecord", [encode(one) for one in twice])
    (made,) = convert(tmp_path / "eval", tmp_path / "out", max_dropped=1.0)
    listed = [json.loads(line)["what"] for line in (made.path / "dropped.jsonl").read_text().splitlines()]
    assert [what.partition(" comes again, with ")[2] for what in listed] == [
        "other frames than the first",
        "other labels than the first",
        "the same frames and labels",
    ]
    assert same(FrameSet.open(made.path, check=True), [0, 1]), "what was read back is where it was"


def test_records_behind_a_broken_length_count_among_the_dropped(tmp_path: Path):
    """One flipped bit hides the rest of its file: about as many records as its bytes would hold."""
    (tmp_path / "eval").mkdir()
    rows = np.zeros((10, 128), np.uint8)
    for file in range(2):
        numbers = range(40 * file, 40 * file + 40)
        data = [encode(clip(number)._replace(frames=rows)) for number in numbers]
        tfrecord.write(tmp_path / "eval" / f"0{file}.tfrecord", data)
    path = tmp_path / "eval" / "01.tfrecord"
    whole = path.read_bytes()
    offset = sum(len(tfrecord.record(encode(clip(number)._replace(frames=rows)))) for number in range(40, 43))
    changed = bytearray(whole)
    changed[offset] ^= 1
    path.write_bytes(changed)
    lost = len(whole) - offset
    with pytest.raises(DataError, match=rf"3[678] of (79|80|81) records .* and about 3[567] in {lost:,} lost bytes"):
        convert(tmp_path / "eval", tmp_path / "out")
    assert not (tmp_path / "out" / "eval").exists()
    (made,) = convert(tmp_path / "eval", tmp_path / "out", max_dropped=0.5)
    assert (made.clips, made.dropped, made.lost.bytes) == (43, {"length_crc": 1}, lost)
    assert made.lost.clips == pytest.approx(36, abs=1)
    found = FrameSet.open(made.path)
    assert found.lost == made.lost
    assert found.figures()["lost"] == {"bytes": lost, "clips": made.lost.clips}
    (row,) = [json.loads(line) for line in (made.path / "dropped.jsonl").read_text().splitlines()]
    assert (row["file"], row["offset"], row["lost_bytes"]) == (str(path), offset, lost)


def test_a_frame_set_of_before_says_nothing_of_lost_bytes(published: Path, tmp_path: Path):
    made = convert(published, tmp_path / "out", only=["eval"])[0]
    told = json.loads((made.path / "about.json").read_text())
    del told["lost"]
    (made.path / "about.json").write_text(json.dumps(told))
    assert FrameSet.open(made.path).lost == Lost()


def test_an_archive_that_is_cut_or_changed_makes_no_frame_set(published: Path, tmp_path: Path):
    whole = archive(published, tmp_path / "whole.tar.gz").read_bytes()
    path = tmp_path / "a.tar.gz"
    changed = [whole[: len(whole) * n // 10] for n in range(10)]
    changed += [whole[:-8] + bytes(8), whole[:-1], b"no archive at all", tarfile_of({"x/00.tfrecord": b"torn"})[:-9]]
    for data in changed:
        path.write_bytes(data)
        with pytest.raises(DataError, match="remove it and download it again"):
            convert(path, tmp_path / "out")
        assert not list((tmp_path / "out").glob("*"))
    with pytest.raises(DataError, match=r"whole\.tar\.gz: no records of none"):
        convert(tmp_path / "whole.tar.gz", tmp_path / "out", only=["none"])


def tarfile_of(members: Mapping[str, bytes | Callable[[tarfile.TarInfo], None]]) -> bytes:
    """An archive of files, and of whatever a function makes of an empty member."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                content(member)
                tar.addfile(member)
    return data.getvalue()


def link(kind: bytes) -> Callable[[tarfile.TarInfo], None]:
    def make(member: tarfile.TarInfo) -> None:
        member.type, member.linkname = kind, "/etc/passwd"

    return make


RECORD = tfrecord.record(encode(clip(0)))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("../00.tfrecord", RECORD),
        ("eval/../../00.tfrecord", RECORD),
        ("/eval/00.tfrecord", RECORD),
        ("00.tfrecord", RECORD),
        ("eval/01.tfrecord", link(tarfile.SYMTYPE)),
        ("eval/01.tfrecord", link(tarfile.LNKTYPE)),
        ("eval", link(tarfile.SYMTYPE)),
        ("eval/01.tfrecord", link(tarfile.FIFOTYPE)),
    ],
)
def test_an_archive_leads_nowhere_else(tmp_path: Path, name: str, content: Any):
    (tmp_path / "a.tar.gz").write_bytes(tarfile_of({"eval/00.tfrecord": RECORD, name: content}))
    with pytest.raises(DataError, match="is no file in a folder"):
        convert(tmp_path / "a.tar.gz", tmp_path / "in" / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar.gz", "in", "out"]


def test_other_files_are_no_records(published: Path, tmp_path: Path):
    members = {"README": b"read me", "eval/00.tfrecord": RECORD, "eval/list.csv": b"a,b"}
    (tmp_path / "a.tar.gz").write_bytes(tarfile_of(members))
    assert convert(tmp_path / "a.tar.gz", tmp_path / "out")[0].clips == 1
    with pytest.raises(DataError, match="does not exist"):
        convert(tmp_path / "none", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no files"):
        convert(tmp_path / "empty", tmp_path / "out")
    (published / "more" / "eval").mkdir(parents=True)
    (published / "more" / "eval" / "00.tfrecord").write_bytes(RECORD)
    with pytest.raises(DataError, match="have one name"):
        convert(published, tmp_path / "out")


def test_shards_hold_all_clips_in_order(published: Path, tmp_path: Path):
    found = FrameSet.open(convert(published, tmp_path / "sets")[0].path)
    paths = write_shards(found.path, tmp_path / "shards", size=3)
    assert [path.name for path in paths] == ["0000.tar", "0001.tar", "0002.tar"]
    assert json.loads((tmp_path / "shards" / "sizes.json").read_text()) == {
        p.name: n for p, n in zip(paths, (3, 3, 1), strict=True)
    }
    number = 0
    for path in paths:
        with tarfile.open(path) as tar:
            for name in tar.getnames():
                key, _, suffix = name.partition(".")
                data = tar.extractfile(name)
                assert data is not None
                assert int(key) == number
                if suffix == "npy":
                    assert np.array_equal(np.load(io.BytesIO(data.read())), found.stored(number))
                    continue
                told = json.loads(data.read())
                assert (told["id"], told["start"]) == (found.id(number), found.starts[number])
                assert told["labels"] == found.labels_of(number).tolist()
                assert told["names"] == [f"name {label}" for label in told["labels"]]
                number += 1
    assert number == 7
    again = write_shards(found.path, tmp_path / "again", size=3)
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
