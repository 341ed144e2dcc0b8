"""`auscult score` by a judge, who answers over HTTP: what is asked, printed, written, replayed and refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from auscult.cli import main
from auscult.rewards.judging.agreement import agreement

REPLIES = ("grade 5", "grade 3", "grade 4", "grade 1")


def named(prompt: str) -> str:
    """The judgement that a reply asks for, `grade N`."""
    found = re.findall(r'"grade (\d)', prompt)
    return json.dumps({"reason": "it says so", "score": int(found[0]) if found else 0})


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """Rows of an open subset as VoiceBench's main.py writes them."""
    return write(tmp_path / "p.jsonl", [{"prompt": f"Say {text}!", "response": text} for text in REPLIES])


@pytest.fixture
def score(judge_server, tmp_path, capsys):
    """`auscult score` with a judge that grades as the reply says: exit code, stdout and stderr."""
    judge_server.say = named

    def run(*arguments: object, url: str = judge_server.url) -> tuple[int, str, str]:
        asked = ["--judge", "m", "--judge.url", url, "--judge.cache", tmp_path / "cache.jsonl"]
        patience = ["--judge.backoff", "0.001", "--judge.longest_wait=0.01", "--judge.invalid_again", "0"]
        where = ["--out", tmp_path / "out"]
        code = main(["score", *map(str, [*asked, *patience, *arguments, *where])])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def samples(figures: dict[str, Any], place: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(figures["files"][place]).read_text().splitlines()]


def results(figures: dict[str, Any]) -> dict[str, Any]:
    found = json.loads(Path(figures["files"][-1]).read_text())
    found.pop("time")
    return found


def test_an_open_subset_of_voicebench_is_graded(spoken, score, judge_server, capsys):
    code, out, err = score(
        "voicebench", spoken, "--scorer", "open", "--json", "--judge.prompt_price", 2, "--judge.reply_price=5"
    )
    figures = json.loads(out)
    assert code == 0
    assert "m is asked for 4 judgements: about" in err
    assert (figures["official"], figures["score"], figures["official_n"]) == (3.25, 3.25, 4)
    assert 1 <= figures["interval"][0] < 3.25 < figures["interval"][1] <= 5
    assert figures["cost"] == {"judgements": 4, "failed": 0, "prompt_tokens": 400, "reply_tokens": 40, "money": 0.001}
    judge = figures["judge"]
    assert (judge["model"], judge["urls"], judge["temperature"], judge["seed"]) == ("m", [judge_server.url], 0, 42)
    assert len(judge["prompt_sha256"]) == 64
    assert "api_judge.py" in figures["benchmark"]["official_command"]
    assert [row["grade"] for row in samples(figures)] == [5, 3, 4, 1]
    assert all(row["resps"] == [text] for row, text in zip(samples(figures), REPLIES, strict=True))
    assert {key: results(figures)[key] for key in ("official", "judge", "cost")} == {
        key: figures[key] for key in ("official", "judge", "cost")
    }
    assert main(["errors", figures["files"][0]]) == 2
    said = capsys.readouterr().err
    assert "jsonl:1: the grade 5 by the rule open says neither right nor wrong; compare such scores by" in said
    assert "by scoring predictions" not in said, "they are scored"
    _, said, _ = score("voicebench", spoken, "--scorer", "open")
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert any(line.startswith("Total score 3.25 over 4 samples 3.25 over 4") for line in lines)
    assert "4 judgements: 400 tokens of prompts, 40 of answers." in lines
    assert len(judge_server.requests) == 4, "the second time nobody was asked"


def test_a_replay_offline_writes_the_same_bytes(spoken, score, judge_server):
    judge_server.faults = [None, "nonsense"]
    first = json.loads(score("voicebench", spoken, "--scorer", "open", "--json", "--judge.concurrency", 1)[1])
    asked = len(judge_server.requests)
    code, out, err = score(
        "voicebench", spoken, "--scorer=open", "--json", "--judge.offline", "true", url="http://127.0.0.1:9/v1"
    )
    again = json.loads(out)
    assert (code, err) == (2, "auscult: rows without a grade: 1; the same command asks for them again\n")
    assert Path(first["files"][0]).read_bytes() == Path(again["files"][0]).read_bytes()
    assert json.dumps(results(first)) == json.dumps(results(again))
    assert len(judge_server.requests) == asked


def test_a_failed_judgement_is_a_row_without_a_grade_and_asked_again(spoken, score, judge_server):
    judge_server.faults = [None, '{"score": 9}', None, "500"]
    code, out, err = score("voicebench", spoken, "--scorer", "open", "--judge.concurrency", 1, "--judge.retries", 0)
    assert code == 2
    assert "rows without a grade: 2; the same command asks for them again" in err
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert any(line.startswith("Total score 4.50 over 2 samples none over 4") for line in lines)
    assert "2 rows have no grade (1 schema, 1 status_500), so the strict score lies between 2.75 and 4.75." in lines
    judge_server.requests.clear()
    code, out, _ = score("voicebench", spoken, "--scorer", "open", "--json")
    assert (code, json.loads(out)["score"], len(judge_server.requests)) == (0, 3.25, 2)


def test_a_dry_run_asks_nobody_and_writes_nothing(spoken, score, judge_server, tmp_path):
    code, out, err = score("voicebench", spoken, "--scorer", "open", "--dry-run", "--judge.reply_tokens", 100)
    assert (code, err) == (0, "")
    found = re.fullmatch(
        r"m: 4 judgements: about ([\d,]+) tokens of prompts, at most 400 of answers, repetitions aside\n", out
    )
    assert found
    assert 4 * 150 < int(found[1].replace(",", "")) < 4 * 500
    assert not judge_server.requests
    assert not (tmp_path / "out").exists()
    code, out, _ = score("voicebench", spoken, "--scorer", "open", "--dry-run", "--json")
    assert (code, json.loads(out)["m"]["judgements"]) == (0, 4)


def test_two_judges_and_their_kappa(spoken, score, judge_server):
    def say(prompt: str) -> str:
        given = json.loads(named(prompt))
        harsh = judge_server.requests[-1]["model"] == "harsh"
        return json.dumps({**given, "score": max(1, given["score"] - harsh)})

    judge_server.say = say
    _, out, _ = score(
        "voicebench", spoken, "--scorer", "open", "--second-judge", "harsh", "--judge.concurrency", 1, "--json"
    )
    figures = json.loads(out)
    expected = agreement([5, 3, 4, 1], [4, 2, 3, 1])
    assert (figures["official"], figures["second"]["official"]) == (3.25, 2.5)
    assert figures["agreement"]["kappa"] == expected.kappa
    assert figures["agreement"]["quadratic"] == expected.quadratic
    assert (figures["agreement"]["n"], figures["agreement"]["observed"]) == (4, 0.25)
    assert [row["grade"] for row in samples(figures, 1)] == [4, 2, 3, 1]
    assert figures["second"]["judge"]["model"] == "harsh"
    _, out, _ = score("voicebench", spoken, "--scorer", "open", "--second-judge", "harsh")
    assert f"Cohen's kappa of the two plain {expected.kappa:.3f}" in " ".join(out.split())


def test_yes_or_no_by_the_majority_of_raters(score, judge_server, tmp_path):
    """As VoiceBench judges sd-qa: three times, and the majority counts."""
    votes = {"Q0": [1, 0, 1], "Q1": [0, 0, 1], "Q2": [1, 1, 1]}

    def say(prompt: str) -> str:
        return json.dumps({"reason": "", "score": votes[re.findall(r"Q\d", prompt)[0]].pop(0)})

    judge_server.say = say
    rows = [{"prompt": f"Q{n}", "reference": "a cat", "response": "A"} for n in range(3)]
    path = write(tmp_path / "sd-qa.jsonl", rows)
    extra = ("--raters", 3, "--judge.extra", "{temperature: 0.5, top_p: 0.95}", "--judge.concurrency", 1)
    _, out, _ = score("voicebench", path, "--scorer", "binary", *extra, "--json")
    figures = json.loads(out)
    assert figures["official"] == pytest.approx(200 / 3)
    assert [row["correct"] for row in samples(figures)] == [True, False, True]
    assert [row["raters"] for row in samples(figures)] == [[1, 0, 1], [0, 0, 1], [1, 1, 1]]
    assert (figures["accuracy"], figures["judge"]["temperature"]) == (2 / 3, 0.5)
    assert {request["temperature"] for request in judge_server.requests} == {0.5}
    from auscult.evaluate.outcomes import read_outcomes

    assert [outcome.correct for outcome in read_outcomes(Path(figures["files"][0]))] == [True, False, True]


def test_audiobench_captions_and_its_multiple_choice(score, judge_server, tmp_path):
    rows = [
        {"instruction": "Describe it.", "reference": "rain", "model_prediction": "grade 4", "audio": "a.wav"},
        {"instruction": "Describe it.", "reference": "a dog", "audio": "b.wav"},
        {"instruction": "Caption?", "reference": "wind", "model_prediction": "", "audio": "b.wav"},
    ]
    path = write(tmp_path / "p.json", rows)
    code, out, _ = score("audiobench", path, "--scorer", "reference", "--json")
    figures = json.loads(out)
    assert code == 0
    assert (figures["official"], figures["official_n"]) == (40, 2), "an empty reply is judged, a missing one left out"
    assert (figures["score"], figures["no_prediction"]) == (pytest.approx(80 / 3), 1)
    assert figures["problems"] == {"no_key": 1}
    assert [row["group"] for row in samples(figures)] == ["a.wav", "b.wav", "b.wav"]
    choice = {"instruction": "Which? Choices:\n(A) cat (B) dog", "reference": "(B) dog", "model_prediction": "(B)"}
    judge_server.requests.clear()
    score("audiobench", write(tmp_path / "mcq.json", [choice]), "--scorer", "binary")
    prompt = judge_server.requests[0]["messages"][0]["content"]
    assert r"\n(A) cat\n(B) dog" in prompt, "a reply that is a letter can be judged only beside the options"


def test_rubrics_of_mmar(score, judge_server, tmp_path):
    gold = [
        {
            "id": f"q{n}",
            "question": f"Clip {n}?",
            "choices": ["bell", "drum"],
            "answer": "bell",
            "modality": "sound" if n % 2 else "music",
            "category": "Signal Layer",
            "sub-category": "x",
            "thinking": "It rings.",
            "rubric": [{"name": f"c{m}", "scoring_point": "?", "choices": [0, 1]} for m in range(4)],
        }
        for n in range(5)
    ]
    replies = ["bell", "a bell", "drum", "bell", "bell"]
    given = [
        {"id": f"q{n}", "answer_prediction": text, "thinking_prediction": "A ring."} for n, text in enumerate(replies)
    ]
    del given[3]["thinking_prediction"]
    points = {"Clip 0": [4, 0, 2, 2, 4], "Clip 1": [1, 1, 1, 3, 0], "Clip 4": [0, 0, 0, 4, 4]}

    def say(prompt: str) -> str:
        share = points[re.findall(r"Clip \d", prompt)[0]].pop(0)
        return json.dumps([{"name": f"c{m}", "score": int(m < share)} for m in range(4)])

    judge_server.say = say
    files = write(tmp_path / "p.jsonl", given), "--gold", write(tmp_path / "meta.jsonl", gold)
    code, out, _ = score("mmar", *files, "--scorer", "rubrics", "--judge.concurrency", 1)
    lines = [" ".join(line.split()) for line in out.splitlines()]
    # By hand: the middle three of 0 2 2 4 4, of 0 1 1 1 3 and of 0 0 0 4 4, over 4 points; the drum is 0.
    marks = [8 / 12, 3 / 12, 0, 4 / 12]
    official, strict = 100 * sum(marks) / 4, 100 * sum(marks) / 5
    assert code == 0
    assert any(
        line.startswith(f"Total score {official:.2f} over 4 samples 75.00% {strict:.2f} over 5 60.00%")
        for line in lines
    )
    assert any(line.startswith("sound 25.00 over 1 samples 100.00% 12.50 over 2 50.00%") for line in lines)
    assert any("Rows without `thinking_prediction`" in line and "q3" in line for line in lines)
    assert len(judge_server.requests) == 15, "five raters, and none for a wrong answer"
    figures = json.loads(score("mmar", *files, "--scorer", "rubrics", "--json")[1])
    assert figures["by"]["modality"]["music"]["official"] == pytest.approx(100 * (marks[0] + marks[3]) / 3)
    assert figures["judge"]["raters"] == 5
    assert [row["correct"] for row in samples(figures)] == [True, True, False, False, True]
    assert len(judge_server.requests) == 15


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["voicebench", "P", "--scorer", "open"], "--judge MODEL"),
        (
            ["voicebench", "P", "--scorer", "open", "--judge", "m", "--judge.ofline", "true"],
            "did you mean `--judge.offline`",
        ),
        (["voicebench", "P", "--scorer", "open", "--judge", "m", "--judge.url", "gpu:8000"], "http://"),
        (["voicebench", "P", "--scorer", "open", "--judge", "m", "--judge.url"], "--judge.url has no value"),
        (["voicebench", "P", "--scorer", "open", "--judge", "m", "--raters", "0"], "--raters is 0"),
        (["voicebench", "P", "--scorer", "open", "--judge", "m", "--second-judge", "m"], "name another model"),
        (["voicebench", "P", "--scorer", "open", "--judge", "m", "--judge.offline", "true"], "go online"),
        (
            ["voicebench", "P", "--scorer", "reference", "--judge", "m"],
            "4 of 4 questions have no answer to compare with",
        ),
        (["voicebench", "P", "--scorer", "rubrics", "--judge", "m"], "only mmar has"),
        (["voicebench", "P", "--scorer", "open", "--judge", "m", "--prompt", "opne"], "did you mean 'open'"),
        (["voicebench", "P", "--scorer", "opne", "--judge", "m"], "did you mean 'open'"),
        (["mmar", "P", "--scorer", "rubrics", "--judge", "m"], "--gold FILE"),
        (["voicebench", "P", "--judge", "m"], "--judge is for scorers that ask a judge"),
        (["voicebench", "P", "--judge.url", "http://x"], "--judge.url is for scorers that ask a judge"),
        (["voicebench", "P"], "--gold FILE"),
        (["voicebench", "P", "--gold", "P"], "--scorer open"),
    ],
)
def test_a_mistake_is_a_sentence_and_exit_2(spoken, tmp_path, monkeypatch, capsys, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    code = main(["score", *({"P": str(spoken)}.get(word, word) for word in arguments)])
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert complaint in said.err
    assert not (tmp_path / "runs").exists()


def test_help_lists_the_settings_of_a_judge(capsys):
    assert main(["score", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--judge.offline" in said
    assert "--second.KEY" in said
    assert "rubrics" in said
