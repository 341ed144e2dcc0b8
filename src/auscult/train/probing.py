"""What a frozen encoder knows: how far a linear layer, or the nearest neighbours, tell classes apart in its vectors.

    linear   logistic regression on standardised vectors (softmax over classes; a sigmoid for each of several labels),
             with a fixed L2 penalty, to its optimum by L-BFGS
    knn      the classes of the k nearest training vectors by cosine, nearer ones counting more
             (exp(cosine / 0.07), Wu et al., arXiv 1805.01978)

Neither has a rate, a number of steps or a seed to choose, and the penalty is one for all encoders, so that nothing is
tuned on what is tested. Scores of several labels a clip are told as mAP: the mean, over labels that occur, of average
precision. Beside a pretrained encoder stands `untrained`, a random one of its shape.

Letters: N training clips, M test clips, D values of a vector, L labels, K choices of clips.
"""

# torch ships partial types; what they leave unknown is not ours to annotate.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from auscult.models.mae import MaeConfig, MaskedAutoencoder, PatchEncoder

PENALTY = 0.01
"""Of the mean squared weight's sum, beside the mean loss of a clip; vectors are standardised."""
NEIGHBOURS = 5
TEMPERATURE = 0.07
"""Of the weights of neighbours."""
ASKED = 4096
"""Test vectors that are compared with all training vectors at once."""


def untrained(model: MaskedAutoencoder, seed: int) -> PatchEncoder:
    """An encoder of the shape of `model` with random weights, which knows mean and deviation of the features: what the
    two know apart is what pretraining taught."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = MaskedAutoencoder(cast(MaeConfig, model.config)).encoder
    encoder.mean.copy_(model.encoder.mean)
    encoder.deviation.copy_(model.encoder.deviation)
    return encoder


def linear(train: Tensor, targets: Tensor, test: Tensor, *, several: bool = False) -> Tensor:
    """Scores [M, L] of test vectors [M, D] by logistic regression of targets [N, L], which are 0 or 1, on train vectors
    [N, D]; with `several` a clip may have any number of labels, and each label is a regression by itself. A label that
    no training clip has is -inf for all."""
    train, test, targets = train.double(), test.double(), targets.double()
    mean, spread = train.mean(0), train.std(0, correction=0)
    spread = torch.where(spread > 0, spread, 1.0)
    x, z = (train - mean) / spread, (test - mean) / spread
    known = targets.any(0)
    scores = torch.full((len(z), len(known)), -math.inf, dtype=z.dtype, device=z.device)
    weights = _fitted(x, targets[:, known], several)
    scores[:, known] = functional.linear(z, weights[:, 1:], weights[:, 0])
    return scores


def _fitted(x: Tensor, targets: Tensor, several: bool) -> Tensor:
    """Weights [L, 1 + D], the constant first, of the smallest loss on x [N, D]."""
    weights = torch.zeros(targets.shape[1], x.shape[1] + 1, dtype=x.dtype, device=x.device, requires_grad=True)
    fit = torch.optim.LBFGS([weights], max_iter=500, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        fit.zero_grad()
        scores = functional.linear(x, weights[:, 1:], weights[:, 0])
        if several:
            missed = functional.binary_cross_entropy_with_logits(scores, targets, reduction="sum") / len(x)
        else:
            missed = functional.cross_entropy(scores, targets)
        total = missed + PENALTY * weights[:, 1:].square().sum()
        total.backward()
        return total

    fit.step(loss)
    return weights.detach()


def knn(train: Tensor, targets: Tensor, test: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """Scores [M, L] of test vectors: the targets of the nearest training vectors, weighted."""
    mean, targets = train.double().mean(0), targets.double()
    x = functional.normalize(train.double() - mean, dim=1)
    found: list[Tensor] = []
    for first in range(0, len(test), ASKED):
        likeness = functional.normalize(test[first : first + ASKED].double() - mean, dim=1) @ x.T
        nearest = likeness.topk(min(neighbours, len(x)), dim=1)
        weights = (nearest.values / TEMPERATURE).softmax(1)
        found.append(torch.einsum("mk,mkl->ml", weights, targets[nearest.indices]))
    return torch.cat(found)


def average_precision(scores: Tensor, truth: Tensor) -> float | None:
    """Of one label: scores [M] against truth [M]; None where the label never occurs. Of clips with equal scores those
    without the label come first, so that a constant score gains nothing."""
    return mean_average_precision(scores[:, None], truth[:, None])


def mean_average_precision(scores: Tensor, truth: Tensor) -> float | None:
    """mAP of scores [M, L] against truth [M, L], over the labels that occur; None where none does."""
    found = mean_average_precisions(scores, truth, torch.ones(1, len(truth), dtype=torch.bool)).item()
    return None if math.isnan(found) else found


def mean_average_precisions(scores: Tensor, truth: Tensor, kept: Tensor) -> Tensor:
    """The same [K] for several choices of the clips, kept [K, M]; NaN where no label occurs in one."""
    kept = kept.to(scores.device)
    labels = zip(scores.T, truth.bool().T, strict=True)
    return torch.stack([_precisions(*label, kept) for label in labels]).nanmean(0)


def _precisions(scores: Tensor, hits: Tensor, kept: Tensor) -> Tensor:
    """Average precision [K] of one label, scores [M] and hits [M]; NaN where no clip that is kept has it."""
    order = torch.argsort(hits.int(), stable=True)  # the label's clips last, and the sort by score keeps that
    order = order[torch.argsort(-scores[order], stable=True)]
    places = torch.nonzero(hits[order])[:, 0]
    kept = kept[:, order]
    there = kept[:, places]
    precision = there.cumsum(1).double() / kept.cumsum(1)[:, places].clamp(min=1)
    return (precision * there).sum(1) / there.sum(1)
