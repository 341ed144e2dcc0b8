"""Intervals, errors and tests against values from elsewhere, and against what they promise on simulated runs."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.evaluate.statistics import (
    chance,
    clustered_se,
    clustered_wilson,
    design_effect,
    holm,
    majority,
    mcnemar_exact,
    paired_bootstrap,
    rows_for_gain,
    sign_flip,
    student,
    wilson,
)


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


@pytest.mark.parametrize(
    ("level", "freedom", "t"),
    # Tables of Student's t: 1 and 2 degrees exactly, the expansion from 3 on.
    [(0.95, 1, 12.7062), (0.95, 2, 4.3027), (0.95, 3, 3.1824), (0.95, 9, 2.2622), (0.95, 29, 2.0452), (0.9, 5, 2.0150)],
)
def test_students_t_agrees_with_tables(level: float, freedom: float, t: float):
    assert student(level, freedom) == pytest.approx(t, rel=2e-3)


def test_no_degree_of_freedom_has_no_t():
    with pytest.raises(ValueError, match="two clusters"):
        student(0.95, 0)


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 4))
def test_copies_of_a_question_tell_nothing(correct: list[bool], copies: int):
    names = list(range(len(correct)))
    alone = clustered_wilson(correct, names)
    assert alone == pytest.approx(wilson(sum(correct), len(correct)))
    low, high = clustered_wilson(correct * copies, names * copies)
    # As wide as without the copies, or a little wider: Student's t knows how few clusters there are.
    assert low <= alone[0] + 1e-9
    assert alone[1] - 1e-9 <= high
    assert high - low <= 1.5 * (alone[1] - alone[0]) + 1e-9
    if len(set(correct)) == 2:
        assert design_effect(correct, names) == pytest.approx(1.0)
        effect, n = design_effect(correct * copies, names * copies), len(correct)
        assert effect == pytest.approx((n * copies - 1) / (n - 1))  # Kish's 1 + (copies - 1) * correlation, almost
    else:
        assert design_effect(correct, names) is None


@pytest.mark.parametrize(("clips", "even"), [(12, False), (30, False), (100, True)])
def test_the_clustered_interval_covers_the_truth_and_wilsons_does_not(clips: int, even: bool):
    generator = np.random.default_rng(clips)
    covered = {"clips": 0, "rows": 0}
    for _ in range(1000):
        sizes = np.full(clips, 10) if even else 1 + np.minimum(generator.geometric(0.15, size=clips), 40)
        clusters = np.repeat(np.arange(clips), sizes)
        correct = generator.normal(size=clips)[clusters] * 2 + generator.normal(size=len(clusters)) > 0
        for kind, (low, high) in {
            "clips": clustered_wilson(correct, clusters.tolist()),
            "rows": wilson(int(correct.sum()), len(correct)),
        }.items():
            covered[kind] += low <= 0.5 <= high
    assert 0.93 <= covered["clips"] / 1000 <= 0.975
    assert covered["rows"] / 1000 < 0.7


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


@pytest.mark.parametrize(("clips", "draws"), [(30, 399), (80, 199)])
def test_the_bootstrap_covers_the_true_difference_in_95_of_100_comparisons(clips: int, draws: int):
    """2,000 pairs of runs, right or wrong, on clips of unequal size whose questions gain or lose together."""
    generator = np.random.default_rng(clips)
    normal = NormalDist()
    # Right where easiness + clip + question (+ gain + the clip's own gain) > 0.
    true = normal.cdf(0.4 / math.sqrt(1 + 0.36 + 0.25)) - normal.cdf(0.2 / math.sqrt(1 + 0.36))
    covered = {"clips": 0, "questions": 0}
    for trial in range(2000):
        clusters = np.repeat(np.arange(clips), 1 + np.minimum(generator.geometric(0.2, size=clips), 30))
        easy = 0.2 + 0.6 * generator.normal(size=clips)[clusters] + generator.normal(size=len(clusters))
        before, after = easy > 0, easy + 0.2 + 0.5 * generator.normal(size=clips)[clusters] > 0
        names = {"clips": clusters.tolist(), "questions": list(range(len(clusters)))}
        for kind in names if trial < 200 else ("clips",):
            low, high = paired_bootstrap(before, after, names[kind], seed=trial, draws=draws).interval
            covered[kind] += low <= true <= high
    assert 0.93 <= covered["clips"] / 2000 <= 0.97
    assert covered["questions"] / 200 < 0.85


def test_few_differing_clusters_give_a_finite_interval_and_none_give_none():
    before, after = np.zeros(20), np.zeros(20)
    assert paired_bootstrap(before, after, list(range(20)), seed=0).interval is None
    assert paired_bootstrap(before, np.ones(20), list(range(20)), seed=0).interval is None, "all gain alike"
    after[3] = 1
    low, high = paired_bootstrap(before, after, list(range(20)), seed=0).interval
    assert -0.1 < low < 0 < 0.05 < high < 0.2


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


@given(st.integers(-3, 6))
def test_the_unit_of_the_values_is_no_matter(power: int):
    values, names = np.random.default_rng(6).normal(size=60), [number // 3 for number in range(60)]
    low, high = paired_bootstrap(np.zeros(60), values, names, seed=0, draws=99).interval
    scaled = paired_bootstrap(np.zeros(60), values * 10.0**power, names, seed=0, draws=99).interval
    assert scaled == pytest.approx((low * 10.0**power, high * 10.0**power))


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


runs = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, top), min_size=n, max_size=n) for top in (1, 1, 4)))
)


@settings(deadline=None)
@given(runs)
def test_flipping_clusters_counts_all_sign_patterns(drawn: tuple[list[int], list[int], list[int]]):
    before, after, clusters = drawn
    gains = [sum(a - b for a, b, c in zip(after, before, clusters, strict=True) if c == name) for name in set(clusters)]
    patterns = [np.dot(signs, gains) for signs in itertools.product((-1, 1), repeat=len(gains))]
    expected = sum(abs(total) >= abs(sum(gains)) for total in patterns) / len(patterns)
    assert sign_flip(before, after, clusters) == pytest.approx(expected)
    assert sign_flip(after, before, clusters) == pytest.approx(expected)
    lost, won = (sum(pair == one for pair in zip(before, after, strict=True)) for one in ((1, 0), (0, 1)))
    assert sign_flip(before, after, list(range(len(before)))) == pytest.approx(mcnemar_exact(lost, won))


def test_flipping_takes_right_or_wrong_only():
    with pytest.raises(ValueError, match="right"):
        sign_flip([0.5, 1], [1, 1], ["a", "b"])
    with pytest.raises(ValueError, match="pair the runs"):
        sign_flip([1], [1, 1], ["a", "b"])


def test_flipping_clusters_is_as_rarely_wrong_as_it_says_and_mcnemar_is_not():
    """Two runs that are alike on average, but every clip sways all of its ten questions."""
    generator = np.random.default_rng(7)
    clusters = np.repeat(np.arange(30), 10)
    rejected = {"clips": 0, "questions": 0}
    for _ in range(500):
        sway = generator.normal(size=30)[clusters]
        before, after = (sign * sway + generator.normal(size=300) > 0 for sign in (-1, 1))
        changes = [int((one & ~other).sum()) for one, other in ((before, after), (after, before))]
        rejected["clips"] += sign_flip(before, after, clusters.tolist()) < 0.05
        rejected["questions"] += mcnemar_exact(*changes) < 0.05
    assert rejected["clips"] / 500 <= 0.075
    assert rejected["questions"] / 500 > 0.2


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_steps_down_as_defined(ps: list[float]):
    adjusted = holm(ps)
    ordered = sorted(ps)
    for p, found in zip(ps, adjusted, strict=True):
        expected = max(min(1.0, (len(ps) - i) * q) for i, q in enumerate(ordered) if q <= p)
        assert found == pytest.approx(expected)


@pytest.mark.parametrize(("discordance", "effect"), [(0.1, 1.0), (0.3, 1.0), (0.2, 3.0)])
def test_so_many_rows_show_the_gain_in_80_of_100_comparisons(discordance: float, effect: float):
    gain, generator = 0.05, np.random.default_rng(9)
    rows = rows_for_gain(gain, discordance, effect)
    questions = round(rows / effect)  # each of them asked `effect` times, and answered alike every time
    changed = generator.binomial(questions, discordance, size=4000)
    won = generator.binomial(changed, (1 + gain / discordance) / 2)
    z = (2 * won - changed) / np.sqrt(np.maximum(changed, 1))
    assert 0.78 <= np.mean(np.abs(z) > 1.96) <= 0.85


def test_rows_for_a_gain_by_hand_and_at_its_bounds():
    # (1.959964 sqrt(0.2) + 0.841621 sqrt(0.2 - 0.0004))^2 / 0.0004
    assert rows_for_gain(0.02, 0.2) == 3923
    assert rows_for_gain(0.02, 0.2, effect=0.5) == 3923
    assert rows_for_gain(0.02, 0.0) == rows_for_gain(0.02, 0.02)
    with pytest.raises(ValueError, match="2 points"):
        rows_for_gain(2, 0.2)


def test_baselines_that_need_no_model():
    assert majority(["b", "a", "b", "c"]) == 0.5
    assert majority([{"x", 0}, {"y", 0}, ["x", "x"], ()]) == 0.5
    with pytest.raises(ValueError, match="no questions"):
        majority([])
    assert chance([2, 4, 4]) == pytest.approx(1 / 3)
    assert chance([4, 0]) is None
    assert chance([]) is None
