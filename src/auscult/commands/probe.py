"""`auscult probe ENCODER DATA`: what an encoder knows."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auscult.commands.arguments import Parser
from auscult.commands.output import quiet
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
    elif frames:
        show_labels(found)
    else:
        from auscult.commands.pretrain import show

        show(found)
    return 0


def _folders(known: Namespace) -> dict[str, Any]:
    from auscult import encoders, pipeline
    from auscult.console import Reporter

    with Reporter() as tell:
        where = pipeline.device(known.device)
        clips = encoders.labelled(Path(known.data), tuple(known.ignore))
        return encoders.probe(Path(known.encoder), clips, known.seed, where, tell)


def _frames(known: Namespace) -> dict[str, Any]:
    from auscult import pipeline
    from auscult.console import Reporter
    from auscult.data.frames import FrameSet
    from auscult.models.mae import MaskedAutoencoder
    from auscult.train.frame_probe import divide, probe_frames

    with Reporter() as tell:
        where = pipeline.device(known.device)
        test = FrameSet.open(known.test) if known.test else None
        exam = divide(FrameSet.open(known.data), test, known.seed)
        model = MaskedAutoencoder.from_pretrained(known.encoder)
        return {"encoder": known.encoder, **probe_frames(model, exam, known.seed, where, tell)}


def show_labels(found: Mapping[str, Any]) -> None:
    """What an encoder knows of the labels of a frame set, as a table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("mAP", "linear", "nearest neighbours", box=box.SIMPLE_HEAD, pad_edge=False)
    names = {"pretrained": "This encoder", "random": "Random ones of its shape", "features": "The mean frame"}
    for source, title in names.items():
        rows = [found[probe][source] for probe in ("linear", "knn")]
        table.add_row(title, *(f"{row['map']:.4f}{_reach(row['interval'], '.4f')}" for row in rows))
    console = Console(width=120)
    console.print(table)
    over, clips, labels = found["linear"]["over_random"], found["clips"], found["labels"]
    left = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in found["left_out"].items() if count)
    console.print(
        f"Learnt on {clips['learnt']:,} clips, asked about {clips['asked']:,} ({found['asked_on']}), {labels['asked']} "
        f"of {labels['all']} labels occurring there{f'; left out: {left}' if left else ''}. "
        f"Chance {found['chance']:.4f}. "
        f"Pretraining taught a linear layer {over['difference']:+.4f}{_reach(over['interval'], '+.4f')}.",
        soft_wrap=True,
    )


def _reach(interval: tuple[float, float] | None, digits: str) -> str:
    return "" if interval is None else f" ({interval[0]:{digits}} to {interval[1]:{digits}})"
