"""The one reader of a run folder: files in, frozen figures out, for the page and the terminal alike.

A run folder may lack any of its parts (a run that only evaluated has no curves), and a part that is not there is empty
here and "not measured" on the page. A part that *is* there has to be right: a wrong type, an accuracy outside 0..1, a
difference that its own counts contradict is a `RunError` that names file, line and key. Nothing is guessed or repaired.

Accuracies and differences are fractions here; `percent` and `points` are the only places that turn them into words.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from auscult.core.errors import RunError

T = TypeVar("T")

STAGES = ("sft", "grpo")
"""Stages every report speaks of, in the order in which they run; others that left metrics follow."""
BASELINES = {"chance": "Chance", "majority": "Majority class", "shuffled": "Shuffled audio", "silence": "Silence"}
"""Baselines every report speaks of: two that need no model, two that give the model the wrong audio."""
TITLES = {"sft": "SFT", "rest": "ReST", "grpo": "GRPO"}
"""Stages by the names that people call them, in the order in which they run."""
LABELS = {"start": "Start", **{stage: f"After {title}" for stage, title in TITLES.items()}}
BANDS = {
    "unsolved": "0%",
    "hard": "to 25%",
    "middle": "to 75%",
    "easy": "to 99%",
    "solved": "100%",
    "unanswered": "no rate",
}
"""How many of a prompt's replies were right, by the names in an iteration's manifest."""
ROUNDING = 1e-3
"""How far a stated fraction may be from its own counts; files round to three digits or more."""


@dataclass(frozen=True, slots=True)
class Share:
    """An accuracy, with what it rests on."""

    accuracy: float | None
    """Fraction right, 0 to 1; None when it was not measured."""
    interval: tuple[float, float] | None = None
    """95 % interval as fractions."""
    n: int | None = None
    """Rows; None for a baseline that is arithmetic."""
    correct: int | None = None
    """Rows that were right."""


NOT_MEASURED = Share(None)


@dataclass(frozen=True, slots=True)
class Result:
    """One evaluation of one set of weights."""

    label: str
    """Which weights, for example `sft`."""
    order: float
    """Position in time."""
    form: str
    """Form the answers had to keep to."""
    scorer: str
    """Rule that decided what is right."""
    total: Share
    """All rows."""
    clustered_se: float | None
    """Standard error of the accuracy with rows clustered by clip, as a fraction."""
    clusters: int | None
    """Number of clusters."""
    unparsed: Mapping[str, int]
    """Rows without an answer, by reason."""
    by: Mapping[str, Mapping[str, Share]]
    """Breakdowns: tag, then value of the tag."""
    baselines: Mapping[str, Share]
    """By name; names of `BASELINES` first."""

    @property
    def title(self) -> str:
        """The label for a person."""
        return title_of(self.label)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two evaluations of the same questions, question by question."""

    before: str
    """Label of the earlier one."""
    after: str
    """Label of the later one."""
    n: int
    """Questions."""
    difference: float
    """Accuracy after minus accuracy before, as a fraction."""
    interval: tuple[float, float]
    """95 % interval of the difference."""
    mcnemar_p: float
    """Probability of so uneven a split of the changed answers if neither were better."""
    both_right: int
    """Right before and after."""
    only_before: int
    """Lost."""
    only_after: int
    """Gained."""
    both_wrong: int
    """Wrong before and after."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One logged quantity over steps."""

    name: str
    """Key in metrics.jsonl."""
    points: tuple[tuple[float, float], ...]
    """(step, value) in the order of the file, finite values only."""
    not_finite: int
    """Rows in which it was NaN, infinite or null."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What one training stage logged."""

    name: str
    """Its folder."""
    curves: Mapping[str, Curve]
    """By key; empty when nothing was logged."""
    not_numbers: tuple[str, ...] = ()
    """Logged keys that are no quantity, such as a note."""


@dataclass(frozen=True, slots=True)
class Iteration:
    """What one iteration of self-training sampled, kept and came to."""

    stage: str
    """Its stage's folder."""
    number: int
    """From 1."""
    prompts: Mapping[str, int]
    """Prompts by band, all of `BANDS`."""
    replies: Mapping[str, int]
    """Replies by what became of them."""
    imitated: int
    """Replies that were kept to learn from."""
    before: Share
    """Held-out accuracy before it."""
    after: Share
    """Held-out accuracy after it."""
    difference: float | None
    """After minus before, as a fraction, paired by question; None when nothing was trained."""
    interval: tuple[float, float] | None
    """95 % interval of the difference."""
    decision: str
    """Whether its model was kept or rolled back."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A media file that belongs to a rollout."""

    kind: str
    """`audio`, `image` or another word."""
    file: str
    """Path relative to the run folder, as written."""
    seconds: float | None
    """Duration as written."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A sampled rollout to read and to hear."""

    id: str
    """The sample's id."""
    question: str
    """The question as text."""
    choices: tuple[str, ...]
    """Options as text; empty for an open question."""
    gold: str
    """The accepted answer."""
    media: tuple[Clip, ...]
    """What the model heard."""
    prompt: str
    """The prompt as rendered."""
    reply: str
    """The raw reply."""
    answer: str | None
    """The reply as its form reads it."""
    problem: str | None
    """Why there is no answer."""
    parts: Mapping[str, float | None]
    """Reward parts; None where one could not be computed."""
    total: float | None
    """Weighted reward; None when a part is None."""
    tags: Mapping[str, str]
    """Labels of the sample."""

    @property
    def verdict(self) -> str:
        """`right`, `wrong`, `unparsed`, or `open` where comparing texts would decide nothing."""
        if self.answer is None:
            return "unparsed"
        if self.gold not in self.choices:
            return "open"
        return "right" if self.answer == self.gold else "wrong"


@dataclass(frozen=True, slots=True)
class Figures:
    """All that a report says about a run."""

    name: str
    """The run folder's name."""
    environment: tuple[tuple[str, str | None], ...]
    """What was run, in words: (name, value); None where it was not recorded."""
    results: tuple[Result, ...]
    """Evaluations in time order."""
    comparisons: tuple[Comparison, ...]
    """Paired comparisons."""
    stages: tuple[Stage, ...]
    """Training stages in the order in which they run, those that nobody knows last."""
    iterations: tuple[Iteration, ...]
    """Iterations of self-training, in order."""
    rollouts: tuple[Shown, ...]
    """Sampled rollouts."""
    config: str | None
    """config.yaml as written."""

    @property
    def breakdowns(self) -> Mapping[str, tuple[str, ...]]:
        """Tags that results are broken down by, with their values in order of appearance; `task` always comes first."""
        values: dict[str, dict[str, None]] = {"task": {}}
        for result in self.results:
            for tag, shares in result.by.items():
                values.setdefault(tag, {}).update(dict.fromkeys(shares))
        return {tag: tuple(names) for tag, names in values.items()}

    def rows_of(self, tag: str, value: str) -> tuple[int, ...]:
        """How many rows have `value` for `tag`: one number where all results agree."""
        shares = [result.by[tag][value] for result in self.results if value in result.by.get(tag, {})]
        return tuple(dict.fromkeys(share.n for share in shares if share.n is not None))

    @property
    def reasons(self) -> tuple[str, ...]:
        """Reasons for missing answers over all results."""
        return tuple(dict.fromkeys(reason for result in self.results for reason in result.unparsed))


def figures_of(run: Path) -> Figures:
    """Everything a report needs from the run folder `run`; RunError names the file and the key that cannot be read."""
    if not run.is_dir():
        raise RunError(f"no run folder at {run}: give the folder that `auscult run` wrote")
    figures = Figures(
        name=run.resolve().name,
        environment=_environment(run),
        results=_results(run),
        comparisons=tuple(map(_comparison, _list(run, "results_comparison.json"))),
        stages=_stages(run),
        iterations=_iterations(run),
        rollouts=tuple(map(_shown, _lines(run, "rollouts/showcase.jsonl"))),
        config=_text(run, "config.yaml"),
    )
    measured = figures.results or figures.rollouts or any(stage.curves for stage in figures.stages)
    if figures.config is None and not measured:
        raise RunError(f"{run} holds no config.yaml, results or metrics: give the folder that `auscult run` wrote")
    return figures


# -- words ------------------------------------------------------------------------------------------------------------


def title_of(label: str) -> str:
    """`sft` for a person; a label of the user's own stays as it is."""
    return LABELS.get(label, label)


def percent(fraction: float | None) -> str:
    """`83.0%`, or what to say instead."""
    return "not measured" if fraction is None else f"{100 * fraction:.1f}%"


def points(fraction: float) -> str:
    """A difference of two accuracies with its sign: `+5.0`, in percentage points."""
    return f"{100 * fraction:+.1f}".replace("-", "\N{MINUS SIGN}")


def between(interval: tuple[float, float] | None) -> str:
    """`77.2 to 87.6%`, or what to say instead."""
    return "not measured" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}%"


def headline(results: tuple[Result, ...]) -> str:
    """The run in a sentence."""
    if not results:
        return "Accuracy: not measured."
    rows = {result.total.n for result in results}
    over = f" on {rows.pop()} held-out questions" if len(rows) == 1 else ""
    steps = ", ".join(f"{percent(result.total.accuracy)} {_when(result.label)}" for result in results)
    return f"Accuracy{over}: {steps}."


def sentence(pair: Comparison) -> str:
    """A paired comparison in words, with its evidence and with what it does not show."""
    low, high = pair.interval
    evidence = (
        f"{title_of(pair.after)} against {_bare(pair.before)}: {points(pair.difference)} points "
        f"(95% interval {points(low)} to {points(high)}, McNemar {_p_value(pair.mcnemar_p)}). "
        f"Of {pair.n} questions {pair.only_after} were gained and {pair.only_before} lost; "
        f"{pair.both_right} were right both times, {pair.both_wrong} wrong both times."
    )
    return evidence if low > 0 or high < 0 else f"{evidence} The interval includes 0: no difference is shown."


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
    if iteration.difference is None or iteration.interval is None:
        return sampled
    low, high = iteration.interval
    return (
        f"{sampled} Held-out accuracy {percent(iteration.before.accuracy)}, then {percent(iteration.after.accuracy)}: "
        f"{points(iteration.difference)} points (95% interval {points(low)} to {points(high)})."
    )


def _when(label: str) -> str:
    return "at the start" if label == "start" else f"after {TITLES[label]}" if label in TITLES else f"for {label}"


def _bare(label: str) -> str:
    for ending, said in (
        ("_shuffled", "the same model with another's audio"),
        ("_silence", "the same model in silence"),
    ):
        if label.endswith(ending):
            return said
    return "the start" if label == "start" else f"after {TITLES[label]}" if label in TITLES else label


def _p_value(p: float) -> str:
    # No-break spaces: a line that ends in "p <" reads badly.
    words = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return words.replace(" ", "\N{NO-BREAK SPACE}")


# -- the parts of a run folder ----------------------------------------------------------------------------------------


def _results(run: Path) -> tuple[Result, ...]:
    files = sorted(path.name for path in run.glob("results_*.json") if path.name != "results_comparison.json")
    results = sorted((_result(_object(run, file)) for file in files), key=lambda result: (result.order, result.label))
    labels = [result.label for result in results]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise RunError(f"{run}: two results_*.json files have the label {twice[0]!r}; give each its own label")
    return tuple(results)


def _result(row: _Record) -> Result:
    baselines = row.record("baselines")
    names = [
        *(name for name in BASELINES if name in baselines.values),
        *(n for n in baselines.values if n not in BASELINES),
    ]
    return Result(
        label=row.text("label"),
        order=row.number("order"),
        form=row.text("form"),
        scorer=row.text("scorer"),
        total=_share(row),
        clustered_se=row.number_or_none("clustered_se"),
        clusters=row.count("clusters") if "clusters" in row.values else None,
        unparsed={reason: row.record("unparsed").count(reason) for reason in row.record("unparsed").values},
        by={
            tag: {value: _share(shares.record(value)) for value in shares.values}
            for tag, shares in row.record("by").children()
        },
        baselines={name: _baseline(baselines, name) for name in names},
    )


def _baseline(row: _Record, name: str) -> Share:
    """A baseline is a bare fraction when it is arithmetic, and an object when a model was asked."""
    if row.values[name] is None:
        return NOT_MEASURED
    return _share(row.record(name)) if isinstance(row.values[name], dict) else Share(row.fraction(name))


def _share(row: _Record) -> Share:
    if row.values.get("accuracy") is None:
        return Share(None, n=row.count("n") if "n" in row.values else None)
    accuracy, n = row.fraction("accuracy"), row.count("n")
    correct = row.count("correct") if "correct" in row.values else None
    if correct is not None and n and abs(correct / n - accuracy) > ROUNDING:
        raise row.wrong("accuracy", f"is {accuracy}, but correct / n is {correct} / {n}")
    interval = row.pair("interval", lowest=0.0, highest=1.0) if row.values.get("interval") is not None else None
    return Share(accuracy, interval, n, correct)


def _comparison(row: _Record) -> Comparison:
    counts = [row.count(key) for key in ("both_right", "only_before", "only_after", "both_wrong")]
    n, difference = row.count("n"), row.number("difference")
    if sum(counts) != n:
        raise row.wrong("n", f"is {n}, but the four counts add up to {sum(counts)}")
    if n and abs((counts[2] - counts[1]) / n - difference) > ROUNDING:
        raise row.wrong(
            "difference", f"is {difference}, but (only_after - only_before) / n is {counts[2] - counts[1]} / {n}"
        )
    interval, p = row.pair("interval", lowest=-1.0, highest=1.0), row.fraction("mcnemar_p")
    return Comparison(row.text("before"), row.text("after"), n, difference, interval, p, *counts)


def _stages(run: Path) -> tuple[Stage, ...]:
    logged = {str(path.parent.relative_to(run)) for glob in ("*", "*/*") for path in run.glob(f"{glob}/metrics.jsonl")}
    known = {stage: at for at, stage in enumerate(TITLES)}
    # What lies in a stage's folder, such as its iterations, follows it.
    names = sorted({*STAGES, *logged}, key=lambda name: (known.get(name.partition("/")[0], len(known)), name))
    return tuple(_stage(run, name) for name in names)


def _iterations(run: Path) -> tuple[Iteration, ...]:
    files = [str(path.relative_to(run)) for path in run.glob("*/iteration-*/manifest.json")]
    found = [_iteration(file.partition("/")[0], _object(run, file)) for file in files]
    return tuple(sorted(found, key=lambda iteration: (iteration.stage, iteration.number)))


def _iteration(stage: str, row: _Record) -> Iteration:
    prompts, replies, heldout = row.record("prompts"), row.record("replies"), row.record("heldout")
    measured = bool(heldout.values)
    return Iteration(
        stage=stage,
        number=row.count("iteration"),
        prompts={band: prompts.count(band) for band in BANDS},
        replies={kind: replies.count(kind) for kind in replies.values},
        imitated=sum(band.count("replies") for _, band in row.record("kept").children()),
        before=_share(heldout.record("before")),
        after=_share(heldout.record("after")),
        difference=heldout.number("difference") if measured else None,
        interval=heldout.pair("interval", lowest=-1.0, highest=1.0) if measured else None,
        decision=row.text("decision"),
    )


def _stage(run: Path, name: str) -> Stage:
    values: dict[str, list[tuple[float, float]]] = {}
    words: dict[str, None] = {}
    for row in _lines(run, f"{name}/metrics.jsonl"):
        step = row.number("step")
        for key, value in row.values.items():
            if key == "step":
                continue
            if isinstance(value, int | float) and not isinstance(value, bool):
                values.setdefault(key, []).append((step, float(value)))
            elif value is None:
                values.setdefault(key, []).append((step, math.nan))
            else:
                words[key] = None
    return Stage(name, {key: _curve(key, rows) for key, rows in values.items()}, tuple(words))


def _curve(name: str, rows: list[tuple[float, float]]) -> Curve:
    finite = tuple((step, value) for step, value in rows if math.isfinite(value))
    return Curve(name, finite, len(rows) - len(finite))


def _shown(row: _Record) -> Shown:
    return Shown(
        id=row.text("id"),
        question=row.text("question"),
        choices=tuple(row.texts("choices")),
        gold=row.text("gold"),
        media=tuple(
            Clip(clip.text("kind"), clip.text("file"), clip.number_or_none("seconds")) for clip in row.records("media")
        ),
        prompt=row.text("prompt"),
        reply=row.text("reply"),
        answer=row.text_or_none("answer"),
        problem=row.text_or_none("problem"),
        parts={name: row.record("parts").number_or_none(name) for name in row.record("parts").values},
        total=row.number_or_none("total"),
        tags={name: _plain(value) for name, value in row.record("tags").values.items()},
    )


def _environment(run: Path) -> tuple[tuple[str, str | None], ...]:
    row = _object(run, "environment.json") if (run / "environment.json").is_file() else _Record("environment.json", {})
    known = {"command", "started", "seconds", "git", "hardware", "versions"}
    seconds = row.number_or_none("seconds")
    facts = {
        "Command": row.text_or_none("command"),
        "Started": row.text_or_none("started"),
        "Took": None if seconds is None else duration(seconds),
        "Code": _code(row.record("git").values),
        "Hardware": _hardware(row.record("hardware").values),
        "Versions": _plain(row.record("versions").values) or None,
    }
    return (*facts.items(), *((key, _plain(value)) for key, value in row.values.items() if key not in known))


def _code(git: Mapping[str, Any]) -> str | None:
    if not git.get("commit"):
        return None
    state = {True: ", with uncommitted changes", False: ", no uncommitted changes"}.get(git.get("dirty"), "")  # type: ignore[arg-type]
    return f"commit {str(git['commit'])[:12]}{state}"


def _hardware(found: Mapping[str, Any]) -> str | None:
    words = {"cores": "{} cores", "memory_gib": "{} GiB memory", "cpu": "{}", "gpu": "{}"}
    pieces = [
        "no GPU" if key == "gpu" and not value else words.get(key, f"{key} {{}}").format(_plain(value))
        for key, value in found.items()
    ]
    return ", ".join(pieces) or None


def _plain(value: object) -> str:
    """Any JSON value in words."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


# -- JSON, with complaints that name the place -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Record:
    """One JSON object and where it stands, so that every complaint names file, line and key."""

    where: str
    """For example `run/rollouts/showcase.jsonl, line 3`."""
    values: Mapping[str, Any]
    """The object."""

    def wrong(self, key: str, says: str) -> RunError:
        return RunError(f"{self.where}: key {key!r} {says}; mend the file, or run the stage that writes it again")

    def of(self, key: str, kind: type[T] | tuple[type[T], ...], called: str) -> T:
        if key not in self.values:
            raise self.wrong(key, "is missing")
        value = self.values[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.wrong(key, f"is {value!r:.60}, not {called}")
        return value

    def text(self, key: str) -> str:
        return self.of(key, str, "a text")

    def text_or_none(self, key: str) -> str | None:
        return None if self.values.get(key) is None else self.text(key)

    def number(self, key: str) -> float:
        value = float(self.of(key, (int, float), "a number"))
        if not math.isfinite(value):
            raise self.wrong(key, f"is {value}, not a finite number")
        return value

    def number_or_none(self, key: str) -> float | None:
        return None if self.values.get(key) is None else self.number(key)

    def fraction(self, key: str) -> float:
        value = self.number(key)
        if not 0 <= value <= 1:
            raise self.wrong(key, f"is {value}, not a fraction from 0 to 1")
        return value

    def count(self, key: str) -> int:
        value = self.of(key, int, "a whole number")
        if value < 0:
            raise self.wrong(key, f"is {value}, not a count")
        return value

    def pair(self, key: str, *, lowest: float, highest: float) -> tuple[float, float]:
        ends = self.of(key, list, "a list [low, high]")
        numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
        if len(ends) != 2 or not numbers or not lowest <= ends[0] <= ends[1] <= highest:
            raise self.wrong(key, f"is {ends!r:.60}, not [low, high] from {lowest:g} to {highest:g}")
        return float(ends[0]), float(ends[1])

    def texts(self, key: str) -> list[str]:
        found = self.of(key, list, "a list of texts") if key in self.values else []
        if not all(isinstance(item, str) for item in found):
            raise self.wrong(key, f"is {found!r:.60}, not a list of texts")
        return found

    def records(self, key: str) -> list[_Record]:
        found = self.of(key, list, "a list of objects") if key in self.values else []
        if not all(isinstance(item, dict) for item in found):
            raise self.wrong(key, f"is {found!r:.60}, not a list of objects")
        return [_Record(f"{self.where}, {key} {at + 1}", item) for at, item in enumerate(found)]

    def record(self, key: str) -> _Record:
        """The object under `key`; one that is missing or null is empty."""
        found = self.of(key, dict, "an object") if self.values.get(key) is not None else {}
        return _Record(f"{self.where}, in {key!r}", found)

    def children(self) -> Iterator[tuple[str, _Record]]:
        return ((key, self.record(key)) for key in self.values)


def _text(run: Path, file: str) -> str | None:
    """The file as text, or None when the run does not have it."""
    if not (run / file).is_file():
        return None
    try:
        return (run / file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RunError(f"{run / file} is not UTF-8 ({error.reason} at byte {error.start}); write it again") from error


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        says = f"is not JSON ({error.msg} at column {error.colno})"
        raise RunError(f"{where} {says}; mend it, or run the stage that writes it again") from error


def _record(where: str, value: object) -> _Record:
    if not isinstance(value, dict):
        raise RunError(f"{where} is not a JSON object; mend it, or run the stage that writes it again")
    return _Record(where, value)


def _object(run: Path, file: str) -> _Record:
    return _record(str(run / file), _parsed(str(run / file), _text(run, file) or ""))


def _list(run: Path, file: str) -> list[_Record]:
    text = _text(run, file)
    found = [] if text is None else _parsed(str(run / file), text)
    if not isinstance(found, list):
        raise RunError(f"{run / file} is not a JSON list; mend it, or run the stage that writes it again")
    return [_record(f"{run / file}, item {at + 1}", item) for at, item in enumerate(found)]


def _lines(run: Path, file: str) -> Iterator[_Record]:
    """The objects of a JSON lines file; a file that is not there has none. Only a newline ends a row."""
    for at, line in enumerate((_text(run, file) or "").split("\n"), start=1):
        if line.strip():
            where = f"{run / file}, line {at}"
            yield _record(where, _parsed(where, line))
