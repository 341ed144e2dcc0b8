"""`auscult data audioset download | convert | shards | stats`: AudioSet's features, from the network to frame sets."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.commands.arguments import HELP, Parser, nearest
from auscult.core.errors import ConfigError

if TYPE_CHECKING:
    from auscult.data.frames import Lost

USAGES = {
    "download": "DIR [--region us|eu|asia] [--mirror URL] [--lists] [--sha256 HEX] [--json]",
    "convert": "SOURCE --out DIR [--labels CSV] [--only NAME ...] [--unlabelled] [--max-dropped SHARE] [--json]",
    "shards": "FRAMES --out DIR [--size N] [--json]",
    "stats": "FRAMES [--segments CSV --labels CSV] [--show N] [--json]",
}
ABOUT = {
    "download": "fetch AudioSet's features (2.4 GB) and lists; goes on where it was interrupted",
    "convert": "write a frame set for each folder of TFRecords",
    "shards": "write a frame set as WebDataset shards",
    "stats": "check a frame set against its hashes and say what is in it",
}


def run(command: str, arguments: list[str]) -> int:
    """Does what the first of `arguments` says."""
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if verb in HELP:
        print("\n".join(_parser(command, name).format_help() for name in USAGES))
        return 0
    if verb not in USAGES:
        raise ConfigError(
            f"{command} audioset: invalid choice {verb!r}{nearest(verb, USAGES)}; name one of {', '.join(USAGES)}"
        )
    parser = _parser(command, verb)
    if parser.helped(rest):
        return 0
    known = parser.parse_args(rest)
    figures = {"download": _download, "convert": _convert, "shards": _shards, "stats": _stats}[verb](parser, known)
    if known.json:
        print(json.dumps(figures, ensure_ascii=False))
    return 0


def _parser(command: str, verb: str) -> Parser:
    parser = Parser(command, f"audioset {verb} {USAGES[verb]}")
    parser.description = ABOUT[verb]
    if verb == "download":
        parser.add_argument("dir", metavar="DIR", help="folder for the files")
        parser.add_argument("--region", default="us", help="which of Google's copies: us, eu or asia (default: us)")
        parser.add_argument("--mirror", metavar="URL", help="another address that ends in /v1, in place of Google's")
        parser.add_argument("--lists", action="store_true", help="only the CSV lists, not the features")
        parser.add_argument("--sha256", metavar="HEX", help="hash that the features must have (default: the server's)")
    elif verb == "convert":
        parser.add_argument("source", metavar="SOURCE", help="what was downloaded, a folder of .tfrecord, or one file")
        parser.add_argument("--out", required=True, metavar="DIR", help="where the frame sets go, DIR/bal_train ...")
        parser.add_argument("--labels", metavar="CSV", help="names of the labels (default: the list beside SOURCE)")
        parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="folders to take (default: all)")
        parser.add_argument("--unlabelled", action="store_true", help="take records without labels too")
        parser.add_argument(
            "--max-dropped",
            type=float,
            default=0.01,
            metavar="SHARE",
            help="share that may be unusable (default: 0.01)",
        )
    elif verb == "shards":
        parser.add_argument("frames", metavar="FRAMES", help="a frame set")
        parser.add_argument("--out", required=True, metavar="DIR", help="where the shards go")
        parser.add_argument("--size", type=int, default=2048, metavar="N", help="clips of a shard (default: 2048)")
    else:
        parser.add_argument("frames", metavar="FRAMES", help="a frame set")
        parser.add_argument("--segments", metavar="CSV", help="published list to compare it with")
        parser.add_argument("--labels", metavar="CSV", help="names of the labels in that list")
        parser.add_argument("--show", type=int, default=10, metavar="N", help="commonest labels to show (default: 10)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _download(parser: Parser, known: Namespace) -> dict[str, Any]:
    from auscult.console import Reporter
    from auscult.data import audioset
    from auscult.data.download import fetch

    if known.region not in audioset.REGIONS:
        parser.error(f"there is no region {known.region!r}{nearest(known.region, audioset.REGIONS)}")
    home = known.mirror.rstrip("/") if known.mirror else audioset.HOME.format(region=known.region)
    files: list[dict[str, Any]] = []
    with Reporter() as tell:
        for name in audioset.FILES[:-1] if known.lists else audioset.FILES:
            sha256 = known.sha256 if name == audioset.FILES[-1] else None
            found = fetch(f"{home}/{name}", Path(known.dir) / Path(name).name, sha256=sha256, tell=tell)
            files.append(
                {"file": str(found.path), "bytes": found.size, "sha256": found.sha256, "checked": found.checked}
            )
            if not known.json:
                print(f"{found.path}  {found.size:,} bytes, compared: {found.checked}", flush=True)
    if not known.json and not known.lists:
        _say(f"next: auscult data audioset convert {known.dir} --out {known.dir}/frames")
    return {"from": home, "files": files}


def _convert(parser: Parser, known: Namespace) -> dict[str, Any]:
    from auscult.console import Reporter
    from auscult.data.convert import convert

    if not 0 <= known.max_dropped <= 1:
        parser.error(f"--max-dropped is {known.max_dropped}: give a share from 0 to 1")
    with Reporter() as tell:
        made = convert(
            known.source,
            known.out,
            labels=Path(known.labels) if known.labels else None,
            only=known.only,
            labelled=not known.unlabelled,
            max_dropped=known.max_dropped,
            tell=tell,
        )
    if not known.json:
        for one in made:
            beside = f" of {one.published:,} published" if one.published else ""
            print(
                f"{one.path}  {one.clips:,} clips{beside}, {one.frames:,} frames; "
                f"dropped: {_left_out(one.dropped, one.lost)}"
            )
    return {
        "sets": [
            {
                "path": str(one.path),
                "clips": one.clips,
                "frames": one.frames,
                "dropped": dict(one.dropped),
                "lost": asdict(one.lost),
                "published": one.published,
            }
            for one in made
        ]
    }


def _shards(parser: Parser, known: Namespace) -> dict[str, Any]:
    from auscult.console import Reporter
    from auscult.data.shards import write_shards

    if known.size < 1:
        parser.error(f"--size is {known.size}: give at least 1")
    with Reporter() as tell:
        paths = write_shards(known.frames, known.out, size=known.size, tell=tell)
    if not known.json:
        print(f"{known.out}  {len(paths):,} shards, {paths[0].name} to {paths[-1].name}")
    return {"out": known.out, "shards": len(paths), "size": known.size}


def _stats(parser: Parser, known: Namespace) -> dict[str, Any]:
    from auscult.data import audioset
    from auscult.data.frames import FrameSet

    if bool(known.segments) != bool(known.labels):
        parser.error("--segments and --labels go together: the one names labels by what stands in the other")
    found = FrameSet.open(known.frames, check=True)
    listed = None
    if known.segments:
        listed = audioset.missing(found, audioset.read_segments(Path(known.segments), Path(known.labels)))
    figures = {"path": known.frames, **found.figures(), "against_the_list": listed}
    if not known.json:
        _print(figures, known.show)
    return figures


def _print(figures: Mapping[str, Any], show: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from auscult.data.frames import Lost

    sizes = ", ".join(f"{clips:,} of {frames}" for frames, clips in figures["frames_per_clip"].items())
    lines = {
        "clips": f"{figures['clips']:,}, {figures['different_ids']:,} different ids",
        "frames": f"{figures['frames']:,} of {figures['features']} values, {figures['hours']:.1f} h; clips {sizes}",
        "labels": f"{figures['labels_per_clip']:.2f} a clip; {figures['without_labels']:,} clips without any",
        "dropped": _left_out(figures["dropped"], Lost(**figures["lost"])),
    }
    if figures["silent"]:
        lines["silent"] = f"{figures['silent']:,} clips"
    if ends := figures["lowest_and_highest_byte"]:
        lines["cut off"] = f"{ends[0]:.2%} of the values at the lowest, {ends[1]:.2%} at the highest"
    if listed := figures["against_the_list"]:
        lines["list"] = _counts(listed)
    console = Console()
    console.print(Text(f"{figures['path']}: {figures['source'] or 'a frame set'}, as its hashes say"), soft_wrap=True)
    for name, text in lines.items():
        console.print(Text(f"{name:<9}{text}"), soft_wrap=True)
    if figures["labels"] and show > 0:
        table = Table("label", "clips", box=box.SIMPLE_HEAD, pad_edge=False)
        table.columns[1].justify = "right"
        for label, count in list(figures["labels"].items())[:show]:
            table.add_row(Text(label), f"{count:,}")
        console.print(table)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "nothing"


def _left_out(counts: Mapping[str, int], lost: Lost) -> str:
    """What a set lacks, in words: what was counted, and what could not be."""
    said = [_counts(counts)]
    if lost.bytes:
        said.append(f"{lost.bytes:,} bytes of files are lost with it, about {lost.clips:,} clips more")
    if "torn" in counts:
        said.append("a torn file ends too early, and nobody knows what followed")
    return "; ".join(said)


def _say(text: str) -> None:
    print(f"auscult: {text}", file=sys.stderr)
