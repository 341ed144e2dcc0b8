"""Scores equal an independent run of the published rule, for totals and every breakdown, to two decimals."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from auscult.core.errors import ConfigError, DataError
from auscult.core.seeds import rng
from auscult.evaluate import scoring
from auscult.evaluate.scorers.string_match import string_match

Row = dict[str, Any]
LETTERS = "ABCDEFGHIJ"


@pytest.fixture(scope="module")
def gold(testdata: Path) -> Path:
    return testdata / "text" / "mmau-test-mini.json"


@pytest.fixture(scope="module")
def rows(gold: Path) -> list[Row]:
    return json.loads(gold.read_text(encoding="utf-8"))


def published(rows: Sequence[Row], key: str, tags: Sequence[str]) -> dict[str, dict[str, str]]:
    """The published script in a few lines: rows without the key are skipped, everything counts once a tag."""

    def right(row: Row) -> bool:
        said, answer, *others = (
            frozenset(re.findall(r"\w+", text.lower())) for text in (row[key], row["answer"], *row["choices"])
        )
        wrong = frozenset().union(*(other - answer for other in others))
        return bool(said) and answer <= said and said.isdisjoint(wrong)

    counts: dict[str, dict[str, list[bool]]] = {"total": {}, **{tag: {} for tag in tags}}
    for row in rows:
        if key in row:
            hit = right(row)
            counts["total"].setdefault("total", []).append(hit)
            for tag in tags:
                if row.get(tag) is not None:
                    counts[tag].setdefault(row[tag], []).append(hit)
    return {
        tag: {value: f"{sum(hits) / len(hits) * 100:.2f}% over {len(hits)} samples" for value, hits in found.items()}
        for tag, found in counts.items()
    }


def ours(scored: scoring.Scored) -> dict[str, dict[str, str]]:
    """The official tables, said as the script says them; lines of no row left out."""

    def said(line: scoring.Line) -> str:
        return f"{line.percent:.2f}% over {line.n} samples"

    tables = {t.breakdown.tag: {line.name: said(line) for line in t.lines if line.n} for t in scored.official}
    return {"total": {"total": said(scored.totals[0])} if scored.totals[0].n else {}, **tables}


MADE: Mapping[str, Callable[[Row], str | None]] = {
    "gold": lambda row: row["answer"],
    "first": lambda row: row["choices"][0],
    "all": lambda row: ", ".join(row["choices"]),
    "sentence": lambda row: f"The answer is {row['answer']}.",
    "labelled": lambda row: f"({LETTERS[row['choices'].index(row['answer'])]}) {row['answer']}",
    "letters": lambda row: LETTERS[row["choices"].index(row["answer"])],
    "empty": lambda row: "",
    "half": lambda row: row["answer"] if len(row["question"]) % 2 else None,
}


@pytest.mark.parametrize(("name", "key"), [*((name, "model_output") for name in MADE), ("half", "model_prediction")])
def test_mmau_equals_the_published_rule(gold: Path, rows: list[Row], tmp_path: Path, name: str, key: str):
    made = [(row, MADE[name](row)) for row in rows]
    full = [{**row, key: text} if text is not None else row for row, text in made]
    short = [{"id": row["id"], key: text} for row, text in made if text is not None]
    expected = published(full, key, ("task", "difficulty", "sub-category"))
    for number, (written, given) in enumerate([(full, None), (short, gold)]):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(written), encoding="utf-8")
        scored = scoring.score(scoring.work("mmau", path, given), "string_match")
        assert ours(scored) == expected
        assert scored.totals[1].n == 1000, "the strict total is over all rows"
        assert scored.totals[1].correct == scored.totals[0].correct


def test_the_weak_spots_of_the_rule_on_mmau(gold: Path, rows: list[Row], tmp_path: Path):
    """The counts of the design: 12 wrong options pass, 93 sentences and 33 labels fail, 1 list of all options passes,
    and the first option is the answer of 39.5 % (3 more first options pass as wrong ones)."""

    def right(name: str) -> int:
        path = tmp_path / "p.json"
        path.write_text(json.dumps([{"id": row["id"], "model_output": MADE[name](row)} for row in rows]))
        return scoring.score(scoring.work("mmau", path, gold), "string_match").totals[1].correct

    found = {name: right(name) for name in ("gold", "sentence", "labelled", "all", "first", "empty")}
    assert found == {"gold": 1000, "sentence": 907, "labelled": 967, "all": 1, "first": 398, "empty": 0}
    assert sum(row["choices"][0] == row["answer"] for row in rows) == 395
    samples = scoring.find("mmau")(gold=str(gold)).samples()
    wrong = [(s, c) for s in samples for c in s.choices if c not in s.answers]
    assert sum(string_match(option, sample).correct for sample, option in wrong) == 12


def mmar(count: int) -> list[Row]:
    """Rows with MMAR's keys, options that share words, empty options and languages that are none."""
    draw = rng(3, "mmar-shaped")
    words = ("low", "high", "tone", "from", "near", "to", "far", "two", "bells", "the")
    made: list[Row] = []
    for number in range(count):
        options = [" ".join(draw.choice(words, size=draw.integers(1, 4))) for _ in range(draw.integers(2, 6))]
        options[-1] = " " if number % 50 == 7 else options[-1]
        answer = options[int(draw.integers(len(options) - 1))]
        replies = [answer, answer.title(), f"{answer}.", options[0], f"The answer is {answer}", "", "no idea"]
        row: Row = {
            "id": f"v{number // 3}_00-00-{number % 60:02}_00-01-00",
            "audio_path": f"./audio/{number}.wav",
            "question": "What?",
            "choices": options,
            "answer": answer,
            "modality": str(draw.choice(["sound", "music", "mix-sound-music"])),
            "category": str(draw.choice(["Signal Layer", "Cultural Layer"])),
            "sub-category": str(draw.choice(["Counting", "Imagination"])) if number % 9 else None,
            "language": None if number % 3 else "en",
        }
        made.append({**row, "answer_prediction": replies[int(draw.integers(7))]} if number % 11 else row)
    return made


def test_mmar_equals_the_published_rule_line_by_line(tmp_path: Path):
    rows = mmar(600)
    path = tmp_path / "result.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")  # no end of the last line
    work = scoring.work("mmar", path)
    scored = scoring.score(work, "string_match")
    expected = published(rows, "answer_prediction", ("modality", "category", "sub-category"))
    assert ours(scored) == expected
    assert [line.name for line in scored.official[0].lines][:2] == ["sound", "music"], "the script's own order"
    assert scored.totals[1].n == 600
    assert len({sample.group for sample in work.samples}) == 200, "clustered by video"
    figures = scored.to_dict()
    assert figures["clusters"] == 200
    assert figures["unparsed"]["no_prediction"] == sum("answer_prediction" not in row for row in rows)
    assert figures["problems"] == {"no_key": figures["unparsed"]["no_prediction"]}


def small(tmp_path: Path, predictions: Sequence[Row], gold: Sequence[Row] | None = None) -> scoring.Work:
    """MMAU-shaped questions about animals, and what was answered."""
    asked = gold or [
        {
            "id": name,
            "audio_id": f"{name}.wav",
            "question": "Which?",
            "choices": ["dog", "a cat"],
            "answer": "dog",
            "task": "sound",
        }
        for name in ("1", "2", "3", "4")
    ]
    (tmp_path / "gold.json").write_text(json.dumps(asked))
    (tmp_path / "p.json").write_text(json.dumps(predictions))
    return scoring.work("mmau", tmp_path / "p.json", tmp_path / "gold.json")


def test_parity_names_the_rows_on_which_rules_disagree(tmp_path: Path):
    replies = {"1": "dog", "2": "A", "3": "It is a dog", "4": "cow"}
    work = small(tmp_path, [{"id": name, "model_output": text} for name, text in replies.items()])
    parity = scoring.parity(work)
    assert next(iter(parity.scores)) == "string_match"
    assert set(parity.flips) == {"1", "2", "3"}, "all agree that cow is wrong"
    assert parity.flips["2"] == ("choice", "letter", "vlmeval", "voicebench_mcq")
    assert parity.flips["3"] == ("vlmeval",)
    assert parity.to_dict()["flips_from_own_rule"] == {
        "string_match": 0,
        "choice": 1,
        "exact": 0,
        "letter": 2,
        "vlmeval": 2,
        "voicebench_mcq": 2,
    }


def test_a_rule_that_does_not_fit_is_said_and_left_out(tmp_path: Path):
    rows = [{"id": "1", "turns": [{"role": "user", "content": [{"audio": "a.wav"}, "What?"]}], "answers": ["dog"]}]
    (tmp_path / "gold.jsonl").write_text(json.dumps(rows[0]))
    (tmp_path / "p.jsonl").write_text(json.dumps({"id": "1", "response": "Dog."}))
    parity = scoring.parity(scoring.work("jsonl", tmp_path / "p.jsonl", tmp_path / "gold.jsonl"))
    assert {rule: scored.totals[1].correct for rule, scored in parity.scores.items()} == {
        "choice": 1,
        "exact": 1,
        "string_match": 1,
    }
    assert set(parity.unfit) == {"ifeval", "letter", "vlmeval", "voicebench_mcq"}


def test_a_row_that_answers_another_version_is_named(tmp_path: Path):
    row = {"id": "1", "question": "Which?", "choices": ["dog", "a cat"], "answer": "a cat", "model_output": "dog"}
    work = small(tmp_path, [row])
    assert [(p.reason, p.id) for p in work.problems] == [
        ("missing", "2"),
        ("missing", "3"),
        ("missing", "4"),
        ("other_gold", "1"),
    ]


def test_predictions_without_gold_need_a_gold_file(tmp_path: Path):
    (tmp_path / "p.json").write_text('[{"id": "1", "model_output": "dog"}]')
    with pytest.raises(DataError, match=r"p\.json\[0\]: carries no question, answer; .*--gold FILE"):
        scoring.work("mmau", tmp_path / "p.json")


def test_answers_that_are_kept_back_are_not_scored(tmp_path: Path):
    hidden = [{"id": "1", "audio_id": "a.wav", "question": "Which?", "choices": ["dog", "cow"], "task": "sound"}]
    with pytest.raises(DataError, match=r"1 of 1 questions have no answer.*auscult submit mmau"):
        small(tmp_path, [{"id": "1", "model_output": "dog"}], hidden)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (
            {"id": "x1", "model_output": "dog"},
            r"none of the 4 .*4 missing, 1 unknown.* like 'x1', theirs like '1', '2'",
        ),
        ({"id": "1", "model_output": 5}, r"none of the 4 questions .*1 not_text"),
    ],
)
def test_predictions_of_another_benchmark_have_no_score(tmp_path: Path, row: Row, complaint: str):
    with pytest.raises(DataError, match=rf"p\.json: {complaint}"):
        small(tmp_path, [row])


def test_a_line_of_no_row_has_no_percentage_and_unread_is_a_share_of_the_answered(tmp_path: Path):
    work = small(tmp_path, [{"id": "1", "model_output": ""}])
    figures = scoring.score(work, "choice").to_dict()
    assert figures["official"]["task"]["music"] == {"correct": 0, "n": 0, "percent": None}
    assert figures["official"]["total"] == {"correct": 0, "n": 1, "percent": 0.0}
    assert (figures["strict"]["total"]["n"], figures["unparsed_share"]) == (4, 1.0)


def test_a_torn_row_of_questions_is_never_lost(tmp_path: Path):
    """Whoever walks the rows alone sees 599 questions: eval and submit did."""
    rows, path, given = mmar(600), tmp_path / "torn.jsonl", tmp_path / "p.json"
    path.write_text("\n".join(json.dumps(row) for row in rows)[:-40])
    given.write_text(json.dumps([{"id": row["id"], "answer_prediction": "low"} for row in rows]))
    for read in (scoring.find("mmar")(gold=str(path)).samples, lambda: scoring.work("mmar", given, path)):
        with pytest.raises(DataError, match=r"torn\.jsonl:600: no JSON .*its question is lost; write or download"):
            read()
    with pytest.raises(DataError, match=r"torn\.jsonl:600: .*nobody knows what it was asked; .*--gold FILE"):
        scoring.work("mmar", path)


def test_a_gold_file_of_another_benchmark_is_refused_by_its_name(testdata: Path, gold: Path, tmp_path: Path):
    (tmp_path / "p.json").write_text('[{"id": "1", "model_output": "dog"}]')
    for name, title in (("mmar", "MMAR"), ("vqarad", "VQA-RAD"), ("jsonl", "your own samples")):
        expected = rf"mmau-test-mini\.json: the gold file of MMAU test-mini \(v05.*is {title}; name the benchmark mmau"
        with pytest.raises(DataError, match=expected):
            scoring.work(name, tmp_path / "p.json", gold)


def test_a_row_may_repeat_some_of_its_question_and_need_not_repeat_all(tmp_path: Path):
    rows = [
        {"question": "Which?", "answer": "dog"},
        {"question": "Which?", "answer": "a cat"},
        {"question": 5, "answer": 5},
    ]
    made = [{"id": str(number), "model_output": "dog", **row} for number, row in enumerate(rows, 1)]
    work = small(tmp_path, made)
    assert [problem.id for problem in work.problems if problem.reason == "other_gold"] == ["2", "3"]


def test_your_own_samples_may_carry_their_predictions(tmp_path: Path):
    asked = [
        {"id": str(n), "audio": "a.wav", "question": "?", "choices": ["dog", "cow"], "answer": "dog"} for n in (1, 2)
    ]
    bare, path = tmp_path / "gold.jsonl", tmp_path / "p.jsonl"
    for key in ("model_output", "mine"):
        told = [
            {**row, key: reply, "thinking_prediction": "hm"} for row, reply in zip(asked, ("A", "cow"), strict=True)
        ]
        path.write_text("\n".join(map(json.dumps, told)))
        bare.write_text("\n".join(map(json.dumps, asked)))
        for gold in (None, bare):
            work = scoring.work("jsonl", path, gold, key if key == "mine" else "")
            assert scoring.score(work, "choice").totals[1].correct == 1
            assert work.problems == ()
    assert {sample.group for sample in work.samples} == {"a.wav"}, "questions about one recording are one cluster"


def test_the_gold_is_neither_proposed_nor_taken_as_predictions(gold: Path, rows: list[Row], tmp_path: Path):
    made = [{**row, "answer_prediction": row["choices"][0]} for row in rows]
    (tmp_path / "p.json").write_text(json.dumps(made))
    with pytest.raises(DataError, match="did you mean --key answer_prediction"):
        scoring.work("mmau", tmp_path / "p.json", gold, "answr_pred")
    for given in (gold, None):
        with pytest.raises(ConfigError, match=r"--key answer: .* that is the gold"):
            scoring.work("mmau", tmp_path / "p.json", given, "answer")
    (tmp_path / "q.json").write_text(json.dumps([{"id": row["id"], "answer": row["choices"][0]} for row in rows]))
    assert scoring.score(scoring.work("mmau", tmp_path / "q.json", gold, "answer"), "exact").totals[1].correct == 395
    with pytest.raises(DataError, match="no row has the key `reference`"):
        scoring.work("mmau", tmp_path / "q.json", gold, "reference")
    with pytest.raises(DataError, match="its rows have id; name one of them"):
        scoring.work("mmau", tmp_path / "q.json", gold, "answers_")


def test_an_outcome_without_a_prediction_says_so(tmp_path: Path):
    work = small(tmp_path, [{"id": "1", "model_output": ""}])
    first, second, *_ = work.outcomes(string_match)
    assert (first.parsed.problem, second.parsed.problem) == ("empty", "no_prediction")
    assert not first.correct
    assert not second.correct
