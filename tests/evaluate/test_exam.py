"""Which reply counts, and what a rule is put to: the answer as it was written, or the option that it names."""

from __future__ import annotations

import json
from pathlib import Path
from string import ascii_uppercase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult import exams
from auscult.core.errors import ConfigError, DataError
from auscult.core.journal import Journal
from auscult.core.runs import read_jsonl
from auscult.core.types import Parsed, Sample, Sampling, Turn
from auscult.evaluate import scoring
from auscult.evaluate.benchmarks import mmau, voicebench
from auscult.evaluate.exam import HEARD, Exam, Reply, Sitting, label, vote
from auscult.evaluate.options import Evaluate
from auscult.models.wording import Wording
from auscult.rollouts.options import Server

CITIES = ("Paris", "London", "Rome", "Bonn")
FITTING = [rule for rule in scoring.SCORERS.names() if rule != "ifeval"]
LETTERED = ["letter", "vlmeval", "voicebench_mcq"]
BODIES = [
    *("A", "(B)", "C.", "D) Bonn", "Rome", "The answer is B.", "paris", "London or Rome", "A, B, C, D", "Z", "...", ""),
    *("None of them", "**B**", r"\boxed{C}", "Answer: D", "It must be Paris, for it is no other city", "Option A"),
]
REPLIES = [
    *(f"<think>it is not A, so B.</think><answer>{body}</answer>" for body in BODIES),
    *("<think>the answer is A", "A", "<answer>B", "<think></think>C", "", "<answer>A</answer> or <answer>B</answer>"),
]


def question(number: int = 0, answer: str = "Paris") -> Sample:
    return Sample(f"q{number}", (Turn("user", ("Which city?",)),), (answer,), CITIES)


def sitting(samples: list[Sample], form: str = "think", draws: int = 1) -> Sitting:
    return Sitting(
        prompt="baseline",
        condition=HEARD,
        wording=Wording(form=form),
        samples=samples,
        put=lambda sample: sample,
        change=lambda sample: sample,
        draws=draws,
        sampling=Sampling(),
        seed=0,
        who="nobody",
    )


def replied(form: str, folder: Path, *texts: str, item: Sample | None = None) -> tuple[Sitting, Journal, Reply]:
    item = item or question()
    sat, journal = sitting([item], form, len(texts)), Journal(folder / "answers.jsonl")
    for draw, text in enumerate(texts):
        journal.add({**sat.row(item, draw), "text": text})
    reply = sat.reply(item, journal)
    assert reply is not None
    return sat, journal, reply


@pytest.mark.parametrize("rule", LETTERED)
@pytest.mark.parametrize("form", ["think", "solution", "answer_line", "semantic", "label"])
def test_who_answers_by_the_right_letters_is_right_under_the_rules_that_read_letters(rule, form, tmp_path):
    opening, closing = {"solution": ("<SOLUTION>", "</SOLUTION>"), "answer_line": ("ANSWER: ", "")}.get(
        form, ("" if form == "label" else "<answer>", "" if form == "label" else "</answer>")
    )
    for place, city in enumerate(CITIES):
        text = f"<think>not this one: B.</think>{opening}{ascii_uppercase[place]}{closing}"
        item = question(place, city)
        sat, journal, _ = replied(form, tmp_path / str(place), text, item=item)
        (outcome,) = sat.outcomes(journal, rule)
        assert (outcome.correct, outcome.parsed.answer) == (True, city)
        (outcome,) = sat.outcomes(journal, "choice")
        assert outcome.correct


@settings(max_examples=40, deadline=None)
@given(body=st.one_of(st.sampled_from(BODIES), st.text(alphabet="ABCD abcdPrisRom.():*\n", max_size=12)))
def test_the_verdict_is_what_score_says_of_the_same_words(body, tmp_path_factory):
    thought = "it is not A, so the answer is B."
    sat, journal, reply = replied(
        "think", tmp_path_factory.mktemp("j"), f"<think>{thought}</think><answer>{body}</answer>"
    )
    for rule in FITTING:
        (outcome,) = sat.outcomes(journal, rule)
        said = reply.read.answer if rule in ("choice", "string_match") and reply.read.answer else body.strip()
        expected = scoring.outcome(question(), said, scoring.scorer(rule))
        assert outcome.correct == expected.correct
        assert outcome.parsed.answer == expected.parsed.answer, "what was read is what the rule read"
        assert outcome.parsed.thought == thought
        (row,) = sat.predictions(journal, rule)
        assert row == {"id": "q0", "thinking_prediction": thought, "answer_prediction": said}


def test_a_reply_without_an_answer_says_why_and_is_wrong_under_every_rule(tmp_path):
    for number, (text, why) in enumerate({"<think>A": "unclosed_thinking", "A": "no_answer", " ": "empty"}.items()):
        sat, journal, _ = replied("think", tmp_path / str(number), text)
        for rule in FITTING:
            (outcome,) = sat.outcomes(journal, rule)
            assert (outcome.correct, outcome.parsed.answer, outcome.parsed.problem) == (False, None, why)


def test_the_published_rule_reads_a_text_that_names_no_option_of_ours(tmp_path):
    sat, journal, reply = replied("think", tmp_path, "<think></think><answer>the city of Paris, I am sure</answer>")
    assert reply.read.problem == "not_a_choice"
    assert [sat.outcomes(journal, rule)[0].correct for rule in ("string_match", "choice")] == [True, False]


def test_the_answer_given_most_often_is_taken_and_the_unreadable_do_not_vote():
    a, b, none = Parsed("dog"), Parsed("cat"), Parsed(None, "no_answer")
    assert vote([a, b, b]) == 1
    assert vote([a, b]) == 0
    assert vote([none, none, b]) == 2
    assert vote([none, none]) == 0
    assert vote([b, Parsed("Cat"), a]) == 0


def test_options_that_differ_in_letter_case_alone_are_different_votes(tmp_path):
    major, minor = Parsed("CM"), Parsed("Cm")
    assert vote([major, minor, minor], ("CM", "Cm", "D")) == 1
    chords = Sample("q", (Turn("user", ("Which chord?",)),), ("Cm",), ("CM", "Cm", "D"))
    *_, reply = replied("label", tmp_path, "CM", "Cm", "Cm", item=chords)
    assert reply.read.answer == "Cm"


def exam(gold: Path, url: str, **changes) -> Exam:
    given = {
        "benchmark": voicebench.Benchmark(gold=str(gold)),
        "server": Server(url=url, model="any", retries=0, timeout=20),
        "evaluate": Evaluate(showcase=2),
        "baselines": False,
    }
    return Exam(**{**given, **changes})


def sit(exam: Exam, out: Path, **options):
    return exams.run(exam, out, "test", lambda *_: None, say=lambda _: None, **options)


@pytest.fixture
def spoken(tmp_path) -> Path:
    """Rows as VoiceBench has them, without recordings."""
    listed = "".join(f"\n{letter}. {city}" for letter, city in zip("ABCD", CITIES, strict=True))
    rows = [{"prompt": f"Number {n}: which city?{listed}", "reference": "ABCD"[n % 4]} for n in range(len(REPLIES))]
    path = tmp_path / "vb.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def number_of(prompt) -> int:
    text = "".join(piece if isinstance(piece, str) else piece["text"] for piece in prompt)
    return int(text.split("Number ")[1].split(":")[0])


def test_a_model_that_is_always_right_has_everything_right_in_voicebench(spoken, judge_server, tmp_path):
    judge_server.say = lambda prompt: f"<think>it is</think><answer>{'ABCD'[number_of(prompt) % 4]}</answer>"
    result = sit(exam(spoken, judge_server.url), tmp_path / "out")["results"]["baseline"]
    assert (result["scorer"], result["accuracy"], result["unparsed"]) == ("voicebench_mcq", 1.0, {})
    assert result["scorers"]["choice"]["accuracy"] == 1.0


def test_whatever_the_rule_score_says_the_same_of_the_files_that_eval_wrote(spoken, judge_server, tmp_path):
    """One folder for all rules: its answers are asked for once."""
    judge_server.say = lambda prompt: REPLIES[number_of(prompt)]
    out = tmp_path / "out"
    for rule in FITTING:
        sit(exam(spoken, judge_server.url, scorer=rule), out)
        rows = read_jsonl(out / "samples_baseline.jsonl").rows
        assert len(rows) == len(REPLIES)
        result = json.loads((out / "results_baseline.json").read_text())
        assert result["scorer"] == rule
        for name in ("predictions_baseline.jsonl", "samples_baseline.jsonl"):
            scored = scoring.score(scoring.work("voicebench", out / name, spoken), rule)
            assert [one.correct for one in scored.outcomes] == [row["correct"] for row in rows], (rule, name)
            assert [one.parsed.answer for one in scored.outcomes] == [row["parsed"]["answer"] for row in rows]
    assert len(judge_server.requests) == len(REPLIES)


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        (("a/p.txt", "b/p.txt"), "the files of b/p.txt and of a/p.txt would have one name, p"),
        (("baseline", "a/baseline_silence.txt"), "one name, baseline_silence"),
        (("a/comparison.txt",), "one name, comparison"),
    ],
)
def test_prompts_whose_files_would_meet_are_refused(prompts, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/p.txt", "b/p.txt", "a/baseline_silence.txt", "a/comparison.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{question}")
    with pytest.raises(ValueError, match=said):
        exam(tmp_path / "gold", "http://127.0.0.1:9/v1", prompts=prompts)
    assert label("a/p.txt") != label("baseline")


def test_a_rule_that_is_not_there_or_does_not_fit_is_refused_before_anything_is_asked(judge_server, tmp_path):
    with pytest.raises(ConfigError, match="there is no scorer 'leter', did you mean 'letter'"):
        exam(tmp_path / "gold", judge_server.url, scorer="leter")
    gold = tmp_path / "open.json"
    row = {"id": "q", "question": "Which?", "choices": [], "answer": "dog", "task": "sound", "difficulty": "easy"}
    gold.write_text(json.dumps([{**row, "audio_id": str(tmp_path / "none.wav")}]))
    with pytest.raises(DataError, match="q has no options"):
        sit(exam(gold, judge_server.url, benchmark=mmau.Benchmark(gold=str(gold)), scorer="letter"), tmp_path / "out")
    assert not judge_server.requests
    assert not (tmp_path / "out").exists()


def test_the_advice_of_an_exam_that_failed_keeps_its_answers(spoken, judge_server, tmp_path):
    judge_server.say = lambda prompt: "<think></think><answer>A</answer>"
    judge_server.faults = ["500", "500"]
    share = "0.09"
    with pytest.raises(DataError, match=rf"2 of {len(REPLIES)} questions .*: 2 \w+; .*--max_failed {share}"):
        sit(exam(spoken, judge_server.url), tmp_path / "out")
    judge_server.faults = ["500", "500"]
    figures = sit(exam(spoken, judge_server.url, max_failed=float(share)), tmp_path / "out")
    assert figures["results"]["baseline"]["unparsed"] == {"failed": 2}
    assert len(judge_server.requests) == len(REPLIES) + 2, "only the two that failed are asked again"
    patient = Server(url=judge_server.url, model="any", retries=2, timeout=30, concurrency=2)
    figures = sit(exam(spoken, judge_server.url, server=patient), tmp_path / "out")
    assert figures["results"]["baseline"]["unparsed"] == {}
    assert len(judge_server.requests) == len(REPLIES) + 4


def test_where_all_has_failed_nothing_could_be_allowed_for(spoken, judge_server, tmp_path):
    judge_server.faults = ["500"] * len(REPLIES)
    with pytest.raises(DataError, match=r"asks them again$"):
        sit(exam(spoken, judge_server.url), tmp_path / "out")


def test_a_setting_that_touches_answers_is_refused_as_ever(spoken, judge_server, tmp_path):
    judge_server.say = lambda prompt: "<think></think><answer>A</answer>"
    sit(exam(spoken, judge_server.url), tmp_path / "out")
    with pytest.raises(exams.RunError, match=r"evaluate\.max_tokens is 64 there and 65 here"):
        sit(exam(spoken, judge_server.url, scorer="letter", evaluate=Evaluate(max_tokens=65)), tmp_path / "out")
    assert "scorer: null" in (tmp_path / "out" / "config.yaml").read_text(), "nothing was changed on the way"
