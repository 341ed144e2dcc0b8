"""`auscult score BENCHMARK PREDICTIONS`: somebody's predictions by the official rule, or by all rules."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.commands.arguments import Parser

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from auscult.evaluate.predictions import Problem
    from auscult.evaluate.scoring import Line, Parity, Scored

ALL = "all"
"""As a scorer: every one."""
WIDE = 160
"""Columns of what is printed into a file or a pipe."""
SHOWN = 5
"""Rows of one kind that are named on the terminal; the results file has all."""
REASONS = {
    "torn": "Rows that are no JSON",
    "no_id": "Rows without an id",
    "no_key": "Rows without a prediction",
    "not_text": "Predictions that are no text",
    "repeated": "Rows whose id has occurred before, with the same prediction",
    "unknown": "Rows for questions that the benchmark does not have",
    "missing": "Questions without a row",
    "other_gold": "Rows that carry another question or answer than the gold file, so made for another version of it",
}
"""Problems in words."""
UNANSWERED = ("no_prediction", "failed")
"""Outcomes that had no reply to read."""


def run(command: str, arguments: list[str]) -> int:
    """Scores, prints and writes the files."""
    if arguments[:1] == ["captions"]:
        from auscult.commands import captions

        return captions.score(arguments[1:])
    from auscult.evaluate import scoring
    from auscult.evaluate.benchmark import PLUGIN

    parser = Parser(command, "BENCHMARK PREDICTIONS [--gold FILE] [--scorer NAME|all] [--key KEY] [--out DIR] [--json]")
    parser.add_argument(
        "benchmark", metavar="BENCHMARK", help=f"one of {', '.join(PLUGIN.names())}; or captions, a metric of its own"
    )
    parser.add_argument(
        "predictions", metavar="PREDICTIONS", help="JSON list or lines, either as .gz, or a challenge's .zip"
    )
    parser.add_argument(
        "--gold", metavar="FILE", help="the benchmark's file (default: PREDICTIONS, when its rows carry their gold)"
    )
    parser.add_argument(
        "--scorer",
        metavar="NAME",
        help=f"one of {', '.join(scoring.SCORERS.names())}; or all, to compare them (default: the benchmark's own)",
    )
    parser.add_argument(
        "--key", metavar="KEY", default="", help="key of the predictions (default: model_output, model_prediction, ...)"
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the files (default: runs/score-BENCHMARK)")
    parser.add_argument("--json", action="store_true", help="print one JSON object with all figures")
    if parser.helped(arguments):
        return 0
    known = parser.parse_args(arguments)
    if known.scorer not in (None, ALL):
        scoring.scorer(known.scorer)  # a wrong name is said before files are read
    work = scoring.work(
        known.benchmark, Path(known.predictions), Path(known.gold) if known.gold else None, key=known.key
    )
    out = Path(known.out or f"runs/score-{known.benchmark}")
    if known.scorer == ALL:
        parity = scoring.parity(work)
        scores, figures = parity.scores, parity.to_dict()
    else:
        parity = None
        one = scoring.score(work, known.scorer or work.benchmark.scorer)
        scores, figures = {one.rule: one}, one.to_dict()
    files = _write(out, known.benchmark, scores, figures, work.problems)
    if known.json:
        print(json.dumps({**figures, "files": files}, ensure_ascii=False))
        return 0
    _print(next(iter(scores.values())), parity, files)
    return 0


def _write(
    out: Path, name: str, scores: Mapping[str, Scored], figures: Mapping[str, Any], problems: Sequence[Problem]
) -> list[str]:
    """The samples of each rule, then the results; where they are."""
    from auscult.core.runs import write_json
    from auscult.evaluate.outcomes import write_outcomes

    time = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
    files: list[Path] = []
    for rule, scored in scores.items():
        label = name if len(scores) == 1 else f"{name}-{rule}"
        files.append(out / f"samples_{label}_{time}.jsonl")
        write_outcomes(files[-1], scored.outcomes)
    rows = [{"reason": problem.reason, "where": problem.where, "id": problem.id} for problem in problems]
    files.append(out / f"results_{time}.json")
    write_json(files[-1], {"time": time, **figures, "problem_rows": rows})
    return [str(file) for file in files]


def _print(scored: Scored, parity: Parity | None, files: Sequence[str]) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:  # a file or a pipe is as wide as it must be, so that nothing is cut off
        console.width = WIDE
    identity = scored.work.identity
    unknown = f"a file that is not known (sha256 {(identity['gold_sha256'] or '')[:12]})"
    own = identity["gold"] == str(scored.work.predictions.path)
    version = identity["version"] or ("gold as the predictions carry it" if own else unknown)
    console.print(_cell(f"{identity['title']}, {version}, scored by {scored.rule}", "bold"), soft_wrap=True)
    console.print(_score_table(scored))
    for sentence in (*_words(scored), *_troubles(scored.work.problems)):
        console.print(_cell(sentence), soft_wrap=True)
    if parity is not None:
        console.print(_parity_table(parity))
        for sentence in _flips(parity):
            console.print(_cell(sentence), soft_wrap=True)
    for file in files:
        console.print(_cell(file), soft_wrap=True)


def _score_table(scored: Scored) -> Table:
    drawn = _columns("", "official", "strict, all rows", "95% interval")
    for official, strict in zip(scored.official, scored.strict, strict=True):
        drawn.add_row(_cell(f"{strict.breakdown.title} accuracy", "bold"))
        over = {line.name: line for line in official.lines}
        for line in strict.lines:
            drawn.add_row(*_line(line.name, over.get(line.name), line))
    official, strict = scored.totals
    drawn.add_row(*_line("Total accuracy", official, strict, "bold"))
    return drawn


def _line(name: str, official: Line | None, strict: Line, style: str = "") -> Iterator[Text]:
    from auscult.evaluate.statistics import wilson

    low, high = wilson(strict.correct, strict.n)
    yield _cell(name, style)
    yield _cell(f"{official.percent:.2f}% over {official.n} samples" if official else "")
    yield _cell(f"{strict.percent:.2f}% over {strict.n}")
    yield _cell(f"{low * 100:.1f} to {high * 100:.1f}" if strict.n else "")


def _parity_table(parity: Parity) -> Table:
    from auscult.evaluate.scoring import disagreements

    own = next(iter(parity.scores.values()))
    drawn = _columns("rule", "official", "strict, all rows", "unread", f"differs from {own.rule}")
    for rule, scored in parity.scores.items():
        official, strict = scored.totals
        cells = list(_line(rule, official, strict))[:3]
        drawn.add_row(*cells, _cell(_share(_unread(scored), official.n)), _cell(f"{disagreements(own, scored)} rows"))
    return drawn


def _words(scored: Scored) -> Iterator[str]:
    """What stands beside the score."""
    figures = scored.to_dict()
    error, guess = figures["clustered_se"], figures["baselines"]
    if error is not None:
        yield f"Standard error {error * 100:.2f} points, clustered by {figures['clusters']:,} groups."
    chance = "not defined" if guess["chance"] is None else f"{guess['chance']:.2%}"
    yield f"Chance {chance}; the best constant answer {guess['majority']:.2%}."
    official, strict = scored.totals
    reasons = Counter(outcome.parsed.problem for outcome in scored.outcomes if outcome.parsed.problem)
    unread = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if reason not in UNANSWERED)
    yield f"Unread {_share(_unread(scored), official.n)} of the predictions{f': {unread}' if unread else ''}."
    if official.n < strict.n:
        without = strict.n - official.n
        yield f"{without:,} of {strict.n:,} questions have no prediction: only the strict total counts them."
    size = scored.work.benchmark.size
    if size is not None and size != strict.n:
        yield f"The gold has {strict.n:,} questions of {size:,}: this is no score of the whole benchmark."
    for name, value in figures["figures"].items():
        yield f"{name}: {'not defined' if value is None else f'{value:.4f}'}"


def _troubles(problems: Sequence[Problem]) -> Iterator[str]:
    """What could not be scored as it stands, a sentence for each kind."""
    for reason, sentence in REASONS.items():
        alike = [problem for problem in problems if problem.reason == reason]
        named = ", ".join(p.id or "" if reason == "missing" else _place(p) for p in alike[:SHOWN])
        more = f", and {len(alike) - SHOWN:,} more (the results file lists all)" if len(alike) > SHOWN else ""
        if alike:
            yield f"{sentence}: {len(alike):,}, namely {named}{more}."


def _place(problem: Problem) -> str:
    return problem.where if problem.id is None else f"{problem.id} ({problem.where})"


def _flips(parity: Parity) -> Iterator[str]:
    """Which rows the rules disagree on."""
    flips = parity.flips
    yield f"Rules disagree on {len(flips):,} rows{':' if flips else '.'}"
    for name, rules in list(flips.items())[:SHOWN]:
        yield f"  {name}: right by {', '.join(rules)}"
    if len(flips) > SHOWN:
        yield f"  and {len(flips) - SHOWN:,} more (--json or the results file lists all)"
    for rule, why in parity.unfit.items():
        yield f"{rule} was left out: {why}"


def _unread(scored: Scored) -> int:
    problems = [outcome.parsed.problem for outcome in scored.outcomes]
    return sum(problem is not None and problem not in UNANSWERED for problem in problems)


def _share(count: int, rows: int) -> str:
    return f"{count:,} of {rows:,} ({count / rows:.2%})" if rows else "0 of 0"


def _columns(*names: str) -> Table:
    from rich import box
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        drawn.add_column(_cell(name), justify="right" if name != names[0] else "left")
    return drawn


def _cell(words: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(words, style=style)
