"""The same figures as the page, for a terminal: accuracy with its baselines and the breakdown by task, or scores of
captions with theirs; the comparisons.

Numbers come from `reading` and words from `words`, so that the terminal and the page cannot disagree. Everything is
`Text`, never markup: a label such as `[red]` is printed as it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from auscult.report.encoder import PROBES, Encoder, encoder_of
from auscult.report.figures import METRICS, Described, Figures, Result, Scores, Share
from auscult.report.reading import figures_of
from auscult.report.words import (
    BASELINES,
    RIVALS,
    SCORES,
    between,
    claim,
    doubts,
    evidence,
    gain,
    headline,
    percent,
    points,
    rivalry,
    rows_of,
    score,
    scores_between,
    sureness,
    title_of,
    unreadable,
)


def table(run: Path) -> RenderableType:
    """The run folder as something rich can print. RunError: see `figures_of`."""
    found = figures_of(run)
    encoder = encoder_of(run, found.stages)
    if encoder and encoder.alone:
        return Group(Text(encoder.headline, style="bold"), *_probed(encoder))
    parts: list[RenderableType] = [Text(headline(found.evaluated), style="bold")]
    if found.described:
        parts.append(_scores(found.described))
        if constant := found.described[-1].constant:
            parts.append(Text(f"{RIVALS['constant']}: {constant!r}"))
    if found.results:
        parts += [_accuracy(found), *(_breakdown(found, tag) for tag in found.breakdowns)]
    parts += [
        Text(f"{title_of(result.label)}: {sureness(result.calibration)}")
        for result in found.results
        if result.calibration
    ]
    parts += [Text(f"{claim(pair)}: {points(pair.difference)} points. {evidence(pair)}") for pair in found.comparisons]
    parts += [Text(f"{claim(pair)}: {gain(pair.difference)} CIDEr-D. {rivalry(pair)}") for pair in found.rivals]
    if not found.comparisons and not found.rivals and len(found.evaluated) != 1:
        parts.append(Text("A paired comparison: not measured."))
    parts += [Text(said, style="bold") for said in doubts(found.evaluated)]
    if said := unreadable(found.evaluated):
        parts.append(Text(said, style="bold"))
    return Group(*parts)


def _probed(encoder: Encoder) -> list[RenderableType]:
    """What the encoder knows."""
    if not encoder.rows:
        return [Text("What it knows: not measured.")]
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in (encoder.measure, *PROBES.values()):
        drawn.add_column(Text(title), justify="left" if title == encoder.measure else "right")
    for title, cells in encoder.rows:
        drawn.add_row(Text(title), *(Text(f"{value} ({interval})" if interval else value) for value, interval in cells))
    return [drawn, Text(encoder.about)]


def print_table(run: Path, console: Console) -> None:
    """Prints `table(run)`; results belong on stdout, so give a console that writes there."""
    console.print(table(run))


def _accuracy(found: Figures) -> Table:
    results = found.results
    drawn = _columns("", results)
    drawn.add_row("Accuracy", *(Text(percent(result.total.accuracy), style="bold") for result in results))
    drawn.add_row("95% interval", *(Text(between(result.total.interval)) for result in results))
    for name in found.baselines:
        shares = [result.total.baselines.get(name) for result in results]
        drawn.add_row(Text(BASELINES.get(name, name)), *map(_cell, shares))
    drawn.add_row("No answer", *(Text(_unparsed(result)) for result in results))
    return drawn


def _scores(results: Sequence[Described]) -> Table:
    """Scores of captions, with what else described the same clips."""
    drawn = _columns("", results)
    for name in METRICS:
        cells = [Text(score(result.scores.values[name]), style="bold" * (name == METRICS[0])) for result in results]
        drawn.add_row(SCORES[name], *cells)
        if any(result.scores.intervals.get(name) for result in results):
            drawn.add_row("95% interval", *(scores_between(result.scores.intervals.get(name)) for result in results))
    for name in dict.fromkeys([*RIVALS, *(name for result in results for name in result.baselines)]):
        beside = [result.baselines.get(name) for result in results]
        drawn.add_row(Text(f"{SCORES[METRICS[0]]}, {RIVALS.get(name, name).lower()}"), *map(_headline, beside))
    drawn.add_row("No caption", *(Text(_unparsed(result)) for result in results))
    return drawn


def _headline(scores: Scores | None) -> str:
    return score(None if scores is None else scores.headline)


def _breakdown(found: Figures, tag: str) -> RenderableType:
    values = found.breakdowns[tag]
    if not values:
        return Text(f"Accuracy by {tag}: not measured.")
    drawn = _columns(f"By {tag}", found.results)
    beside = [name for name in BASELINES if any(name in found.baselines_of(tag, value) for value in values)]
    for name in beside:
        drawn.add_column(Text(BASELINES[name]), justify="right")
    for value in values:
        rows = ", ".join(map(str, found.rows_of(tag, value)))
        shares = [result.by.get(tag, {}).get(value) for result in found.results]
        shares += [found.baselines_of(tag, value).get(name) for name in beside]
        drawn.add_row(Text(f"{value} (n = {rows})" if rows else value), *map(_cell, shares))
    return drawn


def _columns(corner: str, results: Sequence[Result | Described]) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    drawn.add_column(Text(corner))
    for result in results:
        drawn.add_column(Text(title_of(result.label)), justify="right")
    return drawn


def _cell(share: Share | None) -> Text:
    return Text(percent(None if share is None else share.accuracy))


def _unparsed(result: Result | Described) -> str:
    count, rows = sum(result.unparsed.values()), rows_of(result)
    return f"{count:,} of {rows:,}" if rows else f"{count:,}"
