"""Algorithms: a finished group becomes credits; every file in the folder is one."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.core.config import Plugin
from auscult.core.types import Group, Parsed, Rollout, Sample, Score
from auscult.train.algorithm import Algorithm
from auscult.train.algorithms import grpo, sft

PLUGIN = Plugin("algorithm", "auscult.train.algorithms")


def group(totals):
    rollouts = tuple(
        Rollout((1,), (n + 2,), (-1.0,), str(n), "end", "policy", Parsed(None, "no_answer")) for n in range(len(totals))
    )
    return Group(Sample("s", (), ()), rollouts, tuple(Score({}, total) for total in totals))


@pytest.mark.parametrize("name", PLUGIN.names())
def test_every_file_is_an_algorithm_with_an_objective(name):
    made = PLUGIN.find(name, Algorithm)()
    assert made.objective.passes >= 1
    assert made.request is None or made.request.rewards


def test_grpo_centres_rewards_on_their_group():
    credits = grpo.Algorithm().credits(group([1.0, 0.0, 0.0, 1.0]))
    assert [credit.advantage for credit in credits] == [0.5, -0.5, -0.5, 0.5]
    assert [credit.rollout.text for credit in credits] == ["0", "1", "2", "3"]


def test_grpo_scaled_by_the_deviation():
    credits = grpo.Algorithm(scale=True).credits(group([3.0, 1.0]))
    assert [credit.advantage for credit in credits] == pytest.approx([1.0, -1.0], abs=1e-3)


def test_grpo_leaves_out_what_could_not_be_scored():
    credits = grpo.Algorithm().credits(group([1.0, None, 0.0]))
    assert [(credit.rollout.text, credit.advantage) for credit in credits] == [("0", 0.5), ("2", -0.5)]
    assert grpo.Algorithm().credits(group([None, None])) == []


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8), st.booleans())
def test_grpo_advantages_sum_to_nothing_and_keep_the_order_of_rewards(rewards, scale):
    advantages = [credit.advantage for credit in grpo.Algorithm(scale=scale).credits(group(rewards))]
    assert sum(advantages) == pytest.approx(0, abs=1e-6)
    ranked = [advantage for _, advantage in sorted(zip(rewards, advantages, strict=True))]
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(ranked))


def test_sft_imitates_every_demonstration():
    credits = sft.Algorithm().credits(Group(Sample("s", (), ()), group([0.0]).rollouts, ()))
    assert [credit.advantage for credit in credits] == [1.0]
