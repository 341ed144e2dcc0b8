"""A benchmark put to a model: every question asked once, whatever happens, and scored over all rows."""

import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auscult import exams
from auscult.cli import main
from auscult.core.errors import AuscultError, DataError, MediaError, RunError
from auscult.core.journal import Journal
from auscult.core.runs import read_jsonl
from auscult.core.seeds import rng
from auscult.evaluate.benchmarks import mmau
from auscult.evaluate.exam import Exam
from auscult.evaluate.options import Evaluate
from auscult.models.families import graft
from auscult.models.graft_listener import GraftListener
from auscult.models.wording import Wording, template

WORDING = Wording(form="label", instruction=False)
ROWS = 10


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    """Questions as MMAU writes them, with recordings of noise."""
    (tmp_path / "audio").mkdir()
    rows = []
    for number in range(ROWS):
        wave = rng(number, "exam clip").standard_normal(4000 + 300 * number).astype(np.float32) * 0.1
        soundfile.write(tmp_path / "audio" / f"{number}.wav", wave, 16_000)
        rows.append(
            {
                "id": f"q{number}",
                "audio_id": f"./audio/{number}.wav",
                "question": "How many sounds?",
                "choices": ["1", "2", "3", "4"],
                "answer": str(number % 4 + 1),
                "task": ["sound", "music"][number % 2],
                "category": "count",
                "sub-category": "number",
                "difficulty": "easy",
            }
        )
    path = tmp_path / "gold.json"
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture
def exam(gold, checkpoint):
    def make(**changes) -> Exam:
        given = {
            "benchmark": mmau.Benchmark(gold=str(gold)),
            "model": graft.Model(path=str(checkpoint)),
            "wording": WORDING,
            "evaluate": Evaluate(batch=4, max_tokens=4, showcase=3),
        }
        return Exam(**{**given, **changes})

    return make


def sit(exam: Exam, out: Path, **options):
    return exams.run(exam, out, "test", lambda *_: None, say=lambda _: None, **options)


def left(out: Path) -> dict[str, bytes]:
    """What an exam leaves behind, but for times and the order in which answers came."""
    names = [p for p in sorted(out.rglob("*")) if p.suffix in (".json", ".jsonl", ".wav")]
    found = {str(p.relative_to(out)): p.read_bytes() for p in names if p.name != "environment.json"}
    return {**found, "answers.jsonl": b"".join(sorted(found["answers.jsonl"].splitlines()))}


def test_all_rows_are_asked_and_scored_beside_their_baselines(exam, tmp_path):
    figures = sit(exam(), tmp_path / "out")
    (result,) = figures["results"].values()
    assert (result["n"], result["scorer"], result["label"]) == (ROWS, "string_match", "baseline")
    assert result["benchmark"]["name"] == "mmau"
    assert result["baselines"]["chance"] == 0.25
    assert {"majority", "shuffled", "silence"} <= set(result["baselines"])
    assert result["baselines"]["silence"]["n"] == ROWS
    assert set(result["by"]["difficulty"]) == {"easy"}
    assert sum(result["unparsed"].values()) <= ROWS
    assert {pair["before"] for pair in figures["comparison"]} == {"baseline_shuffled", "baseline_silence"}
    rows = read_jsonl(tmp_path / "out" / "answers.jsonl").rows
    assert len(rows) == len({row["key"] for row in rows}) == 3 * ROWS
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<audio") == 3
    (said,) = json.loads((tmp_path / "out" / "data.json").read_text())["said"]
    assert f": {ROWS} questions of {ROWS} groups" in said
    assert said in page
    predictions = read_jsonl(tmp_path / "out" / "predictions_baseline.jsonl").rows
    assert [row["id"] for row in predictions] == [f"q{n}" for n in range(ROWS)]


def test_a_finished_exam_asks_nobody(exam, tmp_path, monkeypatch):
    first = sit(exam(), tmp_path / "out")
    monkeypatch.setattr(GraftListener, "run_prompts", None)
    assert sit(exam(), tmp_path / "out") == first


def test_a_clip_that_cannot_be_decoded_is_a_failure_that_is_asked_again(exam, gold, tmp_path):
    clip = gold.parent / "audio" / "3.wav"
    whole = clip.read_bytes()
    soundfile.write(clip, np.full(4000, np.nan, np.float32), 16_000, subtype="FLOAT")  # its header is in order
    with pytest.raises(
        DataError, match=r"1 of 10 questions .* have no answer: 1 \w+; the first: .*3\.wav.*--max_failed 0\.10$"
    ):
        sit(exam(), tmp_path / "out")
    asked = len(read_jsonl(tmp_path / "out" / "answers.jsonl").rows)
    clip.write_bytes(whole)
    figures = sit(exam(), tmp_path / "out")
    rows = read_jsonl(tmp_path / "out" / "answers.jsonl").rows
    assert figures["results"]["baseline"]["n"] == ROWS
    assert len([row for row in rows if "text" in row]) == 3 * ROWS
    assert 0 < len(rows) - asked <= 3  # those of the mended clip, and of whom it is the donor


@pytest.mark.parametrize("cause", ["missing", "torn"])
def test_headers_are_read_before_anything_is_asked(exam, gold, tmp_path, cause):
    clip = gold.parent / "audio" / "3.wav"
    clip.unlink() if cause == "missing" else clip.write_bytes(clip.read_bytes()[:30])
    said = rf"1 of 10 questions are about files .*\(1 {cause}\), the first, 'q3': .*--media DIR.*--max_failed 0\.10$"
    with pytest.raises(MediaError, match=said):
        sit(exam(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (gold.parent / "audio").rename(gold.parent / "elsewhere")
    with pytest.raises(MediaError, match=r"10 of 10 questions .*\(10 missing\).*name their folder with --media DIR$"):
        sit(exam(max_failed=0.9), tmp_path / "out")


def test_failures_that_are_allowed_count_as_wrong(exam, gold, tmp_path):
    (gold.parent / "audio" / "3.wav").unlink()
    figures = sit(exam(max_failed=0.2), tmp_path / "out")
    result = figures["results"]["baseline"]
    assert (result["n"], result["unparsed"]["failed"]) == (ROWS, 1)
    assert result["failed"] == {"missing": 1}


def changed_gold(gold: Path, prompt: Path, model: Path) -> None:
    rows = json.loads(gold.read_text())
    gold.write_text(json.dumps([{**row, "answer": "1"} for row in rows]))


def changed_prompt(gold: Path, prompt: Path, model: Path) -> None:
    prompt.write_text("Look.\n{question}\n{choices}")
    template.cache_clear()  # as in a new process


def changed_weights(gold: Path, prompt: Path, model: Path) -> None:
    shutil.rmtree(model)
    graft.tiny(model, seed=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            changed_gold,
            r"the gold file .*gold\.json changed\. .*--overwrite .*auscult score mmau .*_mine\.jsonl --gold",
        ),
        (changed_prompt, r"the prompt .*mine\.txt changed\. Give --out another folder .*begin again$"),
        (changed_weights, r"the weights in .*model changed\. Give --out another folder .*begin again$"),
    ],
)
def test_a_finished_exam_whose_question_changed_is_not_repeated_as_finished(exam, gold, tmp_path, change, said):
    mine, model = tmp_path / "mine.txt", graft.tiny(tmp_path / "own" / "model")
    mine.write_text("Listen.\n{question}\n{choices}")
    asked = exam(prompts=(str(mine),), model=graft.Model(path=str(model)), baselines=False)
    sit(asked, tmp_path / "out")
    before = left(tmp_path / "out")
    change(gold, mine, model)
    try:
        with pytest.raises(RunError, match=rf"out is finished, but since then {said}"):
            sit(asked, tmp_path / "out")
        assert left(tmp_path / "out") == before
        assert (tmp_path / "out" / "done").exists()
        if change is changed_gold:  # its advice
            words = ["score", "mmau", str(tmp_path / "out" / "predictions_mine.jsonl"), "--gold", str(gold)]
            assert main([*words, "--out", str(tmp_path / "scored")]) == 0
    finally:
        template.cache_clear()


def test_a_finished_exam_is_scored_anew_by_another_rule_and_asks_nobody(exam, tmp_path, monkeypatch):
    sit(exam(), tmp_path / "out")
    first = left(tmp_path / "out")
    monkeypatch.setattr(GraftListener, "run_prompts", None)
    figures = sit(exam(scorer="exact", evaluate=Evaluate(batch=4, max_tokens=4, showcase=1)), tmp_path / "out")
    assert figures["results"]["baseline"]["scorer"] == "exact"
    assert len(read_jsonl(tmp_path / "out" / "rollouts" / "showcase.jsonl").rows) == 1
    config = (tmp_path / "out" / "config.yaml").read_text()
    assert "scorer: exact" in config
    assert "showcase: 1" in config
    sit(exam(), tmp_path / "out")
    assert left(tmp_path / "out") == first


def test_another_models_answers_are_never_taken(exam, tmp_path):
    sit(exam(baselines=False), tmp_path / "out")
    other = graft.Model(path=str(graft.tiny(tmp_path / "other", seed=1)))
    with pytest.raises(AuscultError, match=r"model\.path"):
        sit(exam(baselines=False, model=other), tmp_path / "out")
    keys = [
        {sitting.key(sample, 0) for sitting in exam(baselines=False).sittings(samples, who) for sample in samples}
        for who in ("one", "other")
        for samples in [exam().benchmark.samples()]
    ]
    assert len(keys[0]) == ROWS
    assert not keys[0] & keys[1]


def test_prompts_are_compared_in_one_run(exam, tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("Listen well.\n{question}\n{choices}")
    figures = sit(exam(prompts=("baseline", str(mine)), baselines=False), tmp_path / "out")
    assert list(figures["results"]) == ["baseline", "mine"]
    assert [(pair["before"], pair["after"]) for pair in figures["comparison"]] == [("baseline", "mine")]
    prompts = [result["prompt"] for result in figures["results"].values()]
    assert [prompt["text"] for prompt in prompts] == [template("baseline"), "Listen well.\n{question}\n{choices}"]
    assert len({prompt["sha256"] for prompt in prompts}) == 2


def test_several_draws_vote(exam, tmp_path):
    asked = exam(votes=3, baselines=False, evaluate=Evaluate(batch=4, max_tokens=4, temperature=1.0, showcase=0))
    sit(asked, tmp_path / "out")
    rows = read_jsonl(tmp_path / "out" / "answers.jsonl").rows
    assert len(rows) == 3 * ROWS
    assert len({row["text"] for row in rows if row["sample"] == "q0"}) > 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"votes": 3}, "all alike at temperature 0"),
        ({"model": None}, "a model or a server"),
        ({"prompts": ("baseline", "baseline")}, "twice"),
        ({"prompts": ("category",)}, "reveal_tags"),
        ({"max_failed": 1.0}, "share from 0"),
    ],
)
def test_an_exam_that_makes_no_sense_is_refused(exam, changes, said):
    with pytest.raises(ValueError, match=said):
        exam(**changes)


def test_only_the_questions_that_the_errors_of_a_run_name_are_asked_again(exam, tmp_path, capsys):
    sit(exam(baselines=False), tmp_path / "out")
    again = tmp_path / "again.jsonl"
    assert main(["errors", str(tmp_path / "out"), "--export", str(again)]) == 0
    lines = again.read_text().splitlines(keepends=True)
    assert len(lines) == ROWS, "the tiny model is never right"
    again.write_text("".join(lines[7:2:-2]))
    figures = sit(exam(baselines=False, only=str(again)), tmp_path / "second")
    result = figures["results"]["baseline"]
    assert (result["n"], result["selection"]["asked"], result["selection"]["of"]) == (3, 3, ROWS)
    assert (result["selection"]["only"], len(result["selection"]["sha256"])) == (str(again), 64)
    first, second = (
        {r["sample"]: r for r in read_jsonl(tmp_path / n / "answers.jsonl").rows} for n in ("out", "second")
    )
    assert list(second) == ["q3", "q5", "q7"], "in the benchmark's order"
    for kind in ("samples", "predictions"):
        rows = read_jsonl(tmp_path / "second" / f"{kind}_baseline.jsonl").rows
        assert {row["only"] for row in rows} == {result["selection"]["sha256"]}
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "out"), str(tmp_path / "second"), "--common", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["comparisons"]
    assert (found["total"]["p"], found["notes"][0][:11]) == (None, "A selection")
    assert main(["rewards", "audit", str(tmp_path / "second")]) == 2
    assert "is a run of `auscult eval`, which has no rewards" in capsys.readouterr().err
    assert all(second[name]["key"] == first[name]["key"] for name in second), "they are the same questions"


def test_a_part_of_a_benchmark_says_so_and_the_whole_does_not(exam, tmp_path):
    part = sit(exam(baselines=False, evaluate=Evaluate(limit=4, batch=4, max_tokens=4)), tmp_path / "part")
    assert part["results"]["baseline"]["selection"] == {"asked": 4, "of": ROWS, "only": None, "sha256": None}
    names = tmp_path / "all.json"
    names.write_text(json.dumps([{"id": f"q{number}"} for number in range(ROWS)]))
    whole = sit(exam(baselines=False, only=str(names)), tmp_path / "whole")
    assert whole["results"]["baseline"]["selection"] is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"id": "q3"}\n{"id": "q11"}\n', r"ids:2: the benchmark has no question 'q11', did you mean 'q1'"),
        ('{"id": "q3"}\n{"input": "q1"}\n', r"ids:2: no `id`; write the file again: auscult errors"),
        ('{"id": "q3"}\n{"id": "q', r"ids:2: no JSON"),
        ('{"id": "q3"}\n{"id": "q3"}\n', r"ids:2: the id 'q3' stands at .*ids:1 already"),
        (
            '{"id": "q3", "input": "How many  sounds?"}\n{"id": "q4", "input": "How many dogs?"}\n',
            r"ids:2: it asks 'How many dogs\?', and the benchmark's question 'q4' is 'How many sounds\?': it was",
        ),
        ("", "no row"),
    ],
)
def test_ids_that_cannot_be_asked_leave_nothing(exam, tmp_path, text, said):
    (tmp_path / "ids").write_text(text)
    with pytest.raises(DataError, match=said):
        sit(exam(only=str(tmp_path / "ids")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


POINTS = (
    (GraftListener, "run_prompts"),
    (GraftListener, "run_replies"),
    (Journal, "add"),
    (os, "replace"),
    (os, "fsync"),
)


def child(exam: Exam, out: Path, point: int | None) -> int:
    """Sits the exam in a process of its own, killed at the `point`-th call; the points that it passed, or -1."""
    pid = os.fork()
    if pid:
        return int((out.parent / "points").read_text()) if os.waitpid(pid, 0)[1] == 0 else -1
    passed = 0

    def counted(whole):
        def call(*arguments, **options):
            nonlocal passed
            passed += 1
            if passed == point:
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(*arguments, **options)

        return call

    for owner, name in POINTS:
        setattr(owner, name, counted(getattr(owner, name)))
    try:
        sit(exam, out)
        (out.parent / "points").write_text(str(passed))
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - a forked child must not go on as pytest
        (out.parent / "trouble").write_text(repr(error))
        os._exit(1)


def test_killed_at_ten_random_points_it_ends_the_same_and_asks_nothing_twice(exam, tmp_path):
    whole = exam(votes=2, evaluate=Evaluate(batch=4, max_tokens=4, temperature=1.0, showcase=2))
    points = child(whole, tmp_path / "whole", None)
    assert points > 0, (tmp_path / "trouble").read_text()
    expected = left(tmp_path / "whole")
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed, "of", points, "points")
    draw, kills, runs = random.Random(seed), 0, 0
    while kills < 10:
        out = tmp_path / f"run-{runs}"
        while child(whole, out, draw.randrange(1, points // 2) if kills < 10 else None) < 0:
            assert not (tmp_path / "trouble").exists(), (tmp_path / "trouble").read_text()
            kills += 1
        assert left(out) == expected
        rows = read_jsonl(out / "answers.jsonl").rows
        assert len(rows) == len({row["key"] for row in rows}) == 4 * ROWS
        runs += 1


def test_the_command_takes_form_and_family_from_the_run_that_trained_the_model(gold, checkpoint, tmp_path, capsys):
    run = tmp_path / "trained"
    run.mkdir()
    (run / "config.yaml").write_text("model: {family: graft}\nwording: {form: label, instruction: false}\n")
    os.symlink(checkpoint, run / "model")
    words = ["eval", "mmau", "--gold", str(gold), "--model", str(run / "model"), "--out", str(tmp_path / "out")]
    small = ["--limit", "4", "--evaluate.max_tokens", "3", "--evaluate.showcase", "1", "--json"]
    assert main([*words, *small]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["results"]["baseline"]["form"] == "label"
    assert figures["results"]["baseline"]["n"] == 4
    assert main(["eval", str(tmp_path / "out"), "--out", str(tmp_path / "again"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"] == figures["results"]
    assert main(["eval", str(tmp_path / "again"), "--scorer", "ifeval"]) == 2, "an option's value is no benchmark"
    assert "no verifiable instructions" in capsys.readouterr().err
    (tmp_path / "again" / "done").unlink()
    assert main(["eval", "--json", str(tmp_path / "again")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["run"], found["results"]) == (str(tmp_path / "again"), figures["results"]), "it goes on where it is"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eval", "mmau", "--model", "x/y", "--model.family", "graft"], "give --gold FILE"),
        (["eval", "mmau", "--gold", "{gold}", "--model", "nothere"], "--model nothere: there is no such folder"),
        (["eval", "mmau", "--gold", "{gold}", "--model", "{torn}"], "config.json: no valid JSON"),
        (["eval", "mmau", "--gold", "{gold}", "--model", "{stray}"], "`model.family` is missing; name one of"),
        (["eval", "mmau", "--gold", "{gold}", "--server", "http://127.0.0.1:9/v1", "--scorer", "leter"], "'letter'"),
        (
            ["eval", "mmau", "--gold", "{gold}", "--server", "http://127.0.0.1:9/v1", "--scorer", "all"],
            "an exam has one scorer; `auscult score --scorer all` puts every rule",
        ),
        (["eval", "mmau", "--gold", "g.json"], "model or a server"),
        (["eval", "mmau", "--gold", "g.json", "--model", "nowhere/at/all", "--model.family", "graft"], "no model in"),
        (["eval", "mmau", "--gold", "g.json", "--golt", "x"], "did you mean"),
        (["eval", "mmao", "--model", "x"], "mmau"),
        (["eval", "mmau", "--gold", "{gold}", "--server", "http://127.0.0.1:9/v1"], "9/v1: nobody answers there"),
        (["eval", "mmau", "--gold", "{gold}", "--model", "{gold}", "--model.family", "graft"], "gold.json"),
    ],
)
def test_a_mistake_is_a_sentence_and_leaves_nothing(words, said, gold, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("torn", "stray/a/model"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "torn" / "config.json").write_text('{"model_ty')
    (tmp_path / "stray" / "config.yaml").write_text("data: {source: digits}\n")
    places = {"{gold}": gold, "{torn}": tmp_path / "torn", "{stray}": tmp_path / "stray" / "a" / "model"}
    assert main([str(places.get(word, word)) for word in words]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""
    assert not (tmp_path / "runs").exists()


def test_a_benchmark_that_keeps_its_answers_is_asked_and_not_scored(exam, gold, tmp_path):
    rows = [{key: value for key, value in row.items() if key != "answer"} for row in json.loads(gold.read_text())]
    gold.write_text(json.dumps(rows))
    figures = sit(exam(), tmp_path / "out")
    assert figures["results"] == {}
    assert len(read_jsonl(tmp_path / "out" / "predictions_baseline.jsonl").rows) == ROWS
    assert len(read_jsonl(tmp_path / "out" / "answers.jsonl").rows) == ROWS
    gold.write_text(json.dumps([{**rows[0], "answer": "1"}, *rows[1:]]))
    with pytest.raises(DataError, match="9 questions have no answer"):
        sit(exam(), tmp_path / "other")


class Listener(ThreadingHTTPServer):
    """An OpenAI-compatible server that hears: it counts a clip's tokens, and says `say(text)` of the text beside it.
    From the question `stuck` on it never answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Listening)
        self.say: Callable[[str], str] = lambda text: f"You said: {text}"
        self.stop = "stop"
        self.stuck: int | None = None
        self.asked: list[str] = []
        self.clips = 0

    def handle_error(self, request, client_address) -> None:
        """Who asks is killed: that is the point."""


class _Listening(BaseHTTPRequestHandler):
    server: Listener

    def log_message(self, *args) -> None:
        pass

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        pieces = body["messages"][-1]["content"]
        clips = sum(piece["type"] != "text" for piece in pieces)
        text = "".join(piece["text"] for piece in pieces if piece["type"] == "text")
        if body["max_tokens"] > 1:  # else it is asked what a question counts
            if server.stuck is not None and len(server.asked) >= server.stuck:
                threading.Event().wait(60)
                return
            server.asked.append(json.dumps(pieces))
            server.clips += clips
        choice = {"message": {"content": server.say(text)}, "finish_reason": server.stop}
        usage = {"prompt_tokens": 5 + 50 * clips, "completion_tokens": 3, "total_tokens": 8 + 50 * clips}
        data = json.dumps({"model": body["model"], "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def answering(serve) -> Listener:
    """A server to be examined, running until the test ends."""
    server = Listener()
    serve(server)
    return server


@pytest.fixture
def spoken(gold, tmp_path) -> Path:
    """An open subset as VoiceBench's main.py writes it, with what some other model answered, and its recordings."""
    rows = [
        {"prompt": f"Say {number}!", "response": "grade 1", "audio": f"audio/{number}.wav"} for number in range(ROWS)
    ]
    return written(tmp_path / "alpacaeval.jsonl", rows)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_server_that_is_not_there_is_said_within_seconds(gold, tmp_path, capsys):
    began = time.monotonic()
    nobody = ["--server", "http://127.0.0.1:9/v1", "--server.model", "any", "--out", str(tmp_path / "out")]
    assert main(["eval", "mmau", "--gold", str(gold), *nobody]) == 2
    assert time.monotonic() - began < 20, "with eight patient repetitions it would be minutes"
    said = capsys.readouterr().err
    assert "http://127.0.0.1:9/v1: nobody answers there (ConnectError: " in said
    assert said.rstrip().endswith("start the server, or mend server.url")
    assert not (tmp_path / "out" / "answers.jsonl").exists()


def test_a_server_that_answers_nothing_is_not_asked_the_baselines_too(gold, answering, tmp_path, capsys):
    answering.stop = "content_filter"
    assert main(examined(answering, "mmau", gold, tmp_path / "out")) == 2
    assert "10 of 10 questions (baseline, heard) have no answer: 10 finish_content_filter" in capsys.readouterr().err
    rows = read_jsonl(tmp_path / "out" / "answers.jsonl").rows
    assert {row["condition"] for row in rows} == {"heard"}


def test_an_unknown_part_of_a_benchmark_is_no_score_of_it(gold, answering, tmp_path, capsys):
    assert main(examined(answering, "mmau", gold, tmp_path / "out")) == 0
    told = capsys.readouterr().out.splitlines()
    assert "The gold has 10 questions of 1,000: this is no score of the whole benchmark." in told
    assert any(line.startswith("The gold is a file that is not known (sha256 ") for line in told)


def test_a_doubled_row_of_the_gold_file_is_asked_once_and_counted(exam, gold, tmp_path):
    rows = json.loads(gold.read_text())
    gold.write_text(json.dumps([*rows, rows[2], rows[2], rows[4]]))
    told: list[str] = []
    figures = exams.run(exam(baselines=False), tmp_path / "out", "test", lambda *_: None, say=told.append)
    assert f"3 rows of {gold} repeat a question, word for word: it counts once" in told
    assert (figures["results"]["baseline"]["n"], figures["results"]["baseline"]["gold_repeated"]) == (ROWS, 3)


def examined(server: Listener, name: str, gold: Path, out: Path, *words: str) -> list[str]:
    patience = ["--server.concurrency", "1", "--server.retries", "0", "--server.backoff", "0.01"]
    who = ["--server", f"http://127.0.0.1:{server.server_address[1]}/v1", "--server.model", "any", *patience]
    return ["eval", name, "--gold", str(gold), *who, "--out", str(out), *words]


def judged(command: str, judge_server, tmp_path: Path, capsys) -> tuple[int, dict[str, Any]]:
    """What the printed command says, by a judge that gives the grade which a reply names."""

    def say(prompt: str) -> str:
        found = re.findall(r'"grade (\d)', prompt)
        return json.dumps({"reason": "it says so", "score": int(found[0]) if found else 1})

    judge_server.say = say
    words = [{"MODEL": "judge"}.get(word, word) for word in shlex.split(command)]
    assert words[:2] == ["auscult", "score"]
    where = ["--judge.url", judge_server.url, "--judge.cache", str(tmp_path / "cache.jsonl")]
    capsys.readouterr()
    code = main([*words[1:], *where, "--out", str(tmp_path / "score"), "--json"])
    said = capsys.readouterr()
    assert said.out, said.err
    return code, json.loads(said.out)


def test_open_questions_are_asked_killed_resumed_and_scored_by_the_command_that_is_printed(
    spoken, answering, judge_server, tmp_path, capsys
):
    answering.say = lambda text: f"grade {1 + (len(answering.asked) - 1) % 5}"
    out = tmp_path / "out"
    words = examined(answering, "voicebench", spoken, out, "--scorer", "open")
    answering.stuck = 4
    process = subprocess.Popen(
        [sys.executable, "-m", "auscult", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        journal = out / "answers.jsonl"
        if journal.exists() and journal.read_bytes().count(b"\n") == 4:
            break
        time.sleep(0.02)
    process.kill()
    assert b"Traceback" not in process.communicate()[1]
    answering.stuck = None
    assert main(words) == 0
    said = capsys.readouterr()
    assert len(answering.asked) == len(set(answering.asked)) == ROWS, "nothing is asked twice"
    assert answering.clips == ROWS
    assert not any("Say" in asked for asked in answering.asked), "what is spoken is not shown in writing too"
    *_, command = said.out.splitlines()
    assert f"{ROWS} questions, 0 without a reply, 0 with nothing in the place of the answer, 0 replies cut" in said.out
    rows = read_jsonl(out / "predictions_baseline.jsonl").rows
    assert [row["answer_prediction"] for row in rows] == [f"grade {1 + n % 5}" for n in range(ROWS)]
    assert all("response" not in row for row in rows), "another model's reply is not carried along"
    assert not list(out.glob("results_*.json"))
    for comparing in (["errors", str(out)], ["compare", str(out), str(out)]):
        assert main(comparing) == 2
        assert f"answers that a judge has to score (open): {command};" in capsys.readouterr().err
    code, figures = judged(command, judge_server, tmp_path, capsys)
    assert (code, figures["scorer"], figures["score"], figures["official_n"]) == (0, "open", 3.0, ROWS)
    assert figures["problems"] == {}
    assert figures["benchmark"]["gold"] == str(spoken)
    bare = command.replace(f" --gold {spoken}", "")
    assert bare != command
    asked = len(judge_server.requests)
    assert "Say 3!" in json.dumps(judge_server.requests), "but the judge reads it"
    assert judged(bare, judge_server, tmp_path, capsys)[1]["score"] == 3.0
    assert len(judge_server.requests) == asked, "to the judge they are the same"
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["score"], found["scorer"], found["results"]) == (None, "open", {})
    assert found["commands"] == {"baseline": command}
    assert len(answering.asked) == ROWS


@pytest.fixture
def multiple_choice(gold, tmp_path) -> Path:
    """A subset of multiple choice as VoiceBench writes it, with its recordings but for the last question's."""
    rows = [
        {"prompt": f"How many, {n}?\nA. one\nB. two", "reference": "AB"[n % 2], "audio": f"audio/{n}.wav"}
        for n in range(ROWS)
    ]
    del rows[-1]["audio"]
    return written(tmp_path / "openbookqa.jsonl", rows)


@pytest.mark.parametrize("modality", ["audio", "text", "both"])
def test_options_that_are_spoken_are_not_shown_unless_a_flag_says_so(
    modality, multiple_choice, answering, tmp_path, capsys
):
    answering.say = lambda text: "I think it is b."
    out = tmp_path / "out"
    words = examined(answering, "voicebench", multiple_choice, out, "--baselines", "false", "--json")
    assert main([*words, *(["--benchmark.modality", modality] if modality != "audio" else [])]) == 0
    said = capsys.readouterr()
    *heard, last = ["".join(piece.get("text", "") for piece in json.loads(asked)) for asked in answering.asked]
    assert last == "How many, 9?\n(A) one\n(B) two"
    shown = [f"How many, {n}?\n(A) one\n(B) two" for n in range(ROWS - 1)]
    assert heard == (["" for _ in shown] if modality == "audio" else shown)
    assert answering.clips == (0 if modality == "text" else ROWS - 1)
    assert f"{ROWS if modality == 'text' else 1} of them have no recording" in said.err
    result = json.loads(said.out)["results"]["baseline"]
    assert (result["scorer"], result["accuracy"], result["unparsed"]) == ("voicebench_mcq", 0.5, {})
    rows = read_jsonl(out / "samples_baseline.jsonl").rows
    assert [row["input"] for row in rows] == [f"How many, {n}?" for n in range(ROWS)], "in the files it is written"
    assert rows[1]["parsed"]["answer"] == "two"


def test_without_its_own_recording_a_spoken_question_is_another_one_or_none(
    multiple_choice, answering, tmp_path, capsys
):
    asked = examined(answering, "voicebench", multiple_choice, tmp_path / "out", "--only", str(tmp_path / "only.jsonl"))
    written(tmp_path / "only.jsonl", [{"id": str(n)} for n in range(4)])
    assert main([*asked, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["results"]["baseline"]
    assert {"shuffled", "silence"} <= set(result["baselines"])
    lengths = [len(asked) for asked in answering.asked]  # no two recordings are as long
    own, others, silence = lengths[:4], lengths[4:8], lengths[8:]
    assert sorted(own) == sorted(others)
    assert all(one != other for one, other in zip(own, others, strict=True))
    assert silence == own
    assert not any('"text": "' in asked for asked in answering.asked)


def test_a_selection_is_judged_as_one_and_a_question_without_a_reply_stays(
    gold, answering, judge_server, tmp_path, capsys
):
    rows = [
        {"instruction": f"Describe {n}.", "answer": "rain", "audio": f"audio/{n}.wav", "task": "caption"}
        for n in range(ROWS)
    ]
    path = written(tmp_path / "audiocaps.jsonl", rows)
    soundfile.write(tmp_path / "audio" / "0.wav", np.full(4000, np.nan, np.float32), 16_000, subtype="FLOAT")
    answering.say = lambda text: "<think>hm" if "Describe 7" in text else "grade 5"
    answering.stop = "length"
    small = ["--scorer", "reference", "--limit", "4", "--max_failed", "0.25", "--json"]
    assert main(examined(answering, "audiobench", path, tmp_path / "out", *small)) == 0
    found = json.loads(capsys.readouterr().out)
    given = found["to_judge"]["baseline"]
    assert (given["n"], sum(given["failed"].values()), given["cut"]) == (4, 1, 3)
    assert given["unread"] == {"unclosed_thinking": 1}
    assert given["selection"]["of"] == ROWS
    command = found["commands"]["baseline"]
    assert "--gold" not in command, "the benchmark's file would count what was not asked"
    assert main(["errors", str(tmp_path / "out")]) == 2
    assert command in capsys.readouterr().err
    code, figures = judged(command, judge_server, tmp_path, capsys)
    assert (code, figures["n"], figures["no_prediction"], figures["official_n"]) == (0, 4, 1, 3)
    assert figures["score"] == 20 * (5 + 5 + 1 + 0) / 4, "an empty answer is judged, a question without a reply is 0"
    assert set(figures["by"]["task"]) == {"caption"}


def test_rubrics_want_the_thought_and_the_option_that_a_letter_names(gold, answering, judge_server, tmp_path, capsys):
    rubric = [{"name": "c", "scoring_point": "?", "choices": [0, 1]}]
    rows = [
        {**row, "id": f"q{n}", "audio_path": f"audio/{n}.wav", "thinking": "It rings.", "rubric": rubric}
        for n, row in enumerate(json.loads(gold.read_text()))
    ]
    path = written(tmp_path / "MMAR-meta.jsonl", rows)
    answering.say = lambda text: "<think>One ring.</think><answer>A</answer>"
    words = examined(answering, "mmar", path, tmp_path / "out")
    assert main([*words, "--baselines", "false", "--json"]) == 0
    own = json.loads(capsys.readouterr().out)["results"]["baseline"]["accuracy"]
    assert main([*words, "--baselines", "false", "--evaluate.max_tokens", "64", "--scorer", "rubrics", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(answering.asked) == ROWS, "another rule asks nobody"
    assert (found["score"], found["results"], found["comparison"]) == (None, {}, [])
    of_the_other_rule = ("results_comparison.json", "samples_baseline.jsonl", "rollouts/showcase.jsonl")
    assert not any((tmp_path / "out" / name).exists() for name in of_the_other_rule)
    rows = read_jsonl(tmp_path / "out" / "predictions_baseline.jsonl").rows
    assert (rows[0]["thinking_prediction"], rows[0]["answer_prediction"]) == ("One ring.", "1")

    judge_server.say = lambda prompt: json.dumps([{"name": "c", "score": 1}])
    command = shlex.split(found["commands"]["baseline"].replace("MODEL", "judge"))[1:]
    where = ["--judge.url", judge_server.url, "--judge.cache", str(tmp_path / "c"), "--out", str(tmp_path / "score")]
    assert main([*command, *where, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["score"], figures["accuracy"]) == (100 * own, own)
    assert main([*words, "--baselines", "false", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"]["baseline"]["accuracy"] == own
    assert not (tmp_path / "out" / "to_judge.json").exists()


def test_conditions_without_media_are_judged_when_they_are_asked_for(spoken, answering, tmp_path, capsys):
    words = examined(answering, "voicebench", spoken, tmp_path / "out", "--scorer", "open", "--limit", "2")
    assert main([*words, "--baselines", "true", "--json"]) == 0
    commands = json.loads(capsys.readouterr().out)["commands"]
    assert list(commands) == ["baseline", "baseline_shuffled", "baseline_silence"]
    for name, command in commands.items():
        assert len(read_jsonl(tmp_path / "out" / f"predictions_{name}.jsonl").rows) == 2
        assert f"predictions_{name}.jsonl" in command


@pytest.mark.parametrize(
    ("rows", "words", "said"),
    [
        ([{"prompt": "Say it."}], ["voicebench", "--scorer", "opne"], "there is no scorer 'opne', did you mean 'open'"),
        ([{"prompt": "Say it."}], ["voicebench", "--scorer", "rubrics"], "VoiceBench has no rubrics, only mmar has"),
        ([{"prompt": "Say it."}], ["voicebench", "--scorer", "binary"], "1 of 1 questions have no answer"),
        ([{"prompt": "Say it."}], ["voicebench"], "--scorer open or binary"),
        (
            [{"instruction": "Say it.", "answer": "it"}],
            ["audiobench"],
            "--scorer reference (or binary) to auscult eval",
        ),
        (
            [{"id": "q", "question": "?", "choices": ["a", "b"], "answer": "a", "audio_path": "a.wav"}],
            ["mmar", "--scorer", "rubrics"],
            "no `rubric`, a list of criteria",
        ),
    ],
)
def test_what_no_judge_could_score_is_refused_before_it_is_asked(rows, words, said, answering, tmp_path, capsys):
    path = written(tmp_path / "questions.jsonl", rows)
    assert main(examined(answering, words[0], path, tmp_path / "out", *words[1:])) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert not answering.asked
    assert not (tmp_path / "out").exists()
