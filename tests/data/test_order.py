"""A training position is a number: any batch can be asked for without the ones before it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.types import Sample, Turn
from auscult.data.source import Listed, order


def sample(index: int) -> Sample:
    return Sample(str(index), (Turn("user", (f"question {index}",)),), (str(index),))


class Endless:
    """Samples that never end."""

    size = None

    def __getitem__(self, index: int, /) -> Sample:
        return sample(index)


def ids(size: int, start: int, count: int, seed: int = 0) -> list[str]:
    return [item.id for item in order(Listed(tuple(map(sample, range(size)))), start, count, seed)]


sizes, starts, counts = st.integers(1, 12), st.integers(0, 40), st.integers(0, 40)


@settings(deadline=None)
@given(sizes, starts, counts, st.integers())
def test_a_batch_is_the_same_whatever_was_asked_before(size: int, start: int, count: int, seed: int):
    assert ids(size, start, count, seed) == ids(size, 0, start + count, seed)[start:]


@settings(deadline=None)
@given(sizes, st.integers(0, 4), st.integers())
def test_an_epoch_has_every_sample_once(size: int, epoch: int, seed: int):
    assert sorted(ids(size, epoch * size, size, seed), key=int) == [str(index) for index in range(size)]


def test_batches_that_reach_over_an_epoch_drop_and_repeat_nothing():
    batches = [ids(10, start, 4) for start in range(0, 20, 4)]
    seen = [name for batch in batches for name in batch]
    assert sorted(seen[:10], key=int) == sorted(seen[10:], key=int) == [str(index) for index in range(10)]


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(ids(20, epoch * 20, 20, seed)) for epoch in range(4) for seed in range(4)}
    assert len(orders) == 16
    assert tuple(map(str, range(20))) not in orders


def test_an_endless_source_is_read_in_its_own_order():
    assert [item.id for item in order(Endless(), 5, 3, seed=9)] == ["5", "6", "7"]
