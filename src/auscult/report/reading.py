"""The one reader of a run folder: files in, frozen figures out.

A run folder may lack any of its parts (a run that only evaluated has no curves), and a part that is not there is empty
here and "not measured" on the page. A part that *is* there has to be right: a wrong type, an accuracy outside 0..1, a
difference that its own counts contradict is a `RunError` that names file, line and key. Nothing is guessed or repaired.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from auscult.core.errors import RunError
from auscult.report.figures import (
    BANDS,
    BASELINES,
    METRICS,
    NOT_MEASURED,
    STAGES,
    Bin,
    Calibration,
    Clip,
    Comparison,
    Curve,
    Described,
    Figures,
    Iteration,
    Result,
    Rivals,
    Scores,
    Share,
    Shown,
    Stage,
)
from auscult.report.record import Record, lines_of, list_of, object_of, text_of
from auscult.report.words import duration

OTHERS = ("results_comparison.json", "results_probe.json")
"""Results that are no evaluation of a model's replies."""
DATA = ("data.json", "pretrain/data.json")
"""Where a run says what it is about."""
ROUNDING = 1e-3
"""How far a stated fraction may be from its own counts; files round to three digits or more."""

Told = TypeVar("Told", Result, Described)


def figures_of(run: Path) -> Figures:
    """Everything a report needs from the run folder `run`; RunError names the file and the key that cannot be read."""
    if not run.is_dir():
        raise RunError(f"no run folder at {run}: give the folder that `auscult run` wrote")
    captions, answers = _evaluated(run)
    pairs = list_of(run, "results_comparison.json")
    figures = Figures(
        name=run.resolve().name,
        environment=(*_environment(run), *_data(run), *_leaks(run)),
        results=_sorted(run, _result, answers),
        comparisons=tuple(_comparison(row) for row in pairs if "metric" not in row.values),
        described=_sorted(run, _described, captions),
        rivals=tuple(_rivals(row) for row in pairs if "metric" in row.values),
        stages=_stages(run),
        iterations=_iterations(run),
        rollouts=tuple(map(_shown, lines_of(run, "rollouts/showcase.jsonl"))),
        config=text_of(run, "config.yaml"),
    )
    measured = figures.evaluated or figures.rollouts or any(stage.curves for stage in figures.stages)
    if figures.config is None and not measured:
        raise RunError(f"{run} holds no config.yaml, results or metrics: give the folder that `auscult run` wrote")
    return figures


def _evaluated(run: Path) -> tuple[list[Record], list[Record]]:
    """The results of captions, and those of answers."""
    files = sorted(path.name for path in run.glob("results_*.json") if path.name not in OTHERS)
    found = [object_of(run, file) for file in files]
    return [row for row in found if _is_captions(row)], [row for row in found if not _is_captions(row)]


def _is_captions(row: Record) -> bool:
    return row.values.get("scorer") == "captions"


def _sorted(run: Path, made: Callable[[Record], Told], rows: list[Record]) -> tuple[Told, ...]:
    """Results in the order of their models."""
    results = sorted((made(row) for row in rows), key=lambda result: (result.order, result.label))
    labels = [result.label for result in results]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise RunError(f"{run}: two results_*.json files have the label {twice[0]!r}; give each its own label")
    return tuple(results)


def _result(row: Record) -> Result:
    return Result(
        label=row.text("label"),
        order=row.number("order"),
        form=row.text("form"),
        scorer=row.text("scorer"),
        total=_share(row),
        clustered_se=row.number_or_none("cr2_se" if "cr2_se" in row.values else "clustered_se"),
        clusters=row.count("clusters") if "clusters" in row.values else None,
        unparsed=_unparsed(row),
        by={
            tag: {value: _share(shares.record(value)) for value in shares.values}
            for tag, shares in row.record("by").children()
        },
        media={what: row.record("media").count(what) for what in row.record("media").values},
        calibration=_calibration(row.record("calibration")),
        benchmark=row.record("benchmark").text("title") if "benchmark" in row.values else "",
        correction="CR2" if "cr2_se" in row.values else "CR0",
    )


def _calibration(row: Record) -> Calibration | None:
    if not row.values:
        return None
    filled = tuple(
        Bin(one.count("n"), one.fraction("confidence"), one.fraction("accuracy")) for one in row.records("reliability")
    )
    n = row.count("n")
    if sum(one.n for one in filled) != n:
        raise row.wrong("n", f"is {n}, but the bins hold {sum(one.n for one in filled)} answers")
    reasons = row.record("unmeasured")
    ece = None if row.values.get("ece") is None else row.fraction("ece")
    return Calibration(row.count("bins"), n, ece, filled, {why: reasons.count(why) for why in reasons.values})


def _described(row: Record) -> Described:
    baselines = dict(row.record("baselines").children())
    return Described(
        label=row.text("label"),
        order=row.number("order"),
        form=row.text("form"),
        n=row.count("n"),
        scores=_scores(row),
        clustered_se=row.number_or_none("clustered_se"),
        clusters=row.count("clusters"),
        unparsed=_unparsed(row),
        baselines={name: _scores(scores) for name, scores in baselines.items()},
        constant=baselines["constant"].text("caption") if "constant" in baselines else "",
        media={what: row.record("media").count(what) for what in row.record("media").values},
    )


def _scores(row: Record) -> Scores:
    """CIDEr-D is at most 10, the others at most 1."""
    tops = {name: 10.0 if name == "cider_d" else 1.0 for name in METRICS}
    intervals = row.record("intervals")
    for name, top in tops.items():
        value = row.number_or_none(name)
        if value is not None and not -ROUNDING <= value <= top + ROUNDING:
            raise row.wrong(name, f"is {value}, not a score from 0 to {top:g}")
    return Scores(
        {name: row.number_or_none(name) for name in METRICS},
        {
            name: None if intervals.values[name] is None else intervals.pair(name, lowest=0.0, highest=tops[name])
            for name in METRICS
            if name in intervals.values
        },
        _unparsed(row),
    )


def _unparsed(row: Record) -> dict[str, int]:
    """Rows without an answer, by reason; none where a file says nothing of them."""
    return {reason: row.record("unparsed").count(reason) for reason in row.record("unparsed").values}


def _rivals(row: Record) -> Rivals:
    counts = [row.count(key) for key in ("better", "alike", "worse")]
    n = row.count("n")
    if sum(counts) != n:
        raise row.wrong("n", f"is {n}, but the three counts add up to {sum(counts)}")
    return Rivals(row.text("before"), row.text("after"), n, row.number("difference"), _gain(row), *counts)


def _gain(row: Record) -> tuple[float, float] | None:
    """The interval of a difference of scores, where it has one."""
    return None if row.values.get("interval") is None else row.pair("interval", lowest=-math.inf, highest=math.inf)


def _baseline(row: Record, name: str) -> Share:
    """A baseline is a bare fraction when it is arithmetic, and an object when a model was asked."""
    if row.values[name] is None:
        return NOT_MEASURED
    return _share(row.record(name)) if isinstance(row.values[name], dict) else Share(row.fraction(name))


def _share(row: Record) -> Share:
    baselines = row.record("baselines")
    names = sorted(baselines.values, key=lambda name: BASELINES.index(name) if name in BASELINES else len(BASELINES))
    beside = {name: _baseline(baselines, name) for name in names}
    if row.values.get("accuracy") is None:
        return Share(None, n=row.count("n") if "n" in row.values else None, baselines=beside)
    accuracy, n = row.fraction("accuracy"), row.count("n")
    correct = row.count("correct") if "correct" in row.values else None
    if correct is not None and n and abs(correct / n - accuracy) > ROUNDING:
        raise row.wrong("accuracy", f"is {accuracy}, but correct / n is {correct} / {n}")
    interval = row.pair("interval", lowest=0.0, highest=1.0) if row.values.get("interval") is not None else None
    return Share(accuracy, interval, n, correct, beside, _unparsed(row))


def _comparison(row: Record) -> Comparison:
    counts = [row.count(key) for key in ("both_right", "only_before", "only_after", "both_wrong")]
    n, difference = row.count("n"), row.number("difference")
    if sum(counts) != n:
        raise row.wrong("n", f"is {n}, but the four counts add up to {sum(counts)}")
    if n and abs((counts[2] - counts[1]) / n - difference) > ROUNDING:
        raise row.wrong(
            "difference", f"is {difference}, but (only_after - only_before) / n is {counts[2] - counts[1]} / {n}"
        )
    interval, p = _difference(row), row.fraction("mcnemar_p")
    return Comparison(row.text("before"), row.text("after"), n, difference, interval, p, *counts)


def _difference(row: Record) -> tuple[float, float] | None:
    """The interval of a difference, where it has one."""
    return None if row.values.get("interval") is None else row.pair("interval", lowest=-1.0, highest=1.0)


def _stages(run: Path) -> tuple[Stage, ...]:
    logged = {
        str(path.parent.relative_to(run)) for deep in ("", "*/", "*/*/") for path in run.glob(f"{deep}metrics.jsonl")
    }
    begun = {stage for stage in STAGES if (run / stage).is_dir()}
    known = {stage: at for at, stage in enumerate(STAGES)}
    # What lies in a stage's folder, such as its iterations, follows it.
    names = sorted({*begun, *logged}, key=lambda name: (known.get(name.partition("/")[0], len(known)), name))
    return tuple(_stage(run, name) for name in names)


def _iterations(run: Path) -> tuple[Iteration, ...]:
    files = [str(path.relative_to(run)) for path in run.glob("*/iteration-*/manifest.json")]
    found = [_iteration(file.partition("/")[0], object_of(run, file)) for file in files]
    return tuple(sorted(found, key=lambda iteration: (iteration.stage, iteration.number)))


def _iteration(stage: str, row: Record) -> Iteration:
    prompts, replies, heldout = row.record("prompts"), row.record("replies"), row.record("heldout")
    measured, captions = bool(heldout.values), "metric" in heldout.values
    before, after = heldout.record("before"), heldout.record("after")
    return Iteration(
        stage=stage,
        number=row.count("iteration"),
        prompts={band: prompts.count(band) for band in BANDS},
        replies={kind: replies.count(kind) for kind in replies.values},
        imitated=sum(band.count("replies") for _, band in row.record("kept").children()),
        before=NOT_MEASURED if captions else _share(before),
        after=NOT_MEASURED if captions else _share(after),
        difference=heldout.number("difference") if measured else None,
        interval=_gain(heldout) if captions else _difference(heldout),
        decision=row.text("decision"),
        captions=(before.number("cider_d"), after.number("cider_d")) if captions else None,
    )


def _stage(run: Path, name: str) -> Stage:
    values: dict[str, list[tuple[float, float]]] = {}
    words: dict[str, None] = {}
    for row in lines_of(run, f"{name}/metrics.jsonl"):
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


def _shown(row: Record) -> Shown:
    return Shown(
        id=row.text("id"),
        question=row.text("question"),
        choices=tuple(row.texts("choices")),
        gold=row.text("gold"),
        media=tuple(map(_clip, row.records("media"))),
        prompt=row.text("prompt"),
        reply=row.text("reply"),
        answer=row.text_or_none("answer"),
        problem=row.text_or_none("problem"),
        parts={name: row.record("parts").number_or_none(name) for name in row.record("parts").values},
        total=row.number_or_none("total"),
        tags={name: _plain(value) for name, value in row.record("tags").values.items()},
        references=tuple(row.texts("references")),
    )


def _clip(row: Record) -> Clip:
    kept = row.values.get("file", "") is not None
    return Clip(row.text("kind"), row.text("file") if kept else None, row.number_or_none("seconds"))


def _environment(run: Path) -> tuple[tuple[str, str | None], ...]:
    row = object_of(run, "environment.json") if (run / "environment.json").is_file() else Record("environment.json", {})
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
    others = {key.capitalize(): _plain(value) for key, value in row.values.items() if key not in known}
    return (*facts.items(), *others.items())


def _data(run: Path) -> tuple[tuple[str, str | None], ...]:
    """What a run heard and what was left out of it, its pretraining too; nothing where no file says."""
    said = [text for file in DATA if (run / file).is_file() for text in object_of(run, file).texts("said")]
    return (("Data", "; ".join(said)),) if said else ()


def _leaks(run: Path) -> tuple[tuple[str, str | None], ...]:
    """What the leak guard of a run said, what it left out included; nothing where there was none."""
    if not (run / "leaks.json").is_file():
        return ()
    return (("Leak guard", "; ".join(object_of(run, "leaks.json").texts("said")) or None),)


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
