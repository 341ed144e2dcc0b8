"""`auscult report RUN`: the page and the table of a run folder."""

from __future__ import annotations

from pathlib import Path

from auscult.commands.arguments import Parser
from auscult.commands.output import show
from auscult.core.errors import ConfigError


def run(command: str, arguments: list[str]) -> int:
    """Writes the page again and prints the table."""
    parser = Parser(command, "RUN [--json]")
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object with all figures")
    if parser.helped(arguments):
        return 0
    known = parser.parse_args(arguments)
    from auscult.report.page import write_page
    from auscult.report.summary import summary

    out = Path(known.run)
    if not (out / "config.yaml").is_file():
        raise ConfigError(f"{out} is no run folder (it has no config.yaml); give one, for example runs/quickstart")
    write_page(out)
    show(out, summary(out), as_json=known.json)
    return 0
