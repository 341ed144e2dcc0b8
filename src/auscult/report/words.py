"""Figures in words, for the page and the terminal alike: only here do fractions become what a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from auscult.report.figures import Comparison, Iteration, Result

BASELINES = {"chance": "Chance", "majority": "Majority", "shuffled": "Shuffled audio", "silence": "Silence"}
STAGES = {"sft": "SFT", "rest": "ReST", "grpo": "GRPO"}
LABELS = {"start": "Start", "model": "Model", **{stage: f"After {title}" for stage, title in STAGES.items()}}
BANDS = {
    "unsolved": "0%",
    "hard": "to 25%",
    "middle": "to 75%",
    "easy": "to 99%",
    "solved": "100%",
    "unanswered": "no rate",
}
UNHEARD = {
    "silent_clips": "held nothing but silence",
    "trimmed_clips": "{were} cut to the longest that the model hears",
    "chunked_clips": "{were} longer than the model hears at once and heard in pieces",
}
"""What happened to clips that a reader should know of."""


def title_of(label: str) -> str:
    """`sft` for a person; a label of the user's own stays as it is."""
    return LABELS.get(label, label)


def stage_of(name: str) -> str:
    """A stage's folder for a person: `rest/iteration-1` is `ReST, iteration 1`."""
    stage, _, part = name.partition("/")
    return ", ".join([STAGES.get(stage, stage), *([part.replace("-", " ")] if part else [])])


def percent(fraction: float | None) -> str:
    """`83.0%`, or what to say instead."""
    return "not measured" if fraction is None else f"{100 * fraction:.1f}%"


def points(fraction: float) -> str:
    """A difference of two accuracies with its sign: `+5.0`, in percentage points."""
    return f"{100 * fraction:+.1f}".replace("-", "\N{MINUS SIGN}")


def between(interval: tuple[float, float] | None) -> str:
    """`77.2 to 87.6%`, or what to say instead."""
    return "not measured" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}%"


def headline(results: Sequence[Result]) -> str:
    """The run in a sentence."""
    if not results:
        return "Accuracy: not measured."
    rows = {result.total.n for result in results}
    whose = {f"questions of {result.benchmark}" if result.benchmark else "held-out questions" for result in results}
    over = f" on {rows.pop():,} {whose.pop()}" if len(rows) == len(whose) == 1 else ""
    steps = ", ".join(f"{percent(result.total.accuracy)}{_when(result.label)}" for result in results)
    return f"Accuracy{over}: {steps}."


def claim(pair: Comparison) -> str:
    """Which two are compared."""
    return f"{title_of(pair.after)} against {_bare(pair.before)}"


def evidence(pair: Comparison) -> str:
    """What a comparison rests on, and what it does not show."""
    said = (
        f"95% interval {_reach(pair.interval)}, McNemar {_p_value(pair.mcnemar_p)}. "
        f"Of {pair.n:,} questions {pair.only_after} were gained and {pair.only_before} lost; "
        f"{pair.both_right} were right both times, {pair.both_wrong} wrong both times."
    )
    if pair.interval and pair.interval[0] <= 0 <= pair.interval[1]:
        return f"{said} The interval includes 0: no difference is shown."
    return f"{said} Too few answers changed for McNemar's test to show a difference." if pair.mcnemar_p > 0.05 else said


def error(result: Result) -> tuple[str, str]:
    """The standard error of an accuracy, and what it is clustered by."""
    groups, rows = result.clusters, result.total.n
    if result.clustered_se is None:
        alike = "all answers alike" if result.total.accuracy in (0, 1) else ""
        return "none", "not enough groups for a clustered error" if groups == 1 else alike
    clustered = "" if groups is None else f"{groups:,} groups"
    return percent(result.clustered_se), "every question its own group" if groups == rows else clustered


def unreadable(results: Sequence[Result]) -> str:
    """What to look at when no reply of the last model had an answer that could be read; empty when one had."""
    last = results[-1] if results else None
    if last is None or not last.total.n or sum(last.unparsed.values()) < last.total.n:
        return ""
    reasons = ", ".join(f"{count:,} x {reason}" for reason, count in last.unparsed.items() if count)
    return f"No reply had a readable answer: {reasons}; look at samples_{last.label}.jsonl."


def unheard(media: Mapping[str, int]) -> str:
    """Clips that were not heard as they are, in a sentence without its end; empty when all were."""
    counts = {how: media[what] for what, how in UNHEARD.items() if media.get(what)}
    told = [f"{count:,} {how.format(were='was' if count == 1 else 'were')}" for how, count in counts.items()]
    of = f"of {media['clips']:,} clips " if "clips" in media else ""
    return of + ", ".join(told) if told else ""


def duration(seconds: float) -> str:
    """`2 h 05 min`, `7 min 42 s` or `3.2 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def outcome(iteration: Iteration) -> str:
    """What came of an iteration, in words."""
    said = ", ".join(f"{count:,} {kind}" for kind, count in iteration.replies.items() if count)
    sampled = f"Replies: {said}; {iteration.imitated:,} imitated."
    if iteration.difference is None:
        return sampled
    return (
        f"{sampled} Held-out accuracy {percent(iteration.before.accuracy)}, then {percent(iteration.after.accuracy)}: "
        f"{points(iteration.difference)} points (95% interval {_reach(iteration.interval)})."
    )


def _reach(interval: tuple[float, float] | None) -> str:
    """From where to where a difference may lie, points."""
    return "not measured" if interval is None else f"{points(interval[0])} to {points(interval[1])}"


def _when(label: str) -> str:
    known = {"start": " at the start", "model": "", **{stage: f" after {title}" for stage, title in STAGES.items()}}
    return known.get(label, f" for {label}")


def _bare(label: str) -> str:
    for ending, said in (
        ("_shuffled", "itself with another's audio"),
        ("_silence", "itself in silence"),
    ):
        if label.endswith(ending):
            return said
    return "the start" if label == "start" else f"after {STAGES[label]}" if label in STAGES else label


def _p_value(p: float) -> str:
    # No-break spaces: a line that ends in "p <" reads badly.
    words = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return words.replace(" ", "\N{NO-BREAK SPACE}")
