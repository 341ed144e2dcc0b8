"""From log-probabilities to a loss: pure functions, one a way of learning.

Shapes: R rollouts, T reply tokens, right-padded. `weight` [R, T] is 0 on padding, and throughout a reply that merely
keeps other processes company (`learner.evened`). It is fixed for the whole batch of a step before the batch is cut, so
that the batch's loss is the plain sum of the losses over any way of cutting it into pieces (whole replies each)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from auscult.train.algorithm import Objective


@dataclass(frozen=True)
class Tokens:
    """What a loss may look at, for one piece of a batch."""

    logps: Tensor
    """[R, T] log-probability of each reply token under the weights being trained; carries the gradient."""
    old: Tensor
    """[R, T] under the weights before the batch's first update; equal to `logps` without gradient in the first pass
    and for demonstrations."""
    reference: Tensor | None
    """[R, T] under the reference policy; None without one."""
    advantage: Tensor
    """[R, 1] strength of each credit."""
    weight: Tensor
    """[R, T] share of each token in the batch."""
    importance: Tensor | None = None
    """[R, T] weights that make up for an engine which computes the policy differently; None when it does not count."""


def loss(tokens: Tokens, objective: Objective) -> Tensor:
    """The objective's loss over this piece, its KL term included."""
    match objective.name:
        case "imitate":
            value = imitate(tokens)
        case "clip":
            value = clip(tokens, *objective.clip_range, objective.ratio)
        case "cispo":
            value = cispo(tokens, *objective.clip_range)
    return value + objective.kl * kl(tokens) if objective.kl else value


def imitate(tokens: Tokens) -> Tensor:
    """Weighted negative log-likelihood."""
    return -(tokens.weight * tokens.advantage * tokens.logps).sum()


def clip(tokens: Tokens, low: float, high: float, ratio: str = "token") -> Tensor:
    """The clipped surrogate of PPO (Schulman et al. 2017, arXiv 1707.06347, eq. 7), negated. Each token has its own
    ratio, or its reply's (Zheng et al. 2025, arXiv 2507.18071, eq. 5)."""
    ratios = policy_ratios(tokens, ratio)
    surrogate = torch.minimum(ratios * tokens.advantage, ratios.clamp(1 - low, 1 + high) * tokens.advantage)
    return -(_weights(tokens) * surrogate).sum()


def cispo(tokens: Tokens, low: float, high: float) -> Tensor:
    """The log-likelihood times advantage and clipped ratio, negated (MiniMax 2025, arXiv 2506.13585, eq. 4): the ratio
    is a weight without gradient, so a token beyond the range is weighed down and still learnt from."""
    ratios = policy_ratios(tokens).detach().clamp(1 - low, 1 + high)
    return -(_weights(tokens) * ratios * tokens.advantage * tokens.logps).sum()


def kl(tokens: Tokens) -> Tensor:
    """Divergence from the reference, weighted as the loss is; 0 without a reference."""
    if tokens.reference is None:
        return tokens.logps.new_zeros(())
    return (tokens.weight * k3(tokens.logps, tokens.reference)).sum()


def k3(logps: Tensor, reference: Tensor) -> Tensor:
    """The k3 estimator on each token, exp(d) - d - 1 with d = log ref - log p (Schulman 2020, "Approximating KL
    divergence"; arXiv 2402.03300, eq. 4)."""
    delta = reference - logps
    return delta.exp() - delta - 1


def policy_ratios(tokens: Tokens, level: str = "token") -> Tensor:
    """New over old probability: [R, T] of each token, or [R, 1] the geometric mean over each reply's tokens, which is
    (p_new(reply) / p_old(reply)) ^ (1 / length) (arXiv 2507.18071, eq. 7)."""
    logs = tokens.logps - tokens.old
    if level == "sequence":
        counted = tokens.weight != 0
        logs = (logs * counted).sum(1, keepdim=True) / counted.sum(1, keepdim=True).clamp(min=1)
    return logs.exp()


def beyond(tokens: Tokens, objective: Objective) -> tuple[Tensor, Tensor]:
    """Tokens [R, T] whose ratio lies below or above the range so that clipping changes their gradient: with `clip` a
    ratio that has gone the advantage's way, with `cispo` any."""
    low, high = objective.clip_range
    ratios = policy_ratios(tokens, objective.ratio)
    below, above = ratios < 1 - low, ratios > 1 + high
    if objective.name == "clip":
        below, above = below & (tokens.advantage < 0), above & (tokens.advantage > 0)
    return below.expand_as(tokens.logps), above.expand_as(tokens.logps)


def importance(learner: Tensor, rollout: Tensor, cap: float) -> Tensor:
    """Truncated importance weights [R, T], min(p_learner / p_engine, cap), of the same weights computed by learner and
    engine; 1 where the engine told no log-probability (NaN in `rollout`).

    Ionides 2008 (Journal of Computational and Graphical Statistics 17) for the truncation; Yao et al. 2025, "Your
    efficient RL framework secretly brings you off-policy RL training", for this use of it."""
    return torch.where(rollout.isnan(), 1.0, (learner - rollout).exp().clamp(max=cap))


def _weights(tokens: Tokens) -> Tensor:
    return tokens.weight if tokens.importance is None else tokens.weight * tokens.importance
