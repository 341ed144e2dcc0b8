"""What `auscult score` does by a judge: the options of its judges, what it costs, and how the score is told."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auscult.commands import outcomes
from auscult.commands.arguments import Parser, option_lines
from auscult.core.errors import ConfigError
from auscult.rewards.judging.options import Judging
from auscult.rewards.judging.prompt import read_prompt, shipped

if TYPE_CHECKING:
    from rich.table import Table

    from auscult.evaluate.benchmark import Benchmark
    from auscult.evaluate.judged import Docket, Judged, Rating
    from auscult.evaluate.predictions import Problem
    from auscult.evaluate.scoring import Work
    from auscult.rewards.judging.agreement import Agreement
    from auscult.rewards.judging.judge import Cost, Judge
    from auscult.rewards.judging.prompt import Prompt

RULES = tuple(shipped())
"""Scorers that are a judge's."""
SECTIONS = ("judge", "second")
HEADINGS = ("official", "right", "strict, all rows", "right", "95% interval", "failed")
"""Of the table."""
OWN = ("model", "prompt_price", "reply_price")
"""Settings of the first judge that the second one does not have unless they are given."""


@dataclass(frozen=True, kw_only=True)
class Judges:
    """Who grades."""

    judge: Judging
    """The judge whose grades are the score."""
    second: Judging | None = None
    """Another one, to see how far two judges agree."""

    def __post_init__(self) -> None:
        if self.second is not None and _identity(self.judge) == _identity(self.second):
            raise ValueError(f"second.model is {self.second.model}, the first judge itself; name another model")


@dataclass(frozen=True)
class Panel:
    """The judges, with their prompt."""

    first: Judge
    """Whose grades are the score."""
    second: Judge | None
    """With whom it is compared."""
    prompt: Prompt
    """What they are told."""
    raters: int | None
    """Judgements of each reply; None is as many as the rule has."""


@dataclass(frozen=True)
class Told:
    """What the judges said."""

    score: Judged
    """The score."""
    second: Judged | None
    """That of the second judge."""
    agreement: Agreement | None
    """How they agree."""

    def to_dict(self, work: Work) -> dict[str, Any]:
        """What a results file holds."""
        from dataclasses import asdict

        by = [breakdown.tag for breakdown in work.benchmark.breakdowns_of(work.samples)]
        figures = self.score.to_dict(by)
        official = work.benchmark.judges.get(self.score.docket.rule, "")
        figures |= work.to_dict(official)
        if self.second is not None and self.agreement is not None:
            figures |= {"second": self.second.to_dict(by), "agreement": asdict(self.agreement)}
        return figures

    @property
    def failed(self) -> int:
        """Rows that a judge failed to grade, of both judges."""
        return sum(row.grade is None for one in (self.score, self.second) if one for row in one.rows)


def add_options(parser: Parser) -> None:
    """The options of a score by a judge."""
    parser.add_argument("--judge", metavar="MODEL", help=f"model that grades, for the scorers {', '.join(RULES)}")
    parser.add_argument(
        "--second-judge", metavar="MODEL", help="another one, for Cohen's kappa; its settings are --second.KEY"
    )
    parser.add_argument("--prompt", metavar="FILE", help="what a judge is told (default: our text for the scorer)")
    parser.add_argument(
        "--raters",
        metavar="N",
        type=int,
        help="judgements of each reply (default: 1; of rubrics 5, as the script has it)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="ask nobody, print what the judgements would cost at most"
    )


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments without a judge's settings (`--judge.url URL`), and those."""
    plain: list[str] = []
    settings: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith(tuple(f"--{section}." for section in SECTIONS)):
            plain.append(word)
            continue
        settings.append(word)
        if "=" not in word and rest and not rest[0].startswith("--"):
            settings.append(rest.pop(0))
    return plain, settings


def settings_help() -> str:
    """The settings of a judge, for --help."""
    lines = option_lines(Judges, {}, {"judge.model": "MODEL"}, ["judge"])
    return f"settings of a judge (those of the second one are --second.KEY, else as the first one's):\n{lines}"


def refuse(known: argparse.Namespace, settings: Sequence[str]) -> None:
    """Raises ConfigError when a judge's options are given and no judge is asked."""
    given = [name for name in ("judge", "second_judge", "prompt", "raters", "dry_run") if getattr(known, name)]
    if given or settings:
        flag = settings[0] if settings else f"--{given[0].replace('_', '-')}"
        raise ConfigError(f"score: {flag} is for scorers that ask a judge; add --scorer {' or '.join(RULES)}")


def panel(known: argparse.Namespace, settings: Sequence[str]) -> Panel:
    """The judges, their caches read. Raises ConfigError for options that cannot be."""
    from auscult.core.config import SHELL, build, parse_overrides
    from auscult.rewards.judging.judge import Judge

    given = parse_overrides(settings)
    for flag, section in (("judge", "judge"), ("second_judge", "second")):
        if (model := getattr(known, flag)) is not None:
            given[f"{section}.model"] = model
    if "judge.model" not in given:
        raise ConfigError(f"score: the scorer {known.scorer} asks a judge; name its model, --judge MODEL")
    if any(key.startswith("second.") for key in given):
        shared = {key.partition(".")[2]: value for key, value in given.items() if key.startswith("judge.")}
        given = {**{f"second.{key}": value for key, value in shared.items() if key not in OWN}, **given}
    if known.raters is not None and known.raters < 1:
        raise ConfigError(f"score: --raters is {known.raters}; give 1 or more")
    judges = build(Judges, {}, given, where=SHELL)
    prompt = read_prompt(known.prompt or known.scorer)
    second = Judge(judges.second, prompt) if judges.second else None
    return Panel(Judge(judges.judge, prompt), second, prompt, known.raters)


def check(benchmark: type[Benchmark], name: str, rule: str) -> None:
    """Raises ConfigError for rubrics where the benchmark has none."""
    if rule == "rubrics" and rule not in benchmark.judges:
        others = ", ".join(other for other in RULES if other != rule)
        raise ConfigError(f"{name} has no rubrics, only mmar has; take one of {others}")


def docket(panel: Panel, work: Work, rule: str) -> tuple[Docket, tuple[Problem, ...]]:
    """What is put to the judges, and which rows cannot be."""
    from pathlib import Path

    from auscult.evaluate import rubrics
    from auscult.evaluate.judged import graded

    if rule != "rubrics":
        return graded(work, rule, panel.prompt, panel.raters or 1), ()
    expected = rubrics.read_expectations(Path(work.benchmark.gold))
    found, silent = rubrics.submitted(work)
    return rubrics.rubrics(work.samples, expected, found, raters=panel.raters or rubrics.RATERS), silent


def estimates(panel: Panel, docket: Docket) -> dict[str, Cost]:
    """What the judgements will cost at most, by model."""
    return {judge.options.model: judge.estimate(docket.calls(judge)) for judge in _judges(panel)}


def ask(panel: Panel, docket: Docket) -> Told:
    """What the judges say. Raises what `Judge.ask` does."""
    from auscult.console import Reporter
    from auscult.evaluate.judged import agreed, score

    scores: list[Judged] = []
    for judge in _judges(panel):
        expected = judge.estimate(docket.calls(judge))
        if not expected.judgements:
            scores.append(score(docket, judge))
            continue
        with Reporter() as tell:
            tell.say(f"auscult: {judge.options.model} is asked for {costing(expected, most=True)}")
            what = f"judged by {judge.options.model}"
            judge.tell = lambda done, total, tell=tell, what=what: tell(what, done, total, {})
            scores.append(score(docket, judge))
    first, second = scores[0], scores[1] if len(scores) > 1 else None
    return Told(first, second, agreed(first, second) if second else None)


def costing(cost: Cost, *, most: bool = False) -> str:
    """A cost in words; `most` says that it is an estimate."""
    up_to, about = ("at most ", "about ") if most else ("", "")
    failed = f" ({cost.failed:,} failed)" if cost.failed else ""
    price = "" if cost.money is None else f", price {up_to}{cost.money:.4g}"
    return (
        f"{cost.judgements:,} judgements{failed}: {about}{cost.prompt_tokens:,} tokens of prompts, "
        f"{up_to}{cost.reply_tokens:,} of answers{price}{', repetitions aside' if most else ''}"
    )


def heading(told: Told) -> str:
    """Who judged."""
    judge = told.score.judge
    return (
        f"{told.score.docket.rule} by {judge['model']} (prompt {judge['prompt']} {judge['prompt_sha256'][:12]}, "
        f"temperature {judge['temperature']}, seed {judge['seed']}, raters {told.score.docket.raters})"
    )


def table(told: Told, work: Work) -> Table:
    """The score by the benchmark's breakdowns; `right` is the accuracy beside it, where replies are right or wrong."""
    from rich.text import Text

    score = told.score
    total = score.summary(score.rows)
    hidden = {"right": "accuracy" not in total, "failed": not total["failed"]}
    headings = [name for name in HEADINGS if not hidden.get(name)]
    drawn = outcomes.columns("", *headings)

    def add(name: str, rows: Sequence[Rating], style: str = "") -> None:
        cells = zip(HEADINGS, _cells(score.summary(rows)), strict=True)
        shown = [cell for heading, cell in cells if heading in headings]
        drawn.add_row(*(Text(cell, style=style) for cell in (name, *shown)))

    for breakdown in work.benchmark.breakdowns_of(work.samples):
        lines = score.sorted(breakdown.tag)
        if lines:
            drawn.add_row(Text(f"{breakdown.title} score", style="bold"))
        for value, rows in lines.items():
            add(value, rows)
    add("Total score", score.rows, "bold")
    return drawn


def words(told: Told) -> Iterator[str]:
    """What stands beside the score."""
    figures = told.score.summary(told.score.rows)
    if figures["no_prediction"]:
        without = f"{figures['no_prediction']:,} of {figures['n']:,} questions"
        yield f"{without} have no prediction: only the strict score counts them."
    if figures["failed"]:
        low, high = figures["between"]
        named = ", ".join(f"{count:,} {reason}" for reason, count in told.score.failures.items())
        rows = f"{figures['failed']:,} rows have no grade ({named})"
        yield f"{rows}, so the strict score lies between {low:.2f} and {high:.2f}."
    for name, count in told.score.docket.counts.items():
        if count:
            yield f"{name}: {count:,}"
    yield f"{costing(told.score.cost)}."
    if told.second is not None and told.agreement is not None:
        found, other = told.agreement, told.second.summary(told.second.rows)
        kappas = {"plain": found.kappa, "linear": found.linear, "quadratic": found.quadratic}
        named = ", ".join(f"{name} {_number(value, 3)}" for name, value in kappas.items())
        yield (
            f"Second judge {told.second.judge['model']}: official {_number(other['official'])}, strict "
            f"{_number(other['score'])}; {costing(told.second.cost)}."
        )
        yield (
            f"Cohen's kappa of the two {named}; alike on {_number(found.observed and 100 * found.observed, 1)} % of "
            f"{found.n:,} scores, {found.ungraded:,} left out because a judgement failed."
        )


def _cells(figures: dict[str, Any]) -> Iterator[str]:
    """One for each of HEADINGS."""
    interval, right = figures["interval"], (figures.get("official_accuracy"), figures.get("accuracy"))
    official, strict = ("" if share is None else f"{share:.2%}" for share in right)
    yield f"{_number(figures['official'])} over {figures['official_n']:,} samples"
    yield official
    yield f"{_number(figures['score'])} over {figures['n']:,}"
    yield strict
    yield "" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"
    yield f"{figures['failed']:,}"


def _number(value: float | None, digits: int = 2) -> str:
    return "none" if value is None else f"{value:.{digits}f}"


def _judges(panel: Panel) -> list[Judge]:
    return [judge for judge in (panel.first, panel.second) if judge is not None]


def _identity(options: Judging) -> tuple[Any, ...]:
    """What the cache tells judges apart by."""
    return options.model, options.seed, options.reply_tokens, repr(options.extra)


def complain(told: Told) -> None:
    """Says on stderr that rows have no grade."""
    print(f"auscult: rows without a grade: {told.failed:,}; the same command asks for them again", file=sys.stderr)
