"""Questions about images: every format reads alike, no view and no report slips, and what is planted has its name."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from auscult.cli import main
from auscult.core.errors import AuscultError, DataError, MediaError
from auscult.core.types import Image, Sample
from auscult.data import index
from auscult.data.check import check
from auscult.data.sources import studies
from auscult.data.sources.studies import SHOWN, Policy, Source
from auscult.media.image import decode, encode_png

ROW: dict[str, Any] = {
    "question": "What is seen?",
    "options": ["A. Normal", "B. Effusion", "C. Fracture", "D. Mass", "E. Edema"],
    "correct_answer": "E",
    "correct_answer_explanation": "Haze in both lungs",
    "reason": "Vessels are blurred",
    "ImagePath": ["front.png", "side.png"],
    "ImageViewPosition": ["PA", "LATERAL"],
    "Indication": "Cough",
    "Comparison": "None",
    "Findings": "There is a moderate haze in both of the lungs",
    "Impression": "Edema",
    "PatientID": "P0",
    "study_id": "S0",
    "task_name": "Presence",
    "category": "Lungs",
}


def picture(path: Path, number: int = 0) -> Path:
    path.write_bytes(encode_png(np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two views of one study, and ten films `0.png` to `9.png` of other patients."""
    for number, name in enumerate(["front", "side", *map(str, range(10))]):
        picture(tmp_path / f"{name}.png", number)
    return tmp_path


def rows(**changes: Any) -> dict[str, dict[str, Any]]:
    """Ten patients with a film each, and one with two views; `changes` are of the latter."""
    films = {
        f"q{n}": {**ROW, "ImagePath": [f"{n}.png"], "ImageViewPosition": ["AP"], "PatientID": f"P{n + 1}"}
        for n in range(10)
    }
    return {"two": {**ROW, **changes}, **films}


def written(path: Path, value: Any) -> str:
    path.write_text(json.dumps(value))
    return str(path)


def both(source: Source) -> list[Sample]:
    """The samples of both splits."""
    splits = [source.split(name, 0) for name in ("train", "heldout")]
    return [split[number] for split in splits for number in range(split.size)]


def two_views(folder: Path, report: Policy = "indication", **changes: Any) -> Sample:
    """The sample with two views."""
    source = Source(root=written(folder / "rows.json", rows(**changes)), report=report, heldout_share=0.2)
    return next(sample for sample in both(source) if sample.id == "two")


def test_all_views_stand_in_order_behind_their_names(folder: Path) -> None:
    sample = two_views(folder)
    assert sample.turns[0].content == (
        "View 1 (PA):",
        Image(str(folder / "front.png")),
        "View 2 (LATERAL):",
        Image(str(folder / "side.png")),
        "Indication: Cough\nComparison: None\nWhat is seen?",
    )
    assert (sample.choices[4], sample.answers, sample.group) == ("Edema", ("Edema",), "P0")
    assert sample.tags == {
        "task": "Presence",
        "category": "Lungs",
        "view": "PA, LATERAL",
        "report": "indication",
        "explanation": "Haze in both lungs",
        "reason": "Vessels are blurred",
        **{f"report.{part}": ROW[part] for part in ("Indication", "Comparison", "Findings", "Impression")},
    }


def test_one_name_for_several_images_labels_none_of_them(folder: Path) -> None:
    sample = two_views(folder, ImageViewPosition=["PA"])
    assert sample.turns[0].content[:2] == (Image(str(folder / "front.png")), Image(str(folder / "side.png")))
    assert (len(sample.turns[0].content), sample.tags["view"]) == (3, "PA")
    assert check(folder / "rows.json").reasons == {}


def test_a_demonstration_may_reason_as_a_tag_does(folder: Path) -> None:
    source = Source(root=written(folder / "rows.json", rows()), thought="report.Findings", heldout_share=0.2)
    assert {sample.thought for sample in both(source)} == {ROW["Findings"]}
    assert two_views(folder).thought is None


def test_a_view_that_is_asked_for_is_not_told(folder: Path) -> None:
    asked = {"question": "Which view is the first?", "options": ["A. PA", "B. AP"], "correct_answer": "A"}
    assert two_views(folder, **asked).question.startswith("Indication")
    open_one = {"question": "Which view is the second?", "options": [], "correct_answer": "lateral"}
    assert two_views(folder, **open_one).question.startswith("Indication")
    for question in ("Is the first film a PA film?", "Is it posteroanterior?"):
        closed = {"question": question, "options": ["A. yes", "B. no"], "correct_answer": "A"}
        assert two_views(folder, **closed).question.startswith("Indication"), question
    spelt = {"question": "How was the first film made?", "options": ["PA film", "AP film"], "correct_answer": "A"}
    assert two_views(folder, **spelt).question.startswith("Indication")


@pytest.mark.parametrize("report", list(SHOWN))
def test_the_prompt_shows_of_the_report_what_the_policy_says(folder: Path, report: Policy) -> None:
    sample = two_views(folder, report)
    shown = {
        part
        for part in ("Indication", "Comparison", "Findings", "Impression")
        if f"{part}: {ROW[part]}" in sample.question
    }
    assert shown == set(SHOWN[report]) - {"Report"}
    assert sample.tags["report"] == report


PARTS = {"Indication": "Cough", "Findings": "A haze in both lungs"}


@pytest.mark.parametrize(
    "said",
    [
        PARTS,
        {key.lower(): text for key, text in PARTS.items()},
        {f"report.{key}": text for key, text in PARTS.items()},
        {f"report.{key.lower()}": text for key, text in PARTS.items()},
        {"report": PARTS},
        {"Report": {key.lower(): [text] for key, text in PARTS.items()}},
    ],
)
def test_a_report_is_read_in_columns_and_as_one_object(folder: Path, said: dict[str, Any]) -> None:
    films = {
        f"q{n}": {"image": f"{n}.png", "question": "What?", "answer": "haze", "patient": f"P{n}", **said}
        for n in range(4)
    }
    root = written(folder / "mine.json", films)
    for policy, shown in (
        ("none", "What?"),
        ("indication", "Indication: Cough\nWhat?"),
        ("full", "Indication: Cough\nFindings: A haze in both lungs\nWhat?"),
    ):
        samples = both(Source(root=root, heldout_share=0.5, report=policy))  # type: ignore[arg-type]
        assert {sample.question for sample in samples} == {shown}
        assert {sample.tags["report.Findings"] for sample in samples} == {"A haze in both lungs"}


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        (
            {"report": {"Technique": "Two views"}},
            r"unknown part `report\.Technique`; those of a report are Indication, ",
        ),
        ({"report.Technique": "Two views"}, r"unknown part `report\.Technique`"),
        ({"report": {"finding": "A haze"}}, r"unknown key `report\.finding`, did you mean `report\.findings`"),
        ({"report": {"Findings": {"lungs": "haze"}}}, r"`Findings` is an object instead of text"),
        ({"findings": {"lungs": "haze"}}, r"`Findings` is an object instead of text"),
        ({"report": {"Findings": "A haze"}, "findings": "None"}, r"beside another key for the same"),
        ({"report": {"Findings": "A haze"}, "report.Findings": "None"}, r"`report\.Findings` is said twice"),
    ],
)
def test_a_part_of_a_report_that_nobody_reads_is_refused(folder: Path, said: dict[str, Any], wrong: str) -> None:
    row = {"image": "1.png", "question": "What?", "answer": "haze", **said}
    root = written(folder / "mine.json", [row])
    with pytest.raises(DataError, match=wrong):
        Source(root=root).split("train", 0)
    assert check(root).reasons == {"bad_row": 1}


@given(hidden=st.sampled_from(["Findings", "Impression", "report"]), before=st.sampled_from(["", "It was read so: "]))
def test_a_question_that_says_what_is_hidden_is_caught(
    tmp_path_factory: pytest.TempPathFactory, hidden: str, before: str
) -> None:
    """Whatever part it is of, in other letters and signs; an indication may be quoted where indications are shown."""
    said = "there is, a MODERATE haze in both of the lungs!"
    planted = {**ROW, hidden: f"No mass. {ROW['Findings']}. No fracture.", "question": f"{before}{said} Why?"}
    root = written(tmp_path_factory.mktemp("rows") / "rows.json", {"a": planted, "b": {**ROW, "PatientID": "P9"}})
    with pytest.raises(
        DataError, match=r"1 of 2 rows cannot be used \(report_shown 1\).*report is none, but the prompt says"
    ):
        Source(root=root, report="none", look=False).split("train", 0)
    assert [problem.reason for problem in check(root).problems if problem.reason == "report_shown"]


@pytest.mark.parametrize("report", list(SHOWN))
def test_the_check_of_a_file_reads_it_as_the_policy_says(
    folder: Path, report: Policy, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it shows of a row, and what it refuses of it, is what a run with that policy asks and refuses."""
    quoting = {**ROW, "question": f"{ROW['Findings']}. Why?", "PatientID": "P9", "ImagePath": ["1.png"]}
    root = written(folder / "rows.json", {"two": ROW, "quoting": {**quoting, "ImageViewPosition": ["PA"]}})
    words = ["data", "check", root, "--data.report", report]
    assert main(words) == (0 if report == "full" else 2)
    said = capsys.readouterr().out
    assert f"(--data.report {report})" in said
    assert ("report_shown: 1" in said) == (report != "full")
    of_films = ["--recipe", "medgemma-cxr", "--preset", "films", "--model.width", "32", "--show", "1"]
    main([*words, *of_films])
    prompt = capsys.readouterr().out.partition("\ntwo: ")[2]
    shown = {part for part in SHOWN["full"][:4] if f"{part}: {ROW[part]}" in prompt.replace("<end_of_image>", "\n")}
    assert shown == set(SHOWN[report]) - {"Report"}


def test_the_check_takes_what_the_recipe_says_of_films(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.yaml").write_text(
        "name: mine\ndata: {source: studies, root: none.json, report: full, group: study}\n"
        "model: {family: gemma3}\npresets: {hidden: {data: {report: none}}}\n"
    )
    root = written(
        folder / "rows.json", {"a": {**ROW, "study_id": "S1"}, "b": {**ROW, "study_id": "S2", "question": "?"}}
    )
    words = ["data", "check", root, "--recipe", str(folder / "mine.yaml")]
    for more, report in (
        ([], "full"),
        (["--preset", "hidden"], "none"),
        (["--data.report", "indication"], "indication"),
    ):
        assert main([*words, *more]) == 0
        said = capsys.readouterr().out
        assert f"(--data.report {report})" in said
        assert "groups      2" in said
    assert main(["data", "check", root, "--preset", "hidden"]) == 2
    assert "--preset hidden is a recipe's" in capsys.readouterr().err
    assert main(["data", "check", root, "--data.report", "ful"]) == 2
    assert "`report` is 'ful', but must be none | indication | full" in capsys.readouterr().err


def test_an_indication_that_quotes_itself_is_no_leak(folder: Path) -> None:
    assert two_views(
        folder, Indication="Cough for more than two weeks now", question="Cough for more than two weeks now?"
    )
    with pytest.raises(DataError, match="report_shown"):
        two_views(
            folder,
            "none",
            Indication="Cough for more than two weeks now",
            question="Cough for more than two weeks now?",
        )


@pytest.mark.parametrize(
    ("changes", "reason", "said"),
    [
        ({"ImagePath": ["front.png"]}, "views_differ", r"2 views are named and 1 images; a view was dropped"),
        ({"ImagePath": []}, "no_media", "no image; add it, or remove the row"),
        (
            {"options": ["Edema"], "correct_answer": "Edema"},
            "one_choice",
            "'Edema' is its only option, and always right; add the others",
        ),
        ({"correct_answer": "F"}, "answer_not_a_choice", "the answer 'F' is none of its 5 options"),
        ({"correct_answer": None}, "no_answer", "add the answer"),
        ({"question": 3}, "bad_row", "`question` is a number instead of text"),
        ({"ImagePaths": ["a.png"]}, "bad_row", "unknown key `ImagePaths`, did you mean `ImagePath`?"),
        ({"PATIENT_ID": "P9"}, "bad_row", "unknown key `PATIENT_ID`, did you mean `patient_id`?"),
        ({"IMPRESSION": "Edema"}, "bad_row", "unknown key `IMPRESSION`, did you mean `[Ii]mpression`?"),
        ({"subject_id": "P9"}, "bad_row", "`subject_id` beside another key for the same"),
        ({"options": ["B. Edema", "A. Normal"]}, "bad_row", "`options` have the letters B, A; put them in order"),
        ({"image": "front.png"}, "bad_row", "`image` beside another key for the same"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_and_counted(
    folder: Path, changes: dict[str, Any], reason: str, said: str
) -> None:
    with pytest.raises(DataError, match=rf"1 of 11 rows cannot be used \({reason} 1\), first: .*\['two'\]: .*{said}"):
        two_views(folder, **changes)
    root = str(folder / "rows.json")
    source = Source(root=root, heldout_share=0.2, max_unusable=0.1)
    assert len(both(source)) == 10
    assert f"rows left out, {reason} 1" in " ".join(source.notes("train", 0))
    (problem,) = check(root).problems
    assert problem.reason == reason
    assert re.search(said, problem.message), "the check says it of a film as a run does"


def test_missing_and_torn_images_are_named_and_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = written(folder / "rows.json", rows())
    (folder / "side.png").unlink()
    whole = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(whole[:20])
    (folder / "4.png").write_bytes(whole[: len(whole) // 2])
    source = Source(root=root, heldout_share=0.2)
    with pytest.raises(MediaError, match=r"rows have images that cannot be used \(.*(side|3)\.png") as caught:
        both(source)
    assert f"auscult data check {root} --decode" in str(caught.value)
    assert re.search(r"rows\.json\['(two|q3)'\] \(id '(two|q3)'\): image ", str(caught.value))
    source = Source(root=root, heldout_share=0.2, max_unusable=0.6)
    assert len(both(source)) == 8, "half a PNG has a whole header, and so few are decoded to their end"
    assert "torn 1" in " ".join(source.notes("heldout", 0))
    monkeypatch.setattr(studies, "WHOLE", 0)
    assert len(both(source)) == 9, "of more the headers are read"
    assert "rows left out for their images" in " ".join(source.notes("train", 0) + source.notes("heldout", 0))
    blind = Source(root=root, heldout_share=0.2, look=False)
    missing = {}
    for image in {image for sample in both(blind) for image in sample.media}:
        try:
            decode(image)
        except MediaError as error:
            missing[Path(image.path).name] = error.reason
    assert missing == {"side.png": "missing", "3.png": "torn", "4.png": "torn"}
    reasons = {problem.reason for problem in check(root, decode=True).problems}
    assert reasons == {"missing", "torn"}


def test_no_patient_and_no_image_is_on_both_sides(folder: Path) -> None:
    def row(patient: str, image: str) -> dict[str, Any]:
        return {**ROW, "PatientID": patient, "ImagePath": [image], "ImageViewPosition": []}

    train = written(folder / "train.json", {"a": row("P1", "1.png"), "b": row("P2", "2.png")})
    wrong = written(folder / "wrong.json", {"c": row("P2", "3.png")})
    with pytest.raises(DataError, match=r"1 groups \(by patient\) are both in training and held out: P2; remove"):
        Source(root=train, heldout=wrong).split("train", 0)
    under = written(folder / "under.json", {"c": row("P3", "2.png")})
    with pytest.raises(
        DataError, match=r"1 images are both .* under two groups .*train\.json\['b'\] and .*under\.json\['c'\]"
    ):
        Source(root=train, heldout=under).split("heldout", 0)
    good = Source(root=train, heldout=written(folder / "good.json", {"c": row("P3", "3.png")}))
    assert (good.split("train", 0).size, good.split("heldout", 0).size) == (2, 1)
    one = written(folder / "one.json", {str(n): row(f"P{n}", "1.png") for n in range(4)})
    with pytest.raises(
        DataError, match=r"under two groups .*one\.json\['\d'\] and .*one\.json\['\d'\]; give their rows one"
    ):
        Source(root=one, heldout_share=0.5).split("train", 0)
    with pytest.raises(DataError, match="4 rows are of one group"):
        Source(root=one, group="image").split("train", 0)


def test_what_cannot_be_split_says_how_many_rows_are_of_one_patient(folder: Path) -> None:
    root = written(
        folder / "one.json",
        {str(n): {**ROW, "ImagePath": [f"{n}.png"], "ImageViewPosition": [], "study_id": n} for n in range(4)},
    )
    with pytest.raises(DataError, match=r"all 4 rows are of one group \(by patient\).* name a file of held-out rows"):
        Source(root=root).split("train", 0)
    assert len(both(Source(root=root, group="study"))) == 4


def test_rows_without_a_patient_go_by_study_then_image(folder: Path) -> None:
    given = {"PatientID": "P1", "study_id": "S1"}
    for dropped, by, group, told in [
        ((), "patient", "P1", []),
        ((), "study", "S1", []),
        (("PatientID",), "patient", "S1", ["name no patient are split by what else they say, 1 by their study"]),
        (given, "patient", "front.png", ["name no patient are split by what else they say, 1 by their image"]),
        ((), "image", "front.png", []),
    ]:
        table = rows(**{key: value for key, value in given.items() if key not in dropped}, **dict.fromkeys(dropped))
        source = Source(root=written(folder / "rows.json", table), group=by, heldout_share=0.2)
        assert [sample.group for sample in both(source) if sample.id == "two"] == [group]
        said = [note for note in source.notes("train", 0) if "are split by" in note]
        assert len(said) == len(told)
        assert all(one in note for one, note in zip(told, said, strict=True))


def test_a_table_of_ones_own_reads_like_json(folder: Path) -> None:
    table = [
        {
            "images": "front.png|side.png",
            "views": "PA|LATERAL",
            "question": "Which?",
            "options": "yes | no",
            "answer": "no",
            "patient": "1",
        },
        {"images": "1.png", "views": "", "question": "What, here?", "options": "", "answer": "a lung", "patient": "2"},
    ]
    with (folder / "mine.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    split = {
        key: [part.strip() for part in value.split("|")] if key in ("images", "views", "options") and value else value
        for key, value in table[0].items()
    }
    written(folder / "mine.json", [split, table[1]])
    (folder / "mine.jsonl").write_text("\n".join(json.dumps(row) for row in (split, table[1])))
    found = []
    for name in ("mine.csv", "mine.json", "mine.jsonl"):
        source = Source(root=str(folder / name), heldout_share=0.5)
        found.append([side[0] for side in (source.split("train", 0), source.split("heldout", 0))])
        assert check(folder / name).kind == "studies"
        assert not check(folder / name).problems
    assert found[0] == found[1] == found[2]
    one = next(sample for sample in found[0] if sample.id == "0")
    assert (one.choices, one.answers, len(one.media), one.group) == (("yes", "no"), ("no",), 2, "1")


@pytest.mark.parametrize(
    ("column", "cell", "place"),
    [
        ("options", "left||right|both", 1),
        ("options", "left|right|", 2),
        ("options", "| left|right", 0),
        ("image", "1.png||2.png", 1),
        ("image", "1.png| ", 1),
        ("view", "PA|", 1),
    ],
)
def test_an_empty_place_in_a_cell_is_refused_as_in_a_list(folder: Path, column: str, cell: str, place: int) -> None:
    """Left out without a word, it would shift the letters: C of `left||right|both` is right, and would become both."""
    row = {"image": "1.png", "view": "PA", "question": "Where?", "options": "left|right|both", "answer": "B"}
    row[column] = cell
    (folder / "mine.csv").write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
    as_list = [part.strip() for part in cell.split("|")]
    written(folder / "mine.json", [{**row, "options": row["options"].split("|"), column: as_list}])
    named = next(name for name in ("options", "images", "views") if name.startswith(column))
    for file in ("mine.csv", "mine.json"):
        (problem,) = check(folder / file).problems
        assert f"`{named}[{place}]` is empty; fill it in, or remove the row" in problem.message
        with pytest.raises(DataError, match=rf"`{named}\[{place}\]` is empty"):
            Source(root=str(folder / file)).split("train", 0)


@pytest.mark.parametrize(("column", "meant"), [("Image", "image"), ("QUESTION", "question")])
def test_a_column_in_other_letter_case_is_named_by_the_check_too(folder: Path, column: str, meant: str) -> None:
    """It was taken for captions, which have no such columns."""
    head = ",".join(column if name == meant else name for name in ("image", "question", "answer", "Patient"))
    (folder / "mine.csv").write_text(f"{head}\n1.png,What?,haze,1\n2.png,What?,haze,2\n")
    found = check(folder / "mine.csv")
    assert (found.kind, found.reasons) == ("studies", {"bad_row": 2})
    assert f"mine.csv:2: unknown key `{column}`, did you mean `{meant}`?" in found.problems[0].message


def test_vqarad_as_published(testdata: Path) -> None:
    source = Source(root=str(testdata / "vqarad" / "questions.json"), tasks=("closed",), heldout_share=0.2)
    train, heldout = source.split("train", 0), source.split("heldout", 0)
    assert train.size + heldout.size == 490
    assert not {train[n].group for n in range(train.size)} & {heldout[n].group for n in range(heldout.size)}
    assert {train[n].tags["task"] for n in range(train.size)} == {"closed"}
    notes = " ".join(source.notes("train", 0) + source.notes("heldout", 0))
    assert "ask again what another row asks" in notes
    assert "contradict another row's answer" in notes
    with pytest.raises(DataError, match="no row has the task 'shut'; there is open, closed"):
        Source(root=source.root, tasks=("shut",)).split("train", 0)


@pytest.fixture
def stack(folder: Path) -> str:
    """A file of three pictures, each as bright as its number says."""
    ramp = np.linspace(0, 60, 64).reshape(8, 8)
    pages = [Pillow.fromarray((ramp * page).astype(np.uint8)) for page in (1, 2, 3)]
    pages[0].save(folder / "stack.tiff", save_all=True, append_images=pages[1:])
    return "stack.tiff"


@pytest.mark.parametrize(
    ("images", "frames", "greys"),
    [
        (["stack.tiff"], 1, [120]),
        ("stack.tiff", "2", [180]),
        (["stack.tiff", "stack.tiff"], [2, 0], [180, 60]),
        (["stack.tiff", "front.png"], [0, None], [60, None]),
        ("stack.tiff|front.png", "0|", [60, None]),
    ],
)
def test_of_a_file_of_several_pictures_the_row_says_which(
    folder: Path, stack: str, images: Any, frames: Any, greys: list[int | None]
) -> None:
    media = two_views(folder, ImagePath=images, ImageViewPosition=[], frames=frames).media
    found = [decode(one) for one in media]
    assert [grey if grey is None else int(pixels.max()) for grey, pixels in zip(greys, found, strict=True)] == greys


@pytest.mark.parametrize(
    ("frames", "wrong"),
    [
        (None, "holds 3 pictures; say which one is meant"),
        (3, "has no frame 3; name one from 0 to 2"),
        ([0, 1], "2 frames and 1 images; name one frame for each image"),
        (-1, "`frames` has -1; write the number of a picture"),
        ("one", "`frames` has 'one'"),
        (True, "`frames` has True"),
    ],
)
def test_a_picture_that_is_not_in_the_file_is_named(folder: Path, stack: str, frames: Any, wrong: str) -> None:
    with pytest.raises(AuscultError, match=wrong):
        two_views(folder, ImagePath=[stack], ImageViewPosition=[], frames=frames)


def test_the_same_question_of_another_picture_in_the_file_is_no_repeat(folder: Path, stack: str) -> None:
    row = {**ROW, "ImagePath": [stack], "ImageViewPosition": []}
    table = {name: {**row, "frames": number} for name, number in {"a": 0, "b": 1, "c": 0}.items()}
    assert not check(Path(written(folder / "rows.json", {name: table[name] for name in "ab"}))).problems
    found = check(Path(written(folder / "again.json", {name: table[name] for name in "ac"}))).problems
    assert [problem.reason for problem in found] == ["question_repeats"]


def test_duplicates_and_contradictions_are_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = {**ROW, "question": "what is SEEN?", "options": ROW["options"]}
    table = {**rows(), "again": again, "against": {**again, "correct_answer": "A"}}
    root = written(folder / "rows.json", table)
    assert main(["data", "check", root, "--json"]) == 2
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert [(problem["row"], problem["reason"]) for problem in problems] == [
        ("again", "question_repeats"),
        ("against", "contradiction"),
    ]
    source = Source(root=root, heldout_share=0.2)
    notes = [note for name in ("train", "heldout") for note in source.notes(name, 0)]
    assert sum("1 rows ask again what another row asks, first: " in note for note in notes) == 1
    assert sum("1 rows contradict another row's answer, first: " in note for note in notes) == 1


def test_the_contamination_of_vqarads_official_split_is_found(
    testdata: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All images of the test are in the training set: by name here, where only sixty of them are on this disk."""
    vqarad = testdata / "vqarad"
    held = json.loads((vqarad / "testset.json").read_text())
    train = json.loads((vqarad / "trainset.json").read_text())
    assert len({row["image_name"] for row in held}) == 203
    assert {row["image_name"] for row in held} <= {row["image_name"] for row in train}
    with pytest.raises(DataError, match=r"203 groups \(by patient\) are both in training and held out"):
        Source(root=str(vqarad / "trainset.json"), heldout=str(vqarad / "testset.json"), look=False).split("train", 0)


def test_leaks_are_found_by_prints_of_films(testdata: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Films under other names, scaled and in another format, against VQA-RAD's own file."""
    from PIL import Image as Pillow

    names = sorted(path.name for path in (testdata / "vqarad").glob("*.jpg"))[:4]
    table = []
    for number, name in enumerate(names):
        Pillow.open(testdata / "vqarad" / name).convert("L").resize((200, 240)).save(tmp_path / f"film{number}.png")
        table.append(
            {
                "image": str(tmp_path / f"film{number}.png"),
                "question": "Is it?",
                "answer": "yes",
                "patient": str(number),
            }
        )
    train = written(tmp_path / "train.json", table)
    gold = [
        row
        for row in json.loads((testdata / "vqarad" / "questions.json").read_text())
        if row["image_name"] in names[:2]
    ]
    against = f"vqarad:{written(tmp_path / 'gold.json', gold)}"
    assert main(["data", "leaks", train, "--against", against, "--audio", str(testdata / "vqarad"), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["leaking_train_rows"] == 2
    assert set(found["evidence"]) == {"image"}


def test_a_large_set_is_opened_without_opening_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its index and the look at its headers are kept: the second time, in another process, no image is opened."""
    monkeypatch.setattr(index, "SMALL", 0)
    root = written(folder / "rows.json", rows())
    source = Source(root=root, heldout_share=0.2)
    first = [sample.id for sample in both(source)]
    code = (
        "import sys, auscult.data.index as index; index.SMALL = 0; opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(args[0]) if event == 'open' else None)\n"
        "from auscult.data.sources.studies import Source; source = Source(root=sys.argv[1], heldout_share=0.2)\n"
        "splits = [source.split(name, 0) for name in ('train', 'heldout')]\n"
        "print([s[n].id for s in splits for n in range(s.size)], [name for name in opened if '.png' in str(name)])"
    )
    told = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, check=True).stdout
    assert told.strip() == f"{first} []"
    monkeypatch.setattr(index, "SMALL", 1 << 20)
    (folder / "front.png").unlink()
    written(folder / "rows.json", rows(category="Heart"))  # now a small file beside the index of a large one
    with pytest.raises(MediaError, match=r"front\.png does not exist"):
        both(source)


@pytest.mark.parametrize(
    ("setting", "said"), [({"heldout_share": 0.0}, "set a share"), ({"max_unusable": 1.0}, "set a share")]
)
def test_settings_that_cannot_be_are_refused(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Source(root="x", **setting)
