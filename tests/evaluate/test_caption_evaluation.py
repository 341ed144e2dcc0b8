"""Captions inside a recipe's evaluation: the official scores over all clips, and baselines that no deaf model beats."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.commands.captions import score as score_command
from auscult.core.errors import DataError
from auscult.core.types import Parsed, Sample, Turn
from auscult.evaluate.captions import Captioned, read_captions, score
from auscult.evaluate.constant import best_constant
from auscult.evaluate.described import described, difference, mean, read_described, write_described
from auscult.evaluate.evaluation import evaluate
from auscult.evaluate.metric import metric
from auscult.evaluate.options import Evaluate
from auscult.evaluate.outcomes import read_outcomes
from auscult.rollouts.scripted import ScriptedEngine

OPTIONS = Evaluate(metric="captions", batch=5)
CLIPS = {
    "dog": ("a dog barks twice", "two barks of a dog", "a dog is barking loudly"),
    "rain": ("rain falls on a roof", "steady rain on a metal roof"),
    "car": ("a car drives past", "an engine revs and a car passes by", "a vehicle drives by"),
    "bell": ("a bell rings slowly", "church bells ring in the distance"),
    "man": ("a man is speaking", "a man speaks and then laughs"),
    "wind": ("wind blows hard", "strong wind blows into a microphone"),
}


@pytest.fixture
def samples(heard):
    made = [replace(heard(n, seconds=0.2), id=name, choices=(), thought=None) for n, name in enumerate(CLIPS)]
    return [replace(sample, answers=CLIPS[sample.id], group=f"video {n // 2}") for n, sample in enumerate(made)]


def says(listener, caption_of):
    def script(sample, number):
        caption = caption_of(sample)
        return "no idea" if caption is None else f"<think></think><answer>{caption}</answer>"

    return ScriptedEngine(listener, script)


def test_figures_are_those_of_score_captions_on_the_same_predictions(listener, samples, tmp_path, capsys):
    captions = {
        "dog": "a dog barks",
        "rain": "rain falls",
        "car": None,
        "bell": "bells",
        "man": "a man",
        "wind": "wind",
    }
    found = evaluate(says(listener, lambda s: captions[s.id]), listener, samples, OPTIONS, seed=0, unheard=False)
    results = found.to_dict()
    rows = [{"id": s.id, "prediction": captions[s.id] or "", "references": s.answers} for s in samples]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_described(tmp_path / "samples.jsonl", found.outcomes)
    for file in ("mine.jsonl", "samples.jsonl"):  # what was evaluated is what can be scored again
        score_command([str(tmp_path / file), "--json"])
        said = json.loads(capsys.readouterr().out)
        assert said["captions"] == results["n"] == 6
        for name in ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d", "empty", "references", "tokens"):
            assert said[name] == results[name], name
    assert results["cider_d"] == pytest.approx(np.mean([row.scores["cider_d"] for row in found.outcomes]))
    low, high = results["intervals"]["cider_d"]
    assert 0 <= low < results["cider_d"] < high <= 10
    assert results["clusters"] == 3


def test_a_reply_without_a_caption_scores_0_and_is_counted(listener, samples):
    perfect = evaluate(says(listener, lambda s: s.answers[0]), listener, samples, OPTIONS, seed=0).to_dict()
    half = says(listener, lambda s: s.answers[0] if s.id in ("dog", "rain", "car") else None)
    found = evaluate(half, listener, samples, OPTIONS, seed=0, unheard=False)
    assert found.to_dict()["unparsed"] == {"no_answer": 3}
    assert found.to_dict()["empty"] == 3
    assert [row.scores["cider_d"] for row in found.outcomes][3:] == [0, 0, 0]
    assert found.to_dict()["cider_d"] < 0.7 * perfect["cider_d"]  # leaving them out would have raised the mean
    assert found.to_dict()["n"] == perfect["n"]
    said = metric("captions").said(found.outcomes)
    assert (said["n"], said["cider_d"]) == (6, found.to_dict()["cider_d"])
    assert metric("captions").mean(found.outcomes) == pytest.approx(said["cider_d"])


def test_a_model_that_listens_falls_below_the_constant_caption_with_another_clips_audio(listener, samples):
    known = {sample.media[0].sha256: sample.answers[0] for sample in samples}
    listens = says(listener, lambda s: known.get(s.media[0].sha256, "a"))
    found = evaluate(listens, listener, samples, OPTIONS, seed=0)
    rows = metric("captions").difference(found.unheard["shuffled"], found.outcomes, 0)
    assert rows["interval"][0] > 0
    assert rows["better"] == 6
    figures = found.to_dict()
    assert figures["cider_d"] > 2 * figures["baselines"]["constant"]["cider_d"]
    assert figures["baselines"]["shuffled"]["cider_d"] <= figures["baselines"]["constant"]["cider_d"]


def test_a_model_that_says_the_constant_is_exactly_as_good_as_the_constant(listener, samples):
    best = evaluate(says(listener, lambda s: "x"), listener, samples, OPTIONS, seed=0).to_dict()["baselines"][
        "constant"
    ]
    deaf = says(listener, lambda s: best["caption"])
    found = evaluate(deaf, listener, samples, OPTIONS, seed=0)
    assert found.to_dict()["cider_d"] == pytest.approx(best["cider_d"])
    gone = metric("captions").difference(found.unheard["constant"], found.outcomes, 0)
    assert (gone["difference"], gone["interval"], gone["alike"]) == (0, None, 6)


def test_scores_depend_on_the_references_of_their_own_clip(samples):
    """References of the clip beside it: what a shifted pairing would give."""
    replies = [(sample.answers[0], Parsed(sample.answers[0])) for sample in samples]
    turned = [replace(s, answers=samples[n - 1].answers) for n, s in enumerate(samples)]
    right, wrong = (mean(described(these, replies))["cider_d"] for these in (samples, turned))
    assert right > 5 * wrong


def test_the_constant_may_be_a_training_caption(listener, samples):
    train = [Sample("t", (Turn("user", ("?",)),), ("a dog barks and rain falls on a roof",))]
    engine = says(listener, lambda s: "x")
    found = evaluate(engine, listener, samples, OPTIONS, seed=0, unheard=False, train=iter(train)).to_dict()
    alone = evaluate(engine, listener, samples, OPTIONS, seed=0, unheard=False).to_dict()
    assert found["baselines"]["constant"]["candidates"] == alone["baselines"]["constant"]["candidates"] + 1
    assert found["baselines"]["constant"]["cider_d"] >= alone["baselines"]["constant"]["cider_d"]


WORDS = st.lists(
    st.sampled_from(["a", "dog", "barks", "rain", "falls", "and", "the", "loudly"]), min_size=0, max_size=9
).map(" ".join)


@settings(max_examples=40)
@given(
    references=st.lists(st.lists(WORDS.filter(bool), min_size=1, max_size=4), min_size=2, max_size=6),
    more=st.lists(WORDS, max_size=4),
)
def test_no_caption_is_a_better_constant_than_the_best(references, more):
    """Every candidate scored as any caption is, one by one: repeated words, empty ones and unknown ones included."""
    candidates = [text for many in references for text in many] + more
    found = best_constant(references, candidates)

    def mean_of(caption):
        rows = [Captioned(str(n), caption, tuple(many)) for n, many in enumerate(references)]
        return score(rows).corpus["cider_d"]

    means = {caption: mean_of(caption) for caption in candidates}
    assert found.mean == pytest.approx(max(means.values()), abs=1e-9)
    assert means[found.caption] == pytest.approx(found.mean, abs=1e-9)
    assert found.candidates == len(means)


def test_the_best_constant_of_real_captions(testdata):
    rows = read_captions(testdata / "captions" / "aac_example_1.csv")
    references = [row.references for row in rows]
    found = best_constant(references, [text for many in references for text in many])
    again = score([replace(row, prediction=found.caption) for row in rows])
    assert found.mean == pytest.approx(again.corpus["cider_d"], abs=1e-9)
    assert found.mean > score([replace(row, prediction="a man speaks") for row in rows]).corpus["cider_d"]


def test_samples_files_read_back_and_are_no_answers(tmp_path, listener, samples):
    found = evaluate(says(listener, lambda s: s.answers[0]), listener, samples, OPTIONS, seed=0, unheard=False)
    path = tmp_path / "samples.jsonl"
    write_described(path, found.outcomes)
    assert read_described(path) == found.outcomes
    with pytest.raises(DataError, match="neither right nor wrong"):
        read_outcomes(path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for key, said in (("cider_d", "`cider_d`"), ("target", "no `target`"), ("resps", "no `resps`")):
        path.write_text("".join(json.dumps({k: v for k, v in row.items() if k != key}) + "\n" for row in rows))
        with pytest.raises(DataError, match=said):
            read_described(path)


def test_what_cannot_be_scored_is_refused_before_anything_is_asked(listener, samples):
    def never(sample):
        raise AssertionError

    with pytest.raises(DataError, match="dog has no reference caption"):
        evaluate(says(listener, never), listener, [replace(samples[0], answers=(" ",)), *samples[1:]], OPTIONS, seed=0)
    with pytest.raises(DataError, match="two or more"):
        evaluate(says(listener, never), listener, samples[:1], OPTIONS, seed=0)


def test_other_clips_or_references_are_not_compared(samples):
    rows = described(samples, [("x", Parsed("x"))] * len(samples))
    with pytest.raises(DataError, match="same clips"):
        difference(rows, rows[1:], 0)
    with pytest.raises(DataError, match="same clips"):
        difference(rows, [replace(rows[0], references=("another",)), *rows[1:]], 0)
    assert difference(rows, rows[::-1], 0)["alike"] == len(rows)
