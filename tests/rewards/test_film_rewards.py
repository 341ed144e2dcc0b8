"""The reward of questions about chest films: what each part pays, and what pays nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from auscult.cli import main
from auscult.core.forms import form
from auscult.core.types import Rollout, Sample, Score
from auscult.core.yaml12 import parse_yaml
from auscult.data.sources.studies import Policy, Source
from auscult.media.image import encode_png
from auscult.rewards.rubric import Rubric

BLOCK = """
choice: 1.0                                                              # the right letter
token_f1: {weight: 0.6, kwargs: {explanation: explanation}}              # words of the gold explanation
evidence: {weight: 0.2, kwargs: {source: [report.Findings, report.Impression]}}    # of the report, not of the prompt
form: 0.1
brevity: {weight: 0.1, kwargs: {limit: 220}}
"""
SIGNS = {
    "Effusion": ("Blunted costophrenic angle with a meniscus", "Fluid collects at the base"),
    "Edema": ("Kerley lines and perihilar haze", "Vessels lose their sharp outline"),
    "Nodule": ("Rounded density beside the hilum", "A small lump has margins"),
    "Normal": ("Clear fields and silhouette", "Nothing abnormal can be made out"),
    "Fracture": ("Cortical step of the fourth rib", "The bone is broken"),
}


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Twenty films with five options each."""
    rows = {}
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(encode_png(np.full((8, 8, 3), number, np.uint8)))
        names = [list(SIGNS)[(number + place) % 5] for place in range(5)]
        right = names[number % 4]
        rows[f"q{number}"] = {
            "question": "What does the film show?",
            "options": [f"{letter}. {name}" for letter, name in zip("ABCDE", names, strict=True)],
            "correct_answer": "ABCDE"[number % 4],
            "correct_answer_explanation": SIGNS[right][1],
            "ImagePath": [f"{number}.png"],
            "Indication": "Dyspnea after a fall",
            "Findings": SIGNS[right][0],
            "Impression": right,
            "PatientID": f"P{number}",
        }
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    return str(tmp_path / "rows.json")


def sample(root: str, report: Policy = "indication") -> Sample:
    """A held-out question."""
    return Source(root=root, report=report, heldout_share=0.5).split("heldout", 0)[0]


def scored(asked: Sample, text: str) -> Score:
    parsed = form("solution").parse(text, asked.choices)
    rubric = Rubric.from_config(parse_yaml(BLOCK, "block"))
    return rubric.score(asked, [Rollout((), (0,), None, text, "end", "test", parsed)])[0]


def reply(asked: Sample, answer: str, words: str = "", thought: str = "") -> str:
    letter = "ABCDE"[asked.choices.index(answer)]
    told = f"{letter} - {answer}{f'. {words}' if words else ''}"
    return f"<start_working_out>{thought}<end_working_out><SOLUTION>{told}</SOLUTION>"


def total(asked: Sample, text: str) -> float:
    value = scored(asked, text).total
    assert value is not None
    return value


def test_the_best_reply_earns_nearly_two_and_each_part_its_share(root: str) -> None:
    asked = sample(root)
    (right,) = asked.answers
    findings, explanation = SIGNS[right]
    best = scored(asked, reply(asked, right, f"{explanation}. {findings}"))
    assert best.parts["choice"] == best.parts["form"] == best.parts["brevity"] == 1.0
    assert best.parts["evidence"] is not None
    assert 0.3 < best.parts["evidence"] <= 1.0
    assert total(asked, reply(asked, right)) == pytest.approx(1.2)
    assert total(asked, reply(asked, right, explanation)) > 1.6
    assert total(asked, reply(asked, right, explanation + " well" * 50)) < total(
        asked, reply(asked, right, explanation)
    )


def test_what_deserves_nothing_earns_nothing(root: str) -> None:
    asked = sample(root)
    (right,) = asked.answers
    wrong = next(choice for choice in asked.choices if choice != right)
    assert total(asked, "") == total(asked, f"{right}. {SIGNS[right][1]}") == 0.0, "no answer that the form can read"
    echo = reply(asked, wrong, asked.question)
    assert scored(asked, echo).parts["evidence"] == 0.0, "what the prompt shows is no evidence"
    assert total(asked, echo) < 0.4
    everything = " ".join(f"{findings} {explanation}." for findings, explanation in SIGNS.values())
    assert total(asked, reply(asked, wrong, everything)) < 0.5, "who recites a vocabulary says much that is not there"
    hidden = total(asked, reply(asked, right, "", f"{SIGNS[right][0]} {SIGNS[right][1]}"))
    assert hidden <= total(asked, reply(asked, right, SIGNS[right][1])), "thinking is no explanation"


def test_with_the_whole_report_shown_there_is_no_evidence_to_find(root: str) -> None:
    """Ungraded, not zero: a recipe that shows the report leaves the part out."""
    asked = sample(root, "full")
    found = scored(asked, reply(asked, *asked.answers))
    assert (found.parts["evidence"], found.total) == (None, None)


def test_the_audit_finds_no_hole(root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewards = "".join(f"    {line}\n" for line in BLOCK.strip().splitlines())
    recipe = (
        f"name: films\ndata: {{source: studies, root: {root}, heldout_share: 0.5, thought: explanation}}\n"
        f"model: {{family: gemma3}}\nwording: {{form: solution}}\ngrpo:\n  algorithm: grpo\n  rewards:\n{rewards}"
    )
    (tmp_path / "films.yaml").write_text(recipe)
    assert main(["rewards", "audit", str(tmp_path / "films.yaml"), "--json"]) == 0
    stage = json.loads(capsys.readouterr().out)["stages"]["grpo"]
    holes = [one for account in (stage["total"], *stage["parts"]) for one in account["earned"] if one["hole"]]
    assert holes == []
    assert stage["samples"] == 10
