"""The benchmark of the learner: every family's plain step is the shared one's equal, and sizes are what they say."""

import importlib.util
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
SPEC = importlib.util.spec_from_file_location("learner_benchmark", ROOT / "benchmarks" / "learner.py")
learner = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(learner)

KEYS = {"family", "media_tokens", "reply_tokens", "group", "plain_s", "shared_s", "ratio", "plain_mb", "shared_mb"}


@pytest.mark.parametrize("precision", learner.SAME)
@pytest.mark.parametrize("family", learner.FAMILIES)
def test_a_row_of_each_family(family, precision):
    row = learner.measure(learner.build(family, "tiny", "cpu", precision), family, (50, 6, 2), 1, precision)
    assert row.keys() >= KEYS
    assert row["gradient_difference"] < learner.SAME[precision]
    assert row["ratio"] == pytest.approx(row["plain_s"] / row["shared_s"], rel=0.05)


def test_a_plain_step_that_hears_something_else_stops_the_benchmark(monkeypatch):
    right = learner.inputs

    def other(listener, batch):
        given = right(listener, batch)
        return given | {"features": given["features"].flip(1)}

    monkeypatch.setattr(learner, "inputs", other)
    with pytest.raises(AssertionError, match="gradients differ"):
        learner.measure(learner.build("graft", "tiny", "cpu"), "graft", (50, 6, 2), 1)


@pytest.mark.parametrize("family", learner.FAMILIES)
def test_media_become_about_as_many_tokens_as_asked_for(family):
    prompt = learner.lessons(learner.build(family, "tiny", "cpu"), family, 750, 1, 1)[0].prompt
    assert sum(part.tokens for part in prompt.features) == pytest.approx(750, rel=0.03)
    assert len({part.key for part in prompt.features}) == len(prompt.features), "equal media would be encoded once"


@pytest.mark.parametrize(("size", "least", "most"), [("33m", 26e6, 36e6), ("3b", 2.8e9, 3.3e9)])
@pytest.mark.parametrize("family", learner.FAMILIES)
def test_sizes_are_what_they_are_called(family, size, least, most):
    with torch.device("meta"):  # no memory
        model = learner.build(family, size, "meta").model
    assert least < sum(p.numel() for p in model.parameters()) < most
