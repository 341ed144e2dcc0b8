"""Real films: who stands on which side, what is asked, what is left out and said to be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import DataError, MediaError
from auscult.data.sources.radiographs import Source
from auscult.data.splits import assert_disjoint, files_of
from auscult.media.image import encode_png

CLOSED = {"answer_type": "CLOSED", "image_organ": "CHEST", "question_type": "PRES"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six films of three patients, and four images with three questions each."""
    for folder, names in (("cxr", "abcdef"), ("vqarad", "0123")):
        (tmp_path / folder).mkdir()
        for number, name in enumerate(names):
            pixels = np.full((8, 8, 3), len(folder) * 10 + number, np.uint8)
            (tmp_path / folder / f"{name}.png").write_bytes(encode_png(pixels))
    table = [f"P{number // 2},{name},{'ap' if number % 2 else 'PA'}" for number, name in enumerate("abcdef")]
    (tmp_path / "cxr" / "data.csv").write_text("\n".join(["patient_id,image_id,projection", *table]))
    rows = [
        {"qid": 3 * image + number, "image_name": f"{image}.png", "question": question, "answer": answer, **CLOSED}
        for image in range(4)
        for number, (question, answer) in enumerate([("Clear?", "Yes"), ("Fluid?", "no "), ("Where?", "Left")])
    ]
    rows.append({"qid": 99, "image_name": "0.png", "question": "What?", "answer": "fluid", "answer_type": "OPEN"})
    (tmp_path / "vqarad" / "questions.json").write_text(json.dumps(rows))
    return tmp_path


def sides(source: Source, seed: int = 0):
    return [source.split(name, seed).samples for name in ("train", "heldout")]


def test_every_question_is_asked_once_or_counted(root: Path) -> None:
    train, held = sides(Source(root=str(root)))
    views = {sample.id: sample for sample in (*train, *held) if sample.tags["task"] == "view"}
    assert {name: sample.answers for name, sample in views.items()} == {
        f"view/{name}": ("AP" if number % 2 else "PA",) for number, name in enumerate("abcdef")
    }
    closed = [sample for sample in (*train, *held) if sample.tags["task"] == "closed"]
    assert sorted(sample.answers[0] for sample in closed) == ["no"] * 4 + ["yes"] * 4
    assert {sample.choices for sample in closed} == {("yes", "no")}
    (note,) = Source(root=str(root)).notes("train", 0)
    assert "neither yes nor no: 4 (Left 4" in note
    assert Source(root=str(root), tasks=("view",)).notes("train", 0) == ()


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.sampled_from([0.25, 0.5, 0.7]))
def test_a_patient_and_an_image_stand_on_one_side(testdata: Path, seed: int, share: float) -> None:
    train, held = sides(Source(root=str(testdata), heldout_share=share), seed)
    assert_disjoint(train, held)
    assert len(train) + len(held) == 24 + 469
    for side in (train, held):
        assert {sample.tags["task"] for sample in side} == {"view", "closed"}
    table = (testdata / "cxr" / "data.csv").read_text().splitlines()[1:]
    owner = {film: patient for patient, film, *_ in (line.split(",") for line in table)}
    owners = [{owner.get(Path(file).stem, file) for file in files_of(side)} for side in (train, held)]
    assert not owners[0] & owners[1]


def test_a_table_that_cannot_be_is_named(root: Path) -> None:
    table = root / "cxr" / "data.csv"
    good = table.read_text()
    table.write_text(good.replace("P1,c,PA", "P1,c,lateral"))
    with pytest.raises(DataError, match=r"data\.csv:4: `projection` is 'lateral'; write one of AP, PA"):
        Source(root=str(root)).split("train", 0)
    table.write_text(good)
    (root / "cxr" / "e.png").unlink()
    with pytest.raises(MediaError, match=r"e\.png"):
        sides(Source(root=str(root)))
    with pytest.raises(ValueError, match="at most once"):
        Source(root=str(root), tasks=("view", "view"))
