"""`auscult compare RUN RUN ...`: each run against the first, row by row."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from auscult.commands import outcomes
from auscult.commands.arguments import Parser
from auscult.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from auscult.evaluate.comparison import Comparison, PairedSlice


def run(command: str, arguments: list[str]) -> int:
    """Compares and prints tables, the ids of one cell, or one JSON object with everything."""
    from auscult.evaluate.comparison import CELLS, compare, corrected

    parser = Parser(
        command,
        "RUN RUN [RUN ...] [--label LABEL] [--common] [--gain POINTS] [--rows CELL] [--seed N] "
        "[--benchmark NAME --gold FILE] [--json]",
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folders, samples_*.jsonl files or predictions; the first is A"
    )
    outcomes.add_options(parser)
    parser.add_argument("--common", action="store_true", help="compare the rows that both have (default: refuse)")
    parser.add_argument(
        "--gain", type=float, default=2.0, metavar="POINTS", help="gain to plan rows for, points (default: 2)"
    )
    parser.add_argument(
        "--rows", choices=CELLS.values(), metavar="CELL", help=f"print only the ids of {', '.join(CELLS.values())}"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with the ids of all cells")
    if parser.helped(arguments):
        return 0
    known = parser.parse_args(arguments)
    if len(known.runs) < 2 or (known.rows and len(known.runs) > 2):
        wanted = "two runs" if known.rows else "at least two runs"
        raise ConfigError(f"compare: {wanted} are needed, and {len(known.runs)} given; name them one after another")
    if not 0 < known.gain < 100:
        raise ConfigError(f"compare: --gain is {known.gain:g} points; give more than 0 and less than 100")
    if known.rows and known.json:
        raise ConfigError("compare: --rows prints ids, one a line; leave it out, --json has the ids of all cells")
    a, *others = outcomes.read(known.runs, known)
    found = [compare(a.rows, b.rows, seed=known.seed, gain=known.gain / 100, common=known.common) for b in others]
    totals = corrected([one.total for one in found])
    found = [replace(one, total=total) for one, total in zip(found, totals, strict=True)]
    if known.rows:
        print("".join(f"{name}\n" for name in found[0].rows[known.rows]), end="")
    elif known.json:
        print(json.dumps(_told([a, *others], found, known.seed), ensure_ascii=False))
    else:
        for b, one in zip(others, found, strict=True):
            _show(a, b, one, len(found))
    return 0


def _told(read: list[outcomes.Read], found: list[Comparison], seed: int) -> dict[str, Any]:
    runs = [{"file": str(one.file), "n": len(one.rows), "unparsed": _unread(one)} for one in read]
    comparisons = [
        {"a": str(read[0].file), "b": str(b.file), **asdict(one)} for b, one in zip(read[1:], found, strict=True)
    ]
    return {"runs": runs, "seed": seed, "comparisons": comparisons}


def _unread(run: outcomes.Read) -> dict[str, int]:
    return dict(Counter(row.parsed.problem for row in run.rows if row.parsed.problem).most_common())


def _show(a: outcomes.Read, b: outcomes.Read, found: Comparison, several: int) -> None:
    from rich.text import Text

    console = outcomes.console()
    total = found.total
    extent = outcomes.extent(total.n, total.clusters, one_group=found.one_group)
    console.print(Text(f"A  {a.file}\nB  {b.file}\n{extent}", style="bold"), soft_wrap=True)
    console.print(_accuracies(total, a, b))
    console.print(Text(_verdict(total, several)), soft_wrap=True)
    cells = outcomes.columns("", "B right", "B wrong")
    cells.add_row("A right", *(f"{total.cells[cell]:,}" for cell in ("both_right", "only_a")))
    cells.add_row("A wrong", *(f"{total.cells[cell]:,}" for cell in ("only_b", "both_wrong")))
    console.print(cells)
    for tag in dict.fromkeys(part.tag for part in found.parts):
        console.print(_parts(tag, [part for part in found.parts if part.tag == tag]))
    console.print(Text("\n".join(_notes(found)) + "\n"), soft_wrap=True)


def _accuracies(total: PairedSlice, a: outcomes.Read, b: outcomes.Read) -> Table:
    from auscult.report.words import between, percent

    table = outcomes.columns("", "A", "B")
    table.add_row("Accuracy", *map(percent, total.accuracy))
    table.add_row("95% interval", *map(between, total.intervals))
    table.add_row("No answer", *(f"{sum(_unread(run).values()):,} of {len(run.rows):,}" for run in (a, b)))
    return table


def _verdict(total: PairedSlice, several: int) -> str:
    from auscult.report.words import points

    said = f"B minus A: {points(total.difference)} points, 95% interval {_interval(total)}. "
    holm = f", after Holm for {several} runs {_p(total.p_holm)}" if several > 1 else ""
    return f"{said}p by clusters {_p(total.p)}{holm}; by rows (McNemar, exact) {_p(total.mcnemar_p)}."


def _parts(tag: str, parts: list[PairedSlice]) -> Table:
    from rich.text import Text

    from auscult.report.words import percent, points

    table = outcomes.columns(f"By {tag}", "Rows", "A", "B", "B minus A", "95% interval", "Only A", "Only B", "p (Holm)")
    for part in parts:
        table.add_row(
            Text(part.value),
            f"{part.n:,}",
            *map(percent, part.accuracy),
            points(part.difference),
            _interval(part),
            *(f"{part.cells[cell]:,}" for cell in ("only_a", "only_b")),
            _p(part.p_holm),
        )
    return table


def _notes(found: Comparison) -> list[str]:
    from auscult.report.words import percent

    effect = "not measured" if found.design_effect is None else f"{found.design_effect:.2f}"
    planned = (
        f"A gain of {100 * found.gain:g} points would show on {found.rows_needed:,} rows (80% power; "
        f"{percent(found.discordance)} of the rows are answered by one run only, design effect {effect})."
    )
    notes = [planned]
    if found.parts:
        notes.append(
            f"p (Holm) is corrected for being one of {len(found.parts):,} lines, those of all tables together."
        )
    if found.left_out:
        notes.append(outcomes.left_out(found.left_out))
    if any(found.unpaired):
        notes.append(f"Not compared: {found.unpaired[0]:,} rows only in A, {found.unpaired[1]:,} only in B.")
    if found.reworded:
        notes.append(f"{found.reworded:,} questions read differently in A and B, with the same gold answer.")
    return notes


def _interval(part: PairedSlice) -> str:
    from auscult.report.words import points

    return "not measured" if part.interval is None else f"{points(part.interval[0])} to {points(part.interval[1])}"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
