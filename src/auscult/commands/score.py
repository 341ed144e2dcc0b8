"""`auscult score BENCHMARK PREDICTIONS`: somebody's predictions by the official rule, by all rules, or by a judge."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.commands import judged, outcomes
from auscult.commands.arguments import HELP, Parser, nearest
from auscult.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from auscult.core.types import Outcome
    from auscult.evaluate.predictions import Problem
    from auscult.evaluate.scoring import Line, Parity, Scored, Work

ALL = "all"
"""As a scorer: every one."""


def run(command: str, arguments: list[str]) -> int:
    """Scores, prints and writes the files."""
    if arguments[:1] == ["captions"]:
        from auscult.commands import captions

        return captions.score(arguments[1:])
    from auscult.evaluate import scoring
    from auscult.evaluate.benchmark import PLUGIN

    plain, settings = judged.split(arguments)
    parser = Parser(
        command,
        "BENCHMARK PREDICTIONS [--gold FILE] [--scorer NAME|all] [--key KEY] [--judge MODEL [--judge.KEY value ...]] "
        "[--out DIR] [--json]",
    )
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
        help=f"one of {', '.join(scoring.SCORERS.names())}; or all, to compare them; or, by a judge, "
        f"{', '.join(judged.RULES)} (default: the benchmark's own)",
    )
    parser.add_argument(
        "--key", metavar="KEY", default="", help="key of the predictions (default: model_output, model_prediction, ...)"
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the files (default: runs/score-BENCHMARK)")
    judged.add_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object with all figures")
    if set(HELP) & set(arguments):
        print(f"{parser.format_help()}\n{judged.settings_help()}")
        return 0
    known = parser.parse_args(plain)
    if known.scorer in judged.RULES:
        return _judge(known, settings)
    if known.scorer not in (None, ALL):  # a wrong name is said before files are read
        if known.scorer not in (names := scoring.SCORERS.names()):
            near = nearest(known.scorer, [*names, *judged.RULES, ALL])
            raise ConfigError(f"there is no scorer {known.scorer!r}{near}; score --help lists them")
        scoring.scorer(known.scorer)
    judged.refuse(known, settings)
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
    own = work.benchmark.scorer
    writers: dict[str, Callable[[Path], None]] = {
        known.benchmark if rule == own else f"{known.benchmark}-{rule}": _writer(scored)
        for rule, scored in scores.items()
    }
    files = _write(out, writers, figures, work.problems)
    if known.json:
        print(json.dumps({**figures, "files": files}, ensure_ascii=False))
        return 0
    _print(next(iter(scores.values())), parity, files)
    return 0


def _judge(known: argparse.Namespace, settings: Sequence[str]) -> int:
    """Scores by a judge; the exit code is 2 when there are rows that it failed to grade."""
    from auscult.evaluate import benchmark, scoring
    from auscult.evaluate.judged import write_ratings

    judged.check(benchmark.find(known.benchmark), known.benchmark, known.scorer)
    panel = judged.panel(known, settings)
    gold = Path(known.gold) if known.gold else None
    work = scoring.work(known.benchmark, Path(known.predictions), gold, key=known.key, judged=True)
    docket, silent = judged.docket(panel, work, known.scorer)
    if known.dry_run:
        costs = judged.estimates(panel, docket)
        lines = [f"{model}: {judged.costing(cost, most=True)}" for model, cost in costs.items()]
        print(json.dumps({model: asdict(cost) for model, cost in costs.items()}) if known.json else "\n".join(lines))
        return 0
    work = replace(work, problems=(*work.problems, *silent))
    told = judged.ask(panel, docket)
    named = {"": told.score, "-second": told.second}
    writers: dict[str, Callable[[Path], None]] = {
        f"{known.benchmark}-{known.scorer}{name}": lambda path, rows=one.rows: write_ratings(
            path, rows, known.scorer, work.predictions.only
        )
        for name, one in named.items()
        if one is not None
    }
    figures = told.to_dict(work)
    files = _write(Path(known.out or f"runs/score-{known.benchmark}"), writers, figures, work.problems)
    if known.json:
        print(json.dumps({**figures, "files": files}, ensure_ascii=False))
    else:
        console = outcomes.console()
        console.print(_cell(f"{_identity(work)}, {judged.heading(told)}", "bold"), soft_wrap=True)
        console.print(judged.table(told, work))
        _say(console, (*judged.words(told), *outcomes.troubles(work.problems), *files))
    if told.failed:
        judged.complain(told)
    return 2 if told.failed else 0


def _writer(scored: Scored) -> Callable[[Path], None]:
    from auscult.evaluate.outcomes import write_outcomes

    return lambda path: write_outcomes(path, scored.outcomes, rule=scored.rule, only=scored.work.predictions.only)


def _write(
    out: Path, writers: Mapping[str, Callable[[Path], None]], figures: Mapping[str, Any], problems: Sequence[Problem]
) -> list[str]:
    """The samples under each label, then the results; where they are."""
    from auscult.core.runs import write_json

    time = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
    files: list[Path] = []
    for label, write in writers.items():
        files.append(out / f"samples_{label}_{time}.jsonl")
        write(files[-1])
    rows = [{"reason": problem.reason, "where": problem.where, "id": problem.id} for problem in problems]
    files.append(out / f"results_{time}.json")
    write_json(files[-1], {"time": time, **figures, "problem_rows": rows})
    return [str(file) for file in files]


def _print(scored: Scored, parity: Parity | None, files: Sequence[str]) -> None:
    console = outcomes.console()
    console.print(_cell(f"{_identity(scored.work)}, scored by {scored.rule}", "bold"), soft_wrap=True)
    console.print(_score_table(scored))
    _say(console, (*_words(scored), *outcomes.troubles(scored.work.problems)))
    if parity is not None:
        console.print(_parity_table(parity))
        _say(console, _flips(parity))
    _say(console, files)


def _say(console: Console, sentences: Iterable[str]) -> None:
    for sentence in sentences:
        console.print(_cell(sentence), soft_wrap=True)


def _identity(work: Work) -> str:
    """Of what it is a score."""
    identity = work.identity
    unknown = f"a file that is not known (sha256 {(identity['gold_sha256'] or '')[:12]})"
    own = identity["gold"] == str(work.predictions.path)
    version = identity["version"] or ("gold as the predictions carry it" if own else unknown)
    return f"{identity['title']}, {version}"


def _score_table(scored: Scored) -> Table:
    drawn = outcomes.columns("", "official", "strict, all rows", "95% interval")
    for official, strict in zip(scored.official, scored.strict, strict=True):
        drawn.add_row(_cell(f"{strict.breakdown.title} accuracy", "bold"))
        over = {line.name: line for line in official.lines}
        for line in strict.lines:
            alike = [one for one in scored.outcomes if one.tags.get(strict.breakdown.tag) == line.name]
            drawn.add_row(*_line(line.name, over.get(line.name), line), _interval(alike, scored.outcomes))
    official, strict = scored.totals
    drawn.add_row(*_line("Total accuracy", official, strict, "bold"), _interval(scored.outcomes, scored.outcomes))
    return drawn


def _line(name: str, official: Line | None, strict: Line, style: str = "") -> Iterator[Text]:
    yield _cell(name, style)
    yield _cell(f"{official.percent:.2f}% over {official.n} samples" if official else "")
    yield _cell(f"{strict.percent:.2f}% over {strict.n}" if strict.n else "-")


def _interval(rows: Sequence[Outcome], of: Sequence[Outcome]) -> Text:
    """Of the strict accuracy of some rows of all, by cluster, as the results file has it."""
    from auscult.evaluate.outcomes import proportion

    if not rows:
        return _cell("")
    low, high = proportion(rows, of)["interval"]
    return _cell(f"{low * 100:.1f} to {high * 100:.1f}")


def _parity_table(parity: Parity) -> Table:
    from auscult.evaluate.scoring import disagreements

    own = next(iter(parity.scores.values()))
    drawn = outcomes.columns("rule", "official", "strict, all rows", "unread", f"differs from {own.rule}")
    for rule, scored in parity.scores.items():
        official, strict = scored.totals
        drawn.add_row(
            *_line(rule, official, strict),
            _cell(_share(_unread(scored), official.n)),
            _cell(f"{disagreements(own, scored)} rows"),
        )
    return drawn


def _words(scored: Scored) -> Iterator[str]:
    """What stands beside the score."""
    from auscult.evaluate.labels import labels_of
    from auscult.evaluate.predictions import UNGIVEN

    figures = scored.to_dict()
    error, guess = figures["cr2_se"], figures["baselines"]
    if error is not None:
        yield f"Standard error {error * 100:.2f} points, clustered by {figures['clusters']:,} groups (CR2)."
    elif figures["clusters"] == 1:
        yield "All rows are of one group; the intervals take them as independent."
    chance = "not defined" if guess["chance"] is None else f"{guess['chance']:.2%}"
    majority = "not defined" if guess["majority"] is None else f"{guess['majority']:.2%}"
    yield f"Chance {chance}; always one answer, or one option place{_tasks(scored)}, at best {majority}."
    official, strict = scored.totals
    reasons = Counter(outcome.parsed.problem for outcome in scored.outcomes if outcome.parsed.problem)
    unread = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if reason not in UNGIVEN)
    yield f"Unread {_share(_unread(scored), official.n)} of the predictions{f': {unread}' if unread else ''}."
    if official.n < strict.n:
        without = strict.n - official.n
        yield f"{without:,} of {strict.n:,} questions have no prediction: only the strict total counts them."
    benchmark, known = scored.work.benchmark, {**scored.work.identity, "version": "said above"}
    yield from benchmark.caveats(strict.n, known)
    for table in scored.strict:
        if not any(line.n for line in table.lines):
            yield f"No question has a `{table.breakdown.tag}`: is this the gold file of {scored.work.benchmark.title}?"
    if not scored.work.benchmark.breakdowns and (left := labels_of(scored.outcomes).left_out):
        yield outcomes.left_out(left)
    for name, value in figures["figures"].items():
        yield f"{name}: {'not defined' if value is None else f'{value:.4f}'}"


def _tasks(scored: Scored) -> str:
    """For what the constant guess is chosen, where it is not one for all questions."""
    return " in each task" if len({outcome.tags.get("task") for outcome in scored.outcomes}) > 1 else ""


def _flips(parity: Parity) -> Iterator[str]:
    """Which rows the rules disagree on."""
    flips = parity.flips
    yield f"Rules disagree on {len(flips):,} rows{':' if flips else '.'}"
    for name, rules in list(flips.items())[: outcomes.SHOWN]:
        yield f"  {name}: right by {', '.join(rules)}"
    if len(flips) > outcomes.SHOWN:
        yield f"  and {len(flips) - outcomes.SHOWN:,} more (--json or the results file lists all)"
    for rule, why in parity.unfit.items():
        yield f"{rule} was left out: {why}"


def _unread(scored: Scored) -> int:
    from auscult.evaluate.predictions import UNGIVEN

    problems = [outcome.parsed.problem for outcome in scored.outcomes]
    return sum(problem is not None and problem not in UNGIVEN for problem in problems)


def _share(count: int, rows: int) -> str:
    return f"{count:,} of {rows:,} ({count / rows:.2%})" if rows else "0 of 0"


def _cell(words: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(words, style=style)
