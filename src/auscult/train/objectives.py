"""From log-probabilities to a loss: pure functions, one a way of learning.

Shapes: R rollouts, T reply tokens, right-padded. `weight` [R, T] is 0 on padding and sums to 1 over the whole batch
of a step, so that a loss over the batch is the plain sum of the losses over any way of cutting it into pieces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """What a loss may look at, for one piece of a batch."""

    logps: Tensor
    """[R, T] log-probability of each reply token under the weights being trained; carries the gradient."""
    old: Tensor
    """[R, T] under the policy that sampled the reply; equal to `logps` without gradient for demonstrations."""
    reference: Tensor | None
    """[R, T] under the reference policy; None without one."""
    advantage: Tensor
    """[R, 1] strength of each credit."""
    weight: Tensor
    """[R, T] share of each token in the batch."""


def imitate(tokens: Tokens) -> Tensor:
    """Weighted negative log-likelihood."""
    return -(tokens.weight * tokens.advantage * tokens.logps).sum()


def clip(tokens: Tokens, epsilon: float) -> Tensor:
    """The clipped surrogate of PPO (Schulman et al. 2017, arXiv 1707.06347, eq. 7) on each token, negated."""
    ratio = (tokens.logps - tokens.old).exp()
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon)
    return -(tokens.weight * torch.minimum(ratio * tokens.advantage, clipped * tokens.advantage)).sum()


def kl(tokens: Tokens) -> Tensor:
    """Divergence from the reference by the k3 estimator, exp(d) - d - 1 with d = log ref - log p (arXiv 2402.03300,
    eq. 4)."""
    if tokens.reference is None:
        return tokens.logps.new_zeros(())
    delta = tokens.reference - tokens.logps
    return (tokens.weight * (delta.exp() - delta - 1)).sum()
