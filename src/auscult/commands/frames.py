"""`auscult data frames AUDIO --out DIR`: a frame set from recordings, log-mel or, with weights, VGGish's features."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.commands.arguments import Parser
from auscult.commands.output import quiet

if TYPE_CHECKING:
    from auscult.core.types import Wave
    from auscult.data.frames import About

USAGE = "frames AUDIO --out DIR [--vggish FILE] [--mels N] [--ignore PATTERN ...] [--device auto|cpu|cuda] [--json]"
TOO_SHORT = "shorter_than_a_frame"
"""Why a recording is left out."""


def run(command: str, arguments: list[str]) -> int:
    """Writes the frame set and says what is in it."""
    parser = _parser(command)
    if parser.helped(arguments):
        return 0
    known = parser.parse_args(arguments)
    if known.mels < 1:
        parser.error(f"--mels is {known.mels}: give at least 1")
    quiet()
    figures = _written(known)
    if known.json:
        print(json.dumps(figures, ensure_ascii=False))
        return 0
    dropped = ", ".join(f"{reason} {count:,}" for reason, count in figures["dropped"].items()) or "nothing"
    print(
        f"{figures['out']}  {figures['clips']:,} clips, {figures['frames']:,} frames of {figures['features']} values, "
        f"{figures['rate']:.4g} a second; dropped: {dropped}"
    )
    if silent := figures["silent"]:
        print(f"{len(silent):,} of them are silent, first {silent[0]}; --ignore leaves them out")
    return 0


def _parser(command: str) -> Parser:
    parser = Parser(command, USAGE)
    parser.description = (
        "a frame set from recordings: log-mel, 100 frames a second, or VGGish's 128 bytes for every 0.96 s, as\n"
        "AudioSet is published. VGGish's weights are yours to bring: one safetensors file with the variables of the\n"
        "published checkpoint and of its PCA under their own names; auscult/models/vggish.py says how to write it."
    )
    parser.add_argument("audio", metavar="AUDIO", help="folder of recordings, at any depth")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the frame set")
    parser.add_argument("--vggish", metavar="FILE", help="weights of VGGish (default: none, so log-mel is computed)")
    parser.add_argument("--mels", type=int, default=80, metavar="N", help="mel bands without VGGish (default: 80)")
    parser.add_argument(
        "--ignore", metavar="PATTERN", nargs="*", default=[".*"], help="names that are no recordings (default: .*)"
    )
    parser.add_argument(
        "--device", default="auto", choices=["auto", "cpu", "cuda"], help="where VGGish runs (default: auto)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _written(known: Namespace) -> dict[str, Any]:
    from auscult.console import Reporter
    from auscult.core.types import Audio
    from auscult.data.folders import refuse_foreign, walk
    from auscult.data.frames import writing
    from auscult.data.headers import refuse_unusable
    from auscult.data.sources import sounds
    from auscult.media.audio import decode, silent

    root = Path(known.audio)
    files = walk(root, known.ignore, "AUDIO")
    refuse_foreign(
        root, [path for path in files if path.suffix.lower() not in sounds.EXTENSIONS], "recordings", "--ignore"
    )
    refuse_unusable((("", Audio(str(path))) for path in files), str(root))
    about, rate, rows_of = _vggish(known) if known.vggish else _log_mel(known)
    with Reporter() as tell, writing(known.out, about) as writer:
        for number, path in enumerate(files, 1):
            wave, name = decode(Audio(str(path)), rate), str(path.relative_to(root))
            rows = rows_of(wave)
            if len(rows):
                writer.add(name, rows)
                writer.silent += [name] if silent(wave) else []
            else:
                writer.drop(TOO_SHORT, f"{path}: is too short for one row of features", str(path))
            tell("frames", number, len(files), {})
    return {
        "out": known.out,
        "clips": len(writer.ids),
        "frames": writer.offsets[-1],
        "features": about.features,
        "rate": about.rate,
        "dropped": dict(writer.dropped),
        "silent": writer.silent,
    }


def _log_mel(known: Namespace) -> tuple[About, int, Callable[[Wave], Any]]:
    import numpy as np

    from auscult.data.frames import About
    from auscult.models.mel import FRAMES_PER_SECOND, RATE, log_mel

    about = About(known.mels, float(FRAMES_PER_SECOND), "float16", kind="mel", source=f"log-mel of {known.audio}")
    return about, RATE, lambda wave: log_mel(wave, known.mels).numpy().astype(np.float16)


def _vggish(known: Namespace) -> tuple[About, int, Callable[[Wave], Any]]:
    from auscult.data.audioset import SCALE, SHIFT
    from auscult.data.frames import About
    from auscult.models.vggish import FEATURES, FRAMES_PER_SECOND, RATE, VGGish
    from auscult.session import device

    model = VGGish.load(known.vggish).to(device(known.device))
    about = About(FEATURES, FRAMES_PER_SECOND, "uint8", SCALE, SHIFT, source=f"VGGish of {known.audio}")
    return about, RATE, model.frames
