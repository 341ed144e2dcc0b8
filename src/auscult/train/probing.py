"""What a frozen encoder knows: how far a linear layer, or the nearest neighbours, tell classes apart in its vectors.

    linear   logistic regression on standardised vectors (softmax over classes; a sigmoid for each of several labels),
             with a fixed L2 penalty, to its optimum by L-BFGS
    knn      the classes of the k nearest training vectors by cosine, nearer ones counting more
             (exp(cosine / 0.07), Wu et al., arXiv 1805.01978)

Neither has a rate, a number of steps or a seed to choose, and the penalty is one for all encoders, so that nothing is
tuned on what is tested. Scores of several labels a clip are told as mAP: the mean, over labels that occur, of average
precision. Letters: N training clips, M test clips, D values of a vector, L labels.
"""

# torch ships partial types; what they leave unknown is not ours to annotate.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

PENALTY = 0.01
"""Of the mean squared weight's sum, beside the mean loss of a clip; vectors are standardised."""
NEIGHBOURS = 5
TEMPERATURE = 0.07
"""Of the weights of neighbours."""


def linear(train: Tensor, targets: Tensor, test: Tensor, *, several: bool = False) -> Tensor:
    """Scores [M, L] of test vectors [M, D] by logistic regression of targets [N, L], which are 0 or 1, on train vectors
    [N, D]; with `several` a clip may have any number of labels."""
    train, test, targets = train.double(), test.double(), targets.double()
    mean, spread = train.mean(0), train.std(0, correction=0)
    spread = torch.where(spread > 0, spread, 1.0)
    x, z = (train - mean) / spread, (test - mean) / spread
    weights = torch.zeros(targets.shape[1], x.shape[1] + 1, dtype=x.dtype, device=x.device, requires_grad=True)
    fit = torch.optim.LBFGS([weights], max_iter=500, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        fit.zero_grad()
        scores = functional.linear(x, weights[:, 1:], weights[:, 0])
        if several:
            missed = functional.binary_cross_entropy_with_logits(scores, targets)
        else:
            missed = functional.cross_entropy(scores, targets)
        total = missed + PENALTY * weights[:, 1:].square().sum()
        total.backward()
        return total

    fit.step(loss)
    return functional.linear(z, weights[:, 1:], weights[:, 0]).detach()


def knn(train: Tensor, targets: Tensor, test: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """Scores [M, L] of test vectors: the targets of the nearest training vectors, weighted."""
    mean = train.double().mean(0)
    x, z = (functional.normalize(vectors.double() - mean, dim=1) for vectors in (train, test))
    likeness, nearest = (z @ x.T).topk(min(neighbours, len(x)), dim=1)
    weights = (likeness / TEMPERATURE).softmax(1)
    return torch.einsum("mk,mkl->ml", weights, targets.double()[nearest])


def average_precision(scores: Tensor, truth: Tensor) -> float | None:
    """Of one label: scores [M] against truth [M]; None where the label never occurs. Of clips with equal scores those
    without the label come first, so that a constant score gains nothing."""
    hits = truth.bool()
    if not hits.any():
        return None
    order = torch.argsort(hits.int(), stable=True)  # the label's clips last, and the sort by score keeps that
    order = order[torch.argsort(-scores[order], stable=True)]
    places = torch.nonzero(hits[order])[:, 0] + 1
    return float((torch.arange(1, len(places) + 1) / places.cpu()).double().mean())


def mean_average_precision(scores: Tensor, truth: Tensor) -> float | None:
    """mAP of scores [M, L] against truth [M, L], over the labels that occur; None where none does."""
    found = [average_precision(*label) for label in zip(scores.T, truth.T, strict=True)]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None
