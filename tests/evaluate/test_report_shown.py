"""A result says what of the report its prompts did show; that of predictions made elsewhere claims nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auscult.core.types import Outcome, Parsed, Sample
from auscult.data.sources.studies import Policy
from auscult.evaluate import scoring
from auscult.evaluate.baselines import guesses
from auscult.evaluate.benchmarks.rexvqa import Benchmark
from auscult.evaluate.results import Evaluation

ROWS = {
    f"q{number}": {
        "question": "What is seen?",
        "options": ["A. Normal", "B. Effusion"],
        "correct_answer": "AB"[number % 2],
        "ImagePath": [f"{number}.png"],
        "Findings": "Blunted angle",
        "PatientID": f"P{number}",
    }
    for number in range(4)
}


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    path = tmp_path / "gold.json"
    path.write_text(json.dumps(ROWS))
    return path


def answered(sample: Sample) -> Outcome:
    right = sample.answers[0]
    return Outcome(sample.id, sample.question, right, right, Parsed(right), True, sample.group, sample.tags)


@pytest.mark.parametrize(
    ("report", "shown"),
    [
        ("none", {"none": 4}),
        ("indication", {"indication": 1, "none": 3}),
        ("full", {"full": 2, "indication": 1, "none": 1}),
    ],
)
def test_results_state_what_was_shown(tmp_path: Path, report: Policy, shown: dict[str, int]) -> None:
    """The policy is a permission: a row that has less of a report shows less."""
    parts = ({"Indication": "Cough"}, {"Findings": "Haze", "Indication": ""}, {"Impression": "Oedema"}, {})
    bare = {name: {key: row[key] for key in row if key != "Findings"} for name, row in ROWS.items()}
    gold = tmp_path / "gold.json"
    gold.write_text(json.dumps({name: bare[name] | more for name, more in zip(bare, parts, strict=True)}))
    samples = Benchmark(gold=str(gold), report=report).samples()
    outcomes = tuple(map(answered, samples))
    assert Evaluation(outcomes, {}, guesses(samples), {}).to_dict()["report_shown"] == shown


def test_predictions_made_elsewhere_claim_nothing(gold: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.json"
    made.write_text(json.dumps([{"id": name, "response": row["correct_answer"]} for name, row in ROWS.items()]))
    scored = scoring.score(scoring.work("rexvqa", made, gold), "choice")
    figures = scored.to_dict()
    assert figures["accuracy"] == 1.0
    assert "report_shown" not in figures
    assert not any("report" in outcome.tags for outcome in scored.outcomes)
