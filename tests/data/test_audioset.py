"""What a record of AudioSet says is read exactly, and what it does not say is a reason, never a clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tfrecord as independent
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import DataError
from auscult.data import audioset, tfrecord
from auscult.data.audioset import EMBEDDING, Clip, clip_of, clips, encode
from auscult.data.frames import About, FrameSet, writing
from auscult.data.tfrecord import Broken, Malformed, Record

IDS = st.one_of(st.from_regex(r"[\w-]{11}", fullmatch=True), st.text(min_size=1, max_size=12)).filter(
    lambda name: "\0" not in name
)
SECONDS = st.integers(0, 40_000).map(lambda tenths: float(np.float32(tenths / 10)))


@st.composite
def written(draw: st.DrawFn) -> Clip:
    start, length = draw(SECONDS), draw(st.integers(1, 12))
    values = np.frombuffer(draw(st.binary(min_size=8, max_size=8)), np.uint8)
    rows = np.tile(values, 16 * length).reshape(length, 128)
    labels = tuple(draw(st.lists(st.integers(0, 526), min_size=1, max_size=30)))
    return Clip(draw(IDS), start, float(np.float32(start + 10)), labels, rows)


def same(one: Clip, other: Clip) -> bool:
    return one[:4] == other[:4] and one.frames.tolist() == other.frames.tolist()


@settings(max_examples=60)
@given(written(), st.permutations(["video_id", "start_time_seconds", "end_time_seconds", "labels"]))
def test_clips_of_an_independent_encoder_are_read_exactly(clip: Clip, order: list[str]):
    """In any order of the keys; the fast reading, where it applies, is the same as the one field by field."""
    values: dict[str, Any] = {
        "video_id": (clip.id.encode(), "byte"),
        "start_time_seconds": (clip.start, "float"),
        "end_time_seconds": (clip.end, "float"),
        "labels": (list(clip.labels), "int"),
    }
    frames = {EMBEDDING: ([row.tobytes() for row in clip.frames], "byte")}
    theirs = independent.TFRecordWriter.serialize_tf_sequence_example({key: values[key] for key in order}, frames)
    ordered = tfrecord.encode(
        {key: audioset_value(clip, key) for key in order}, {EMBEDDING: [row.tobytes() for row in clip.frames]}
    )
    for payload in (theirs, ordered, encode(clip)):
        assert same(clip_of(payload), clip)
        assert same(audioset._any(payload, True), clip)


def audioset_value(clip: Clip, key: str) -> Any:
    values = {"video_id": clip.id.encode(), "start_time_seconds": clip.start, "end_time_seconds": clip.end}
    return clip.labels if key == "labels" else (values[key],)


CLIP = Clip("-0RWZT-miFs", 420.0, 430.0, (0, 137, 526), np.arange(1280, dtype=np.uint8).reshape(10, 128))


def test_the_usual_record_takes_the_short_way():
    assert audioset._usual(encode(CLIP)) is not None
    assert audioset._usual(encode(CLIP._replace(id="another name"))) is None


@settings(max_examples=300)
@given(st.data())
def test_the_short_way_reads_nothing_that_the_long_way_would_not(draw: st.DataObject):
    """Bytes changed at will, as no checksum would let through: both ways agree, or the short one declines."""
    payload = bytearray(encode(CLIP))
    heads = [n for n in range(len(payload)) if n < 130 or (n - 130) % 137 < 12]
    for _ in range(draw.draw(st.integers(1, 2))):
        payload[draw.draw(st.sampled_from(heads))] = draw.draw(st.integers(0, 255))
    if (short := audioset._usual(bytes(payload))) is not None:
        assert same(short, audioset._any(bytes(payload), True))


def test_labels_that_look_like_the_next_key_are_labels():
    """Lengths decide, not looks: label 10 is the byte that begins every key."""
    odd = CLIP._replace(labels=(10, 30, 10, 18, *b"start_time_seconds", 18, 8, 18, 6, 10, 4, 1, 1, 1, 1))
    assert same(clip_of(encode(odd)), odd)


def payload(frames: Any = (bytes(128),) * 3, **changed: Any) -> bytes:
    context: dict[str, Any] = {
        "video_id": (b"-0RWZT-miFs",),
        "start_time_seconds": (0.0,),
        "end_time_seconds": (10.0,),
        "labels": (3,),
        **changed,
    }
    lists = {} if frames is None else {EMBEDDING: frames}
    return tfrecord.encode({key: value for key, value in context.items() if value is not None}, lists)


@pytest.mark.parametrize(
    ("reason", "data"),
    [
        ("not_an_example", b"\x0a\x20 text"),
        ("no_video_id", payload(video_id=None)),
        ("no_video_id", payload(video_id=())),
        ("no_video_id", payload(video_id=(b"one", b"two"))),
        ("no_video_id", payload(video_id=(7,))),
        ("no_video_id", payload(video_id=(b"",))),
        ("no_video_id", payload(video_id=(b"\xff",))),
        ("no_video_id", payload(video_id=(b"a\0",))),
        ("no_times", payload(start_time_seconds=None)),
        ("no_times", payload(end_time_seconds=(0.0,))),
        ("no_times", payload(end_time_seconds=(float("nan"),))),
        ("no_times", payload(end_time_seconds=(float("inf"),))),
        ("no_times", payload(start_time_seconds=(-1.0,))),
        ("no_times", payload(start_time_seconds=(0,))),
        ("no_times", payload(start_time_seconds=(0.0, 1.0), end_time_seconds=())),
        ("no_labels", payload(labels=None)),
        ("no_labels", payload(labels=())),
        ("no_labels", payload(labels=(b"Speech",))),
        ("no_labels", payload(labels=(1.0,))),
        ("odd_label", payload(labels=(3, 527))),
        ("odd_label", payload(labels=(-1,))),
        ("no_frames", payload(frames=None)),
        ("no_frames", payload(frames=())),
        ("frame_size", payload(frames=(bytes(127),))),
        ("frame_size", payload(frames=(bytes(128), bytes(129)))),
    ],
)
def test_what_is_missing_or_odd_is_a_reason(reason: str, data: bytes):
    with pytest.raises(Malformed) as caught:
        clip_of(data)
    assert caught.value.reason == reason
    found = list(clips([Record(0, payload()), Record(99, data), Broken("f", 7, "torn", "")], "eval/00.tfrecord"))
    assert [type(one).__name__ for one in found] == ["tuple", "Broken", "Broken"]
    assert found[1] == Broken("eval/00.tfrecord", 99, reason, str(caught.value))


def test_clips_without_labels_are_taken_where_that_is_said():
    assert clip_of(payload(labels=None), labelled=False).labels == ()
    with pytest.raises(Malformed, match="labels"):
        clip_of(payload(labels=(600,)), labelled=False)


LABELS = 'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man speaking"\n2,/m/0jbk,"Animal"\n'
SEGMENTS = """# Segments csv created Sun Mar  5 10:54:25 2017
# num_ytids=3, num_segs=3, num_unique_labels=3, num_positive_labels=5
# YTID, start_seconds, end_seconds, positive_labels
-0RWZT-miFs, 420.000, 430.000, "/m/09x0r,/m/0jbk"
--4gqARaEJE, 0.000, 10.000, "/m/0jbk"
zzzzzzzzzzz, 30.000, 40.000, "/m/05zppz"
"""


@pytest.fixture
def lists(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "class_labels_indices.csv").write_text(LABELS)
    (tmp_path / "eval_segments.csv").write_text(SEGMENTS)
    return tmp_path / "eval_segments.csv", tmp_path / "class_labels_indices.csv"


def test_the_published_lists_are_read(lists: tuple[Path, Path]):
    assert audioset.read_labels(lists[1]) == ("Speech", "Male speech, man speaking", "Animal")
    assert audioset.read_segments(*lists) == {
        "-0RWZT-miFs": (420.0, frozenset((0, 2))),
        "--4gqARaEJE": (0.0, frozenset((2,))),
        "zzzzzzzzzzz": (30.0, frozenset((1,))),
    }


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("class_labels_indices.csv", LABELS.replace("\n1,", "\n2,"), r"\.csv:3: `index` is 2 where 1 comes next"),
        ("class_labels_indices.csv", LABELS.replace("mid,", "id,"), "no `mid`"),
        ("class_labels_indices.csv", LABELS[:23], "no labels"),
        ("eval_segments.csv", SEGMENTS.replace("/m/0jbk,", "/m/none,").replace("/m/0jbk", "/m/none"), r"\.csv:4: no"),
        ("eval_segments.csv", SEGMENTS.replace("420.000, 430.000, ", ""), r"\.csv:4: no segment"),
    ],
)
def test_lists_that_are_something_else_are_refused(lists: tuple[Path, Path], file: str, text: str, said: str):
    (lists[0].parent / file).write_text(text)
    with pytest.raises(DataError, match=said):
        audioset.read_segments(*lists)


def test_a_frame_set_is_compared_with_the_published_list(lists: tuple[Path, Path], tmp_path: Path):
    with writing(tmp_path / "set", About(128, 1.0, "uint8")) as writer:
        writer.add("-0RWZT-miFs", CLIP.frames, start=420.0, labels=(2, 0))
        writer.add("--4gqARaEJE", CLIP.frames, start=10.0, labels=(1,))
        writer.add("not in it", CLIP.frames, start=0.0)
    assert audioset.missing(FrameSet.open(tmp_path / "set"), audioset.read_segments(*lists)) == {
        "listed": 3,
        "without_frames": 1,
        "not_listed": 1,
        "other_start": 1,
        "other_labels": 1,
    }
