"""MMAR-Rubrics against a real server, and against the official aggregation in a few lines of its own."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.core.errors import DataError
from auscult.core.types import Sample, Turn
from auscult.evaluate.judged import Judged, score, write_ratings
from auscult.evaluate.rubrics import Submitted, middle, read_expectations, rubrics
from auscult.rewards.judging.judge import Judge, JudgeError
from auscult.rewards.judging.options import Judging
from auscult.rewards.judging.prompt import read_prompt

CRITERIA = ("hears the bell", "counts the strokes", "knows the hour")
COUNT = 9


def official(raters: list[list[int]], most: list[int]) -> float:
    """What the script does with the points of each rater on each criterion."""
    shares = sorted(sum(points) / sum(most) for points in raters)
    shares = shares[1:-1] if len(shares) >= 3 else shares
    return sum(shares) / len(shares)


@pytest.fixture
def questions() -> list[Sample]:
    """Odd numbers are speech, even ones music."""
    return [
        Sample(
            f"q{n}",
            (Turn("user", (f"Which hour is struck in clip {n}?",)),),
            (str(n),),
            tuple(str(m) for m in range(COUNT)),
            tags={"modality": "speech" if n % 2 else "music", "category": "Perception Layer"},
        )
        for n in range(COUNT)
    ]


@pytest.fixture
def gold(tmp_path) -> Path:
    """Rows as in MMAR-meta.jsonl, without an end of the last line; the last criterion gives up to 2 points."""
    rows = [
        {
            "id": f"q{n}",
            "thinking": f"There are {n} strokes.",
            "rubric": [
                {"name": name, "scoring_point": f"Does it {name}?", "note": "-", "choices": list(range(1 + most))}
                for name, most in zip(CRITERIA, (1, 1, 2), strict=True)
            ],
        }
        for n in range(COUNT)
    ]
    path = tmp_path / "MMAR-meta.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def points(clip: int, rater: int) -> list[int]:
    """What the judge below gives: raters differ, and so do clips."""
    return [(clip + rater) % 2, (clip + 2 * rater) % 3 == 0, (clip * rater) % 3]


@pytest.fixture
def judge(judge_server, tmp_path):
    """A judge whose raters disagree: the server counts how often it was asked about each clip."""
    asked: dict[int, int] = {}

    def say(prompt: str) -> str:
        clip = int(prompt.split("struck in clip ")[1][0])
        asked[clip] = asked.get(clip, -1) + 1
        given = zip(CRITERIA, points(clip, asked[clip]), strict=True)
        return json.dumps([{"name": name, "score": int(score), "justification": "-"} for name, score in given])

    judge_server.say = say
    options = Judging(
        url=judge_server.url, model="m", concurrency=1, backoff=0.01, invalid_again=0, cache=str(tmp_path / "c.jsonl")
    )
    return Judge(options, read_prompt("rubrics"))


def handed_in(questions, wrong=(), missing=()) -> dict[str, Submitted]:
    answers = {q.id: "7 or 8" if n in wrong else q.answers[0] for n, q in enumerate(questions)}
    return {name: Submitted(a, "I heard it.") for name, a in answers.items() if name not in {f"q{n}" for n in missing}}


def rate(questions, expected, given, judge) -> Judged:
    return score(rubrics(questions, expected, given), judge)


def told(rated: Judged) -> dict:
    return rated.to_dict(("modality", "category"))


def test_the_score_is_the_official_scripts(questions, gold, judge, judge_server, tmp_path):
    rated = rate(questions, read_expectations(gold), handed_in(questions, wrong=(1, 4), missing=(6,)), judge)
    right = [n for n in range(COUNT) if n not in (1, 4, 6)]
    expected = {n: official([points(n, rater) for rater in range(5)], [1, 1, 2]) for n in right}
    assert len(judge_server.requests) == 5 * len(right)  # a wrong answer is not judged
    assert [row.grade for row in rated.rows] == [expected.get(n, 0.0) for n in range(COUNT)]
    assert rated.rows[2].raters == tuple(sum(points(2, rater)) / 4 for rater in range(5))
    assert all(len(row.said) == 5 for row in rated.rows if row.correct)
    found = told(rated)
    assert found["official"] == pytest.approx(100 * sum(expected.values()) / 8, abs=1e-12)  # q6 is left out
    assert found["score"] == pytest.approx(100 * sum(expected.values()) / 9, abs=1e-12)
    assert (found["n"], found["official_n"], found["no_prediction"], found["failed"]) == (9, 8, 1, 0)
    assert found["accuracy"] == 6 / 9
    speech = found["by"]["modality"]["speech"]
    assert speech["official"] == pytest.approx(100 * (expected[3] + expected[5] + expected[7]) / 4, abs=1e-12)
    assert (found["judge"]["model"], found["judge"]["seed"], found["judge"]["temperature"]) == ("m", 42, 0)
    write_ratings(tmp_path / "ratings.jsonl", rated.rows, "rubrics")
    written = [json.loads(line) for line in (tmp_path / "ratings.jsonl").read_text().splitlines()]
    assert [row["raters"] for row in written] == [list(row.raters) for row in rated.rows]


def test_a_replay_without_the_server_is_equal_and_a_missing_rater_named(questions, gold, judge, judge_server):
    first = rate(questions[:3], read_expectations(gold), handed_in(questions), judge)
    asked = len(judge_server.requests)
    offline = Judging(url="http://127.0.0.1:9/v1", model="m", offline=True, cache=judge.options.cache)
    assert rate(questions[:3], read_expectations(gold), handed_in(questions), Judge(offline, judge.prompt)) == first
    cache = Path(judge.options.cache)
    cache.write_text("\n".join(cache.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(JudgeError, match=r"lacks 1 judgements .*: q2 \(rater \d\)"):
        rate(questions[:3], read_expectations(gold), handed_in(questions), Judge(offline, judge.prompt))
    assert len(judge_server.requests) == asked


@pytest.mark.parametrize(
    "said",
    [
        '[{"name": "a", "score": 1}]',
        '[{"name": "a", "score": 1}, {"name": "b", "score": 2}, {"name": "c", "score": 0}]',
        '[{"score": 1}, {"name": "b", "score": 1}, {"name": "c", "score": 0}]',
        '[{"name": "a", "score": "1"}, {"name": "b", "score": 1}, {"name": "c", "score": 0}]',
        "Well done: 3 of 4.",
    ],
)
def test_a_failed_rater_leaves_the_question_without_a_score(questions, gold, judge, judge_server, said):
    judge_server.faults = [None, None, said]
    rated = rate(questions[:2], read_expectations(gold), handed_in(questions), judge)
    assert [row.grade is None for row in rated.rows] == [True, False]
    assert rated.rows[0].raters.count(None) == 1
    found, other = told(rated), rated.rows[1].grade
    assert found["score"] is None
    assert found["failed"] == 1
    assert found["official"] == pytest.approx(100 * other)
    assert found["between"] == pytest.approx([50 * other, 50 * (1 + other)])
    again = rate(questions[:2], read_expectations(gold), handed_in(questions), judge)  # only the failed one is asked
    assert len(judge_server.requests) == 11
    assert told(again)["failed"] == 0


@given(st.lists(st.lists(st.integers(0, 1), min_size=5, max_size=5), min_size=1, max_size=7))
def test_the_middle_is_the_official_one(raters):
    shares = [sum(points) / 5 for points in raters]
    assert middle(shares) == pytest.approx(official(raters, [1] * 5))
    assert middle(shares[::-1]) == pytest.approx(middle(shares))
    assert min(shares) - 1e-12 <= middle(shares) <= max(shares) + 1e-12


def test_an_outlier_moves_the_middle_no_further_than_its_neighbour():
    assert middle([0.0, 0.8, 0.8, 0.8, 0.8]) == pytest.approx(0.8)
    assert not math.isclose(sum([0.0, 0.8, 0.8, 0.8, 0.8]) / 5, 0.8)  # the mean of all five would show
    with pytest.raises(ValueError, match="no rater"):
        middle([])


def test_texts_that_the_challenge_calls_too_long_are_counted(questions, gold, judge):
    long = {"q0": Submitted("0", "x" * 10_000), "q1": Submitted("1", "x" * 9_999)}
    assert told(rate(questions[:2], read_expectations(gold), long, judge))["too_long"] == 1


def test_gold_rows_without_criteria_are_named(questions, gold, judge, tmp_path):
    with pytest.raises(DataError, match=r"1 questions have no criteria .* q8"):
        rate(questions, {k: v for k, v in read_expectations(gold).items() if k != "q8"}, {}, judge)
    old = tmp_path / "old.jsonl"
    for row in ({"id": "q0"}, {"id": "q0", "rubric": []}):
        old.write_text(json.dumps(row))
        with pytest.raises(DataError, match=r"old\.jsonl:1: no `rubric`.*February 2026"):
            read_expectations(old)


@pytest.mark.parametrize(
    ("rubric", "said"),
    [
        (None, "no `rubric`, a list of criteria"),
        ([], "no `rubric`, a list of criteria"),
        (["clear"], "`rubric[0]`: text instead of an object"),
        ([{"name": "c", "choices": [0, 1]}], "`rubric[0]`: no `scoring_point`"),
        (
            [
                {"name": "c", "scoring_point": "p", "choices": [0, 1]},
                {"name": "d", "scoring_point": "p", "choices": ["0", "1"]},
            ],
            "`rubric[1]`: `choices` is",
        ),
        ([{"name": "c", "scoring_point": "p", "choices": []}], "write the scores there are as numbers"),
    ],
)
def test_a_rubric_that_cannot_be_used_says_which_part(tmp_path: Path, rubric: object, said: str):
    path = tmp_path / "meta.jsonl"
    path.write_text(json.dumps({"id": "1", "rubric": rubric}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(said)):
        read_expectations(path)
