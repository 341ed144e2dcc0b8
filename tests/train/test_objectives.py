"""Every algorithm's loss, and its gradient by every log-probability, against the formula of its paper in plain Python.

The batch is three replies of unequal lengths whose ratios lie inside, below and above every range, with advantages of
both signs. The last tests plant the confusions that such code invites, and see the comparison fail."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from auscult.core.config import Plugin
from auscult.core.types import Parsed, Rollout, Sample
from auscult.models.listener import Prompt
from auscult.train import objectives
from auscult.train.algorithm import Algorithm
from auscult.train.algorithms import cispo, dapo, dr_grpo, grpo, gspo, sft
from auscult.train.learner import Lesson, token_weights

NEW = [[-1.0, -2.0, -0.5, -3.0], [-0.7, -1.9], [-2.2, -0.1, -1.3], [-1.5]]
OLD = [[-1.1, -1.4, -0.9, -3.0], [-0.7002, -1.9003], [-2.0, -0.9, -0.9], [-1.5015]]
REFERENCE = [[-1.3, -2.0, -0.2, -2.5], [-0.8, -1.7], [-2.2, -0.4, -1.0], [-1.0]]
ENGINE = [[-1.2, -1.3, -0.9, -3.9], [-0.9, -1.9], [-2.0, -0.8, -1.6], [-1.4]]
ADVANTAGES = [0.9, -0.6, -0.3, 1.2]
MAX_TOKENS = 8
REPLIES = len(NEW)
TOKENS = sum(map(len, NEW))

ALGORITHMS: dict[str, Algorithm] = {
    "sft": sft.Algorithm(),
    "grpo": grpo.Algorithm(),
    "dr_grpo": dr_grpo.Algorithm(max_tokens=MAX_TOKENS),
    "dapo": dapo.Algorithm(),
    "gspo": gspo.Algorithm(),
    "cispo": cispo.Algorithm(clip_high=0.5),
}


# -- the papers: loss, and its derivative by the log-probability of token t of reply i ---------------------------------


def ppo(ratio: float, advantage: float, low: float, high: float) -> tuple[float, float]:
    """min(r A, clip(r) A), and its derivative by log r."""
    clipped = min(max(ratio, 1 - low), 1 + high)
    if ratio * advantage <= clipped * advantage:
        return ratio * advantage, ratio * advantage
    return clipped * advantage, 0.0


def paper(name: str, i: int, t: int) -> tuple[float, float]:
    """The share of one token in the loss, and the derivative of the loss by its log-probability."""
    advantage, length = ADVANTAGES[i], len(NEW[i])
    ratio = math.exp(NEW[i][t] - OLD[i][t])
    if name == "sft":
        return -advantage * NEW[i][t] / TOKENS, -advantage / TOKENS
    if name == "cispo":
        weight = min(ratio, 1.5)
        return -weight * advantage * NEW[i][t] / TOKENS, -weight * advantage / TOKENS
    if name == "gspo":
        mean = sum(new - old for new, old in zip(NEW[i], OLD[i], strict=True)) / length
        value, slope = ppo(math.exp(mean), advantage, 3e-4, 4e-4)
        return -value / length / REPLIES, -slope / length / REPLIES  # each token is 1/length of the mean
    value, slope = ppo(ratio, advantage, 0.2, 0.28 if name == "dapo" else 0.2)
    share = {"grpo": 1 / length / REPLIES, "dr_grpo": 1 / MAX_TOKENS / REPLIES, "dapo": 1 / TOKENS}[name]
    return -value * share, -slope * share


def divergence(name: str, i: int, t: int) -> tuple[float, float]:
    """k3 and its derivative, with the token's share in the batch."""
    share = {"grpo": 1 / len(NEW[i]) / REPLIES, "dr_grpo": 1 / MAX_TOKENS / REPLIES, "gspo": 1 / len(NEW[i]) / REPLIES}
    delta = REFERENCE[i][t] - NEW[i][t]
    weight = share.get(name, 1 / TOKENS)
    return (math.exp(delta) - delta - 1) * weight, (1 - math.exp(delta)) * weight


# -- ours --------------------------------------------------------------------------------------------------------------


def padded(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor([[*row, *[0.0] * (max(map(len, NEW)) - len(row))] for row in rows], dtype=torch.float64)


def weights(objective) -> torch.Tensor:
    prompt = Prompt(Sample("s", (), ()), "", (1,), ())
    rollouts = [Rollout((1,), (2,) * len(row), None, "", "end", "test", Parsed(None, "no_answer")) for row in NEW]
    shares = token_weights([Lesson(prompt, rollout, 1.0) for rollout in rollouts], objective)
    return padded([[share] * len(row) for share, row in zip(shares, NEW, strict=True)])


def ours(objective, **changes) -> tuple[float, torch.Tensor]:
    """Loss, and gradient [R, T]."""
    logps = padded(NEW).requires_grad_()
    tokens = objectives.Tokens(
        logps=logps,
        old=padded(OLD),
        reference=padded(REFERENCE) if objective.kl else None,
        advantage=torch.tensor(ADVANTAGES, dtype=torch.float64)[:, None],
        weight=weights(objective),
    )
    loss = objectives.loss(replace(tokens, **changes), objective)
    loss.backward()
    assert logps.grad is not None
    return loss.item(), logps.grad


def expected(name: str, kl: float = 0.0, factors: list[list[float]] | None = None) -> tuple[float, torch.Tensor]:
    loss = 0.0
    gradient = [[0.0] * len(row) for row in NEW]
    for i, row in enumerate(NEW):
        for t in range(len(row)):
            factor = factors[i][t] if factors else 1.0
            value, slope = paper(name, i, t)
            extra, pull = divergence(name, i, t)
            loss += factor * value + kl * extra
            gradient[i][t] += kl * pull
            if name == "gspo":  # the ratio of a reply depends on all its tokens
                for other in range(len(row)):
                    gradient[i][other] += factor * slope / len(row)
            else:
                gradient[i][t] += factor * slope
    return loss, padded(gradient)


def equal(one: tuple[float, torch.Tensor], other: tuple[float, torch.Tensor]) -> bool:
    return math.isclose(one[0], other[0], abs_tol=1e-12) and torch.allclose(one[1], other[1], atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_reply_that_weighs_nothing_adds_nothing(name):
    """Sharded processes that run out of replies compute one of no weight, so that none waits for another."""
    logps = torch.tensor([[-1.5, -0.5]], requires_grad=True)
    nothing = torch.zeros(1, 2)
    tokens = objectives.Tokens(logps, logps.detach() - 0.1, logps.detach() + 0.2, torch.zeros(1, 1), nothing)
    loss = objectives.loss(tokens, replace(ALGORITHMS[name].objective, kl=0.1))
    loss.backward()
    assert loss == 0
    assert torch.equal(logps.grad, nothing)


def test_the_reference_knows_every_algorithm():
    imitates = {"rest"}  # with weights, which test_rest.py tests; its objective is sft's
    assert set(ALGORITHMS) | imitates >= set(Plugin("algorithm", "auscult.train.algorithms").names())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_loss_and_gradient_are_the_papers(name):
    assert equal(ours(ALGORITHMS[name].objective), expected(name))


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name != "sft"])
def test_loss_and_gradient_with_a_reference_are_the_papers(name):
    assert equal(ours(replace(ALGORITHMS[name].objective, kl=0.3)), expected(name, kl=0.3))


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name != "sft"])
def test_truncated_importance_weights_multiply_each_token_and_not_the_divergence(name):
    rows = zip(OLD, ENGINE, strict=True)
    factors = [[min(math.exp(a - b), 1.3) for a, b in zip(*row, strict=True)] for row in rows]
    assert any(factor == 1.3 for row in factors for factor in row)
    weighed = objectives.importance(padded(OLD), padded(ENGINE), cap=1.3)
    found = ours(replace(ALGORITHMS[name].objective, kl=0.3), importance=weighed)
    assert equal(found, expected(name, kl=0.3, factors=factors))


def test_a_token_that_the_engine_told_nothing_of_weighs_one():
    told = torch.tensor([[-1.0, math.nan]])
    assert objectives.importance(torch.tensor([[-0.5, -0.5]]), told, cap=2.0).tolist() == [
        [pytest.approx(math.exp(0.5)), 1.0]
    ]


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name != "sft"])
def test_no_gradient_is_exactly_where_a_ratio_is_beyond_the_range(name):
    """What is logged as clipped is what clipping took; CISPO logs it and takes nothing."""
    objective = ALGORITHMS[name].objective
    tokens = objectives.Tokens(padded(NEW), padded(OLD), None, torch.tensor(ADVANTAGES)[:, None], weights(objective))
    low, high = objectives.beyond(tokens, objective)
    gone = (ours(objective)[1] == 0) & (weights(objective) > 0)
    beyond = (low | high) & (weights(objective) > 0)
    assert beyond.any()
    assert torch.equal(gone, beyond if name != "cispo" else torch.zeros_like(beyond))


# -- planted defects ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_other_algorithms_objective_passes_for_it(name):
    for other, algorithm in ALGORITHMS.items():
        assert equal(ours(algorithm.objective), expected(name)) is (other == name), other


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("grpo", {"average": "token"}),
        ("grpo", {"clip_high": 0.28}),
        ("dr_grpo", {"length": MAX_TOKENS + 1}),
        ("dapo", {"clip_high": None}),
        ("dapo", {"average": "sequence"}),
        ("gspo", {"ratio": "token"}),
        ("cispo", {"clip_high": 0.2}),
        ("cispo", {"clip": 0.2}),
        ("cispo", {"name": "clip"}),
    ],
)
def test_a_changed_option_is_noticed(name, change):
    assert not equal(ours(replace(ALGORITHMS[name].objective, **change)), expected(name))


def test_a_sequence_ratio_without_its_mean_is_noticed(monkeypatch):
    def summed(tokens, level="token"):
        return (tokens.logps - tokens.old).sum(1, keepdim=True).exp()

    monkeypatch.setattr(objectives, "policy_ratios", summed)
    assert not equal(ours(ALGORITHMS["gspo"].objective), expected("gspo"))


def test_a_gradient_through_cispos_weight_is_noticed(monkeypatch):
    def leaky(tokens, low, high):
        ratios = objectives.policy_ratios(tokens).clamp(1 - low, 1 + high)
        return -(tokens.weight * ratios * tokens.advantage * tokens.logps).sum()

    monkeypatch.setattr(objectives, "cispo", leaky)
    loss, gradient = ours(ALGORITHMS["cispo"].objective)
    right = expected("cispo")
    assert loss == pytest.approx(right[0])
    assert not torch.allclose(gradient, right[1])
