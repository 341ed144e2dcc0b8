"""Soft overlong punishment: nothing, then a slope, then the whole of it; equation 13 of DAPO."""

from __future__ import annotations

import pytest

from auscult.core.errors import ConfigError
from auscult.core.types import Parsed, Rollout, Sample
from auscult.rewards.overlong import overlong
from auscult.rewards.rubric import Rubric

SAMPLE = Sample("s", (), ())


def reply(length: int) -> Rollout:
    return Rollout((1,), (2,) * length, None, "", "end", "test", Parsed(None, "no_answer"))


@pytest.mark.parametrize(
    ("length", "value"), [(1, 0.0), (12, 0.0), (13, -0.125), (16, -0.5), (19, -0.875), (20, -1.0), (21, -1.0)]
)
def test_the_slope_lies_in_the_last_tokens_before_the_limit(length: int, value: float):
    assert overlong(SAMPLE, reply(length), limit=20, buffer=8) == value


def test_a_rubric_takes_it_by_name():
    rubric = Rubric.from_config({"overlong": {"weight": 0.5, "kwargs": {"limit": 20, "buffer": 8}}})
    assert [score.total for score in rubric.score(SAMPLE, [reply(16), reply(30)])] == [-0.25, -0.5]


def test_without_its_limit_or_with_an_impossible_one_it_is_refused():
    with pytest.raises(ConfigError, match="overlong"):
        Rubric.from_config({"overlong": 1.0})
    with pytest.raises(ConfigError, match="buffer"):
        overlong(SAMPLE, reply(1), limit=4, buffer=8)
