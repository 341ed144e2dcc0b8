"""Drawings keep what a reader must not miss: every spike, the whole range, and the text as text."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.report import charts
from auscult.report.figures import Curve, Share

values = st.lists(st.floats(-1e12, 1e12, allow_subnormal=False), min_size=1, max_size=50)


@settings(deadline=None)
@given(values)
def test_any_curve_can_be_drawn_inside_of_its_panel(numbers: list[float]) -> None:
    curve = Curve("x", tuple(enumerate(numbers)), 0)
    drawn = charts.curve_chart([curve], unit="", spoken="x")
    assert "nan" not in drawn
    path = re.search(r'd="M([^"]+)"', drawn)
    assert path
    for x, y in (map(float, point.split()) for point in path[1].split("L")):
        assert 0 <= x <= 100
        assert -0.01 <= y <= 100.01


@settings(deadline=None)
@given(values)
def test_a_running_mean_stays_inside_of_its_values(numbers: list[float]) -> None:
    means = [mean for _, mean in charts.smooth(tuple(enumerate(numbers)))]
    slack = 1e-6 * max(map(abs, numbers)) + 1e-9
    assert len(means) == len(numbers)
    assert min(numbers) - slack <= min(means) <= max(means) <= max(numbers) + slack


def test_a_long_curve_keeps_its_one_spike_and_its_one_dip_and_stays_small() -> None:
    points = [(float(step), 0.5) for step in range(100_000)]
    points[77_777], points[33_333] = (77_777.0, 1.0), (33_333.0, 0.0)
    drawn = charts.curve_chart([Curve("loss", tuple(points), 0)], unit="%", spoken="loss")
    raw = re.search(r'class="line raw l0" d="([^"]+)"', drawn)
    assert raw
    assert "77.78 0.00" in raw[1]
    assert "33.33 100.00" in raw[1]
    assert len(drawn) < 40_000


def test_noise_is_drawn_under_its_mean() -> None:
    wave = tuple((float(step), math.sin(step)) for step in range(300))
    assert charts.curve_chart([Curve("x", wave, 0)], unit="", spoken="x").count("<path") == 2
    assert charts.curve_chart([Curve("x", wave[:10], 0)], unit="", spoken="x").count("<path") == 1


@pytest.mark.parametrize(("rate", "top"), [(0.5, "100%"), (0.02, "2%"), (1e-5, "1%"), (0.0, "100%")])
def test_a_rare_event_is_not_drawn_as_a_flat_line(rate: float, top: str) -> None:
    drawn = charts.curve_chart([Curve("x", ((0, 0.0), (1, rate)), 0)], unit="%", spoken="x")
    assert re.findall(r">([\d.]+%)<", drawn)[-1] == top


def test_the_axis_says_its_unit() -> None:
    drawn = charts.curve_chart([Curve("x", ((0, 1.0), (1, 2.0)), 0)], unit="tokens", spoken="x")
    assert ">tokens<" in drawn


def test_text_is_escaped_and_an_unmeasured_share_draws_nothing() -> None:
    drawn = charts.curve_chart([Curve("x", ((0, 1),), 0)], unit="", spoken='"><script>')
    assert "<script>" not in drawn
    assert charts.interval_strip(Share(None), 0) == ""


def test_a_strip_has_a_tick_where_guessing_stands() -> None:
    drawn = charts.interval_strip(Share(0.8, (0.7, 0.9), 80, 64, {"majority": Share(0.225)}), 0)
    assert 'class="guess" x1="22.50%"' in drawn
    assert "guess" not in charts.interval_strip(Share(0.8, (0.7, 0.9), 80, 64, {"majority": Share(None)}), 0)


def test_the_envelope_shows_where_a_clip_is_loud() -> None:
    wave = np.zeros(12_000, dtype=np.float32)
    wave[6_000:6_100] = -0.01
    bars = re.findall(r"v([\d.]+)", charts.envelope(wave))
    assert len(bars) == 120
    assert [at for at, height in enumerate(bars) if float(height) > 40] == [60]
    assert "nan" not in charts.envelope(np.zeros(5, dtype=np.float32))
