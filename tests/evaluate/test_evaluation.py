"""Evaluation: every row counts, and a model that does not listen cannot pass for one that does."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import DataError
from auscult.core.types import Audio, Outcome, Parsed, Rollout, Sample, Turn
from auscult.data.source import Listed
from auscult.evaluate.baselines import Guess, guesses, shuffled, silenced
from auscult.evaluate.evaluation import evaluate, listed
from auscult.evaluate.metrics.choice import outcome
from auscult.evaluate.options import Evaluate
from auscult.evaluate.outcomes import clusters, read_outcomes, write_outcomes
from auscult.evaluate.results import Evaluation
from auscult.rollouts.scripted import ScriptedEngine


@pytest.fixture
def samples(heard):
    return [heard(n, seconds=0.2, answer="123"[n % 3]) for n in range(12)]


def says(listener, answer_of):
    def script(sample, number):
        answer = answer_of(sample)
        return "no idea" if answer is None else f"<think>x</think><answer>{answer}</answer>"

    return ScriptedEngine(listener, script)


def test_accuracy_counts_every_row_and_says_why_there_was_no_answer(listener, samples):
    def half(sample):
        return sample.answers[0] if int(sample.id.split("-")[1]) < 6 else None

    found = evaluate(says(listener, half), listener, samples, Evaluate(batch=5), seed=0).to_dict()
    assert (found["n"], found["correct"], found["accuracy"]) == (12, 6, 0.5)
    assert found["unparsed"] == {"no_answer": 6}
    assert found["interval"][0] < 0.5 < found["interval"][1]
    assert found["baselines"]["chance"] == pytest.approx(1 / 3)
    assert found["baselines"]["majority"] == pytest.approx(1 / 3)


def test_a_model_that_listens_fails_on_other_audio_and_on_silence(listener, samples):
    """The script knows the answer by what it hears; with another's audio it gives another's answer."""
    known = {sample.media[0].sha256: sample.answers[0] for sample in samples}
    listens = says(listener, lambda sample: known.get(sample.media[0].sha256, "1"))
    found = evaluate(listens, listener, samples, Evaluate(), seed=0).to_dict()
    assert found["accuracy"] == 1
    assert found["baselines"]["shuffled"]["accuracy"] < 0.7
    assert found["baselines"]["silence"]["accuracy"] == pytest.approx(1 / 3)


def test_a_model_that_does_not_listen_is_as_good_without_audio(listener, samples):
    found = evaluate(says(listener, lambda sample: "2"), listener, samples, Evaluate(), seed=0).to_dict()
    assert found["accuracy"] == found["baselines"]["shuffled"]["accuracy"] == found["baselines"]["silence"]["accuracy"]


def test_nobody_keeps_their_own_audio_when_audio_is_shuffled(samples):
    for seed in range(20):
        donors = [sample.media[0].sha256 for sample in shuffled(samples, seed)]
        assert all(donor != sample.media[0].sha256 for donor, sample in zip(donors, samples, strict=True))
        assert sorted(donors) == sorted(sample.media[0].sha256 for sample in samples)


@pytest.mark.parametrize("asked_of", [[3, 3, 3, 3], [6, 1, 1, 4], [1, 5, 1]])
def test_nobody_hears_their_own_clip_when_many_questions_share_one(heard, asked_of):
    """Questions beside one another about few clips: a shuffle of the questions would leave many with their clip."""
    clips = [heard(n, seconds=0.2) for n in range(len(asked_of))]
    questions = [clip for clip, count in zip(clips, asked_of, strict=True) for _ in range(count)]
    unavoidable = max(0, 2 * max(asked_of) - len(questions))
    for seed in range(20):
        others = shuffled(questions, seed)
        kept = sum(one.media == other.media for one, other in zip(questions, others, strict=True))
        assert kept == unavoidable
        assert sorted(o.media[0].sha256 for o in others) == sorted(q.media[0].sha256 for q in questions)


def test_silence_is_as_long_as_what_it_replaces(samples, testdata):
    clip = Audio(str(testdata / "fsdd" / "3_theo_0.wav"))
    for sample in (samples[0], Sample("file", (Turn("user", (clip, "?")),), ("1",))):
        wave = silenced(sample).media[0].wave
        assert not wave.any()
        assert len(wave) > 1000
    assert len(silenced(samples[0]).media[0].wave) == len(samples[0].media[0].wave)


def asked(task, answers, choices=()):
    return Sample("q", (Turn("user", ("?",)),), answers, choices, tags={"task": task})


def test_majority_is_the_best_constant_of_each_kind_of_question(listener):
    yes_no, three = ("yes", "no"), ("a", "b", "c")
    samples = [asked("presence", ("yes",), yes_no)] * 3 + [asked("presence", ("no",), yes_no)]
    samples += [asked("letter", (answer,), three) for answer in three]
    samples += [asked("sum", ("5",))] * 2 + [asked("sum", ("Six",)), asked("sum", ("seven", "5."))]
    found = evaluate(says(listener, lambda sample: "5"), listener, samples, Evaluate(), seed=0, unheard=False).to_dict()
    guessed = {task: row["baselines"] for task, row in found["by"]["task"].items()}
    assert guessed == {
        "presence": {"chance": 0.5, "majority": 0.75},
        "letter": {"chance": pytest.approx(1 / 3), "majority": pytest.approx(1 / 3)},
        "sum": {"chance": None, "majority": 0.75},
    }
    assert found["baselines"] == {"chance": None, "majority": pytest.approx((3 + 1 + 3) / 11)}


def test_always_the_same_option_is_a_constant_guess_too():
    """Options that differ from question to question: no text is common, but the first option is mostly right."""
    samples = [asked("", (f"right {n}",), (f"right {n}", f"wrong {n}")) for n in range(3)]
    samples += [asked("", ("B",), ("wrong", "right"))]
    assert guesses(samples)[""] == Guess(0.5, 0.75)


def test_samples_files_read_back(tmp_path, listener, samples):
    found = evaluate(says(listener, lambda sample: "2"), listener, samples, Evaluate(), seed=0)
    write_outcomes(tmp_path / "samples.jsonl", found.outcomes)
    assert read_outcomes(tmp_path / "samples.jsonl") == found.outcomes


ROW = {"id": "1", "input": "What?", "target": "dog", "resps": ["a dog"], "correct": True, "group": "g", "tags": {}}
ROW |= {"parsed": {"answer": "dog", "problem": None, "thought": None, "well_formed": True}}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        *((json.dumps({k: v for k, v in ROW.items() if k != key}), f"`{key}`") for key in ROW if key != "tags"),
        *(
            (json.dumps({**ROW, "resps": replies}), "`resps` is no list of one")
            for replies in ("a dog", [], ["a", "b"])
        ),
        *((json.dumps({**ROW, "correct": value}), "`correct` is neither true nor") for value in ("yes", 1, None)),
        (json.dumps({**ROW, "tags": {"task": 3}}), "`tags.task` is a number instead of text"),
        (json.dumps({**ROW, "parsed": {"anwser": "dog"}}), "`parsed`: unknown key `anwser` (did you mean `answer`?)"),
        (json.dumps({**ROW, "parsed": {"answer": 3}}), "`answer` is a number"),
        ("[1, 2]", "is no JSON object"),
        (json.dumps(ROW)[:-9], "is no JSON"),
        ("", "is no JSON"),
    ],
)
@pytest.mark.parametrize("end", [f"\n{json.dumps(ROW)}\n", "\n", ""])
def test_a_row_that_is_no_outcome_is_named_with_its_line(line, said, end, tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n{line}{end}", encoding="utf-8")
    if not line and not end:
        assert len(read_outcomes(path)) == 1
        return
    with pytest.raises(DataError) as raised:
        read_outcomes(path)
    told = str(raised.value)
    assert f"{path}:2:" in told or f"{path}: line 2 " in told
    assert said in told or (not end and "the last line is cut off" in told)


@given(
    row=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*ROW, "answer", "problem"]), inner),
    )
)
def test_whatever_stands_in_a_file_is_read_back_or_refused(row, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text(json.dumps({**ROW, **row} if isinstance(row, dict) else row) + "\n", encoding="utf-8")
    try:
        found = read_outcomes(path)
    except DataError:
        return
    write_outcomes(path, found)
    assert read_outcomes(path) == found


def test_one_group_for_all_rows_clusters_by_row(samples):
    def row(number, group):
        return Outcome(str(number), "", "", "", Parsed("1"), True, group, {})

    assert clusters([row(0, "theo"), row(1, "theo")]) == ["0", "1"]
    assert clusters([row(0, "a"), row(1, "a"), row(2, "b")]) == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("groups", "right", "known"), [("xxxx", "1010", False), ("xxyy", "1111", False), ("xxyy", "1011", True)]
)
def test_an_error_that_nothing_can_be_seen_of_is_none_and_not_zero(groups, right, known):
    rows = [Outcome(str(n), "", "", "", Parsed("1"), right[n] == "1", groups[n], {}) for n in range(4)]
    found = Evaluation(tuple(rows), {}, {"": Guess(None, 0.5)}, {}).to_dict()
    assert (found["clustered_se"] is not None) is known
    assert (found["cr2_se"] is not None) is known
    assert found["clusters"] == len(set(groups))


def test_a_sample_without_a_gold_answer_is_an_error_and_not_wrong(heard):
    rollout = Rollout((), (), None, "1", "end", "", Parsed("1"))
    with pytest.raises(DataError, match="clip-0"):
        outcome(heard(answer="seven"), rollout)


@settings(deadline=None)
@given(size=st.integers(1, 60), limit=st.integers(1, 80))
def test_a_limit_takes_samples_from_all_over_the_set_once_each(size, limit):
    whole = Listed(tuple(Sample(str(number), (Turn("user", ("?",)),), ()) for number in range(size)))
    taken = [int(sample.id) for sample in listed(whole, limit)]
    assert len(set(taken)) == len(taken) == min(size, limit)
    steps = [after - before for before, after in pairwise([*taken, size])]
    assert max(steps) <= -(-size // len(taken))
    assert listed(whole, None) == list(whole.samples)
