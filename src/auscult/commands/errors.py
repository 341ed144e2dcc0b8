"""`auscult errors RUN`: where it is wrong, worst first."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from auscult.commands import outcomes
from auscult.commands.arguments import Parser

if TYPE_CHECKING:
    from rich.table import Table

    from auscult.evaluate.errors import Errors, ErrorSlice


def run(command: str, arguments: list[str]) -> int:
    """Prints a table for each label, or one JSON object; writes the wrong rows where --export says."""
    parser = Parser(
        command, "RUN [--label LABEL] [--by TAG ...] [--export FILE] [--benchmark NAME --gold FILE] [--json]"
    )
    parser.add_argument("run", metavar="RUN", help="a run folder, a samples_*.jsonl file or predictions")
    outcomes.add_options(parser)
    parser.add_argument(
        "--by", nargs="+", default=[], metavar="TAG", help="labels to break down by (default: all that sort rows)"
    )
    parser.add_argument(
        "--export", metavar="FILE", help="write the wrong rows to ask again: ids and questions, no gold answers"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if parser.helped(arguments):
        return 0
    known = parser.parse_args(arguments)
    from auscult.evaluate.errors import errors_of, write_again

    [read] = outcomes.read([known.run], known)
    found = errors_of(read.rows, known.by)
    if known.export:
        count = write_again(Path(known.export), read.rows)
        print(f"auscult: wrote {count:,} rows to ask again to {known.export}", file=sys.stderr)
    if known.json:
        said = {"file": str(read.file), "scorer": read.rule, "only": read.only, "notes": read.notes}
        print(json.dumps({**said, **asdict(found)}, ensure_ascii=False))
    else:
        _show(read, found)
    return 0


def _show(read: outcomes.Read, found: Errors) -> None:
    from rich.text import Text

    console = outcomes.console()
    extent = outcomes.extent(found.total.n, found.total.clusters, one_group=found.one_group)
    console.print(Text(f"{read.file}: {extent}, {read.by}", style="bold"), soft_wrap=True)
    console.print(_table("", [found.total]))
    for tag, parts in found.by.items():
        console.print(_table(f"By {tag}", parts))
    if found.by:
        console.print(Text("Worst first, by the lower end of the interval: what is most surely bad."), soft_wrap=True)
    if found.left_out:
        console.print(Text(outcomes.left_out(found.left_out)), soft_wrap=True)
    if read.only is not None:
        console.print(Text(outcomes.SELECTED), soft_wrap=True)
    for note in read.notes:
        console.print(Text(note), soft_wrap=True)


def _table(corner: str, parts: Sequence[ErrorSlice]) -> Table:
    from rich.text import Text

    from auscult.report.words import between, percent

    table = outcomes.columns(corner, "Rows", "Wrong", "Errors", "95% interval", "Without an answer")
    for part in parts:
        unread = ", ".join(f"{count:,} {reason}" for reason, count in part.unread.items())
        table.add_row(
            Text(part.value or "all rows"),
            *(f"{count:,}" for count in (part.n, part.wrong)),
            percent(part.rate),
            between(part.interval),
            Text(unread),
        )
    return table
