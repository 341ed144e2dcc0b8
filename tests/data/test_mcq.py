"""Question lists in JSON: every kind of row, answers resolved against their options, no training on a benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auscult.core.errors import DataError
from auscult.core.types import Audio, Sample
from auscult.data.check import check
from auscult.data.sources.mcq import Source, pull_choices, read

ROW = {"id": "1", "sound": "a.wav", "question": "<sound> How many?", "answer": "3 sounds"}
BENCHMARK = {**ROW, "audio_id": "a.wav", "task": "sound", "difficulty": "easy", "split": "test-mini"}
del BENCHMARK["sound"]


def file(folder: Path, *rows: Any) -> Path:
    path = folder / "data.json"
    path.write_text(json.dumps(rows))
    return path


def one(folder: Path, **changes: Any) -> Sample:
    row = {key: value for key, value in {**ROW, **changes}.items() if value is not None}
    return read(file(folder, row))[0][0].sample


def heard(sample: Sample) -> list[str]:
    """The parts of all turns, recordings by the names of their files."""
    return [
        Path(str(part.path)).name if isinstance(part, Audio) else str(part)
        for turn in sample.turns
        for part in turn.content
    ]


def test_the_example_of_the_description(tmp_path: Path) -> None:
    sample = one(tmp_path, question="<sound> How many distinct sounds do you hear?", answer="(A) 3 sounds")
    assert heard(sample) == ["a.wav", "How many distinct sounds do you hear?"]
    assert sample.answers == ("3 sounds",)  # without options its letter says nothing
    assert sample.media == (Audio(str(tmp_path / "a.wav")),)


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("How many?", ["a.wav", "How many?"]),
        ("How many in <sound>, say?", ["How many in", "a.wav", ", say?"]),
        ("How many? <sound>", ["How many?", "a.wav"]),
        ("<sound>\nHow many?", ["a.wav", "How many?"]),
    ],
)
def test_where_the_recording_is_heard(tmp_path: Path, question: str, parts: list[str]) -> None:
    assert heard(one(tmp_path, question=question)) == parts


def test_several_recordings(tmp_path: Path) -> None:
    sample = one(tmp_path, sound=["a.wav", "b.wav"], question="Is <sound> louder than <sound>?")
    assert heard(sample) == ["Is", "a.wav", "louder than", "b.wav", "?"]
    assert heard(one(tmp_path, sound=["a.wav", "b.wav"], question="Same?")) == ["a.wav", "b.wav", "Same?"]
    with pytest.raises(DataError, match="1 marks <sound> for 2 recordings"):
        one(tmp_path, sound=["a.wav", "b.wav"])
    with pytest.raises(DataError, match="2 marks <sound> for 1 recordings"):
        one(tmp_path, question="<sound> How many? <sound>")


@pytest.mark.parametrize(
    ("question", "left", "choices"),
    [
        ("How many? (A) 3 sounds (B) 4 sounds", "How many?", ("3 sounds", "4 sounds")),
        ("How many?\n(A) 3\n(B) 4\n(C) 5\nAnswer now.", "How many?\nAnswer now.", ("3", "4", "5")),
        ("Which? (A) a dog, (B) a cat; (C) rain. <sound>", "Which?\n<sound>", ("a dog", "a cat", "rain.")),
        ("Which?\nA. dog\nB. cat", "Which?", ("dog", "cat")),
        ("Which?\nA) dog (big)\nB) cat", "Which?", ("dog (big)", "cat")),
        ("Is (A) louder than (B) here?", "Is (A) louder than (B) here?", ()),
        ("Which chord is (A) minor?", "Which chord is (A) minor?", ()),
        ("Which? (B) dog (C) cat", "Which? (B) dog (C) cat", ()),
    ],
)
def test_options_in_the_text_become_choices(question: str, left: str, choices: tuple[str, ...]) -> None:
    assert pull_choices(question) == (left, choices)


options = st.lists(
    st.from_regex(r"[a-z]{2,8}( [a-z0-9]{2,8}){0,2}", fullmatch=True), min_size=2, max_size=8, unique=True
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choices=options, gold=st.integers(0, 7), style=st.sampled_from(["(A) ", "A. "]), keyed=st.booleans())
def test_answers_are_resolved_however_options_are_written(
    tmp_path: Path, choices: list[str], gold: int, style: str, keyed: bool
) -> None:
    gold %= len(choices)
    written = [style.replace("A", letter) + text for letter, text in zip(ascii_uppercase, choices, strict=False)]
    row = {"choices": written} if keyed else {"question": "Which?\n" + "\n".join(written)}
    for answer in (written[gold], choices[gold], ascii_uppercase[gold], f"({ascii_uppercase[gold]})"):
        sample = one(tmp_path, answer=answer, **row)
        assert sample.choices == tuple(choices)
        assert sample.answers == (choices[gold],)
    with pytest.raises(DataError, match="none of the choices"):
        one(tmp_path, answer=f"({ascii_uppercase[gold]}) {choices[gold - 1]}", **row)


def test_options_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="add `choices`"):
        one(tmp_path, question="Say whether (A) it rains (B) it does not", answer="(A) it rains")


def test_an_open_answer_keeps_its_initial(tmp_path: Path) -> None:
    assert one(tmp_path, answer="J. S. Bach").answers == ("J. S. Bach",)


def test_conversations(tmp_path: Path) -> None:
    turns = [
        {"from": "system", "value": "Listen."},
        {"from": "human", "value": "<sound> What instrument?"},
        {"from": "gpt", "value": "A piano."},
        {"from": "human", "value": "How many? (A) one (B) two"},
        {"from": "gpt", "value": "(B) two"},
    ]
    sample = read(file(tmp_path, {"sound": "a.wav", "conversations": turns}))[0][0].sample
    assert [turn.role for turn in sample.turns] == ["system", "user", "assistant", "user"]
    assert heard(sample) == ["Listen.", "a.wav", "What instrument?", "A piano.", "How many?"]
    assert (sample.id, sample.answers, sample.choices) == ("0", ("two",), ("one", "two"))
    unmarked = [turns[0], {"from": "human", "value": "What?"}, turns[2]]
    assert heard(read(file(tmp_path, {"sound": "a.wav", "conversations": unmarked}))[0][0].sample)[1:] == [
        "a.wav",
        "What?",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sound": None}, "no `sound`"),
        ({"sound": None, "suond": "a.wav"}, r"no `sound` \(did you mean `suond`\?\)"),
        ({"sound": []}, "`sound` is an empty list"),
        ({"sound": "https://example.org/a.wav"}, "download it"),
        ({"question": None}, "no `question`"),
        ({"answer": None}, "no `answer`"),
        ({"answer": "5", "choices": ["3", "4"]}, "none of the choices"),
        ({"choises": ["3", "4"]}, "`choises`, did you mean `choices`"),
        ({"conversations": []}, "`question` beside `conversations`"),
        ({"question": None, "answer": None, "conversations": []}, "not a list of turns"),
        ({"question": None, "answer": None, "conversations": [{"from": "gpt", "value": "x"}]}, "no question"),
        ({"question": None, "answer": None, "conversations": [{"from": "bot", "value": "x"}]}, "`from` is 'bot'"),
        (
            {"question": None, "answer": None, "conversations": [{"from": ["human"], "value": "x"}]},
            r"`from` is \['human'\]",
        ),
        ({"question": None, "answer": None, "conversations": [{"from": "gpt", "text": "x"}]}, "unknown key `text`"),
    ],
)
def test_errors_name_file_and_row(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    row = {key: value for key, value in {**ROW, "id": "2", **changes}.items() if value is not None}
    path = file(tmp_path, ROW, row)
    with pytest.raises(DataError, match=said) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}[1]")


def test_all_bad_rows_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    path = file(tmp_path, ROW, 3, {**ROW, "id": "2", "sond": "a.wav"})
    with pytest.raises(DataError, match="2 of 3 rows cannot be used, first: ") as caught:
        read(path, Path("clips"))
    assert str(caught.value).endswith(f"to see all of them: auscult data check {path} --audio clips")
    assert [problem.row for problem in check(path).problems if problem.reason == "bad_row"] == ["1", "2"]


def test_files_that_are_no_list(tmp_path: Path) -> None:
    for text in ("{}", "[]", "3", "[1", '[{"id": NaN}]'):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(DataError, match=r"a\.json"):
            read(tmp_path / "a.json")


def test_ids_occur_once_and_other_keys_are_tags(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the id '1' occurs twice"):
        read(file(tmp_path, ROW, ROW))
    tags = one(tmp_path, duration=2.5, task="count", category=["Reasoning"], level=3, note=None).tags
    assert tags == {"duration": "2.5", "task": "count", "category": "Reasoning", "level": "3"}


def test_questions_about_one_recording_stay_together(tmp_path: Path) -> None:
    rows = [{**ROW, "id": str(n), "sound": f"{'./' * (n % 2)}{n // 2}.wav", "speaker": f"s{n % 3}"} for n in range(40)]
    path = str(file(tmp_path, *rows))
    source = Source(root=path, heldout_share=0.25, audio_root="/somewhere")
    train, heldout = (source.rows(name, 0) for name in ("train", "heldout"))
    assert (len(train), len(heldout)) == (30, 10)
    assert all(part.path.startswith("/somewhere/") for row in train for part in row.sample.media)  # type: ignore[union-attr]
    elsewhere = Source(root=path, heldout_share=0.25).rows("heldout", 0)
    assert [row.sample.id for row in elsewhere] == [row.sample.id for row in heldout]
    with pytest.raises(DataError, match="recordings are both in training and held out"):
        Source(root=path, heldout_share=0.3, group="speaker").split("train", 0)  # three speakers share recordings
    with pytest.raises(DataError, match="no `patient`"):
        Source(root=path, group="patient").split("train", 0)


@pytest.mark.parametrize("row", [BENCHMARK, {**ROW, "split": "test"}])
def test_a_benchmark_is_never_trained_on(tmp_path: Path, row: dict[str, Any]) -> None:
    source = Source(root=str(file(tmp_path, ROW, {**row, "id": "2"})))
    with pytest.raises(DataError, match="train on another file"):
        source.split("train", 0)
    assert len(source.rows("heldout", 0)) == 2


def test_a_key_that_is_null_is_not_there(tmp_path: Path) -> None:
    """Tables that hold several kinds of rows are written like this."""
    both = {**dict.fromkeys(("conversations", "audio_id", "task", "difficulty", "choices", "split")), **ROW}
    ((row, benchmark),) = read(file(tmp_path, both))
    assert (row.sample.answers, benchmark) == (("3 sounds",), False)
    ((row, benchmark),) = read(file(tmp_path, {**BENCHMARK, "sound": None}))
    assert (row.key, benchmark) == ("audio_id", True)


def test_mmau_is_read_whole(testdata: Path) -> None:
    source = Source(root=str(testdata / "text" / "mmau-test-mini.json"))
    samples = [row.sample for row in source.rows("heldout", 0)]
    assert len(samples) == 1000
    assert all(sample.answers[0] in sample.choices for sample in samples)
    assert {sample.tags["task"] for sample in samples} == {"sound", "music", "speech"}
    with pytest.raises(DataError, match="benchmark"):
        source.split("train", 0)
