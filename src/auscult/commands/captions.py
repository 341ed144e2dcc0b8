"""`auscult captions df TRAIN`, and what `auscult score captions FILE` does."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from auscult.commands.arguments import Parser, nearest
from auscult.commands.output import several
from auscult.core.errors import ConfigError

if TYPE_CHECKING:
    from auscult.evaluate.captions import Scored

JAVA = ("meteor", "spice", "spider")
"""Metrics of captions that need it, SPIDEr being the mean of SPICE and CIDEr-D."""
MODELS = {"clap": "MODEL", "sbert": "MODEL", "fense": "DETECTOR"}
"""Scorers that want a model, and what that is called in usage."""


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
        said = {"unread": documents.unread, "blank_references": documents.blank, "repeated": documents.repeated}
        print(json.dumps({"out": known.out, **counts, **said}))
    else:
        print(f"{known.out}: {frequencies.documents:,} clips, {len(frequencies.counts):,} n-grams in more than one")
        if documents.unread:
            print(_unread(documents.unread))
        if documents.blank:
            print(_blank(documents.blank))
    for name, clips in documents.repeated.items():
        print(
            f"auscult: `{name}` names {clips:,} clips in {frequencies.documents:,} rows, and each row counts as a clip "
            f"of its own; if its rows are captions of one clip, add --by {name}",
            file=sys.stderr,
        )
    return 0


def _blank(count: int) -> str:
    """The cells that are no references, in a sentence."""
    return f"Empty cells among the references, which are none: {count:,}."


def _unread(names: Mapping[str, int]) -> str:
    """The columns that say nothing, in a sentence."""
    return f"Not read: {', '.join(f'`{name}` ({count:,} rows)' for name, count in names.items())}."


def score(arguments: list[str]) -> int:
    """Scores a file of captions; `arguments` are those after `auscult score captions`."""
    parser = Parser(
        "score",
        "captions FILE [--scorer NAME] [--clap MODEL [--media DIR]] [--sbert MODEL [--fense DETECTOR]] [--out DIR] "
        "[--json]",
    )
    parser.description = "captions by BLEU, ROUGE-L and CIDEr-D against their references, and by models that you name"
    parser.add_argument(
        "file",
        metavar="FILE",
        help="CSV (caption_predicted, caption_1 ...) or JSON lines (prediction, references); audio for --clap",
    )
    parser.add_argument(
        "--clap", metavar="MODEL", help="a saved CLAP or a hub id: also how well captions fit their recordings"
    )
    parser.add_argument(
        "--sbert", metavar="MODEL", help="a model of sentences or a hub id: also how near captions come in meaning"
    )
    parser.add_argument(
        "--fense", metavar="DETECTOR", help="a converted detector of errors: also FENSE, by it and the model of --sbert"
    )
    parser.add_argument(
        "--scorer",
        metavar="NAME",
        action="append",
        default=[],
        help="tell only bleu_1 ... bleu_4, rouge_l, cider_d, clap, sbert or fense; again for more (default: all)",
    )
    parser.add_argument("--media", metavar="DIR", help="folder of the recordings (default: the file's own)")
    parser.add_argument("--out", metavar="DIR", help="folder for results and scores of each caption (default: none)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if parser.helped(arguments):
        return 0
    _refuse_java([word.removeprefix("--") for word in arguments if word.startswith("--")])
    known = parser.parse_args(arguments)
    _check(known)
    from auscult.evaluate import captions

    scored = captions.score(captions.read_captions(Path(known.file), Path(known.media) if known.media else None))
    scored = _by_models(scored, known)
    if known.scorer:
        scored = captions.among(scored, known.scorer)
    if known.out:
        _write(scored, Path(known.out), known.file)
    if known.json:
        print(json.dumps(scored.to_dict(), ensure_ascii=False))
    else:
        _show(scored)
    return 0


def _refuse_java(names: Sequence[str]) -> None:
    """Raises ConfigError for the metrics of captions that are not here."""
    for name in names:
        if name.partition("=")[0].lower() in JAVA:
            raise ConfigError(
                f"score captions: {name} needs Java and word lists of its own, so it is not here; take cider_d, or "
                "--sbert MODEL and --fense DETECTOR, or score the file with aac-metrics"
            )


def _check(known: argparse.Namespace) -> None:
    """Raises ConfigError for metrics that cannot be had."""
    from auscult.evaluate.captions import METRICS

    if known.fense and not known.sbert:
        raise ConfigError("score captions: FENSE starts from a model of sentences; name it with --sbert MODEL")
    _refuse_java(known.scorer)
    names = [*METRICS, *MODELS]
    for name in known.scorer:
        if name not in names:
            raise ConfigError(f"score captions: there is no scorer {name!r}{nearest(name, names)}; see --help")
        if name in MODELS and not getattr(known, name):
            raise ConfigError(f"score captions: {name} is a model's; name it with --{name} {MODELS[name]}")


def _by_models(scored: Scored, known: argparse.Namespace) -> Scored:
    """The score with what the models say that are named."""
    from auscult.commands.output import quiet
    from auscult.evaluate import captions
    from auscult.rewards import clap, fense, sbert

    for flag in MODELS:
        name = getattr(known, flag)
        if name and len(Path(name).parts) == 1 and not Path(name).exists():  # of two parts it may be a hub id
            raise ConfigError(
                f"score captions: --{flag} {name}: there is no such folder; name one, or a hub id (OWNER/NAME)"
            )
    if known.clap or known.sbert:
        quiet()
    if known.clap:
        scored = captions.listened(scored, clap.load(known.clap, "auto"))
    if known.sbert:
        scored = captions.resembling(scored, sbert.load(known.sbert, "auto"))
    if known.fense:
        scored = captions.resembling(scored, fense.load(known.sbert, known.fense, "auto"))
    return scored


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
    console.print(
        f"{several(len(scored.rows), 'caption')}, {scored.empty:,} of them empty (scored 0); tokens: PTB, lower case"
    )
    if scored.blank:
        console.print(_blank(scored.blank))
    if scored.unread:
        console.print(Text(_unread(scored.unread)), soft_wrap=True)
    for name, (clips, first) in scored.repeated.items():
        among = f"{several(clips, 'clip')} in {len(scored.rows):,} rows, {first} more than once"
        console.print(Text(f"`{name}` names {among}: each row counts."), soft_wrap=True)
