"""A frame set is whole or not there, reads back what was written, and notices what was changed behind its back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import DataError
from auscult.data.frames import About, FrameSet, writing

VGGISH = About(4, 1.0, "uint8", 4 / 255, -2.0, "a test", ("Speech", "Animal", "Rain"))
ROWS = np.arange(12, dtype=np.uint8).reshape(3, 4)


def write(path: Path, about: About = VGGISH) -> Path:
    with writing(path, about) as writer:
        writer.add("-one", ROWS, start=30.0, labels=(2, 0))
        writer.add("zwei", ROWS[:1] + np.uint8(200), labels=(1,))
        writer.add("-one", ROWS[1:], start=7.5)
        writer.drop("torn", "x.tfrecord: record at byte 7", "x.tfrecord", 7)
    return path


@st.composite
def sets(draw: st.DrawFn) -> tuple[About, list[tuple[str, Any, float, tuple[int, ...]]]]:
    stored, features = draw(st.sampled_from(["uint8", "float16", "float32"])), draw(st.integers(1, 5))
    names = tuple(f"label {n}" for n in range(draw(st.integers(0, 4))))
    clips = []
    for _ in range(draw(st.integers(1, 6))):
        rows = np.frombuffer(draw(st.binary(min_size=20, max_size=20)), np.uint8)
        rows = np.tile(rows, features)[: draw(st.integers(1, 4)) * features].reshape(-1, features).astype(stored)
        labels = tuple(draw(st.lists(st.integers(0, len(names) - 1), max_size=3))) if names else ()
        name = draw(st.text(min_size=1, max_size=9).filter(lambda text: "\0" not in text))
        clips.append((name, rows, draw(st.floats(0, 1000, width=32)), labels))
    return About(features, 10.0, stored, 0.5, -1.0, labels=names), clips


@settings(max_examples=30, deadline=None)
@given(sets())
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, made: Any):
    about, clips = made
    path = tmp_path_factory.mktemp("sets") / "set"
    with writing(path, about) as writer:
        for name, rows, start, labels in clips:
            writer.add(name, rows, start=start, labels=labels)
    found = FrameSet.open(path, check=True)
    assert (found.about, len(found), found.dropped) == (about, len(clips), {})
    for index, (name, rows, start, labels) in enumerate(clips):
        assert found.id(index) == name
        assert found.stored(index).dtype == rows.dtype
        assert np.array_equal(found.stored(index), rows)
        assert np.array_equal(found.values(index), rows.astype(np.float32) * np.float32(0.5) - 1)
        assert (found.starts[index], tuple(found.labels_of(index).tolist())) == (start, labels)
        assert index in found.places([name])[name]
        assert found.media(index).rate == 10.0


def test_a_set_says_what_is_in_it(tmp_path: Path):
    found = FrameSet.open(write(tmp_path / "set"))
    assert found.places(["-one", "none"]) == {"-one": [0, 2]}
    assert np.isnan(found.starts[1])
    assert found.figures() == {
        "source": "a test",
        "clips": 3,
        "different_ids": 2,
        "frames": 6,
        "features": 4,
        "hours": 6 / 3600,
        "frames_per_clip": {"1": 1, "2": 1, "3": 1},
        "labels_per_clip": 1.0,
        "without_labels": 1,
        "labels": {"Speech": 1, "Animal": 1, "Rain": 1},
        "lowest_and_highest_byte": [1 / 24, 0.0],
        "dropped": {"torn": 1},
        "lost": {"bytes": 0, "clips": 0},
        "silent": 0,
    }
    assert json.loads((found.path / "dropped.jsonl").read_text())["what"] == "x.tfrecord: record at byte 7"
    with pytest.raises(ValueError, match="read-only"):
        found.frames[0, 0] = 1


def test_the_same_clips_make_the_same_bytes(tmp_path: Path):
    one, other = write(tmp_path / "one"), write(tmp_path / "other")
    assert sorted(path.name for path in one.iterdir()) == ["about.json", "clips.npz", "dropped.jsonl", "frames.npy"]
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()


@pytest.mark.parametrize("name", ["frames.npy", "clips.npz", "about.json"])
@pytest.mark.parametrize("share", [0, 0.3, 0.6, 0.99])
def test_a_torn_file_is_refused(tmp_path: Path, name: str, share: float):
    path = write(tmp_path / "set") / name
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=r"set.*(write the set again|give the folder that was written)"):
        FrameSet.open(tmp_path / "set")


@pytest.mark.parametrize("name", ["frames.npy", "clips.npz"])
def test_a_changed_byte_is_found_where_that_is_asked_for(tmp_path: Path, name: str):
    path = write(tmp_path / "set") / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"{name}: its content is not what about\.json says"):
        FrameSet.open(tmp_path / "set", check=True)


def other_columns(path: Path, **columns: Any) -> None:
    with np.load(path / "clips.npz") as before:
        np.savez(path / "clips.npz", **{**before, **columns})


@pytest.mark.parametrize(
    "columns",
    [
        {"offsets": np.array([0, 3, 4])},
        {"offsets": np.array([0, 3, 4, 7])},
        {"offsets": np.array([0, 5, 4, 6])},
        {"bounds": np.array([1, 2, 3, 3])},
        {"starts": np.zeros(2, np.float32)},
        {"ids": np.array([1, 2, 3])},
        {"labels": np.array([0, 1, 3], np.int32)},
        {"labels": np.array([0, 1, -1], np.int32)},
        {"ids": np.array([b"a", None, b"b"], object)},
    ],
)
def test_an_index_that_does_not_fit_is_refused(tmp_path: Path, columns: dict[str, Any]):
    other_columns(write(tmp_path / "set"), **columns)
    with pytest.raises(DataError, match="write the set again"):
        FrameSet.open(tmp_path / "set")


@pytest.mark.parametrize(
    ("key", "value"),
    [("features", 5), ("stored", "float32"), ("stored", "object"), ("labels", None), ("rate", ...), ("more", 1)],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path: Path, key: str, value: Any):
    path = write(tmp_path / "set") / "about.json"
    told = json.loads(path.read_text())
    if value is ...:
        del told["about"][key]
    else:
        told["about"][key] = value
    path.write_text(json.dumps(told))
    with pytest.raises(DataError, match="write the set again"):
        FrameSet.open(tmp_path / "set")
    path.write_text(json.dumps({**told, "version": 0}))
    with pytest.raises(DataError, match="is not of version 1"):
        FrameSet.open(tmp_path / "set")


FLOAT = About(4, 1.0, "float32")


@pytest.mark.parametrize(
    ("about", "rows", "name", "labels", "said"),
    [
        (VGGISH, ROWS[:, :3], "a", (), r"\(3, 3\) uint8 where \[T, 4\] uint8"),
        (VGGISH, ROWS.astype(np.float32), "a", (), "float32 where"),
        (VGGISH, ROWS[:0], "a", (), r"\(0, 4\)"),
        (VGGISH, ROWS[0], "a", (), r"\(4,\)"),
        (VGGISH, ROWS, "", (), "needs a name"),
        (VGGISH, ROWS, "a\0", (), "needs a name"),
        (VGGISH, ROWS, "a", (3,), r"labels \[3\], but 3 names"),
        (VGGISH, ROWS, "a", (-1,), "labels"),
        (FLOAT, np.full((1, 4), np.nan, np.float32), "a", (), "finite"),
        (FLOAT, np.full((1, 4), np.inf, np.float32), "a", (), "finite"),
    ],
)
def test_a_clip_that_could_not_be_learnt_from_is_refused(
    tmp_path: Path, about: About, rows: Any, name: str, labels: tuple[int, ...], said: str
):
    with pytest.raises(DataError, match=said), writing(tmp_path / "set", about) as writer:
        writer.add(name, rows, labels=labels)
    assert list(tmp_path.iterdir()) == []


def test_a_set_without_clips_is_none(tmp_path: Path):
    with pytest.raises(DataError, match=r"no clip is left \(\{'torn': 1\}\)"), writing(tmp_path / "a", FLOAT) as writer:
        writer.drop("torn", "all of it", "x.tfrecord")
    assert list(tmp_path.iterdir()) == []


def test_an_old_set_stays_until_the_new_one_is_whole(tmp_path: Path):
    write(tmp_path / "set")
    with pytest.raises(DataError), writing(tmp_path / "set", VGGISH) as writer:
        writer.add("new", ROWS[:0])
    assert len(FrameSet.open(tmp_path / "set", check=True)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_writer_that_is_killed_leaves_nothing_that_opens(tmp_path: Path):
    script = f"""
        import numpy as np
        from auscult.data.frames import About, writing
        with writing({str(tmp_path / "set")!r}, About(128, 1.0, "uint8")) as writer:
            for number in range(10**9):
                writer.add(str(number), np.zeros((10, 128), np.uint8))
                if number == 1000:
                    print("writing", flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(DataError, match="is no frame set"):
        FrameSet.open(tmp_path / "set")
    write(tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["set"], "what the kill left over is gone"
