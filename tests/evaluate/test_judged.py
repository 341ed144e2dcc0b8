"""What the grades of a judge come to, whatever they are."""

from __future__ import annotations

from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.types import Parsed
from auscult.evaluate.judged import NO_PREDICTION, Docket, Judged, Rating, agreed, majority
from auscult.rewards.judging.agreement import agreement
from auscult.rewards.judging.grading import SCALES
from auscult.rewards.judging.judge import Cost


def rating(n: int, grade: float | None, *, group: str = "", absent: bool = False) -> Rating:
    """A row with this grade; None is a failed judgement."""
    said: tuple[tuple[float, ...] | None, ...] = (None if grade is None else (grade,),)
    parsed = Parsed(None, NO_PREDICTION) if absent else Parsed("so")
    failed = "timeout" if grade is None else None
    return Rating(str(n), "?", "", "so", parsed, None, group or str(n), {}, grade, (grade,), said, ("",), failed)


def judged(rule: str, rows: list[Rating]) -> Judged:
    docket = Docket(rule, SCALES[rule], (), 1, fmean)
    return Judged(docket, tuple(rows), {}, Cost(len(rows), 0, 0, 0, None))


@st.composite
def graded(draw: st.DrawFn) -> Judged:
    rule = draw(st.sampled_from(sorted(SCALES)))
    scale = SCALES[rule]
    grades = st.none() | st.integers(scale.lowest, scale.highest).map(float)
    rows = draw(st.lists(st.tuples(grades, st.sampled_from("abc"), st.booleans()), min_size=1, max_size=12))
    return judged(
        rule,
        [
            rating(n, float(scale.lowest) if absent else grade, group=group, absent=absent)
            for n, (grade, group, absent) in enumerate(rows)
        ],
    )


@settings(max_examples=60, deadline=None)
@given(graded(), st.randoms(use_true_random=False))
def test_a_failed_row_is_bounded_and_never_a_zero(found: Judged, random):
    scale, figures = found.docket.scale, found.summary(found.rows)
    low, high = figures["between"]
    assert scale.points * scale.lowest - 1e-9 <= low <= high <= scale.points * scale.highest + 1e-9
    assert (figures["score"] is None) == (figures["failed"] > 0)
    if not figures["failed"]:
        assert figures["score"] == pytest.approx(low) == pytest.approx(high)
    given_ = [row.grade for row in found.rows if row.grade is not None and row.parsed.problem != NO_PREDICTION]
    assert figures["official_n"] == len(given_)
    assert figures["official"] == (pytest.approx(scale.points * fmean(given_)) if given_ else None)
    assert figures["official_n"] + figures["failed"] + figures["no_prediction"] == figures["n"] == len(found.rows)
    known = [row.grade for row in found.rows if row.grade is not None]
    if figures["interval"] is None:
        assert figures["failed"], "rows that all have a grade have an interval"
        return
    below, above = figures["interval"]
    assert scale.points * scale.lowest - 1e-9 <= below < above <= scale.points * scale.highest + 1e-9
    assert below - 1e-9 <= scale.points * fmean(known) <= above + 1e-9
    mixed = list(found.rows)
    random.shuffle(mixed)
    assert found.summary(mixed)["interval"] == pytest.approx(figures["interval"])


def test_rows_of_one_clip_tell_less_than_as_many_of_their_own():
    grades = [1.0, 2.0, 4.0, 5.0] * 10
    apart = judged("open", [rating(n, grade) for n, grade in enumerate(grades)])
    alike = judged("open", [rating(n, grade, group=str(grade)) for n, grade in enumerate(grades)])
    (a, b), (c, d) = apart.summary(apart.rows)["interval"], alike.summary(alike.rows)["interval"]
    assert d - c > 2 * (b - a)


def test_clips_that_are_all_alike_do_not_make_a_score_certain():
    rows = [rating(n, grade, group=str(n % 2)) for n, grade in enumerate([1.0, 2.0, 5.0, 4.0])]
    low, high = judged("open", rows).summary(rows)["interval"]
    assert high - low > 1


def test_no_interval_stands_around_a_score_that_is_not_there():
    rows = [rating(n, 0.0, absent=True) for n in range(3)] + [rating(n, None) for n in range(3, 8)]
    figures = judged("binary", rows).summary(rows)
    assert (figures["score"], figures["interval"], figures["between"]) == (None, None, [0.0, 62.5])


def test_a_clip_among_others_is_one_cluster_in_a_breakdown_too():
    rows = [rating(n, float(n % 2), group=str(max(n, 9))) for n in range(30)]
    low, high = judged("binary", rows).summary(rows[:10])["interval"]
    assert (low, high) == pytest.approx((5.5, 94.5), abs=0.1)


@pytest.mark.parametrize(
    ("votes", "verdict"), [([1], 1), ([0, 1, 1], 1), ([0, 0, 1], 0), ([0, 1], 0), ([1, 1, 0, 0], 0)]
)
def test_more_than_half_must_say_yes(votes: list[float], verdict: int):
    assert majority(votes) == verdict


def test_a_score_that_one_judge_lacks_is_left_out_and_counted():
    one = judged("open", [rating(n, grade) for n, grade in enumerate([1, 2, None, 4, 5])])
    other = judged("open", [rating(n, grade) for n, grade in enumerate([1, 3, 3, None, 5])])
    assert agreed(one, other) == agreement([1, 2, None, 4, 5], [1, 3, 3, None, 5])
    assert agreed(one, other).ungraded == 2
