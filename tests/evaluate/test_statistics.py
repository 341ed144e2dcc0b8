"""Intervals, errors and tests against values from elsewhere, and against what they promise on simulated runs."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.evaluate.statistics import chance, clustered_se, majority, mcnemar_exact, paired_bootstrap, wilson


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # The mirror image of one above, and no rows at all.
        (20, 20, 0.8389, 1.0000),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_agrees_with_published_intervals(correct: int, n: int, low: float, high: float):
    assert wilson(correct, n) == pytest.approx((low, high), abs=6e-5)


@settings(deadline=None)
@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_solves_its_own_equation(counts: tuple[int, int], level: float):
    correct, n = counts
    low, high = wilson(correct, n, level)
    assert 0 <= low <= correct / n <= high <= 1
    mirrored = wilson(n - correct, n, level)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)
    # The ends are the proportions from which the observation lies z standard errors away.
    z = abs(correct / n - low) / math.sqrt(low * (1 - low) / n) if low else None
    if z is not None:
        assert math.erf(z / math.sqrt(2)) == pytest.approx(level, abs=1e-6)


@pytest.mark.parametrize(("correct", "n", "level"), [(-1, 3, 0.95), (4, 3, 0.95), (1, 3, 1.0), (1, 3, 0.0)])
def test_wilson_refuses_what_is_no_proportion(correct: int, n: int, level: float):
    with pytest.raises(ValueError, match="no proportion"):
        wilson(correct, n, level)


def test_wilson_covers_the_truth_as_often_as_it_says():
    counts = np.random.default_rng(0).binomial(60, 0.15, size=2000)
    covered = np.mean([low <= 0.15 <= high for low, high in (wilson(int(count), 60) for count in counts)])
    assert 0.93 <= covered <= 0.97


def test_clustered_error_by_hand():
    # Mean 0.5; residual sums of the clusters: a = 1, b = -1, c = 0; sqrt(2) / 6.
    assert clustered_se([1, 1, 0, 0, 1, 0], ["a", "a", "b", "b", "c", "c"]) == pytest.approx(math.sqrt(2) / 6)


values = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30)


@settings(deadline=None)
@given(values, st.data())
def test_clustered_error_is_millers_double_sum(scores: list[float], data: st.DataObject):
    clusters = data.draw(st.lists(st.sampled_from("abc"), min_size=len(scores), max_size=len(scores)))
    if len(set(clusters)) == 1:
        assert math.isnan(clustered_se(scores, clusters))
        return
    n, mean = len(scores), math.fsum(scores) / len(scores)
    inside = [(scores[i] - mean) * (scores[j] - mean) for i in range(n) for j in range(n) if clusters[i] == clusters[j]]
    assert clustered_se(scores, clusters) == pytest.approx(math.sqrt(max(0.0, math.fsum(inside))) / n, abs=1e-6)


@settings(deadline=None)
@given(values)
def test_clusters_of_one_give_the_usual_error_and_copies_change_nothing(scores: list[float]):
    usual = np.std(scores) / math.sqrt(len(scores))
    names = list(range(len(scores)))
    assert clustered_se(scores, names) == pytest.approx(usual, abs=1e-9)
    # Asking every question four times adds no information; an error without clusters would be halved.
    assert clustered_se(scores * 4, names * 4) == pytest.approx(usual, abs=1e-9)


def test_the_bootstrap_agrees_with_the_clustered_error():
    generator = np.random.default_rng(1)
    clusters = np.repeat(np.arange(150), 4)
    easy = generator.random(150)[clusters]
    before = (generator.random(600) < easy * 0.6).astype(float)
    after = (generator.random(600) < easy * 0.6 + 0.1).astype(float)
    found = paired_bootstrap(before, after, clusters.tolist(), seed=0)
    assert found.difference == pytest.approx((after - before).mean())
    assert (found.n, found.clusters) == (600, 150)
    low, high = found.interval
    assert (high - low) / 2 == pytest.approx(1.96 * clustered_se(after - before, clusters.tolist()), rel=0.05)


def test_the_bootstrap_covers_the_truth_although_questions_share_clips():
    """Differences with a strong effect of the clip: resampling questions instead of clips covers far too rarely."""
    generator = np.random.default_rng(2)
    clusters = np.repeat(np.arange(40), 5)
    covered = {"clips": 0, "questions": 0}
    for trial in range(400):
        differences = 0.1 + generator.normal(size=40)[clusters] + generator.normal(size=200) * 0.5
        zeros = np.zeros(200)
        for kind, names in (("clips", clusters.tolist()), ("questions", list(range(200)))):
            low, high = paired_bootstrap(zeros, differences, names, seed=trial, draws=500).interval
            covered[kind] += low <= 0.1 <= high
    assert 0.91 <= covered["clips"] / 400 <= 0.98
    assert covered["questions"] / 400 < 0.8


def test_clusters_of_unequal_size_keep_the_mean_of_questions():
    """Large clips gain, small ones lose: the mean of the clips' means would even have the other sign."""
    clusters = np.repeat(np.arange(120), [9 if clip % 3 == 0 else 1 for clip in range(120)])
    after = np.where(clusters % 3 == 0, 1.0, -1.0) + np.random.default_rng(5).normal(size=len(clusters))
    found = paired_bootstrap(np.zeros(len(clusters)), after, clusters.tolist(), seed=0)
    low, high = found.interval
    assert low < found.difference < high
    assert (low + high) / 2 == pytest.approx(found.difference, abs=0.05)
    assert (high - low) / 2 == pytest.approx(1.96 * clustered_se(after, clusters.tolist()), rel=0.15)


def test_the_bootstrap_is_a_function_of_its_seed_and_ignores_the_order_of_rows():
    generator = np.random.default_rng(3)
    before, after = generator.random(50), generator.random(50)
    names = [f"clip{number // 2}" for number in range(50)]
    first = paired_bootstrap(before, after, names, seed=0, draws=300)
    assert paired_bootstrap(before, after, names, seed=0, draws=300) == first
    assert paired_bootstrap(before, after, names, seed=1, draws=300).interval != first.interval
    swapped = paired_bootstrap(after, before, names, seed=0, draws=300)
    assert swapped.difference == pytest.approx(-first.difference)
    assert swapped.interval == pytest.approx((-first.interval[1], -first.interval[0]))


def test_many_clusters_are_drawn_in_blocks_with_the_same_meaning():
    differences = np.random.default_rng(4).normal(size=9000)
    low, high = paired_bootstrap(np.zeros(9000), differences, list(range(9000)), seed=0, draws=1000).interval
    assert (high - low) / 2 == pytest.approx(1.96 / math.sqrt(9000), rel=0.1)


def test_values_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="pair them by id"):
        paired_bootstrap([1, 0], [1], ["a", "b"], seed=0)
    with pytest.raises(ValueError, match="give one cluster to each"):
        paired_bootstrap([1, 0], [1, 1], ["a"], seed=0)
    with pytest.raises(ValueError, match="N > 0"):
        clustered_se([], [])


@pytest.mark.parametrize(
    ("only_before", "only_after", "p"),
    [
        (0, 0, 1.0),
        (3, 3, 1.0),
        (0, 5, 0.0625),
        (1, 8, 0.0390625),
        (10, 2, 0.03857421875),
        # The definition, in exact fractions.
        (16, 59, float(2 * sum(Fraction(math.comb(75, k), 2**75) for k in range(17)))),
        (900, 1100, float(2 * sum(Fraction(math.comb(2000, k), 2**2000) for k in range(901)))),
    ],
)
def test_mcnemar_agrees_with_exact_fractions(only_before: int, only_after: int, p: float):
    assert mcnemar_exact(only_before, only_after) == pytest.approx(p, rel=1e-9)


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_symmetric_and_shrinks_as_the_split_grows(one: int, other: int):
    p = mcnemar_exact(one, other)
    assert 0 < p <= 1
    assert mcnemar_exact(other, one) == p
    assert mcnemar_exact(min(one, other), max(one, other) + 1) <= p + 1e-12


def test_mcnemar_refuses_negative_counts():
    with pytest.raises(ValueError, match="no counts"):
        mcnemar_exact(-1, 4)


def test_baselines_that_need_no_model():
    assert majority(["b", "a", "b", "c"]) == 0.5
    assert majority([{"x", 0}, {"y", 0}, ["x", "x"], ()]) == 0.5
    with pytest.raises(ValueError, match="no questions"):
        majority([])
    assert chance([2, 4, 4]) == pytest.approx(1 / 3)
    assert chance([4, 0]) is None
    assert chance([]) is None
