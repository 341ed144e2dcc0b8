"""One of several pictures in a file: the row says which, what is written is read back, and each is looked at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from auscult.core.errors import DataError, MediaError
from auscult.core.types import Image, Sample, Turn
from auscult.data import jsonl
from auscult.data.check import check
from auscult.data.sources.jsonl import Source

ROW = {"question": "What?", "answer": "dog"}


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A TIFF file of two pictures."""
    both = [Pillow.fromarray(np.full((8, 8), value, np.uint8)) for value in (5, 6)]
    both[0].save(tmp_path / "pages.tiff", save_all=True, append_images=both[1:])
    return tmp_path / "pages.tiff"


def opened(pages: Path, *frames: object) -> Source:
    rows = [{**ROW, "id": str(n), "image": {"image": pages.name, "frame": frame}} for n, frame in enumerate(frames)]
    path = pages.parent / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    other = pages.parent / "heldout.jsonl"
    Pillow.fromarray(np.full((8, 8), 1, np.uint8)).save(pages.parent / "other.png")
    other.write_text(json.dumps({**ROW, "id": "h", "image": "other.png"}))
    return Source(root=str(path), heldout=str(other))


def test_a_picture_that_the_file_has_not_is_found_when_the_source_is_opened(pages: Path) -> None:
    assert [sample.media[0].frame for sample in opened(pages, 0, 1).split("train", 0).samples] == [0, 1]  # type: ignore[union-attr]
    with pytest.raises(MediaError, match=r"frames 1.*data.jsonl:2: `image`: .*no frame 2; name one from 0 to 1"):
        opened(pages, 0, 2, 1).split("train", 0)
    with pytest.raises(MediaError, match=r"holds 2 pictures; say which one is meant: `frame` 0 is the first"):
        opened(pages, None).split("train", 0)


@pytest.mark.parametrize("frame", [-1, 1.0, True, "1", [0]])
def test_a_frame_is_a_whole_number(pages: Path, frame: object) -> None:
    with pytest.raises(DataError, match=r"data.jsonl:1: .*`frame` is .* instead of a whole number"):
        opened(pages, frame).split("train", 0)


def test_what_is_written_is_read_back_equal(pages: Path) -> None:
    parts = (Image(str(pages), frame=0), Image(str(pages), frame=1), Image(str(pages.parent / "other.png")), "Which?")
    sample = Sample("one", (Turn("user", parts),), ("x",))
    jsonl.write(pages.parent / "again.jsonl", [sample])
    assert jsonl.read(pages.parent / "again.jsonl") == [sample]


def test_a_check_says_which_films_name_somebody_without_the_names(testdata: Path, tmp_path: Path) -> None:
    films = ["RG1_J2KI.dcm", "RG3_J2KR.dcm", "00000001_000.png", "JPEG-LL.dcm"]
    rows = [{**ROW, "id": name, "image": str(testdata / "dicom" / name)} for name in films]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = check(tmp_path / "data.jsonl")
    assert report.reasons == {"codec": 1}
    assert report.images == {"dicom": 2, "png": 1}
    (note,) = report.notes
    assert note.startswith("2 image files are not de-identified and sent to no server unless server.send_identified")
    assert "RG1_J2KI.dcm: its header names a person" in note
    assert "PatientName" in note
    assert "CompressedSamples" not in note
