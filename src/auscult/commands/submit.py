"""`auscult submit BENCHMARK PREDICTIONS`: checked, and written as the benchmark wants them sent."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from auscult.commands.arguments import Parser
from auscult.commands.output import several

if TYPE_CHECKING:
    from auscult.evaluate.submission import Submission

SHOWN = 20
"""Faults that are named on the terminal; --json has all."""


def run(command: str, arguments: list[str]) -> int:
    """Writes the file to send; with anything wrong it writes nothing, lists it, and its exit code is 2."""
    parser = Parser(command, "BENCHMARK PREDICTIONS --out FILE [--gold FILE] [--key KEY] [--verbatim] [--json]")
    parser.add_argument("benchmark", metavar="BENCHMARK", help="mmar or mmau")
    parser.add_argument(
        "predictions", metavar="PREDICTIONS", help="JSON, JSON lines (.gz, .zip too) or a samples_*.jsonl file"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="the file to send: .zip for mmar, .json for mmau")
    parser.add_argument(
        "--gold", metavar="FILE", help="the benchmark's questions (default: the predictions carry them)"
    )
    parser.add_argument("--key", default="", metavar="KEY", help="key of the texts (default: the usual ones)")
    parser.add_argument(
        "--verbatim",
        action="store_true",
        help="send mmau replies word for word (default: as the text of the option that they name)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, with all that is wrong")
    if parser.helped(arguments):
        return 0
    known = parser.parse_args(arguments)
    from dataclasses import asdict

    from auscult.core.errors import ConfigError
    from auscult.core.runs import write_bytes
    from auscult.evaluate.submission import ENDINGS, submission

    ending = ENDINGS.get(known.benchmark, "")
    if not known.out.endswith(ending):
        raise ConfigError(f"--out {known.out}: {known.benchmark} is sent as {ending}; name it so")

    gold = Path(known.gold) if known.gold else None
    made = submission(known.benchmark, Path(known.predictions), gold, known.key, verbatim=known.verbatim)
    if made.data is not None:
        write_bytes(Path(known.out), made.data)
    if known.json:
        written = None if made.data is None else known.out
        faults = [asdict(fault) for fault in made.faults]
        counts = {"rows": made.rows, "replaced": made.replaced, "unread": made.unread, "lacks": made.lacks}
        told = {"written": written, **counts, "faults": faults}
        print(json.dumps(told, ensure_ascii=False))
    elif made.data is not None:
        print(f"{known.out}: {several(made.rows, 'row')}")
    for note in _notes(made):
        print(f"auscult: {note}", file=sys.stderr)
    if made.faults:
        if not known.json:
            print("\n".join(map(str, made.faults[:SHOWN])), file=sys.stderr)
        if len(made.faults) > SHOWN and not known.json:
            print(f"and {len(made.faults) - SHOWN:,} more (--json lists all)", file=sys.stderr)
        told = several(len(made.faults), "fault")
        print(f"auscult: {told}, so nothing is written; mend these rows first", file=sys.stderr)
        return 2
    return 0


def _notes(made: Submission) -> Iterator[str]:
    """What must be known of a file that is sent."""
    if made.data is None:
        return
    if made.lacks is not None:
        yield made.lacks
    if made.replaced:
        yield f"replies replaced by the text of the option that they name: {made.replaced:,}"
    if made.unread:
        yield f"replies that name no option and are sent as they are: {made.unread:,}"
