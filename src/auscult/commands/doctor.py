"""`auscult doctor`: what this machine can do."""

from __future__ import annotations

import json

from auscult.commands.arguments import Parser


def run(command: str, arguments: list[str]) -> int:
    """Looks; its exit code is 2 where something needed is missing."""
    parser = Parser(command, "[--json]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if parser.helped(arguments):
        return 0
    known = parser.parse_args(arguments)
    from dataclasses import asdict

    from auscult.doctor import examine

    checks = examine()
    if known.json:
        print(json.dumps({check.name: asdict(check) for check in checks}))
    else:
        for check in checks:
            mark, advice = ("ok", "") if check.good else ("no", f" - {check.advice}")
            print(f"{mark}  {check.name:<14} {check.found}{advice}")
    return 0 if all(check.good or check.optional for check in checks) else 2
