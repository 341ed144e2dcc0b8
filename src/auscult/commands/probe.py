"""`auscult probe ENCODER DATA`: what an encoder knows."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from auscult.commands.arguments import Parser
from auscult.commands.output import quiet
from auscult.commands.pretrain import show
from auscult.core.errors import ConfigError


def run(command: str, arguments: list[str]) -> int:
    """Probes, and prints accuracies of classes, or mAP of labels."""
    parser = Parser(
        command,
        "ENCODER DATA [--test FRAMES] [--ignore PATTERN ...] [--out FILE] [--device auto|cpu|cuda] [--seed N] [--json]",
    )
    parser.add_argument("encoder", metavar="ENCODER", help="what was pretrained, such as runs/pretrain/encoder")
    parser.add_argument(
        "data", metavar="DATA", help="folder with one folder of recordings for each class, or a frame set with labels"
    )
    parser.add_argument(
        "--test",
        metavar="FRAMES",
        help="frame set to ask about, DATA being one to learn from (default: a fifth of the recordings of DATA)",
    )
    parser.add_argument(
        "--ignore", metavar="PATTERN", nargs="*", default=[".*"], help="names that are no recordings (default: .*)"
    )
    parser.add_argument("--out", metavar="FILE", help="where the figures go as JSON (default: nowhere)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="where (default: auto)")
    parser.add_argument("--seed", type=int, default=0, help="of the random encoders beside it (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if parser.helped(arguments):
        return 0
    known = parser.parse_args(arguments)
    if not (Path(known.encoder) / "config.json").is_file():
        raise ConfigError(f"probe: {known.encoder} is no encoder; name the folder, such as runs/pretrain/encoder")
    frames = (Path(known.data) / "about.json").is_file()
    if known.test and not frames:
        raise ConfigError(f"probe: --test goes with a frame set, and {known.data} is none; leave it out")
    quiet()
    from auscult.core.runs import write_json

    found = _frames(known) if frames else _folders(known)
    if known.out:
        write_json(known.out, found)
    if known.json:
        print(json.dumps(found))
    else:
        show(found)
    return 0


def _folders(known: Namespace) -> dict[str, Any]:
    from auscult import encoders
    from auscult.console import Reporter
    from auscult.session import device

    with Reporter() as tell:
        where = device(known.device)
        clips = encoders.labelled(Path(known.data), tuple(known.ignore))
        return encoders.probe(Path(known.encoder), clips, known.seed, where, tell)


def _frames(known: Namespace) -> dict[str, Any]:
    from auscult.console import Reporter
    from auscult.data.frames import FrameSet
    from auscult.models.mae import MaskedAutoencoder
    from auscult.session import device
    from auscult.train.frame_probe import divide, probe_frames

    with Reporter() as tell:
        where = device(known.device)
        test = FrameSet.open(known.test) if known.test else None
        exam = divide(FrameSet.open(known.data), test, known.seed)
        model = MaskedAutoencoder.from_pretrained(known.encoder)
        return {"encoder": known.encoder, **probe_frames(model, exam, known.seed, where, tell)}
