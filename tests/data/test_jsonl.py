"""The native format: what is written is read back equal, and nothing wrong is read in silence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auscult.core.errors import DataError
from auscult.core.types import Audio, Sample, Turn
from auscult.data import jsonl
from auscult.data.check import check
from auscult.data.sources.jsonl import Source

words = st.text(min_size=1, max_size=20).filter(str.strip)
names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=10).filter(
    lambda name: name.strip() and name not in (".", "..")
)
seconds = st.none() | st.floats(0, 1e6)


@st.composite
def samples(draw: st.DrawFn, home: str) -> Sample:
    def audio() -> Audio:
        folder = draw(st.sampled_from([home, f"{home}/clips", "/elsewhere"]))
        digest = draw(st.none() | st.just("0123456789abcdef" * 4))
        return Audio(f"{folder}/{draw(names)}", draw(seconds), draw(seconds), sha256=digest)

    choices = tuple(draw(st.lists(words, max_size=4, unique=True).filter(lambda found: len(found) != 1)))
    answers = st.lists(st.sampled_from(choices) if choices else words, max_size=3)
    before = draw(st.lists(st.tuples(st.sampled_from(jsonl.ROLES), st.text(max_size=9)), max_size=2))
    return Sample(
        id=draw(st.uuids().map(str)),
        turns=(
            *(Turn(role, (text,)) for role, text in before),  # type: ignore[arg-type]
            Turn("user", (audio(), draw(words), *([audio()] if draw(st.booleans()) else []))),
        ),
        answers=tuple(draw(answers)),
        choices=choices,
        thought=draw(st.none() | st.text(max_size=9)),
        group=draw(st.text(max_size=9)),
        tags=draw(st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=3)),
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_written_is_read_back_equal(tmp_path: Path, data: st.DataObject) -> None:
    written = data.draw(st.lists(samples(str(tmp_path)), min_size=1, max_size=4))
    assert jsonl.write(tmp_path / "a.jsonl", written) == len(written)
    assert jsonl.read(tmp_path / "a.jsonl") == written


def rows_of(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


COMPACT = {"id": "1", "audio": "a.wav", "question": "What?", "answer": "dog", "choices": ["dog", "cat"]}
FULL = {"id": "2", "turns": [{"role": "user", "content": [{"audio": "a.wav"}, "What?"]}], "answers": ["dog"]}


def test_a_compact_row_means_the_full_one(tmp_path: Path) -> None:
    full = {"id": "1", "turns": FULL["turns"], "answers": ["dog"], "choices": ["dog", "cat"]}
    one = jsonl.read(rows_of(tmp_path / "a.jsonl", COMPACT))
    assert one == jsonl.read(rows_of(tmp_path / "b.jsonl", full))
    assert one[0].media == (Audio(str(tmp_path / "a.wav")),)
    assert one[0].question == "What?"


def test_relative_paths_move_with_the_folder(tmp_path: Path) -> None:
    sample = Sample("1", (Turn("user", (Audio(str(tmp_path / "one" / "clips" / "a.wav")), "What?")),), ("x",))
    jsonl.write(tmp_path / "one" / "a.jsonl", [sample])
    (tmp_path / "one").rename(tmp_path / "two")
    assert jsonl.read(tmp_path / "two" / "a.jsonl")[0].media == (Audio(str(tmp_path / "two" / "clips" / "a.wav")),)


def test_blank_lines_and_line_separators_inside_of_texts(tmp_path: Path) -> None:
    row = json.dumps({**COMPACT, "question": "one\u2028two"}, ensure_ascii=False)
    assert jsonl.read(rows_of(tmp_path / "a.jsonl", "", row, "  "))[0].question == "one\u2028two"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**COMPACT, "answr": "dog"}, r"unknown key `answr` \(did you mean `answer`\?\)"),
        ({**FULL, "audio": "a.wav"}, "unknown key `audio`"),
        (
            {**COMPACT, "speaker": "theo"},
            "unknown key `speaker`; the keys are .*; what else is known .* goes into its `ta",
        ),
        ({**COMPACT, "audio": {"path": "a.wav"}}, "`audio`: unknown key `path`"),
        ({**COMPACT, "audio": "https://example.org/a.wav"}, "download it"),
        ({**COMPACT, "audio": "DATA:audio/wav;base64,UklG"}, "download it"),
        ({**COMPACT, "audio": {"audio": "a.wav", "start": -1}}, "`start` is -1"),
        ({**COMPACT, "audio": {"audio": "a.wav", "end": True}}, "`end` is true"),
        ({**COMPACT, "audio": {"audio": "a.wav", "end": 10**400}}, "`end` is 1000"),
        ({**COMPACT, "audio": "a\0.wav"}, "`audio` holds a zero character"),
        ({**COMPACT, "audio": {"audio": "a.wav", "sha256": "ABC"}}, "`sha256`"),
        ({**COMPACT, "audio": None}, "no `audio`"),
        ({**COMPACT, "answer": "cow"}, "'cow' is none of the choices"),
        ({**COMPACT, "answer": 3}, "`answer` is a number instead of text"),
        ({**COMPACT, "choices": ["dog"]}, "'dog' is its only option, and always right; add the others, or take it out"),
        ({**COMPACT, "choices": "dog, cat"}, "`choices` is text instead of a list"),
        ({**COMPACT, "choices": ["dog", " "]}, r"`choices\[1\]` is empty"),
        ({**COMPACT, "question": " "}, "`question` is empty"),
        ({**COMPACT, "question": "\ud800"}, "lone surrogate"),
        ({**COMPACT, "tags": {"so: \udfff": "x"}}, r"half a character \(a lone surrogate\) after `.*so: `"),
        ({**COMPACT, "tags": {"task": 1}}, "`tags.task` is a number"),
        ({**COMPACT, "group": 0}, "`group` is a number"),
        ({**FULL, "turns": []}, "`turns` is not a list of turns"),
        ({**FULL, "turns": [{"role": "human", "content": ["x"]}]}, "`role` is 'human'"),
        ({**FULL, "turns": [{"role": "user", "text": "x"}]}, "unknown key `text`"),
        ({**FULL, "turns": [{"role": "user", "content": ["What?"]}]}, "add the audio"),
        ({**FULL, "turns": [{"role": "user", "content": [{"audio": "a.wav"}]}]}, "asks nothing"),
        ({**FULL, "turns": [*FULL["turns"], {"role": "assistant", "content": "dog"}]}, "put the reply into `answers`"),
        ({key: value for key, value in FULL.items() if key != "id"}, "no `id`"),
        (["a"], "a list instead of an object"),
        ('{"id": "1", "id": "2"}', "the key `id` occurs twice"),
        ('{"id": NaN}', "NaN"),
        ('{"id": "1"', r":2: no valid JSON \(Expecting ',' delimiter at column 11\); correct it"),
        ("[" * 100_000, "no valid JSON"),
    ],
)
def test_errors_name_file_line_and_key(tmp_path: Path, row: object, said: str) -> None:
    path = rows_of(tmp_path / "a.jsonl", {**COMPACT, "id": "first"}, row)
    with pytest.raises(DataError, match=said) as caught:
        jsonl.read(path)
    assert str(caught.value).startswith(f"{path}:2: ")


def test_all_bad_rows_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    rows = [COMPACT, {**COMPACT, "id": "2", "answr": "dog"}, "{", {**COMPACT, "id": "3"}, {**COMPACT, "id": "3"}]
    path = rows_of(tmp_path / "my rows.jsonl", *rows)
    with pytest.raises(DataError, match=r"my rows\.jsonl: 3 of 5 rows cannot be used, first: .*:2: unknown") as caught:
        jsonl.read(path)
    assert str(caught.value).endswith(f"; to see all of them: auscult data check '{path}'")
    reasons = check(path).reasons
    assert reasons["bad_row"] + reasons["duplicate_id"] == 3


def test_media_are_named_as_the_row_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows_of(tmp_path / "a.jsonl", {**COMPACT, "audio": "clips/a.wav"}, {**COMPACT, "id": "2", "audio": "./clips/a.wav"})
    assert {sample.media for sample in jsonl.read("a.jsonl")} == {(Audio("clips/a.wav"),)}


def test_files_that_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "\xe9"}')
    (tmp_path / "empty.jsonl").touch()
    for name, said in [("latin.jsonl", "UTF-8"), ("empty.jsonl", "no rows"), ("absent.jsonl", "cannot be read")]:
        with pytest.raises(DataError, match=said):
            jsonl.read(tmp_path / name)


def test_an_id_occurs_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl:3: the id '1' occurs twice"):
        jsonl.read(rows_of(tmp_path / "a.jsonl", COMPACT, FULL, COMPACT))


def test_write_refuses_what_read_would_refuse_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = Sample("1", (Turn("user", (Audio(str(tmp_path / "a.wav")), "What?")),), ("x",))
    jsonl.write(path, [good])
    before = path.read_bytes()
    memory = Sample("2", (Turn("user", (Audio.of(np.zeros(9, np.float32), 16_000), "What?")),), ("x",))
    half = Sample("2", good.turns, ("y",), tags={"\ud800": "x"})
    for bad in (memory, good, half, Sample("2", good.turns, ("y",), choices=("x",)), Sample("2", (), ("y",))):
        with pytest.raises(DataError):
            jsonl.write(path, [good, bad])
        assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]


def questions(path: Path, count: int, group: str | None = None, first: int = 0) -> Path:
    rows = [
        {**COMPACT, "id": f"{path.stem}-{n}", "audio": f"clip-{n // 2}.wav", **({"group": group} if group else {})}
        for n in range(first, first + count)
    ]
    return rows_of(path, *rows)


def test_the_source_splits_by_recording_and_the_same_in_every_folder(tmp_path: Path) -> None:
    ids = []
    for folder in (tmp_path / "one", tmp_path / "two" / "deep"):
        folder.mkdir(parents=True)
        source = Source(root=str(questions(folder / "a.jsonl", 40)), heldout_share=0.3)
        train, heldout = ([row.sample for row in source.rows(name, 7)] for name in ("train", "heldout"))
        assert len(train) + len(heldout) == 40
        assert not {sample.media for sample in train} & {sample.media for sample in heldout}
        assert {sample.group for sample in heldout} == {Path(sample.media[0].path).name for sample in heldout}
        ids.append([sample.id for sample in heldout])
    assert ids[0] == ids[1]
    assert len(ids[0]) == 12


def test_one_group_cannot_be_split(tmp_path: Path) -> None:
    source = Source(root=str(questions(tmp_path / "a.jsonl", 4, "theo")))
    with pytest.raises(
        DataError, match=r"a\.jsonl: nothing can be held out.* 4 rows are all of one group \(theo\).*; add"
    ):
        source.rows("train", 0)


def test_an_image_is_on_one_side_whatever_is_asked_about_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": str(n), "image": f"{n // 2}.png", "question": f"{n}?", "answer": "x"} for n in range(20)]
    source = Source(root=str(rows_of(tmp_path / "a.jsonl", *rows)), heldout_share=0.3)
    sides = [[row.sample for row in source.rows(name, 0)] for name in ("train", "heldout")]
    assert [len(side) for side in sides] == [14, 6]
    assert not {sample.media for sample in sides[0]} & {sample.media for sample in sides[1]}
    monkeypatch.chdir(tmp_path)
    assert [row.sample for row in source.rows("heldout", 0)] == sides[1]


def test_two_files_must_not_share_a_group(tmp_path: Path) -> None:
    train = str(questions(tmp_path / "train.jsonl", 4, "theo"))
    apart = Source(root=train, heldout=str(questions(tmp_path / "apart.jsonl", 4, "lucas", first=10)))
    assert len(apart.rows("heldout", 0)) == 4
    with pytest.raises(DataError, match="theo"):
        Source(root=train, heldout=str(questions(tmp_path / "same.jsonl", 4, "theo", first=10))).split("train", 0)
    with pytest.raises(DataError, match=r"clip-0\.wav"):
        Source(root=train, heldout=str(questions(tmp_path / "clip.jsonl", 4, "lucas"))).split("train", 0)


def test_a_sample_without_an_answer_is_no_training_sample(tmp_path: Path) -> None:
    path = rows_of(tmp_path / "a.jsonl", COMPACT, {**FULL, "answers": [], "group": "b"})
    other = questions(tmp_path / "b.jsonl", 2, "c", first=10)
    with pytest.raises(DataError, match="sample '2' has no answer"):
        Source(root=str(path), heldout=str(other)).split("train", 0)
    rows_of(path, COMPACT, {**FULL, "answers": []}, {**FULL, "answers": [], "id": "3"})
    with pytest.raises(
        DataError, match=r"2 of 3 rows cannot be used, first: .*:2: sample '2' .* data check .*a\.jsonl"
    ):
        Source(root=str(path), heldout=str(other)).split("train", 0)
