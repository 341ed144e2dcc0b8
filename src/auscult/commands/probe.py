"""`auscult probe ENCODER FOLDER`: what an encoder knows."""

from __future__ import annotations

import json
from pathlib import Path

from auscult.commands.arguments import Parser
from auscult.commands.output import quiet
from auscult.core.errors import ConfigError


def run(command: str, arguments: list[str]) -> int:
    """Probes, and prints the accuracies."""
    parser = Parser(
        command, "ENCODER FOLDER [--ignore PATTERN ...] [--out FILE] [--device auto|cpu|cuda] [--seed N] [--json]"
    )
    parser.add_argument("encoder", metavar="ENCODER", help="what was pretrained, such as runs/pretrain/encoder")
    parser.add_argument("folder", metavar="FOLDER", help="folder with one folder of recordings for each class")
    parser.add_argument(
        "--ignore", metavar="PATTERN", nargs="*", default=[".*"], help="names that are no recordings (default: .*)"
    )
    parser.add_argument("--out", metavar="FILE", help="where the figures go as JSON (default: nowhere)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="where (default: auto)")
    parser.add_argument("--seed", type=int, default=0, help="of the random encoder beside it (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if parser.helped(arguments):
        return 0
    known = parser.parse_args(arguments)
    if not (Path(known.encoder) / "config.json").is_file():
        raise ConfigError(f"probe: {known.encoder} is no encoder; name the folder, such as runs/pretrain/encoder")
    quiet()
    from auscult import encoders, pipeline
    from auscult.commands.pretrain import show
    from auscult.console import Reporter
    from auscult.core.runs import write_json

    with Reporter() as tell:
        where = pipeline.device(known.device)
        clips = encoders.labelled(Path(known.folder), tuple(known.ignore))
        found = encoders.probe(Path(known.encoder), clips, known.seed, where, tell)
    if known.out:
        write_json(known.out, found)
    if known.json:
        print(json.dumps(found))
    else:
        show(found)
    return 0
