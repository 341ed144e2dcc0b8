"""`auscult compare RUN RUN ...`: each run against the first, row by row."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
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
    from auscult.evaluate.described import holds_captions

    parser = Parser(
        command,
        "RUN RUN [RUN ...] [--label LABEL] [--common] [--across-rules] [--gain POINTS] [--rows CELL] [--seed N] "
        "[--benchmark NAME --gold FILE] [--json]",
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folders, samples_*.jsonl files or predictions; the first is A"
    )
    outcomes.add_options(parser)
    parser.add_argument("--common", action="store_true", help="compare the rows that both have (default: refuse)")
    parser.add_argument(
        "--across-rules", action="store_true", help="compare runs that are scored by different rules (default: refuse)"
    )
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
    files = [outcomes.file_of(name, known) for name in known.runs]
    if all(map(holds_captions, files)):
        return _captions(known, files)
    a, *others = outcomes.read(known.runs, known)
    for b in () if known.across_rules else others:
        _refuse_other_rule(a, b)
    found = [
        compare(a.rows, b.rows, seed=known.seed, gain=known.gain / 100, common=known.common, selected=a.only != b.only)
        for b in others
    ]
    totals = corrected([one.total for one in found])
    found = [replace(one, total=total) for one, total in zip(found, totals, strict=True)]
    if known.rows:
        print("".join(f"{name}\n" for name in found[0].rows[known.rows]), end="")
        print("".join(f"auscult: {note}\n" for note in _said(a, others[0])), end="", file=sys.stderr)
    elif known.json:
        print(json.dumps(_told([a, *others], found, known.seed), ensure_ascii=False))
    else:
        for b, one in zip(others, found, strict=True):
            _show(a, b, one, len(found))
    return 0


def _captions(known: Namespace, files: list[Path]) -> int:
    """Compares captions by their mean CIDEr-D."""
    from auscult.evaluate.described import difference, mean, read_described

    if known.rows or known.common or known.benchmark:
        raise ConfigError(
            "compare: captions are neither right nor wrong and are compared on the same clips; leave out --rows, "
            "--common and --benchmark"
        )
    a, *others = [read_described(file) for file in files]
    found = [difference(a, b, known.seed) for b in others]
    runs = [{"file": str(file), **mean(rows)} for file, rows in zip(files, (a, *others), strict=True)]
    if known.json:
        pairs = [{"a": str(files[0]), "b": str(file), **one} for file, one in zip(files[1:], found, strict=True)]
        print(json.dumps({"runs": runs, "seed": known.seed, "comparisons": pairs}, ensure_ascii=False))
    else:
        for b, one in zip(runs[1:], found, strict=True):
            _show_captions(runs[0], b, one)
    return 0


def _show_captions(a: Mapping[str, Any], b: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    from rich.text import Text

    from auscult.report.figures import Rivals
    from auscult.report.words import gain, rivalry, score, scores_between

    pair = Rivals("A", "B", **{key: found[key] for key in ("n", "difference", "interval", "better", "alike", "worse")})
    console, table = outcomes.console(), outcomes.columns("", "A", "B")
    table.add_row("CIDEr-D", score(a["cider_d"]), score(b["cider_d"]))
    table.add_row("95% interval", scores_between(a["interval"]), scores_between(b["interval"]))
    extent = outcomes.extent(pair.n, found["clusters"], one_group=False)
    console.print(Text(f"A  {a['file']}\nB  {b['file']}\n{extent}", style="bold"), soft_wrap=True)
    console.print(table)
    console.print(Text(f"B minus A: {gain(pair.difference)} CIDEr-D. {rivalry(pair)}\n"), soft_wrap=True)


def _refuse_other_rule(a: outcomes.Read, b: outcomes.Read) -> None:
    """Raises ConfigError for runs whose difference would be their rules' too."""
    if None not in (a.rule, b.rule) and a.rule != b.rule:
        raise ConfigError(
            f"{a.file} is right by {a.rule}, {b.file} by {b.rule}, so their difference would be the rules' too; score "
            f"both by one (`auscult score BENCHMARK PREDICTIONS --scorer {a.rule}`), or compare them --across-rules"
        )


def _said(a: outcomes.Read, b: outcomes.Read) -> list[str]:
    """What must be known of the two."""
    notes: list[str] = []
    if a.rule != b.rule and None not in (a.rule, b.rule):
        notes.append(f"A is right by {a.rule} and B by {b.rule}: the difference is the rules' too.")
    if a.only != b.only:
        which = "B" if a.only is None else "A" if b.only is None else "each run"
        notes.append(
            f"A selection: a file of ids chose what {which} was asked (--only). If it holds what the other got wrong, "
            "that one would gain by a second draw too, so there is no interval and no p; ask both the same questions."
        )
    elif a.only is not None:
        notes.append(outcomes.SELECTED)
    return [*notes, *(f"{name}: {note}" for name, run in (("A", a), ("B", b)) for note in run.notes)]


def _told(read: list[outcomes.Read], found: list[Comparison], seed: int) -> dict[str, Any]:
    runs = [
        {"file": str(one.file), "n": len(one.rows), "scorer": one.rule, "only": one.only, "notes": one.notes}
        for one in read
    ]
    comparisons = [
        {"a": str(read[0].file), "b": str(b.file), "notes": _said(read[0], b), **asdict(one)}
        for b, one in zip(read[1:], found, strict=True)
    ]
    return {"runs": runs, "seed": seed, "comparisons": comparisons}


def _show(a: outcomes.Read, b: outcomes.Read, found: Comparison, several: int) -> None:
    from rich.text import Text

    console = outcomes.console()
    total = found.total
    extent = outcomes.extent(total.n, total.clusters, one_group=found.one_group)
    console.print(Text(f"A  {a.file}, {a.by}\nB  {b.file}, {b.by}\n{extent}", style="bold"), soft_wrap=True)
    console.print(_accuracies(found))
    console.print(Text(_verdict(total, several)), soft_wrap=True)
    cells = outcomes.columns("", "B right", "B wrong")
    cells.add_row("A right", *(f"{total.cells[cell]:,}" for cell in ("both_right", "only_a")))
    cells.add_row("A wrong", *(f"{total.cells[cell]:,}" for cell in ("only_b", "both_wrong")))
    console.print(cells)
    for tag in dict.fromkeys(part.tag for part in found.parts):
        console.print(_parts(tag, [part for part in found.parts if part.tag == tag]))
    console.print(Text("\n".join([*_said(a, b), *_notes(found)]) + "\n"), soft_wrap=True)


def _accuracies(found: Comparison) -> Table:
    from auscult.report.words import between, percent

    total, table = found.total, outcomes.columns("", "A", "B")
    table.add_row("Accuracy", *map(percent, total.accuracy))
    table.add_row("95% interval", *map(between, total.intervals))
    table.add_row("No answer", *(f"{sum(unread.values()):,} of {total.n:,}" for unread in found.unread))
    return table


def _verdict(total: PairedSlice, several: int) -> str:
    from auscult.report.words import points

    if total.p is None:
        return f"B minus A: {points(total.difference)} points, of a selection."
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

    notes: list[str] = []
    if found.rows_needed is not None:
        effect = "not measured" if found.design_effect is None else f"{found.design_effect:.2f}"
        notes.append(
            f"A gain of {100 * found.gain:g} points would show on {found.rows_needed:,} rows (80% power; "
            f"{percent(found.discordance)} of the rows are answered by one run only, design effect {effect})."
        )
    if found.parts and found.total.p is not None:
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


def _p(p: float | None) -> str:
    if p is None:
        return "none"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
