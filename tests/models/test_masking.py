import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.models.masking import order, visible

KINDS = ("random", "time", "frequency", "chunk")
SHAPES = {"columns": st.integers(2, 12), "bands": st.integers(2, 6), "ratio": st.floats(0.05, 0.95)}


@settings(deadline=None)
@given(kind=st.sampled_from(KINDS), span=st.integers(1, 5), seed=st.integers(0, 99), **SHAPES)
def test_every_patch_stands_once_and_structured_masks_show_whole_units(kind, columns, bands, ratio, span, seed):
    found = order(kind, 3, columns, bands, span, torch.Generator().manual_seed(seed))
    assert torch.equal(found.sort(1).values, torch.arange(columns * bands).expand(3, -1))
    shown = visible(kind, columns, bands, ratio)
    assert 0 < shown < columns * bands
    for row in found[:, :shown]:
        if kind in ("time", "chunk"):
            assert sorted(row.tolist()) == [
                c * bands + b for c in sorted({p // bands for p in row.tolist()}) for b in range(bands)
            ]
        if kind == "frequency":
            assert sorted(row.tolist()) == [
                c * bands + b for c in range(columns) for b in sorted({p % bands for p in row.tolist()})
            ]


def test_of_ten_frames_three_quarters_hidden_two_are_shown():
    assert visible("random", 10, 1, 0.75) == 2


def test_a_chunk_hides_neighbours_together():
    found = order("chunk", 200, 40, 1, 5, torch.Generator().manual_seed(0))[:, :20].sort(1).values
    alone = order("random", 200, 40, 1, 5, torch.Generator().manual_seed(0))[:, :20].sort(1).values
    assert (found.diff(dim=1) == 1).float().mean() > 0.75 > 0.6 > (alone.diff(dim=1) == 1).float().mean()


def test_clips_of_a_batch_are_masked_apart():
    found = order("random", 8, 10, 1, 1, torch.Generator().manual_seed(0))
    assert len({tuple(row) for row in found.tolist()}) == 8


@pytest.mark.parametrize(("kind", "columns", "bands"), [("random", 1, 1), ("time", 1, 5), ("frequency", 5, 1)])
def test_what_cannot_be_hidden_and_shown_is_refused(kind, columns, bands):
    with pytest.raises(ValueError, match="needs two things"):
        visible(kind, columns, bands, 0.5)
