"""`auscult pretrain DATA`: an encoder from recordings or frames alone."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from auscult.commands.arguments import HELP, Parser, option_lines
from auscult.commands.output import quiet
from auscult.core.errors import ConfigError

MEL: dict[str, Any] = {
    "shape": {
        "patch_rows": 16,
        "patch_features": 16,
        "width": 128,
        "layers": 4,
        "heads": 4,
        "decoder_width": 64,
        "decoder_layers": 4,
        "decoder_heads": 4,
        "normalise": True,
    },
    "pretrain": {"window": 496, "batch": 2, "epochs": 80, "learning_rate": 5e-4},
}
"""What is set for recordings: patches of 160 ms by a fifth of the bands (AudioMAE's are as square), windows of 5 s
(those of 2 s taught less in trial runs), two of them a step (with eight a probe gained less in every run: of so little
sound there are then too few steps), and a size that two CPU cores train in minutes. Sets of other frames have the
settings of system 1, which are the fields' defaults."""


def run(command: str, arguments: list[str]) -> int:
    """Pretrains, and says where the encoder is and what it knows."""
    from auscult.core.config import build, parse_overrides
    from auscult.recipe import Pretraining

    parser = Parser(command, "DATA [DATA ...] [--probe DIR] [--out DIR] [--json] [--overwrite] [--key value ...]")
    parser.add_argument(
        "--probe",
        metavar="DIR",
        help="what to probe the encoder on: class folders, or a frame set with labels (default: nothing)",
    )
    parser.add_argument(
        "--ignore", metavar="PATTERN", nargs="*", help="names that are no recordings, such as '*.csv' (default: .*)"
    )
    parser.add_argument("--out", metavar="DIR", help="run folder (default: runs/pretrain)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--overwrite", action="store_true", help="delete what is in the run folder and begin again")
    data, rest = _data([word for word in arguments if word not in HELP])
    known, settings = parser.parse_known_args(rest)
    parser.refuse_misspelt(settings, [field.name for field in fields(Pretraining)])
    overrides = parse_overrides(settings)
    values: dict[str, Any] = {"data": data, **_before(data)}
    values |= {name: getattr(known, name) for name in ("probe", "ignore") if getattr(known, name) is not None}
    if set(HELP) & set(arguments):
        print(f"{parser.format_help()}\nDATA: folders of recordings, one frame set, or a run folder to run again")
        print(f"\nsettings:\n{option_lines(Pretraining, values, overrides)}")
        return 0
    if not data:
        raise ConfigError(
            "pretrain: name the data: folders of recordings, or a frame set (auscult data audioset convert)"
        )
    recipe = build(Pretraining, values, overrides, where="the command line")
    quiet()
    from auscult import encoders, pipeline
    from auscult.console import Reporter

    out = Path(known.out) if known.out else pipeline.folder("pretrain")
    with Reporter() as tell:
        spoken = shlex.join(["auscult", *sys.argv[1:]])
        figures = encoders.run(recipe, out, spoken, tell, say=tell.say, overwrite=known.overwrite)
    if figures:
        if known.json:
            print(json.dumps(figures))
            return 0
        print(figures["encoder"])
        if (loss := figures["loss"]) is not None:
            mean = f"{figures['loss_of_mean']:.3g}"
            print(f"of what is hidden it misses {loss:.3g}; saying the mean of what is seen misses {mean}")
        if figures["probe"]:
            show(figures["probe"])
    return 0


def _data(words: list[str]) -> tuple[list[str], list[str]]:
    """The words before the first flag are data; flags and settings follow."""
    first = next((place for place, word in enumerate(words) if word.startswith("--")), len(words))
    return words[:first], words[first:]


def _before(data: list[str]) -> dict[str, Any]:
    """What is set before the command line: a run's own configuration, or what suits the kind of data."""
    from auscult.core.yaml12 import read_yaml

    if len(data) == 1 and (Path(data[0]) / "config.yaml").is_file():
        return read_yaml(Path(data[0]) / "config.yaml")
    if len(data) == 1 and (Path(data[0]) / "about.json").is_file():
        from auscult.data.frames import FrameSet

        return MEL if FrameSet.open(data[0]).about.kind == "mel" else {}
    return MEL


def show(found: Mapping[str, Any]) -> None:
    """What an encoder knows, as a table."""
    if found.get("metric") == "mAP":
        _show_labels(found)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("", "linear", "nearest neighbours", box=box.SIMPLE_HEAD, pad_edge=False)
    names = {
        "pretrained": "This encoder",
        "random": f"{found['random_encoders']} random ones of its shape",
        "features": "The features themselves",
    }
    for source, title in names.items():
        table.add_row(title, *(_share(found[probe][source]) for probe in ("linear", "knn")))
    console = Console(width=120)
    console.print(table)
    over = found["linear"]["over_random"]
    interval = over["interval"]
    between = "" if interval is None else f" ({interval[0] * 100:+.1f} to {interval[1] * 100:+.1f}, paired)"
    console.print(
        f"{found['clips']} clips of {len(found['classes'])} classes, {found['split']}; chance {found['chance']:.1%}. "
        f"Pretraining taught a linear layer {over['difference'] * 100:+.1f} points{between}.",
        soft_wrap=True,
    )


def _share(told: Mapping[str, Any]) -> str:
    low, high = told["interval"]
    return f"{told['accuracy']:.1%} ({low * 100:.1f} to {high * 100:.1f})"


def _show_labels(found: Mapping[str, Any]) -> None:
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
