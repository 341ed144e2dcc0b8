"""Drawings for the page: small SVG that stays sharp and legible at any width, without a script.

Horizontal positions are percentages and heights are pixels, so a drawing stretches with its column while its letters
keep their size; curves are stretched paths with strokes that do not scale. Colours are CSS classes (`s0`, `s1`, ... for
results, `l0`, `l1`, ... for lines), so that light, dark and print are the style sheet's business. Colour never stands
alone: results carry their name, lines differ in dash as well. Every text and attribute goes through `_tag`, which
escapes it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from auscult.report.figures import Calibration, Curve, Described, Result, Scores, Share
from auscult.report.words import BASELINES, RIVALS, between, percent, score, scores_between, title_of

Points = Sequence[tuple[float, float]]

STYLES = 6
"""Result colours and line styles in the style sheet; a seventh begins again."""
BINS = 240
"""A path has two points a bin, its extremes: a million steps still draw every spike, in a few kilobytes."""
NOISY = 30
"""From this many points on a curve is drawn thin, with its running mean on top."""
RARE = 0.1
"""Fractions that stay below it are drawn on a scale of their own."""
TOPS = (0.2, 0.4, 1.0, 2.0, 4.0, 10.0)
"""Where the scale of a caption score may end; CIDEr-D ends at 10."""
PLOT_TOP, PLOT_HEIGHT = 26, 110
"""Where the curves of a panel begin, below the unit, and how tall they are, pixels."""
GUTTER = 40
"""What the style sheet leaves to the left of a plot for the numbers of its axis, pixels."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What positions from left to right mean, and how they are written."""

    title: str
    """What is drawn, with its ends."""
    ticks: Sequence[float]
    """The values at 0, 25, 50, 75 and 100 %."""
    said: Callable[[float | None], str]
    """A value in words; it is given as a fraction of the last tick."""
    between: Callable[[tuple[float, float] | None], str]
    """An interval in words, likewise."""
    names: Mapping[str, str]
    """Baselines in words."""


ACCURACY = Scale("Accuracy from 0 to 100%", (0, 0.25, 0.5, 0.75, 1), percent, between, BASELINES)


def accuracy_chart(results: Sequence[Result]) -> Markup:
    """Results as dots with their intervals, each with its wrong-audio baselines below; guessing as vertical lines."""
    return _chart([(result.label, result.total) for result in results], ACCURACY)


def caption_chart(results: Sequence[Described]) -> Markup:
    """The same for CIDEr-D, from 0 to a round number above all of it; the constant caption as a vertical line."""
    drawn = [scores for result in results for scores in (result.scores, *result.baselines.values())]
    highest = max([(scores.reach or (0, scores.headline or 0))[1] for scores in drawn], default=0)
    top = next((top for top in TOPS if top >= highest), TOPS[-1])
    scale = Scale(
        f"CIDEr-D from 0 to {top:g}",
        [top * at / 4 for at in range(5)],
        lambda value: score(None if value is None else value * top),
        lambda ends: scores_between(ends and (ends[0] * top, ends[1] * top)),
        RIVALS,
    )

    def share(scores: Scores, beside: Mapping[str, Share] | None = None, *, line: bool = False) -> Share:
        reach = None if line or scores.reach is None else (scores.reach[0] / top, scores.reach[1] / top)
        return Share(None if scores.headline is None else scores.headline / top, reach, baselines=beside or {})

    rows: list[tuple[str, Share]] = []
    for result in results:
        beside = {name: share(scores, line=name == "constant") for name, scores in result.baselines.items()}
        rows.append((result.label, share(result.scores, beside)))
    return _chart(rows, scale)


def _chart(results: Sequence[tuple[str, Share]], scale: Scale) -> Markup:
    guesses = {name: share for name, share in _baselines(results).items() if share.interval is None}
    top = y = 20 * len(guesses) + 6
    rows: list[Markup] = []
    for at, (label, total) in enumerate(results):
        drawn, height = _result_row(label, total, at % STYLES, y, scale)
        rows.append(drawn)
        y += height
    grid = [
        _tag("line", "grid", x1=f"{x}%", x2=f"{x}%", y1=top, y2=y)
        + _text("tick", f"{x}%" if scale is ACCURACY else f"{tick:g}", x, y + 16, _anchor(x))
        for x, tick in zip((0, 25, 50, 75, 100), scale.ticks, strict=True)
    ]
    lines = [_guess(name, share, at, y, scale) for at, (name, share) in enumerate(guesses.items())]
    return _svg(y + 22, _spoken(results, scale), *grid, *lines, *rows)


def interval_strip(share: Share, style: int) -> Markup:
    """One share on a line from 0 to 100 %, with a tick at its majority, for a table cell; the cell says the number."""
    if share.accuracy is None:
        return Markup()
    parts = [_tag("line", "track", x1=0, x2="100%", y1=6, y2=6)]
    majority = share.baselines.get("majority")
    if majority and majority.accuracy is not None:
        x = f"{100 * majority.accuracy:.2f}%"
        parts.append(_tag("line", "guess", x1=x, x2=x, y1=0, y2=12))
    return _tag(
        "svg",
        "strip",
        _join([*parts, _dot(share, f"s{style % STYLES}", y=6, radius=3.5)]),
        height=12,
        aria_hidden="true",
    )


def reliability_chart(found: Calibration, style: int) -> Markup:
    """How often answers are right (upwards) that were given with a confidence (to the right): a dot for each bin, its
    area by its answers, and how far it is from the dashed diagonal, on which confidence is earned."""
    most, bottom = max((one.n for one in found.filled), default=1), PLOT_TOP + PLOT_HEIGHT
    ends = {"x1": 0, "x2": "100%"}
    parts = [_tag("line", "guess g0", y1=bottom, y2=PLOT_TOP, **ends), _text("tick", "right", 0, 10, "start", -GUTTER)]
    for x in (0, 50, 100):
        y = _pixel(100 - x)
        parts += [_tag("line", "grid", y1=y, y2=y, **ends), _text("tick", f"{x}%", 0, y + 4, "end", -7)]
        parts.append(_text("tick", f"{x}%{' sure' * (x == 100)}", x, bottom + 16, _anchor(x)))
    for one in found.filled:
        x, y = f"{100 * one.confidence:.2f}%", _pixel(100 - 100 * one.accuracy)
        parts.append(_tag("line", f"bar s{style % STYLES}", x1=x, x2=x, y1=_pixel(100 - 100 * one.confidence), y2=y))
        parts.append(_tag("circle", f"dot s{style % STYLES}", cx=x, cy=y, r=f"{2 + 5 * math.sqrt(one.n / most):.1f}"))
    told = [f"{one.n:,} answers {percent(one.confidence)} sure, {percent(one.accuracy)} right" for one in found.filled]
    return _svg(bottom + 20, f"Reliability. {'; '.join(told)}.", *parts)


def curve_chart(curves: Sequence[Curve], *, unit: str, spoken: str) -> Markup:
    """Curves of one panel over steps. Fractions (unit `%`) are drawn from 0 to 100 %, or from 0 when all are rare."""
    steps = [step for curve in curves for step, _ in curve.points]
    values = [value for curve in curves for _, value in curve.points]
    ticks = _ticks(values) if unit != "%" else _fractions(values)
    low, high, first, last = ticks[0], ticks[-1], min(steps), max(steps)

    def place(points: Points) -> Points:
        """Steps and values as percentages of the plot, from its upper left corner."""
        width = (last - first) or 1.0
        return [(100 * (step - first) / width, 100 * (high - value) / (high - low)) for step, value in points]

    parts = [_text("tick", unit, 0, 10, "start", -GUTTER)] if unit not in ("%", "") else []
    for tick in ticks:
        y = _pixel(100 * (high - tick) / (high - low))
        words = f"{100 * tick:g}%" if unit == "%" else f"{tick:g}".replace("-", "\N{MINUS SIGN}")
        parts += [_tag("line", "grid", x1=0, x2="100%", y1=y, y2=y), _text("tick", words, 0, y + 4, "end", -7)]
    traces = [_trace(curve.points, place, f"l{at % STYLES}") for at, curve in enumerate(curves)]
    stretch = {"viewBox": "0 0 100 100", "preserveAspectRatio": "none"}
    parts.append(_tag("svg", "plot", _join(traces), y=PLOT_TOP, height=PLOT_HEIGHT, **stretch))
    for at, curve in enumerate(curves):
        if len(curve.points) < NOISY:
            parts += [
                _tag("circle", f"mark l{at % STYLES}", cx=f"{x:.2f}%", cy=_pixel(y), r=3)
                for x, y in place(curve.points)
            ]
    bottom = PLOT_TOP + PLOT_HEIGHT + 16
    ends = _text("tick", f"step {first:g}", 0, bottom) + _text("tick", f"{last:g}", 100, bottom, "end")
    return _svg(bottom + 4, spoken, *parts, ends if last > first else _text("tick", f"step {first:g}", 0, bottom))


def histogram(counts: Mapping[str, int], *, spoken: str) -> Markup:
    """Counts as bars of their share, each with its share above and its name below; the highest fills the plot."""
    total, highest, width = sum(counts.values()) or 1, max(counts.values()) or 1, 100 / len(counts)
    bottom = PLOT_TOP + PLOT_HEIGHT
    parts = [_tag("line", "track", x1=0, x2="100%", y1=bottom, y2=bottom)]
    for at, (name, count) in enumerate(counts.items()):
        height, middle = PLOT_HEIGHT * count / highest, (at + 0.5) * width
        place = {"x": f"{middle - 0.4 * width:.4g}%", "y": f"{bottom - height:.1f}", "width": f"{0.8 * width:.4g}%"}
        parts.append(_tag("rect", "s1", height=f"{height:.1f}", **place))
        parts.append(_text("tick", f"{100 * count / total:.0f}%", middle, round(bottom - height - 4), "middle"))
        parts.append(_text("tick", name, middle, bottom + 16, "middle"))
    return _svg(bottom + 20, spoken, *parts)


def envelope(wave: NDArray[np.float32], bars: int = 120) -> Markup:
    """The loudness of a clip [N] at a glance: the peak of each of `bars` equal sections, relative to the loudest."""
    edges = np.linspace(0, len(wave), bars + 1).astype(int)
    peaks = np.array([np.abs(wave[start:end]).max(initial=0.0) for start, end in itertools.pairwise(edges)])
    heights = 46 * peaks / (float(peaks.max()) or 1.0) + 1
    path = " ".join(f"M{x + 0.5:g} {24 - height / 2:.1f}v{height:.1f}" for x, height in enumerate(heights))
    stretch = {"viewBox": f"0 0 {bars} 48", "preserveAspectRatio": "none"}
    return _tag("svg", "wave", _tag("path", "", d=path), aria_hidden="true", **stretch)


def smooth(points: Points) -> Points:
    """Centred running mean over `window_of(points)` points; at both ends over those of them that there are."""
    half, n = window_of(points) // 2, len(points)
    sums = np.concatenate([[0.0], np.cumsum([value for _, value in points])])
    spans = [(max(0, at - half), min(n, at + half + 1)) for at in range(n)]
    means = [float(sums[end] - sums[start]) / (end - start) for start, end in spans]
    return [(step, mean) for (step, _), mean in zip(points, means, strict=True)]


def window_of(points: Points) -> int:
    """Points in the running mean: an odd number near a twelfth of them, 1 for a short curve."""
    return 1 if len(points) < NOISY else len(points) // 12 // 2 * 2 + 1


# -- pieces -----------------------------------------------------------------------------------------------------------


def _result_row(label: str, total: Share, style: int, y: int, scale: Scale) -> tuple[Markup, int]:
    """A result's drawing at height `y`, and how tall it is."""
    number = scale.said(total.accuracy)
    value = f"{number} ({scale.between(total.interval)})" if total.interval else number
    drawn = [
        _text("name", title_of(label), 0, y + 18),
        _text("value", value, 100, y + 18, "end"),
        _tag("line", "track", x1=0, x2="100%", y1=y + 34, y2=y + 34),
        _dot(total, f"s{style}", y=y + 34, radius=6.5),
    ]
    asked = [(name, share) for name, share in total.baselines.items() if share.interval and share.accuracy is not None]
    drawn += [_wrong_audio(name, share, y + 52 + 17 * at, scale) for at, (name, share) in enumerate(asked)]
    return _join(drawn), 58 + 17 * len(asked)


def _wrong_audio(name: str, share: Share, y: int, scale: Scale) -> Markup:
    """A baseline that the model was asked for: hollow, with its name beside its interval."""
    low, high = share.interval or (0.0, 1.0)
    place = (100 * high, y + 4, "start", 9) if high < 0.6 else (100 * low, y + 4, "end", -9)
    if high >= 0.6 and low < 0.3:  # no room on either side: upon the bar, which the letters' rim parts
        place = (100 * high, y + 4, "end", -9)
    return _dot(share, "hollow", y=y, radius=3.5) + _text("note", _named(name, share, scale), *place)


def _guess(name: str, share: Share, at: int, bottom: int, scale: Scale) -> Markup:
    """A baseline that is arithmetic: a line through all results, with its name on top."""
    x, y = 100 * (share.accuracy or 0.0), 14 + 20 * at
    side = ("end", -6) if x > 60 else ("start", 6)
    line = _tag("line", f"guess g{at % 2}", x1=f"{x:.2f}%", x2=f"{x:.2f}%", y1=y - 10, y2=bottom)
    return line + _text("note", _named(name, share, scale), x, y, *side)


def _dot(share: Share, style: str, *, y: int, radius: float) -> Markup:
    """An accuracy with its interval."""
    if share.accuracy is None:
        return Markup()
    dot = _tag("circle", f"dot {style}", cx=f"{100 * share.accuracy:.2f}%", cy=y, r=radius)
    if share.interval is None:
        return dot
    low, high = (f"{100 * end:.2f}%" for end in share.interval)
    return _tag("line", f"bar {style}", x1=low, x2=high, y1=y, y2=y) + dot


def _trace(points: Points, place: Callable[[Points], Points], style: str) -> Markup:
    """A curve: its running mean, over its raw values when there are many."""
    mean = _tag("path", f"line {style}", d=_path(place(smooth(points))))
    return mean if len(points) < NOISY else _tag("path", f"line raw {style}", d=_path(place(points))) + mean


def _path(points: Points) -> str:
    """An SVG path; long curves keep the lowest and the highest point of each bin."""
    if len(points) > 2 * BINS:
        edges = np.linspace(0, len(points), BINS + 1).astype(int)
        bins = [range(start, end) for start, end in itertools.pairwise(edges)]
        ends = [sorted({min(b, key=lambda i: points[i][1]), max(b, key=lambda i: points[i][1])}) for b in bins]
        points = [points[at] for pair in ends for at in pair]
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points)


def _fractions(values: Sequence[float]) -> list[float]:
    """Ticks for fractions: 0 to 100 %, or to the next round number from 1 % on when all are rare."""
    return _ticks([0.0, 0.01, *values]) if 0 < max(values) < RARE else [0.0, 0.5, 1.0]


def _ticks(values: Sequence[float]) -> list[float]:
    """Two to five round numbers that span the values; a flat curve stands in the middle."""
    low, high = min(values), max(values)
    # Equal up to rounding is equal: a step below the spacing of floats would never reach the next tick.
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = (low - abs(low) / 2, high + abs(high) / 2) if low else (-1.0, 1.0)
    rough = (high - low) / 3
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [at * step for at in range(first, last + 1)]


def _baselines(results: Sequence[tuple[str, Share]]) -> dict[str, Share]:
    """Measured baselines by name; where results differ, those of the last one."""
    return {
        name: share for _, total in results for name, share in total.baselines.items() if share.accuracy is not None
    }


def _named(name: str, share: Share, scale: Scale) -> str:
    return f"{scale.names.get(name, name).lower()} {scale.said(share.accuracy)}"


def _spoken(results: Sequence[tuple[str, Share]], scale: Scale) -> str:
    said = [
        f"{title_of(label)} {scale.said(total.accuracy)}, 95% interval {scale.between(total.interval)}"
        for label, total in results
    ]
    guesses = [_named(name, share, scale) for name, share in _baselines(results).items()]
    return ". ".join([scale.title, *said, *guesses]) + "."


def _anchor(x: int) -> str:
    return {0: "start", 100: "end"}.get(x, "middle")


def _pixel(y: float) -> float:
    """A percentage of the plot's height as a position in its panel."""
    return round(PLOT_TOP + PLOT_HEIGHT * y / 100, 1)


def _text(style: str, words: str, x: float, y: float, anchor: str = "start", shift: int = 0) -> Markup:
    """Words at `x` percent and `y` pixels."""
    return _tag("text", style, words, x=f"{x:.4g}%", y=y, dx=shift, text_anchor=anchor)


def _svg(height: float, spoken: str, *parts: Markup) -> Markup:
    return _tag("svg", "chart", _join(parts), height=height, role="img", aria_label=spoken)


def _tag(name: str, style: str, inside: str = "", **attributes: object) -> Markup:
    """`<name class="style" ...>inside</name>`, everything escaped that is not markup already."""
    pairs = {"class": style, **{key.replace("_", "-"): value for key, value in attributes.items()}}
    written = _join(Markup(' {}="{}"').format(key, value) for key, value in pairs.items())
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, inside)


def _join(parts: Iterable[Markup]) -> Markup:
    return Markup().join(parts)
