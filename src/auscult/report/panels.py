"""What a stage logged, as small drawings with titles for people: which keys are drawn together, and what to look for.

A key that no panel claims is drawn too, folded, one panel each, with its name in the file below its title.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from auscult.report import charts
from auscult.report.figures import BANDS, Curve, Iteration, Stage
from auscult.report.words import BANDS as BAND_WORDS
from auscult.report.words import outcome, percent


@dataclass(frozen=True, slots=True)
class Kind:
    """Which logged keys are drawn together."""

    title: str
    """Heading."""
    keys: str
    """Regular expression over whole keys; its group, if any, names the line."""
    about: str
    """What a reader should look for."""
    unit: str = ""
    """Of the values, at the axis; `%` for fractions, which get a scale from 0 to 100 %."""
    unless: str = ""
    """A logged key beside which this says nothing, so that it is folded away."""


PANELS = (
    Kind("Held-out accuracy", r"heldout/accuracy", "Questions that are never trained on.", "%"),
    Kind("Held-out CIDEr-D", r"heldout/cider_d", "Clips that are never trained on."),
    Kind("Reward", r"reward/(.+)/mean", "A part that falls while the total rises is traded away.", "mean reward"),
    Kind("Reward spread", r"reward/(.+)/std", "Without a spread there is nothing to learn.", "standard deviation"),
    Kind("Groups without a difference", r"reward/(.+)/flat_groups", "All replies to a prompt earned the same.", "%"),
    Kind("Reply length", r"length/(mean)", "Growth without gain: a reward is being gamed.", "tokens"),
    Kind("Replies gone wrong", r"length/(cut_share)|(unparsed_share)", "Cut at the limit, or no readable answer.", "%"),
    Kind("Prompts by their rate of right replies", r"pass/(.+)", "What is solved teaches nothing.", "%"),
    Kind("Replies by what became of them", r"replies/(.+)", "Failed and empty ones are not wrong.", "%"),
    Kind("Loss", r"loss", "Cross-entropy of the demonstrations.", "nats per token", unless="reward/total/mean"),
    Kind(
        "Distance from the start", r"kl", "KL divergence from the policy that the stage began with.", "nats per token"
    ),
    Kind("Entropy", r"entropy", "Near zero, all replies to a prompt are the same.", "nats per token"),
    Kind("Clipped tokens", r"clip/(.+)|(clipped_share)", "Their update is held back.", "%"),
    Kind(
        "Sampler against learner", r"agreement/abs_diff", "Same tokens, two computations: near zero.", "nats per token"
    ),
    Kind("Gradient norm", r"grad_norm", "Before clipping."),
)
"""In the order of the page."""
ENCODER = (
    Kind(
        "Error on what is hidden",
        r"(loss|loss_of_mean)",
        "Something was learnt where it is below the mean of what is seen.",
        "mean squared error",
    ),
    Kind("Likeness", r"cosine", "Cosine between hidden patches and what is said of them."),
    Kind("What it knows meanwhile", r"probe/(.+)", "Of clips that are held out."),
    PANELS[-1],
)
"""Of a masked autoencoder, whose loss is no cross-entropy."""
LINES = {
    "loss": "autoencoder",
    "loss_of_mean": "mean of what is seen",
    "cut_share": "cut off",
    "unparsed_share": "no answer",
    "clipped_share": "clipped",
    "low": "probability fell",
    "high": "probability rose",
}
"""Names of lines that the keys do not say."""
TITLES = {
    "loss": "Surrogate loss, near 0 by construction",
    "lr": "Learning rate",
    "seconds": "Seconds a step",
    "reply_tokens": "Reply tokens a step",
}
"""Of the folded panels, where the key with spaces is no title."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One small drawing of a stage; `drawing` is None when there was no finite number."""

    title: str
    about: str
    drawing: Markup | None
    legend: tuple[tuple[str, str], ...]
    """(name, last value) of each line."""
    notes: tuple[str, ...] = ()
    key: str = ""
    """The name in metrics.jsonl, where the title is only a guess at its meaning."""


def panels_of(stage: Stage, iterations: Sequence[Iteration]) -> tuple[list[Panel], list[Panel]]:
    """The panels of a stage, those of its iterations first, and the folded ones."""
    left = dict(stage.curves)
    main = [_rates(iteration) for iteration in iterations if iteration.stage == stage.name]
    for kind in ENCODER if "loss_of_mean" in stage.curves else PANELS:
        if kind.unless in stage.curves:
            continue
        claimed = {key: match for key in left if (match := re.fullmatch(kind.keys, key))}
        lines = {_line(kind, match): left.pop(key) for key, match in claimed.items()}
        if lines:
            # The total leads: it is the line that is trained on.
            main.append(_panel(kind, dict(sorted(lines.items(), key=lambda item: item[0] != "total"))))
    folded = [
        _panel(Kind(TITLES.get(key, _spaced(key).capitalize()), key, ""), {"last": curve}, key)
        for key, curve in left.items()
    ]
    return main, folded


def _line(kind: Kind, match: re.Match[str]) -> str:
    name = next((group for group in match.groups() if group), kind.title)
    return LINES.get(name, _spaced(name))


def _spaced(key: str) -> str:
    return key.replace("/", " ").replace("_", " ")


def _rates(iteration: Iteration) -> Panel:
    """How many of a prompt's replies were right, over the prompts of an iteration, and what came of it."""
    counts = {
        BAND_WORDS[band]: iteration.prompts[band] for band in BANDS if band != "unanswered" or iteration.prompts[band]
    }
    title = f"Iteration {iteration.number}: {iteration.decision}"
    about = f"Prompts by the share of their replies that was right. {outcome(iteration)}"
    spoken = f"{title}. " + ", ".join(f"{words}: {count} prompts" for words, count in counts.items()) + "."
    return Panel(title, about, charts.histogram(counts, spoken=spoken), ())


def _panel(kind: Kind, lines: Mapping[str, Curve], key: str = "") -> Panel:
    drawn = {name: curve for name, curve in lines.items() if curve.points}
    notes = tuple(
        f"{name}: {curve.not_finite} rows are not finite numbers." for name, curve in lines.items() if curve.not_finite
    )
    if not drawn:
        return Panel(kind.title, kind.about, None, (), notes, key)
    curves = list(drawn.values())
    fractions = all(0 <= value <= 1 for curve in curves for _, value in curve.points)
    unit = kind.unit if fractions or kind.unit != "%" else ""
    named = len(drawn) > 1 or kind.title not in drawn
    legend = tuple((name if named else "last", number(_last(curve), unit)) for name, curve in drawn.items())
    spoken = f"{kind.title}{f', {unit}' * bool(unit)}. " + " ".join(
        _spoken(name, curve, unit) for name, curve in drawn.items()
    )
    return Panel(kind.title, kind.about, charts.curve_chart(curves, unit=unit, spoken=spoken), legend, notes, key)


def _last(curve: Curve) -> float:
    return charts.smooth(curve.points)[-1][1]


def _spoken(name: str, curve: Curve, unit: str) -> str:
    (first, start), (last, end) = curve.points[0], curve.points[-1]
    return f"{name}: {number(start, unit)} at step {first:g}, {number(end, unit)} at step {last:g}."


def number(value: float, unit: str = "") -> str:
    """A measured value with three digits, or as a percentage."""
    return percent(value) if unit == "%" else f"{value:.3g}".replace("-", "\N{MINUS SIGN}")
