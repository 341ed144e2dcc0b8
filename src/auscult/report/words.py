"""Figures in words, for the page and the terminal alike: only here do fractions become what a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from auscult.report.figures import METRICS, Calibration, Comparison, Described, Iteration, Result, Rivals

BASELINES = {
    "chance": "Chance",
    "majority": "Majority",
    "shuffled": "Shuffled media",
    "silence": "Silence",
    "text_only": "Text only",
}
SCORES = dict(zip(METRICS, ("CIDEr-D", "ROUGE-L", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"), strict=True))
RIVALS = {"constant": "Best constant caption", "shuffled": "Another clip's audio", "silence": "Silence"}
"""What stands beside captions."""
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
UNREAD = 0.1
"""Share of its replies that a baseline may lose beyond the model's own before it is said to prove nothing: in that
share a guesser would be right by chance, so that a tenth is worth 2 to 5 points."""
NO_DIFFERENCE = "The interval includes 0: no difference is shown."


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


def score(value: float | None) -> str:
    """A caption score: `0.412`, or what to say instead."""
    return "not measured" if value is None else f"{value:.3f}"


def gain(difference: float) -> str:
    """A difference of two caption scores with its sign: `+0.143`."""
    return f"{difference:+.3f}".replace("-", "\N{MINUS SIGN}")


def scores_between(interval: tuple[float, float] | None) -> str:
    """`0.377 to 0.451`, or what to say instead."""
    return "not measured" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def headline(results: Sequence[Result | Described]) -> str:
    """The run in a sentence."""
    described = [result for result in results if isinstance(result, Described)]
    if described:
        clips = {result.n for result in described}
        over = f" on {clips.pop():,} held-out clips" if len(clips) == 1 else ""
        steps = ", ".join(f"{score(result.scores.headline)}{_when(result.label)}" for result in described)
        return f"CIDEr-D{over}: {steps}."
    return _answered([result for result in results if isinstance(result, Result)])


def _answered(results: Sequence[Result]) -> str:
    if not results:
        return "Accuracy: not measured."
    rows = {result.total.n for result in results}
    whose = {f"questions of {result.benchmark}" if result.benchmark else "held-out questions" for result in results}
    over = f" on {rows.pop():,} {whose.pop()}" if len(rows) == len(whose) == 1 else ""
    steps = ", ".join(f"{percent(result.total.accuracy)}{_when(result.label)}" for result in results)
    return f"Accuracy{over}: {steps}."


def claim(pair: Comparison | Rivals) -> str:
    """Which two are compared."""
    label = pair.after.removesuffix("_shuffled")
    other = f"{title_of(label)} with another's media" if label != pair.after else title_of(label)
    return f"{other} against {_bare(pair.before)}"


def rivalry(pair: Rivals) -> str:
    """What a comparison of captions rests on, and what it does not show."""
    said = (
        f"95% interval {_gained(pair.interval)}. Of {pair.n:,} clips {pair.better:,} are described better, "
        f"{pair.worse:,} worse, {pair.alike:,} as well."
    )
    return f"{said} {NO_DIFFERENCE}" if _includes_0(pair.interval) else said


def evidence(pair: Comparison) -> str:
    """What a comparison rests on, and what it does not show."""
    said = (
        f"95% interval {_reach(pair.interval)}, McNemar {_p_value(pair.mcnemar_p)}. "
        f"Of {pair.n:,} questions {pair.only_after} were gained and {pair.only_before} lost; "
        f"{pair.both_right} were right both times, {pair.both_wrong} wrong both times."
    )
    if _includes_0(pair.interval):
        return f"{said} {NO_DIFFERENCE}"
    return f"{said} Too few answers changed for McNemar's test to show a difference." if pair.mcnemar_p > 0.05 else said


def _includes_0(interval: tuple[float, float] | None) -> bool:
    return interval is not None and interval[0] <= 0 <= interval[1]


def sureness(found: Calibration) -> str:
    """What the reliability of a model's answers comes to, in a sentence or two."""
    reasons = ", ".join(f"{count:,} x {why}" for why, count in found.unmeasured.items())
    without = f" Without a confidence: {reasons}." if reasons else ""
    if found.ece is None:
        return f"No answer has a confidence.{without}"
    return f"Expected calibration error {percent(found.ece)}: {found.n:,} answers in {found.bins} bins.{without}"


def error(result: Result) -> tuple[str, str]:
    """The standard error of an accuracy, what it is clustered by, and its correction for few or unequal clusters."""
    groups, rows = result.clusters, result.total.n
    if result.clustered_se is None:
        alike = "all answers alike" if result.total.accuracy in (0, 1) else ""
        return "none", "not enough groups for a clustered error" if groups == 1 else alike
    clustered = "" if groups is None else f"{groups:,} groups"
    of = "every question its own group" if groups == rows else clustered
    return percent(result.clustered_se), ", ".join(filter(None, (of, result.correction)))


def unreadable(results: Sequence[Result | Described]) -> str:
    """What to look at when no reply of the last model had an answer that could be read; empty when one had."""
    last = results[-1] if results else None
    if last is None or not (rows := rows_of(last)) or sum(last.unparsed.values()) < rows:
        return ""
    reasons = ", ".join(f"{count:,} x {reason}" for reason, count in last.unparsed.items() if count)
    return f"No reply had a readable answer: {reasons}; look at samples_{last.label}.jsonl."


def doubts(results: Sequence[Result | Described]) -> tuple[str, ...]:
    """A sentence for each baseline of which far fewer replies can be read than of the model itself: those count as
    wrong, so that the model is above it whatever it hears or sees."""
    found: list[str] = []
    for result in results:
        rows = rows_of(result)
        names = BASELINES if isinstance(result, Result) else RIVALS
        beside = result.total.baselines if isinstance(result, Result) else result.baselines
        for name, baseline in beside.items():
            lost = sum(baseline.unparsed.values())
            if rows and lost - sum(result.unparsed.values()) > UNREAD * rows:
                reasons = ", ".join(f"{count:,} x {reason}" for reason, count in baseline.unparsed.items() if count)
                found.append(
                    f"{title_of(result.label)}, {names.get(name, name).lower()}: {lost:,} of {rows:,} replies had no "
                    f"readable answer ({reasons}) and count as wrong; what is gained over such a baseline proves "
                    "nothing."
                )
    return tuple(found)


def rows_of(result: Result | Described) -> int | None:
    """How many rows an evaluation is over."""
    return result.n if isinstance(result, Described) else result.total.n


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
    if iteration.captions is not None:
        before, after = iteration.captions
        return (
            f"{sampled} Held-out CIDEr-D {score(before)}, then {score(after)}: {gain(iteration.difference)} "
            f"(95% interval {_gained(iteration.interval)})."
        )
    return (
        f"{sampled} Held-out accuracy {percent(iteration.before.accuracy)}, then {percent(iteration.after.accuracy)}: "
        f"{points(iteration.difference)} points (95% interval {_reach(iteration.interval)})."
    )


def _reach(interval: tuple[float, float] | None) -> str:
    """From where to where a difference may lie, points."""
    return "not measured" if interval is None else f"{points(interval[0])} to {points(interval[1])}"


def _gained(interval: tuple[float, float] | None) -> str:
    """From where to where a difference of scores may lie."""
    return "not measured" if interval is None else f"{gain(interval[0])} to {gain(interval[1])}"


def _when(label: str) -> str:
    known = {"start": " at the start", "model": "", **{stage: f" after {title}" for stage, title in STAGES.items()}}
    return known.get(label, f" for {label}")


def _bare(label: str) -> str:
    for ending, said in (
        ("_shuffled", "itself with another's media"),
        ("_silence", "itself in silence"),
        ("_text_only", "itself without images"),
        ("_constant", "the best constant caption"),
    ):
        if label.endswith(ending):
            return said
    return "the start" if label == "start" else f"after {STAGES[label]}" if label in STAGES else label


def _p_value(p: float) -> str:
    # No-break spaces: a line that ends in "p <" reads badly.
    words = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return words.replace(" ", "\N{NO-BREAK SPACE}")
