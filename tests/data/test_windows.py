import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.data.windows import epoch, usable

LENGTHS = st.lists(st.integers(0, 400), min_size=1, max_size=30)


@settings(deadline=None)
@given(
    lengths=LENGTHS,
    window=st.integers(1, 8),
    unit=st.integers(1, 9),
    size=st.integers(1, 6),
    seed=st.integers(0, 9),
    units=st.integers(1, 2),
)
def test_an_epoch_sees_every_clip_within_its_bounds(lengths, window, unit, size, seed, units):
    known = np.array(lengths)
    batches = epoch(known, window * unit, unit, size, seed, 0, units * unit)
    seen = sorted((int(c), int(s), b.rows) for b in batches for c, s in zip(b.clips, b.starts, strict=True))
    assert {clip for clip, _, _ in seen} == set(np.flatnonzero(usable(known, units * unit)))
    for clip, start, rows in seen:
        assert 0 <= start <= start + rows <= lengths[clip]
        assert rows == min(lengths[clip] // unit * unit, window * unit)
    for (clip, start, rows), (other, after, _) in itertools.pairwise(seen):
        assert clip != other or after == start + rows  # windows of one clip meet and do not overlap
    for clip in {clip for clip, _, _ in seen}:
        assert sum(name == clip for name, _, _ in seen) == max(1, lengths[clip] // (window * unit))
    assert all(len(b.clips) * b.rows <= max(size * window * unit, b.rows) for b in batches)


@settings(deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 9))
def test_epochs_are_as_many_batches_each_and_differ(lengths, seed):
    known = np.array([*lengths, 400])
    first, again, second = (epoch(known, 32, 4, 2, seed, number) for number in (0, 0, 1))
    assert len(first) == len(second)
    same = [
        np.array_equal(a.clips, b.clips) and np.array_equal(a.starts, b.starts)
        for a, b in zip(first, again, strict=True)
    ]
    assert all(same)
    assert any(not np.array_equal(a.starts, b.starts) for a, b in zip(first, second, strict=True))
