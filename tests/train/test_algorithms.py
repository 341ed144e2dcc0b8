"""Algorithms: a finished group becomes credits; every file in the folder is one."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.core.config import Plugin
from auscult.core.types import Group, Parsed, Rollout, Sample, Score
from auscult.train.algorithm import Algorithm
from auscult.train.algorithms import dr_grpo, grpo, sft
from auscult.train.policy_gradient import PolicyGradient

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


POLICY_GRADIENTS = [name for name in PLUGIN.names() if issubclass(PLUGIN.find(name, Algorithm), PolicyGradient)]


@pytest.mark.parametrize("name", POLICY_GRADIENTS)
@given(reward=st.floats(-5, 5), size=st.integers(1, 9))
def test_equal_rewards_have_no_advantage_to_the_bit(name, reward, size):
    """The mean of three tenths is not a tenth: what is left over would be followed, and a group taken for a lesson."""
    credits = PLUGIN.find(name, Algorithm)().credits(group([reward] * size))
    assert [credit.advantage for credit in credits] == [0.0] * size


@pytest.mark.parametrize("name", POLICY_GRADIENTS)
def test_what_all_policy_gradients_share_reaches_their_objective(name):
    made = PLUGIN.find(name, Algorithm)(kl=0.1, passes=3, temperature=0.7, old="learner", cap=3.0, max_batches=4)
    objective = made.objective
    assert (objective.kl, objective.passes, objective.temperature) == (0.1, 3, 0.7)
    assert (objective.old, objective.cap) == ("learner", 3.0)
    assert made.request is not None
    assert made.request.max_batches == 4


@pytest.mark.parametrize("name", POLICY_GRADIENTS)
@pytest.mark.parametrize(
    "options", [{"clip": 0.0}, {"cap": 0.5}, {"max_batches": -1}, {"group": 1}, {"temperature": 0}]
)
def test_numbers_that_cannot_be_are_refused(name, options):
    with pytest.raises(ValueError, match="set "):
        PLUGIN.find(name, Algorithm)(**options)


def test_advantages_are_scaled_where_the_paper_scales_them():
    spread = {
        name: PLUGIN.find(name, Algorithm)().credits(group([1.0, 0.0, 0.0, 0.0]))[0].advantage
        for name in POLICY_GRADIENTS
    }
    assert spread["grpo"] == spread["dr_grpo"] == 0.75
    assert spread["dapo"] == spread["gspo"] == spread["cispo"] == pytest.approx(0.75 / (0.1875**0.5 + 1e-4))


def test_the_constant_of_dr_grpo_is_the_longest_reply():
    assert dr_grpo.Algorithm(max_tokens=99).objective.length == 99


def test_replies_that_were_cut_count_in_the_baseline_and_teach_nothing_if_asked():
    whole = group([1.0, 0.0, 0.0, 1.0])
    cut = Group(whole.sample, (*whole.rollouts[:3], replace(whole.rollouts[3], stop="length")), whole.scores)
    assert [credit.advantage for credit in grpo.Algorithm().credits(cut)] == [0.5, -0.5, -0.5, 0.5]
    assert [credit.advantage for credit in grpo.Algorithm(mask_cut=True).credits(cut)] == [0.5, -0.5, -0.5]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8), st.booleans())
def test_grpo_advantages_sum_to_nothing_and_keep_the_order_of_rewards(rewards, scale):
    advantages = [credit.advantage for credit in grpo.Algorithm(scale=scale).credits(group(rewards))]
    assert sum(advantages) == pytest.approx(0, abs=1e-6)
    ranked = [advantage for _, advantage in sorted(zip(rewards, advantages, strict=True))]
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(ranked))


def test_sft_imitates_every_demonstration():
    credits = sft.Algorithm().credits(Group(Sample("s", (), ()), group([0.0]).rollouts, ()))
    assert [credit.advantage for credit in credits] == [1.0]
