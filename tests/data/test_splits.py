"""Splits: no group on both sides, the same for the same seed whatever the order, every stratum on both sides."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import DataError
from auscult.core.types import Audio, Image, Sample, Turn
from auscult.data.splits import assert_disjoint, split_groups

rows = st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.sampled_from("xyz")), min_size=2, max_size=60)
shares = st.floats(0.01, 0.99)


def sample(name: str, path: str, group: str = "") -> Sample:
    return Sample(name, (Turn("user", (Audio(path), "What?")),), ("it",), group=group)


def picture(name: str, path: str, group: str) -> Sample:
    return Sample(name, (Turn("user", (Image(path), "What?")),), ("it",), group=group)


@settings(deadline=None)
@given(rows=rows, share=shares, seed=st.integers(0, 5), shuffle=st.randoms(use_true_random=False))
def test_both_sides_have_groups_and_order_is_no_matter(rows: list, share: float, seed: int, shuffle) -> None:
    groups = [group for group, _ in rows]
    if len(set(groups)) < 2:
        with pytest.raises(DataError, match="another group"):
            split_groups(groups, share, seed)
        return
    held = split_groups(groups, share, seed)
    assert 0 < len(held) < len(set(groups))
    assert held < set(groups)
    shuffle.shuffle(groups)
    assert split_groups(groups, share, seed) == held


@settings(deadline=None)
@given(rows=rows, share=shares)
def test_every_stratum_of_several_groups_is_on_both_sides(rows: list, share: float) -> None:
    groups = [f"{group}{stratum}" for group, stratum in rows]
    strata = {group: group[1] for group in groups}
    if len(strata) < 2:
        return
    held = split_groups(groups, share, 0, [strata[group] for group in groups])
    assert 0 < len(held) < len(strata)
    for stratum in "xyz":
        members = {group for group in strata if group.endswith(stratum)}
        if len(members) > 1:
            assert members & held
            assert members - held


def test_the_share_is_kept_in_each_stratum() -> None:
    groups = [f"{label}-{number}" for label in ("dog", "rain") for number in range(20)]
    held = split_groups(groups, 0.3, 0, [group.split("-")[0] for group in groups])
    assert [sum(group.startswith(label) for group in held) for label in ("dog", "rain")] == [6, 6]


def test_seeds_differ_and_an_added_group_moves_few() -> None:
    groups = [str(number) for number in range(100)]
    held = split_groups(groups, 0.3, 0)
    assert held != split_groups(groups, 0.3, 1)
    assert len(held ^ split_groups([*groups, "new"], 0.3, 0)) <= 2


def test_a_share_that_is_none() -> None:
    for share in (0, 1, -0.1, 1.5):
        with pytest.raises(ValueError, match="between 0 and 1"):
            split_groups(["a", "b"], share, 0)


def test_a_speaker_on_both_sides_is_named() -> None:
    train = [sample("1", "a.wav", "theo"), sample("2", "b.wav", "jackson")]
    heldout = [sample("3", "c.wav", "lucas"), sample("4", "d.wav", "theo")]
    with pytest.raises(DataError, match=r"1 groups are both .*theo"):
        assert_disjoint(train, heldout)
    assert_disjoint(train, heldout[:1])


def test_a_recording_on_both_sides_is_named_whatever_its_group() -> None:
    with pytest.raises(DataError, match=r"1 recordings are both .*a\.wav"):
        assert_disjoint([sample("1", "a.wav", "x")], [sample("2", "./a.wav", "y")])
    with pytest.raises(DataError, match=r"groups are both .*a\.wav"):
        assert_disjoint([sample("1", "a.wav")], [sample("2", "a.wav")])
    with pytest.raises(DataError, match=r"1 recordings are both .*a\.png"):
        assert_disjoint([picture("1", "a.png", "x")], [picture("2", "a.png", "y")])
