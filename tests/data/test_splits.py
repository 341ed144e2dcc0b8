"""Splits: no group on both sides, the same for the same seed whatever the order, every stratum on both sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import DataError
from auscult.core.types import Audio, Image, Sample, Turn
from auscult.data.sources import captions, jsonl, studies
from auscult.data.splits import assert_disjoint, files_of, refuse_twins, split_groups, twins

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


@settings(deadline=None)
@given(
    sides=st.lists(st.lists(st.binary(max_size=3).map(lambda piece: piece * 3000), max_size=6), min_size=2, max_size=2),
    marks=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8999)), max_size=4),
)
def test_files_of_the_same_bytes_are_found_and_no_others(sides: list, marks: list, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("twins")
    contents: list[dict[str, bytes]] = [{}, {}]
    for side, written in zip(sides, contents, strict=True):
        for number, content in enumerate(side):
            for file, place in marks:  # files of one size that differ in one place
                if file == number and place < len(content) and written is contents[1]:
                    content = content[:place] + b"!" + content[place + 1 :]
            path = folder / f"{len(contents[0]) if written is contents[1] else 0}-{number}.wav"
            path.write_bytes(content)
            written[str(path)] = content
    train, heldout = contents
    expected = {held for held, content in heldout.items() if content and content in train.values()}
    found = twins([*train, str(folder), str(folder / "missing.wav"), "a\0.wav"], [*heldout, str(folder)])
    assert {held for _, held in found} == expected
    assert all(train[trained] == heldout[held] for trained, held in found)


def test_a_recording_under_two_names_is_refused(tmp_path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        (tmp_path / name).write_bytes(b"RIFF" if name == "c.wav" else b"WAVE")
    a, b, c = (list(files_of([sample(name, str(tmp_path / f"{name}.wav"))])) for name in "abc")
    refuse_twins([*a, *b], c, "")
    with pytest.raises(DataError, match=r"1 files are both .*b\.wav \(held out\) is .*a\.wav; remove one"):
        refuse_twins([*a, *c], b, "remove one")


def test_a_recording_on_both_sides_is_named_whatever_its_group() -> None:
    with pytest.raises(DataError, match=r"1 recordings are both .*a\.wav"):
        assert_disjoint([sample("1", "a.wav", "x")], [sample("2", "./a.wav", "y")])
    with pytest.raises(DataError, match=r"groups are both .*a\.wav"):
        assert_disjoint([sample("1", "a.wav")], [sample("2", "a.wav")])
    with pytest.raises(DataError, match=r"1 recordings are both .*a\.png"):
        assert_disjoint([picture("1", "a.png", "x")], [picture("2", "a.png", "y")])


@pytest.mark.parametrize("source", [captions, jsonl, studies])
def test_held_out_rows_that_are_not_there_name_their_own_setting(source: Any, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").touch()
    options = source.Source(root=str(tmp_path / "train.jsonl"), heldout=str(tmp_path / "no.jsonl"))
    with pytest.raises(DataError, match=r"no\.jsonl: there is no such .*--data\.heldout\).*\(--data\.heldout null"):
        options.split("train", 0)
