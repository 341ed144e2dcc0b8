"""One page about a run, to read, to hear and to see; it needs nothing but a browser, today or in ten years.

Everything stands inside of the file: style, drawings, and the clips as data URIs. There is no script, and a content
security policy forbids one, so that a reply that contains HTML stays text twice over: escaped, and powerless if it were
not. A clip that cannot be shown is named on its card and counted at the top. The same run folder gives the same bytes:
nothing on the page depends on when it was written.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import jinja2
import numpy as np
import soundfile
from markupsafe import Markup

from auscult.core.errors import RunError
from auscult.report import charts, figures
from auscult.report.figures import BASELINES, STAGES, Clip, Curve, Figures, Iteration, Shown, Stage, figures_of

MEDIA_TYPES = {
    ".wav": "audio/wav", ".flac": "audio/flac", ".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".opus": "audio/ogg",
    ".m4a": "audio/mp4", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp",
}  # fmt: skip
DECODED = {".wav", ".flac", ".mp3", ".ogg", ".opus"}
"""Suffixes that soundfile reads, so that a torn file is found here and not by the reader's browser."""
PROBLEMS = {
    "empty": "the reply is empty",
    "unclosed_thinking": "the thinking never ends",
    "no_answer": "no answer in the reply",
    "several_answers": "several different answers",
    "not_a_choice": "the answer is none of the options",
}
"""`Parsed.problem` in words."""


@dataclass(frozen=True, slots=True)
class PanelKind:
    """Which logged keys are drawn together."""

    title: str
    """Heading."""
    keys: str
    """Regular expression over whole keys; its group, if any, names the line."""
    about: str
    """What a reader should look for."""
    expected: tuple[str, ...] = ()
    """Stages in which its absence is said."""
    unit: bool = False
    """Values are fractions: scale 0 to 100 %."""


SFT, GRPO = STAGES
PANELS = (
    PanelKind("Held-out accuracy", r"heldout/accuracy", "Questions that are never trained on.", (SFT, GRPO), True),
    PanelKind("Reward", r"reward/(.+)/mean", "A part that falls while the total rises is traded away.", (GRPO,)),
    PanelKind("Groups without a difference", r"reward/(.+)/flat_groups", "Nothing to learn from.", (GRPO,), True),
    PanelKind("Reply length, tokens", r"length/(.+)", "Growth without accuracy: a reward is being gamed.", (GRPO,)),
    PanelKind("Prompts by their rate of right replies", r"pass/(.+)", "What is solved teaches nothing.", (), True),
    PanelKind("Replies by what became of them", r"replies/(.+)", "Failed and empty ones are not wrong.", (), True),
    PanelKind("Loss", r"loss", "What the optimizer minimises.", (SFT, GRPO)),
    PanelKind("Reward spread", r"reward/(.+)/std", "Standard deviation of the reward."),
    PanelKind("Entropy", r"entropy", "Near zero, all replies to a prompt are the same."),
    PanelKind("Sampler against learner", r"agreement/(.+)", "Log-probabilities of the same tokens; stays near zero."),
    PanelKind("Gradient norm", r"grad_norm", "Before clipping."),
)
"""In the order of the page. Keys that no kind claims are drawn too, folded, one panel each."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One small drawing of a stage; `drawing` is None when nothing was measured."""

    title: str
    about: str
    drawing: Markup | None
    legend: tuple[tuple[str, str], ...]
    """(name, last value) of each line."""
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Player:
    """A clip as the page shows it: `source` holds it, or `trouble` says why it cannot be heard."""

    clip: Clip
    source: str | None = None
    wave: Markup | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """A sampled rollout with its clips."""

    shown: Shown
    players: tuple[Player, ...]

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Reward parts and their total in words; ungraded is not zero."""
        parts = {**self.shown.parts, "total": self.shown.total}
        return [(name, "not graded" if value is None else _number(value, False)) for name, value in parts.items()]


def write_page(run: Path) -> Path:
    """Writes `report.html` into the run folder, whole or not at all; returns its path. RunError: see `figures_of`."""
    target = run / "report.html"
    page = render(figures_of(run), run)
    part = target.with_name(f"report.html.{os.getpid()}.part")
    try:
        # A lone surrogate is legal in JSON and not in UTF-8: it is shown by its escape.
        part.write_bytes(page.encode("utf-8", "backslashreplace"))
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RunError(
            f"cannot write {target} ({error.strerror}); make room or give write access, then report again"
        ) from error
    return target


def render(found: Figures, run: Path) -> str:
    """The page as text; media are read from `run`."""
    cards = tuple(Card(shown, tuple(_player(run, clip) for clip in shown.media)) for shown in found.rollouts)
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    template = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template("page.html")
    return template.render(
        run=found,
        cards=cards,
        stages=[_drawn(stage, found.iterations) for stage in found.stages],
        clips=sum(len(card.players) for card in cards),
        troubles=[(card.shown.id, player) for card in cards for player in card.players if player.trouble],
        baselines=_baseline_names(found),
        problems=PROBLEMS,
        words=figures,
        draw=charts,
    )


def _baseline_names(found: Figures) -> dict[str, str]:
    """Every baseline that the page speaks of, with its title."""
    measured = {name: name for result in found.results for name in result.baselines}
    return {**BASELINES, **{name: BASELINES.get(name, name) for name in measured}}


# -- curves -----------------------------------------------------------------------------------------------------------


def _drawn(stage: Stage, iterations: Sequence[Iteration]) -> tuple[Stage, list[Panel], list[Panel]]:
    """A stage with its panels, those of its iterations first, and with the panels of the keys that no kind claims."""
    main, others = _panels(stage)
    return stage, [*(_rates(one) for one in iterations if one.stage == stage.name), *main], others


def _rates(iteration: Iteration) -> Panel:
    """How many of a prompt's replies were right, over the prompts of an iteration, and what came of it."""
    counts = {words: iteration.prompts[band] for band, words in figures.BANDS.items()}
    if not counts["no rate"]:
        del counts["no rate"]
    title = f"Iteration {iteration.number}: {iteration.decision}"
    about = f"Prompts by the share of their replies that was right. {figures.outcome(iteration)}"
    spoken = f"{title}. " + ", ".join(f"{words}: {count} prompts" for words, count in counts.items()) + "."
    return Panel(title, about, charts.histogram(counts, spoken=spoken), (), ())


def _panels(stage: Stage) -> tuple[list[Panel], list[Panel]]:
    """The panels of a stage, and those of the keys that no kind claims."""
    left = dict(stage.curves)
    main: list[Panel] = []
    for kind in PANELS:
        claimed = {key: match for key in left if (match := re.fullmatch(kind.keys, key))}
        lines = {match[1] if match.groups() else kind.title: left.pop(key) for key, match in claimed.items()}
        if lines or stage.name in kind.expected:
            # The total leads: it is the line that is trained on.
            main.append(_panel(kind, dict(sorted(lines.items(), key=lambda item: item[0] != "total"))))
    return main, [_panel(PanelKind(key, "", ""), {key: curve}) for key, curve in left.items()]


def _panel(kind: PanelKind, lines: Mapping[str, Curve]) -> Panel:
    drawn = {name: curve for name, curve in lines.items() if curve.points}
    notes = [
        f"{name}: {curve.not_finite} rows are not finite numbers." for name, curve in lines.items() if curve.not_finite
    ]
    if not drawn:
        return Panel(kind.title, kind.about, None, (), tuple(notes))
    curves = list(drawn.values())
    unit = kind.unit and all(0 <= value <= 1 for curve in curves for _, value in curve.points)
    named = len(drawn) > 1 or kind.title not in drawn
    legend = tuple((name if named else "last", _last(curve, unit)) for name, curve in drawn.items())
    spoken = f"{kind.title}. " + " ".join(_spoken(name, curve, unit) for name, curve in drawn.items())
    return Panel(kind.title, kind.about, charts.curve_chart(curves, unit=unit, spoken=spoken), legend, tuple(notes))


def _last(curve: Curve, unit: bool) -> str:
    return _number(charts.smooth(curve.points)[-1][1], unit)


def _spoken(name: str, curve: Curve, unit: bool) -> str:
    (first, start), (last, end) = curve.points[0], curve.points[-1]
    return f"{name}: {_number(start, unit)} at step {first:g}, {_number(end, unit)} at step {last:g}."


def _number(value: float, unit: bool) -> str:
    return figures.percent(value) if unit else f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


# -- media ------------------------------------------------------------------------------------------------------------


def _player(run: Path, clip: Clip) -> Player:
    path, suffix = run / clip.file, PurePosixPath(clip.file).suffix.lower()
    # A run folder may come from elsewhere, and a page is passed on: no file from outside of the folder goes into it.
    if not path.resolve().is_relative_to(run.resolve()):
        return Player(clip, trouble="lies outside of the run folder")
    if not path.is_file():
        return Player(clip, trouble="is missing")
    if suffix not in MEDIA_TYPES or MEDIA_TYPES[suffix].partition("/")[0] != clip.kind:
        return Player(clip, trouble=f"is no {clip.kind} that a browser shows")
    content = path.read_bytes()
    source = f"data:{MEDIA_TYPES[suffix]};base64,{base64.b64encode(content).decode('ascii')}"
    if suffix not in DECODED:
        return Player(clip, source=source)
    try:
        samples, _ = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        return Player(clip, trouble=f"cannot be decoded ({error.error_string})")
    if not len(samples):
        return Player(clip, trouble="holds no samples")
    return Player(clip, source=source, wave=charts.envelope(np.nan_to_num(samples).mean(axis=1)))
