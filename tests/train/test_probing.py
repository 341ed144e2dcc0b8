import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.train.probing import average_precision, knn, linear, mean_average_precision


def blobs(apart: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """60 vectors of 3 classes around corners `apart` from each other."""
    draw = torch.Generator().manual_seed(seed)
    classes = torch.arange(60) % 3
    return torch.randn(60, 5, generator=draw) + apart * torch.eye(5)[classes], torch.eye(3)[classes]


@pytest.mark.parametrize("probe", [linear, knn])
def test_classes_that_stand_apart_are_told_and_noise_is_not(probe):
    train, test = blobs(8.0), blobs(8.0, seed=1)
    assert torch.equal(probe(*train, test[0]).argmax(1), test[1].argmax(1))
    train, test = blobs(0.0), blobs(0.0, seed=1)
    assert (probe(*train, test[0]).argmax(1) == test[1].argmax(1)).float().mean() < 0.6


@pytest.mark.parametrize("probe", [linear, knn])
def test_rotated_labels_are_learnt_as_they_are(probe):
    train, test = blobs(8.0), blobs(8.0, seed=1)
    found = probe(train[0], train[1].roll(1, dims=1), test[0])
    assert torch.equal(found.argmax(1), test[1].roll(1, dims=1).argmax(1))


def test_the_optimum_is_one():
    train, test = blobs(1.0), blobs(1.0, seed=1)
    scale = torch.tensor([1e-3, 1.0, 50.0, 1e4, 7.0])
    torch.testing.assert_close(
        linear(*train, test[0]), linear(train[0] * scale, train[1], test[0] * scale), atol=1e-4, rtol=0
    )
    turned = torch.randperm(60, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        linear(*train, test[0]), linear(train[0][turned], train[1][turned], test[0]), atol=1e-4, rtol=0
    )


def test_a_clip_may_have_several_labels_or_none():
    vectors, classes = blobs(8.0)
    several = torch.stack([classes[:, 0], classes[:, 0] + classes[:, 1], torch.zeros(60)], dim=1)
    found = linear(vectors, several, vectors, several=True)
    assert torch.equal(found > 0, several.bool())


def test_a_label_is_learnt_as_by_itself_however_many_there_are():
    vectors, classes = blobs(1.0)
    test = blobs(1.0, seed=1)[0]
    many = torch.cat([classes, torch.zeros(60, 40)], dim=1)
    found = linear(vectors, many, test, several=True)
    torch.testing.assert_close(found[:, :1], linear(vectors, classes[:, :1], test, several=True), atol=1e-4, rtol=0)
    assert (found[:, 3:] == -torch.inf).all()  # nothing was learnt of these, so that their order is nobody's merit


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6))
def test_average_precision_is_the_worst_of_all_orders_of_equals(rows):
    scores, truth = torch.tensor([float(s) for s, _ in rows]), torch.tensor([t for _, t in rows])

    def of(order):
        hits = [truth[place].item() for place in order]
        at = [place for place, hit in enumerate(hits, start=1) if hit]
        return sum(number / place for number, place in enumerate(at, start=1)) / len(at)

    orders = [p for p in itertools.permutations(range(len(rows))) if sorted(p, key=lambda i: -scores[i]) == list(p)]
    expected = min(map(of, orders)) if truth.any() else None
    assert average_precision(scores, truth) == (None if expected is None else pytest.approx(expected))


def test_labels_that_never_occur_are_left_out_of_the_mean():
    scores, truth = torch.tensor([[0.9, 0.1], [0.1, 0.9]]), torch.tensor([[1, 0], [0, 0]])
    assert mean_average_precision(scores, truth) == 1.0
    assert mean_average_precision(scores, torch.zeros(2, 2)) is None
