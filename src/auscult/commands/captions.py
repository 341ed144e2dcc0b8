"""`auscult captions df TRAIN`, and what `auscult score captions FILE` does."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from auscult.commands.arguments import Parser

if TYPE_CHECKING:
    from auscult.evaluate.captions import Scored


def run(command: str, arguments: list[str]) -> int:
    """Counts in how many clips each n-gram of the training references occurs, and writes it."""
    parser = Parser(command, "df TRAIN --out FILE [--by KEY] [--json]")
    parser.add_argument("what", choices=["df"], metavar="df")
    parser.add_argument(
        "train",
        metavar="TRAIN",
        help="training references: CSV (caption, or caption_1 ...), or JSON lines (references, or answers)",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="where the document frequencies go (JSON)")
    parser.add_argument("--by", metavar="KEY", help="rows with the same value under KEY are one clip (default: none)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if parser.helped(arguments):
        return 0
    known = parser.parse_args(arguments)
    from auscult.evaluate.captions import read_documents
    from auscult.rewards.captioning.frequencies import Frequencies
    from auscult.rewards.captioning.tokens import tokenize

    documents = read_documents(Path(known.train), known.by)
    tokens = ([tokenize(text) for text in references] for references in documents.references)
    frequencies = Frequencies.of(tokens, known.train, documents.sha256)
    frequencies.write(known.out)
    if known.json:
        counts = {"documents": frequencies.documents, "ngrams": len(frequencies.counts)}
        print(json.dumps({"out": known.out, **counts, "unread": documents.unread}))
    else:
        print(f"{known.out}: {frequencies.documents:,} clips, {len(frequencies.counts):,} n-grams in more than one")
        if documents.unread:
            print(_unread(documents.unread))
    return 0


def _unread(names: Mapping[str, int]) -> str:
    """The columns that say nothing, in a sentence."""
    return f"Not read: {', '.join(f'`{name}` ({count:,} rows)' for name, count in names.items())}."


def score(arguments: list[str]) -> int:
    """Scores a file of captions; `arguments` are those after `auscult score captions`."""
    parser = Parser("score", "captions FILE [--clap MODEL [--media DIR]] [--out DIR] [--json]")
    parser.add_argument(
        "file",
        metavar="FILE",
        help="CSV (caption_predicted, caption_1 ...) or JSON lines (prediction, references); audio for --clap",
    )
    parser.add_argument(
        "--clap", metavar="MODEL", help="a saved CLAP or a hub id: also how well captions fit their recordings"
    )
    parser.add_argument("--media", metavar="DIR", help="folder of the recordings (default: the file's own)")
    parser.add_argument("--out", metavar="DIR", help="folder for results and scores of each caption (default: none)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if parser.helped(arguments):
        return 0
    known = parser.parse_args(arguments)
    from auscult.commands.output import quiet
    from auscult.evaluate import captions
    from auscult.rewards.clap import load

    scored = captions.score(captions.read_captions(Path(known.file), Path(known.media) if known.media else None))
    if known.clap:
        quiet()
        scored = captions.listened(scored, load(known.clap, "auto"))
    if known.out:
        _write(scored, Path(known.out), known.file)
    if known.json:
        print(json.dumps(scored.to_dict(), ensure_ascii=False))
    else:
        _show(scored)
    return 0


def _write(scored: Scored, folder: Path, source: str) -> None:
    from auscult.core.runs import write_json, write_text

    time = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S")
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in scored.samples())
    write_text(folder / f"samples_captions_{time}.jsonl", "".join(lines))
    write_json(folder / f"results_{time}.json", {"source": source, **scored.to_dict()})
    print(f"auscult: wrote {folder}/results_{time}.json and samples_captions_{time}.jsonl", file=sys.stderr)


def _show(scored: Scored) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("metric", "score", box=box.SIMPLE_HEAD, pad_edge=False)
    table.columns[1].justify = "right"
    for name, variant in scored.variants.items():
        value = scored.corpus[name]
        table.add_row(variant, "not computed" if value is None else f"{value:.4f}")
    console = Console()
    console.print(table)
    console.print(f"{len(scored.rows):,} captions, {scored.empty:,} of them empty (scored 0); tokens: PTB, lower case")
    if scored.unread:
        console.print(Text(_unread(scored.unread)), soft_wrap=True)
