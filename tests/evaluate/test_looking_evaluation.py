"""Evaluation of a model that looks: what the text alone gives, what another's film gives, by view and kind of question;
and whether it is as sure of its answers as it may be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import DataError
from auscult.core.seeds import rng
from auscult.core.types import Audio, Image, Outcome, Parsed, Sample, Turn
from auscult.evaluate.baselines import unheard, withheld
from auscult.evaluate.benchmarks import vqarad
from auscult.evaluate.calibration import BINS, Sureness, calibration, share
from auscult.evaluate.evaluation import evaluate, sureness
from auscult.evaluate.exam import Exam
from auscult.evaluate.metrics.choice import Metric
from auscult.evaluate.options import Evaluate
from auscult.evaluate.outcomes import read_outcomes
from auscult.models.families import gemma3
from auscult.models.listener import Listener
from auscult.models.wording import Wording
from auscult.rollouts.scripted import ScriptedEngine

SIDES = ("left", "right", "neither")


@pytest.fixture(scope="module")
def looks() -> Listener:
    texts = ["Which side is white? left right neither View 1 (PA):", "<think> </think> <answer> </answer>"]
    return gemma3.Model().build(texts, ["<think>", "</think>"], Wording(instruction=False), 0)


def film(number: int, *, views: int = 1) -> Sample:
    """A film that is asked about, in `views` views; patients have two questions each."""
    draw = rng(0, "film", number)
    content: list[str | Image] = []
    for view in range(views):
        content += [f"View {view + 1} ({'PA' if view == 0 else 'LATERAL'}):"] if views > 1 else []
        content.append(Image.of(draw.integers(0, 255, (40, 40, 3), dtype=np.uint8)))
    tags = {"task": "side", "view": "PA, LATERAL" if views > 1 else "PA", "question_type": "ATTRIB"}
    turn = Turn("user", (*content, "Which side is white?"))
    return Sample(f"film-{number}", (turn,), (SIDES[number % 3],), SIDES, group=f"patient-{number // 2}", tags=tags)


def says(listener: Listener, answer_of) -> ScriptedEngine:
    return ScriptedEngine(listener, lambda sample, _: f"<think>x</think><answer>{answer_of(sample)}</answer>")


def test_text_alone_is_a_prompt_with_no_place_for_an_image(looks: Listener) -> None:
    sample = film(0, views=2)
    whole, alone = looks.prompt(sample), looks.prompt(withheld(sample))
    mark, slot = looks.marks["image"], looks.slots["image"]
    assert (whole.text.count(mark), whole.ids.count(slot)) == (2, 2 * 16)
    assert (alone.text.count(mark), alone.ids.count(slot), alone.features) == (0, 0, ())
    assert alone.text == whole.text.replace(mark, "")
    assert "View 2 (LATERAL):" in alone.text


def test_silence_is_for_what_is_heard_and_text_alone_for_what_is_seen() -> None:
    heard = Sample("clip", (Turn("user", (Audio.of(np.ones(100, np.float32), 100), "?")),), ("yes",))
    both = Sample("both", (Turn("user", (*heard.media, *film(0).media, "?")),), ("yes",))
    assert set(unheard([film(0), film(1)], 0)) == {"shuffled", "text_only"}
    assert set(unheard([heard], 0)) == set(unheard([both], 0)) == {"shuffled", "silence"}


def test_what_the_text_alone_tells_stands_beside_what_the_film_tells(looks: Listener) -> None:
    """The script knows each film's answer and, without a film, always says left."""
    samples = [film(number, views=1 + number % 2) for number in range(12)]
    known = {sample.media[0].sha256: sample.answers[0] for sample in samples}
    engine = says(looks, lambda sample: known[sample.media[0].sha256] if sample.media else "left")
    found = evaluate(engine, looks, samples, Evaluate(batch=4), seed=0).to_dict()
    assert (found["accuracy"], found["clusters"], found["media"]["clips"]) == (1.0, 6, 18)
    assert found["baselines"]["text_only"]["accuracy"] == pytest.approx(1 / 3)
    assert found["baselines"]["shuffled"]["accuracy"] < 0.7
    assert found["baselines"]["text_only"]["unparsed"] == {}
    assert "silence" not in found["baselines"]
    assert {tag: list(rows) for tag, rows in found["by"].items()} == {
        "task": ["side"],
        "view": ["PA", "PA, LATERAL"],
        "question_type": ["ATTRIB"],
    }
    lateral = found["by"]["view"]["PA, LATERAL"]
    assert (lateral["n"], lateral["baselines"]["text_only"]["correct"]) == (6, 2)
    assert lateral["baselines"]["majority"] == pytest.approx(1 / 3)


def test_why_replies_to_a_baseline_have_no_answer_is_counted(looks: Listener) -> None:
    samples = [film(number) for number in range(6)]
    engine = says(looks, lambda sample: "left" if sample.media else "nothing to see")
    found = evaluate(engine, looks, samples, Evaluate(), seed=0).to_dict()
    assert found["unparsed"] == found["baselines"]["shuffled"]["unparsed"] == {}
    assert found["baselines"]["text_only"]["unparsed"] == {"not_a_choice": 6}
    assert found["by"]["task"]["side"]["baselines"]["text_only"]["unparsed"] == {"not_a_choice": 6}


def test_confidence_is_what_a_plain_pass_over_each_option_says(looks: Listener) -> None:
    """The whole prompt with the whole reply through the model at once, an option at a time, without any cache."""
    options, thoughts = ("left", "right, and not only there", "no"), ("white on one side", "x")
    samples = [replace(film(number, views=number - 2), choices=options) for number in (3, 4)]
    outcomes = [
        Outcome(s.id, "", "no", "", Parsed(options[1], None, t), False, "p", {})
        for s, t in zip(samples, thoughts, strict=True)
    ]
    for sample, thought, sure in zip(samples, thoughts, sureness(looks, samples, outcomes), strict=True):
        prompt = looks.prompt(sample)
        logps: list[float] = []
        for option in options:
            reply = looks.target(sample, looks.form.render(option, thought, choices=options))
            ids = [*prompt.ids, *reply]
            with torch.no_grad():
                whole = looks.model(
                    input_ids=torch.tensor([ids]),
                    pixel_values=torch.stack([part.inputs["pixel_values"] for part in prompt.features]),
                    token_type_ids=torch.tensor([[int(token == looks.slots["image"]) for token in ids]]),
                ).logits[0, len(prompt.ids) - 1 : -1]
            logps.append(float(whole.log_softmax(-1)[range(len(reply)), list(reply)].sum()))
        assert sure.confidence == pytest.approx(share(logps, 1), rel=1e-4)
        assert max(logps) - min(logps) > 1, "options as long as one another would not show a padded one"


def test_an_answer_without_a_confidence_is_counted_with_its_reason(looks: Listener) -> None:
    samples = [film(number) for number in range(4)]
    samples[3] = Sample("open", samples[3].turns, ("left",), group="p")
    replies = {"film-0": "<think>a</think><answer>left</answer>", "film-1": "<think>no end", "film-2": "no idea"}
    engine = ScriptedEngine(looks, lambda sample, _: replies.get(sample.id, "<think>b</think><answer>left</answer>"))
    options = Evaluate(batch=3, calibration=True)
    found = evaluate(engine, looks, samples, options, seed=0, unheard=False).to_dict()["calibration"]
    assert (found["n"], found["bins"]) == (1, BINS)
    assert found["unmeasured"] == {"unclosed_thinking": 1, "no_answer": 1, "no_choices": 1}
    assert "calibration" not in evaluate(engine, looks, samples, Evaluate(), seed=0, unheard=False).to_dict()


def test_the_calibration_error_can_be_computed_from_the_rows_that_were_written(looks: Listener, tmp_path: Path) -> None:
    samples = [film(number) for number in range(12)]
    engine = ScriptedEngine(
        looks,
        lambda sample, _: (
            "no idea" if sample.id == "film-3" else f"<think>x</think><answer>{SIDES[int(sample.id[5:]) % 2]}</answer>"
        ),
    )
    found = evaluate(engine, looks, samples, Evaluate(batch=6, calibration=True), seed=0, unheard=False)
    told = found.to_dict()["calibration"]
    Metric().write(tmp_path / "samples.jsonl", found.outcomes)
    rows = Metric().read(tmp_path / "samples.jsonl")
    assert rows == found.outcomes
    sure = [(row.confidence, row.correct) for row in rows if row.confidence is not None]
    assert len(sure) == told["n"] == 11
    gap = 0.0
    for place in range(BINS):
        inside = [pair for pair in sure if min(int(pair[0] * BINS), BINS - 1) == place]
        gap += abs(sum(confidence for confidence, _ in inside) - sum(right for _, right in inside))
    assert gap / len(sure) == pytest.approx(told["ece"])
    unasked = evaluate(engine, looks, samples, Evaluate(), seed=0, unheard=False)
    Metric().write(tmp_path / "unasked.jsonl", unasked.outcomes)
    assert "confidence" not in (tmp_path / "unasked.jsonl").read_text()


def test_a_confidence_that_is_none_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    for wrong in ("1.2", "-0.1", "true", '"high"'):
        row = {"id": "a", "input": "", "target": "", "resps": [""], "correct": True, "group": "a", "tags": {}}
        row |= {"parsed": {"answer": "yes"}}
        path.write_text(json.dumps(row)[:-1] + f', "confidence": {wrong}}}\n')
        with pytest.raises(DataError, match=r"samples\.jsonl:1: `confidence` is .*from 0 to 1"):
            read_outcomes(path)


def test_the_error_is_the_weighted_distance_of_bins_from_the_diagonal() -> None:
    answers = [Sureness(0.95, right) for right in (True, True, True, False)] + [Sureness(0.35, False)] * 2
    found = calibration([*answers, Sureness(None, True, "no_choices")])
    assert found["ece"] == pytest.approx((4 * 0.2 + 2 * 0.35) / 6)
    assert [(row["n"], row["accuracy"]) for row in found["reliability"]] == [(2, 0.0), (4, 0.75)]
    assert (found["confidence"], found["accuracy"]) == (pytest.approx(0.75), 0.5)
    assert calibration([Sureness(None, True, "no_choices")])["ece"] is None


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_every_answer_is_in_one_bin(answers: list[tuple[float, bool]]) -> None:
    found = calibration([Sureness(*answer) for answer in answers])
    assert sum(row["n"] for row in found["reliability"]) == found["n"] == len(answers)
    assert all(row["from"] - 1e-9 <= row["confidence"] <= row["to"] + 1e-9 for row in found["reliability"])
    assert abs(found["confidence"] - found["accuracy"]) - 1e-9 <= found["ece"] <= 1


def test_calibration_is_refused_where_it_means_nothing() -> None:
    with pytest.raises(ValueError, match="calibration is of answers"):
        Evaluate(metric="captions", calibration=True)
    with pytest.raises(ValueError, match="held-out samples"):
        exam(evaluate=Evaluate(calibration=True))


def exam(**changes: Any) -> Exam:
    return Exam(benchmark=vqarad.Benchmark(gold="testset.json"), model=gemma3.Model(path="model"), **changes)


def test_a_benchmark_of_films_is_asked_by_its_text_alone_too() -> None:
    samples = [film(0), film(1)]
    sittings = {sitting.condition: sitting for sitting in exam().sittings(samples, "weights")}
    assert list(sittings) == ["heard", "shuffled", "text_only"]
    assert sittings["heard"].asked(samples[0]).media == samples[0].media
    assert sittings["text_only"].asked(samples[0]).media == ()
    assert sittings["text_only"].key(samples[0], 0) != sittings["heard"].key(samples[0], 0)
