"""Each benchmark reads its published format as it stands, knows its file, and says what belongs together."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from auscult.core.errors import ConfigError, DataError
from auscult.core.types import Audio, Image, Sample
from auscult.data.sources import mcq
from auscult.evaluate import benchmark, scoring

NAMES = benchmark.PLUGIN.names()
FILM: dict[str, Any] = {
    "question": "What is seen?",
    "options": ["A. Normal", "B. Effusion", "C. Fracture"],
    "correct_answer": "B",
    "correct_answer_explanation": "Fluid at the base",
    "ImagePath": ["one/front.png", "one/side.png"],
    "ImageViewPosition": ["PA", "LATERAL"],
    "Indication": "Cough",
    "Comparison": "",
    "Findings": "A large effusion",
    "Impression": "Effusion",
    "PatientID": "P7",
    "task_name": "Presence",
}


def read(name: str, path: Path, rows: Any, **options: Any) -> list[Sample]:
    """The samples of a gold file that holds `rows`."""
    path.write_text(json.dumps(rows), encoding="utf-8")
    return benchmark.find(name)(gold=str(path), **options).samples()


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_says_what_it_is(name: str):
    kind = benchmark.find(name)
    assert kind.__doc__
    assert kind.title
    assert kind.source
    assert scoring.scorer(kind.scorer)
    assert all(len(sha) == 64 and label for sha, label in kind.versions.items())
    assert len(set(kind.versions.values())) == len(kind.versions)
    assert len({breakdown.tag for breakdown in kind.breakdowns}) == len(kind.breakdowns)


def test_an_unknown_benchmark_is_named():
    with pytest.raises(ConfigError, match="did you mean 'mmau'"):
        benchmark.find("mmao")


def test_mmau_as_published(testdata: Path):
    gold = testdata / "text" / "mmau-test-mini.json"
    kind = benchmark.find("mmau")
    assert kind.identity(str(gold))["version"] == "v05.15.25 (2025-08-09)"
    samples = kind(gold=str(gold), media="/audio").samples()
    assert len(samples) == kind.size == 1000
    assert {sample.tags["category"] for sample in samples} == {"Reasoning", "Information Extraction"}, "lists are text"
    assert sum(len(set(sample.choices)) < len(sample.choices) for sample in samples) == 27
    published = {row["id"]: row for row in json.loads(gold.read_text(encoding="utf-8"))}
    assert all(list(sample.choices) == published[sample.id]["choices"] for sample in samples)
    assert all(sample.answers == (published[sample.id]["answer"],) for sample in samples)
    assert samples[0].media == (Audio(f"/audio/test-mini-audios/{samples[0].id}.wav"),)
    assert Counter(sample.tags["task"] for sample in samples) == {"music": 334, "sound": 333, "speech": 333}


def test_a_changed_gold_file_is_of_no_known_version(testdata: Path, tmp_path: Path):
    copy = tmp_path / "gold.json"
    shutil.copyfile(testdata / "text" / "mmau-test-mini.json", copy)
    copy.chmod(0o644)
    copy.write_text(copy.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert benchmark.find("mmau").identity(str(copy))["version"] is None


def test_mmau_without_ids_and_without_answers(tmp_path: Path):
    rows = [{"audio_id": "./a/x1.wav", "question": "?", "choices": ["b", "c"], "category": ["Reasoning"]}]
    (sample,) = read("mmau", tmp_path / "g.json", rows)
    assert (sample.id, sample.answers, sample.tags) == ("x1", (), {"category": "Reasoning"})


def test_mmar_groups_clips_by_video(tmp_path: Path):
    names = ["BV1_00-00-24_00-00-54", "BV1_2-45_3-15", "-a_b_00-00-00_00-00-06", "plain"]
    rows = [{"id": name, "question": "?", "choices": ["x", " "], "answer": "x", "language": None} for name in names]
    samples = read("mmar", tmp_path / "g.json", rows)
    assert [sample.group for sample in samples] == ["BV1", "BV1", "-a_b", "plain"]
    assert samples[0].choices == ("x", " "), "an empty option is kept"
    assert samples[0].tags == {}


def test_audiobench_drops_the_letters_as_its_script_does(tmp_path: Path):
    row = {"instruction": "Question:\nWhich?\nChoices:\n(A) dog (B) cat", "task": "sound"}
    with_gold = {**row, "choices": ["(A) dog", "(B) cat"], "answer": "(B) cat"}
    saved = {**row, "reference": "(B) cat", "model_prediction": "cat"}
    for value in (with_gold, saved):
        (sample,) = read("audiobench", tmp_path / "g.json", [value])
        assert (sample.id, sample.choices, sample.answers) == ("0", ("dog", "cat"), ("cat",))
    (tmp_path / "p.json").write_text(json.dumps([saved, {**saved, "model_prediction": "dog"}]))
    assert scoring.score(scoring.work("audiobench", tmp_path / "p.json"), "string_match").totals[0].correct == 1
    with pytest.raises(DataError, match="no options"):
        read("audiobench", tmp_path / "g.json", [{"instruction": "Describe it", "answer": "rain"}])


def test_voicebench_reads_what_its_main_writes(tmp_path: Path):
    rows = [
        {"prompt": "Which?\nA. dog\nB. cat", "reference": "B", "response": "I would choose b"},
        {"prompt": "Which one, as spoken?", "reference": "D", "response": "it is hard to say"},
    ]
    path = tmp_path / "naive-openbookqa-test-audio.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    scored = scoring.score(scoring.work("voicebench", path), "voicebench_mcq")
    assert [outcome.target for outcome in scored.outcomes] == ["cat", "D"]
    assert [outcome.correct for outcome in scored.outcomes] == [True, False]
    assert scored.to_dict()["unparsed"] == {"no_answer": 1}, "the original would draw a letter"
    with pytest.raises(DataError, match="only the subsets openbookqa and mmsu"):
        read("voicebench", tmp_path / "g.json", [{"prompt": "Hello?", "reference": "Hi there"}])
    with pytest.raises(DataError, match="ifeval"):
        read("voicebench", tmp_path / "g.json", [{"prompt": "Hello?", "instruction_id_list": []}])


def test_rexvqa_keeps_the_report_out_of_the_question(tmp_path: Path):
    (sample,) = read("rexvqa", tmp_path / "g.json", {"s1": FILM})
    assert sample.id == "s1"
    assert sample.question == "View 1 (PA): View 2 (LATERAL): Indication: Cough\nWhat is seen?"
    assert (sample.choices, sample.answers) == (("Normal", "Effusion", "Fracture"), ("Effusion",))
    assert sample.group == "P7"
    assert sample.tags == {"task": "Presence", "view": "PA, LATERAL", "report": "indication"}
    assert sample.media == (Image(f"{tmp_path}/one/front.png"), Image(f"{tmp_path}/one/side.png"))
    (shown,) = read("rexvqa", tmp_path / "g.json", {"s1": FILM}, report="full")
    assert "Findings: A large effusion" in shown.question
    assert shown.tags["report"] == "full"
    (bare,) = read("rexvqa", tmp_path / "g.json", {"s1": FILM}, report="none")
    assert bare.question.endswith("(LATERAL): What is seen?")


def test_rexvqa_counts_options_beyond_d(tmp_path: Path):
    film = {**FILM, "options": [f"{letter}. sign {letter}" for letter in "ABCDE"], "correct_answer": "E"}
    (sample,) = read("rexvqa", tmp_path / "g.json", {"s1": film})
    assert sample.answers == ("sign E",)
    with pytest.raises(DataError, match="none of its 3 options"):
        read("rexvqa", tmp_path / "g.json", {"s1": {**FILM, "correct_answer": "D"}})
    with pytest.raises(DataError, match="`images`"):
        read("rexvqa", tmp_path / "g.json", {"s1": {**FILM, "ImagePath": 3}})


def test_vqarad_scores_closed_and_open_questions(testdata: Path, tmp_path: Path):
    gold = testdata / "vqarad" / "testset.json"
    rows = json.loads(gold.read_text(encoding="utf-8"))
    made = [{"qid": row["qid"], "response": f"{row['answer']}. ".upper()} for row in rows]
    (tmp_path / "p.json").write_text(json.dumps(made))
    work = scoring.work("vqarad", tmp_path / "p.json", gold)
    assert work.identity["version"] == "test (testset.json)"
    figures = scoring.score(work, "exact").to_dict()
    assert figures["strict"]["task"]["closed"] == {"correct": 272, "n": 272, "percent": 100.0}
    assert figures["strict"]["total"]["n"] == 451
    assert figures["clusters"] == 203
    assert figures["figures"]["open_token_f1"] > 0.97
    assert figures["baselines"]["chance"] is None, "open questions have none"


def test_open_questions_are_all_counted_by_the_words_that_the_reward_counts(tmp_path: Path):
    """Articles are no words, as in `rewards.token_f1`; a question without an answer scores 0 and counts."""
    said = {"1": ("the left lung", "Left lung"), "2": ("lung", "left lung"), "3": ("", "x"), "4": (None, "y")}
    row = {"image_name": "a.jpg", "question": "?", "answer_type": "OPEN"}
    (tmp_path / "g.json").write_text(
        json.dumps([{**row, "qid": qid, "answer": gold} for qid, (_, gold) in said.items()])
    )
    made = [{"qid": qid, "response": reply} for qid, (reply, _) in said.items() if reply is not None]
    (tmp_path / "p.json").write_text(json.dumps(made))
    figures = scoring.score(scoring.work("vqarad", tmp_path / "p.json", tmp_path / "g.json"), "exact").to_dict()[
        "figures"
    ]
    assert figures == {"open_token_f1": pytest.approx((1 + 2 / 3 + 0 + 0) / 4)}


def test_your_own_questions_are_broken_down_by_each_tag(tmp_path: Path):
    row = {"id": "1", "audio": "a.wav", "question": "?", "answer": "dog", "choices": ["dog", "cow"]}
    rows = [{**row, "id": str(n), "tags": {"room": "hall" if n % 2 else "yard", "text": f"t{n}"}} for n in range(1, 9)]
    rows[1] |= {"tags": {"mic": "far", "text": "t2"}, "group": "clip"}
    (tmp_path / "g.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "p.json").write_text('[{"id": "1", "response": "A"}, {"id": "2", "response": "cow"}]')
    work = scoring.work("jsonl", tmp_path / "p.json", tmp_path / "g.jsonl")
    scored = scoring.score(work, "choice")
    assert {table.breakdown.tag: [(line.name, line.correct) for line in table.lines] for table in scored.strict} == {
        "room": [("hall", 1), ("yard", 0)],
        "mic": [("far", 0)],
    }, "a text that every row has for itself sorts nothing"
    assert [outcome.group for outcome in scored.outcomes] == ["a.wav", "clip", *["a.wav"] * 6]


def test_one_id_with_two_golds_is_refused(tmp_path: Path):
    row = {"id": "1", "question": "?", "choices": ["x", "y"], "answer": "x"}
    assert len(read("mmar", tmp_path / "g.json", [row, row])) == 1
    with pytest.raises(DataError, match=r"g\.json\[1\]: the id '1' occurs twice"):
        read("mmar", tmp_path / "g.json", [row, {**row, "answer": "y"}])


def test_benchmark_rows_are_no_training_data(testdata: Path):
    source = mcq.Source(root=str(testdata / "text" / "mmau-test-mini.json"))
    with pytest.raises(DataError, match="benchmark rows"):
        source.rows("train", 0)
