"""Reward functions as a user might write them, right and wrong; `test_rubric.py` names them by this file's path."""

from __future__ import annotations

from auscult.core.types import Rollout, Sample

NO_FUNCTION = 1


def longer(sample: Sample, rollout: Rollout, *, scale: float = 1.0) -> float:
    return scale * len(rollout.text)


def echo(completions: list[str], answer: list[str], **columns: list[object]) -> list[float | None]:
    assert columns["id"] == ["pets/1"] * len(completions)
    assert columns["choices"] == [["cat", "dog", "cow"]] * len(completions)
    assert columns["tags"] == [{"task": "pets"}] * len(completions)
    assert columns["prompts"] == ["Which one?"] * len(completions)
    return [float(len(text)) if gold in text else None for text, gold in zip(completions, answer, strict=True)]


def narrow(completions: list[str], factor: float) -> list[float]:
    return [factor * len(text) for text in completions]


def wants_more(completions: list[str], transcript: list[str]) -> list[float]:
    return [0.0 for _ in transcript]


async def later(sample: Sample, rollout: Rollout) -> float:
    return 0.0


def alone(sample: Sample) -> float:
    return 0.0


def breaks(sample: Sample, rollout: Rollout) -> float:
    raise KeyError("gold")


def breaks_all(completions: list[str]) -> list[float]:
    raise ValueError("no judge")


FAULTS = {
    "nan": float("nan"),
    "infinite": float("inf"),
    "text": "1.0",
    "listed": [1.0],
}


def fault(sample: Sample, rollout: Rollout, *, kind: str) -> object:
    return FAULTS[kind]


def short(completions: list[str]) -> list[float]:
    return [1.0] * (len(completions) - 1)


def scalar(completions: list[str]) -> float:
    return 1.0


def mixed(completions: list[str]) -> list[object]:
    return ["1.0" for _ in completions]
