"""What `compare` and `errors` share: they read a run folder, a samples file or predictions to be scored first, and draw
tables."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auscult.commands.arguments import Parser, nearest
from auscult.core.errors import ConfigError, RunError
from auscult.data import rows

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from auscult.core.types import Outcome
    from auscult.evaluate.outcomes import Sheet
    from auscult.evaluate.predictions import Problem

SAMPLES = "samples_"
"""Begins the name of a file of evaluated rows."""
TO_JUDGE = "to_judge.json"
"""What an exam writes in their place where a judge scores."""
PIPE = 160
"""Columns of a table that goes into a file or another program, where no terminal says how wide it is."""
SHOWN = 5
"""Rows of one kind that are named on the terminal; the results file has all."""
REASONS = {
    "torn": "Rows that are no JSON",
    "no_id": "Rows without an id",
    "no_key": "Rows without a prediction",
    "not_text": "Predictions that are no text",
    "no_thinking": "Rows without `thinking_prediction`, which rubrics rate: they count as without a prediction",
    "repeated": "Rows whose id has occurred before, with the same prediction",
    "unknown": "Rows for questions that the benchmark does not have",
    "missing": "Questions without a row",
    "other_gold": "Rows that carry another question or answer than the gold file, so made for another version of it",
    "gold_repeated": "Rows of the gold file whose question has occurred before, word for word: it counts once",
}
"""Problems in words."""
SELECTED = "A selection: the questions that a file of ids named (--only), so this is no score of the whole benchmark."
"""Of rows that were chosen so."""
_TIMED = re.compile(r"(.*)_\d{4}-\d\d-\d\dT[\d.-]+")


def add_options(parser: Parser) -> None:
    """The options that say which rows of a run, and how predictions are scored."""
    parser.add_argument(
        "--label",
        metavar="LABEL",
        help="which samples_LABEL.jsonl of a run folder (default: the last model's, or the benchmark's own rule)",
    )
    parser.add_argument("--benchmark", metavar="NAME", help="benchmark of predictions files, for example mmau")
    parser.add_argument("--gold", metavar="FILE", help="its gold file (default: the predictions carry it)")
    parser.add_argument("--scorer", metavar="NAME", help="rule that scores predictions (default: the benchmark's own)")
    parser.add_argument("--key", metavar="KEY", help="key of the texts in predictions files (default: the usual ones)")


@dataclass(frozen=True, slots=True)
class Read:
    """What was found."""

    file: Path
    """Where it stands."""
    rows: tuple[Outcome, ...]
    """The evaluated rows, at least one."""
    rule: str | None
    """What told right from wrong; None where the file does not say it."""
    only: str | None = None
    """Hash of the file of ids that chose the questions."""
    notes: tuple[str, ...] = ()
    """What else must be known of the rows, in sentences."""

    @property
    def by(self) -> str:
        """The rule, in words."""
        return f"right by {self.rule}" if self.rule else "rule unknown (its rows do not say)"


def file_of(name: str, known: argparse.Namespace) -> Path:
    """The samples file of a run folder that is meant; any other name is a file's own."""
    path = Path(name)
    return _last(path, known.label) if path.is_dir() else path


def read(names: Sequence[str], known: argparse.Namespace) -> list[Read]:
    """The evaluated rows of each name. Raises an AuscultError for what holds none."""
    if known.label and not any(Path(name).is_dir() for name in names):
        raise ConfigError(f"--label {known.label} chooses within a run folder, and none is named; leave it out")
    return [_read(Path(name), known) for name in names]


def _read(path: Path, known: argparse.Namespace) -> Read:
    from auscult.evaluate.outcomes import read_sheet

    if path.is_dir():
        path = _last(path, known.label)
        return _of(path, read_sheet(path))
    if not path.is_file():
        raise ConfigError(f"there is no {path}; give a run folder, a samples_*.jsonl file or a file of predictions")
    if not known.benchmark:
        return _of(path, read_sheet(path))
    from auscult.evaluate import scoring

    work = scoring.work(known.benchmark, path, Path(known.gold) if known.gold else None, known.key or "")
    rule = known.scorer or work.benchmark.scorer
    notes = (*troubles(work.problems), *work.benchmark.caveats(len(work.samples), work.identity))
    rows = work.outcomes(scoring.scorer(rule))
    return Read(path, rows, rule, work.predictions.only, notes)


def _of(path: Path, sheet: Sheet) -> Read:
    """A samples file; where a judge graded it, it is said that its grades are not what is counted."""
    if sheet.judged is None:
        return Read(path, sheet.rows, sheet.rule, sheet.only)
    score = "" if sheet.grade is None else f" ({100 * sheet.grade:.2f})"
    note = (
        f"{path} is graded by {sheet.judged}: counted here is whether answers are right by {sheet.rule}, not that "
        f"score{score}, which stands with its interval in the results file beside it."
    )
    return Read(path, sheet.rows, sheet.rule, sheet.only, (note,))


def troubles(problems: Sequence[Problem]) -> Iterator[str]:
    """What could not be scored as it stands, a sentence for each kind."""
    for reason, sentence in REASONS.items():
        alike = [problem for problem in problems if problem.reason == reason]
        named = ", ".join(p.id or "" if reason == "missing" else _place(p) for p in alike[:SHOWN])
        more = f", and {len(alike) - SHOWN:,} more (the results file of `auscult score` lists all)"
        if alike:
            yield f"{sentence}: {len(alike):,}, namely {named}{more if len(alike) > SHOWN else ''}."


def _place(problem: Problem) -> str:
    return problem.where if problem.id is None else f"{problem.id} ({problem.where})"


def _last(run: Path, label: str | None) -> Path:
    """The samples file called `label`, of equals the newest; else that of the last model, by the order that its results
    say, or of the benchmark's own rule."""
    labels = [path.stem.removeprefix(SAMPLES) for path in sorted(run.glob(f"{SAMPLES}*.jsonl"))]
    if not labels and (run / TO_JUDGE).is_file():
        raise RunError(_unjudged(run))
    if not labels:
        raise RunError(f"{run} holds no {SAMPLES}*.jsonl; evaluate the run first, or name a samples file")
    newest = {timed[1] if (timed := _TIMED.fullmatch(found)) else found: found for found in labels}
    if label and label not in (*labels, *newest):
        raise ConfigError(f"{run} has no {SAMPLES}{label}.jsonl{nearest(label, labels)}; it has {', '.join(newest)}")
    if label:
        return run / f"{SAMPLES}{newest.get(label, label)}.jsonl"
    orders = {found: order for found in labels if (order := _order(run / f"results_{found}.json")) is not None}
    if orders:
        return run / f"{SAMPLES}{max(orders, key=orders.__getitem__)}.jsonl"
    own = [name for name in newest if all(other == name or other.startswith(f"{name}-") for other in newest)]
    if not own:
        raise ConfigError(f"{run} has {', '.join(newest)}, and none is the last; choose one with --label")
    return run / f"{SAMPLES}{newest[own[0]]}.jsonl"


def _unjudged(run: Path) -> str:
    """What to do with an exam whose answers a judge scores."""
    from auscult.core.yaml12 import read_yaml
    from auscult.evaluate.judged import command
    from auscult.rewards.judging.grading import SCALES

    rule, given = read_yaml(run / "config.yaml")["scorer"], rows.load_json(rows.read_text(run / TO_JUDGE), str(run))
    asked = [
        command(
            entry["benchmark"]["name"],
            str(run / entry["predictions"]),
            None if entry["selection"] else entry["benchmark"]["gold"],
            rule,
        )
        for entry in given.values()
    ]
    told = "; then name the samples file that it writes"
    if rule in SCALES and SCALES[rule].highest > 1:
        told = "; its grades are compared by the intervals in its results, for they are neither right nor wrong"
    return f"{run} holds answers that a judge has to score ({rule}): {', or '.join(asked)}{told}"


def _order(results: Path) -> int | None:
    """The place of a model among the run's; None for what is no model's results."""
    if not results.is_file():
        return None
    try:
        found = json.loads(results.read_bytes())
    except ValueError as problem:
        raise RunError(f"{results} is no JSON ({problem}); evaluate again, or choose rows with --label") from problem
    order = found.get("order") if isinstance(found, dict) else None
    return order if isinstance(order, int) else None


def console() -> Console:
    """Stdout; a table in a pipe is not cut at the 80 columns that no terminal has."""
    from rich.console import Console

    found = Console()
    return found if found.is_terminal else Console(width=PIPE)


def columns(corner: str, *headings: str) -> Table:
    """A table whose first column is text and whose others are figures."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(Text(corner))
    for heading in headings:
        table.add_column(Text(heading), justify="right")
    return table


def extent(rows: int, clusters: int, *, one_group: bool) -> str:
    """Of how many rows something is told, and how many of them are independent."""
    return f"{rows:,} rows, " + ("all of one group and taken as independent" if one_group else f"{clusters:,} clusters")


def left_out(labels: Mapping[str, int]) -> str:
    """The labels that sort no rows, in a sentence."""
    named = ", ".join(f"{tag} ({count:,})" for tag, count in labels.items())
    return f"Labels that sort no rows, by number of values: {named}."
