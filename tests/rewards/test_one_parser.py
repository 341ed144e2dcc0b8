"""Reward, evaluation and submission read a reply with the same object: replace it, and all three change their minds."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from auscult.core import answer, forms
from auscult.core.types import Parsed, Rollout, Sample, Turn
from auscult.evaluate import submission
from auscult.evaluate.scorers import choice as scorer
from auscult.rewards import choice as reward

PETS = ("cat", "dog", "cow")
REPLIES = (
    "dog",
    "B",
    "(B) dog",
    "The answer is a dog.",
    r"\boxed{B}",
    "A\ndog",
    "cat, dog",
    "A",
    "horse",
    "dogs",
    "B. cat",
)
ROW = {
    "question": "Which one?",
    "choices": PETS,
    "answer": "dog",
    "modality": "sound",
    "category": "x",
    "sub-category": "y",
}


def rewarded(reply: str) -> Parsed:
    """What the reward of a rollout in the think form was given for."""
    sample = Sample("pet", (Turn("user", ("Which one?",)),), PETS, PETS)
    parsed = forms.form("think").parse(f"<think>x</think><answer>{reply}</answer>", PETS)
    paid = reward.choice(sample, Rollout((), (), None, reply, "end", "policy", parsed))
    assert paid == float(parsed.answer is not None)
    return parsed


def evaluated(reply: str) -> Parsed:
    """What the evaluation read."""
    return scorer.choice(reply, Sample("pet", (Turn("user", ("Which one?",)),), ("dog",), PETS)).parsed


def submitted(reply: str, folder: Path) -> str | None:
    """What would be sent to MMAR; None when it refuses."""
    gold, predictions = folder / "gold.jsonl", folder / "predictions.jsonl"
    gold.write_text(json.dumps({"id": "pet", **ROW}))
    predictions.write_text(json.dumps({"id": "pet", "thinking_prediction": "x", "answer_prediction": reply}))
    data = submission.submission("mmar", predictions, gold).data
    if data is None:
        return None
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return json.loads(archive.read("result.jsonl"))["answer_prediction"]


def test_they_hold_the_same_objects() -> None:
    assert forms.read_answer is answer.read_answer is reward.read_answer
    assert scorer.form is forms.form
    assert scorer.reward is reward
    assert submission.reading is scorer.reading


@pytest.mark.parametrize("reply", REPLIES)
def test_they_read_every_reply_alike(reply: str, tmp_path: Path) -> None:
    assert rewarded(reply).answer == evaluated(reply).answer == submitted(reply, tmp_path)
    assert rewarded(reply).problem == evaluated(reply).problem


def test_another_parser_in_its_place_is_obeyed_by_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def last(text: str, choices: Sequence[str] = (), **_: bool) -> Parsed:
        return Parsed(choices[-1])

    monkeypatch.setattr(forms, "read_answer", last)
    assert rewarded("dog").answer == evaluated("dog").answer == submitted("dog", tmp_path) == "cow"
