"""What the page plays: replies with their questions and scores, the media beside them in the run folder.

rollouts/showcase.jsonl    one reply a line
media/SHA256.wav, .png     what was heard and seen, each once
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile

from auscult.core.answer import normal
from auscult.core.runs import write_bytes, write_text
from auscult.core.types import Audio, Frames, Image, Media, Parsed, Sample
from auscult.media import image
from auscult.media.audio import decode
from auscult.media.window import Display

FILE = "rollouts/showcase.jsonl"
RATE = 16_000
"""Rate of the recordings that the page plays, Hz."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A reply that is shown."""

    sample: Sample
    """What was asked."""
    prompt: str
    """As the model read it."""
    reply: str
    """What it said."""
    parsed: Parsed
    """How that was read."""
    parts: Mapping[str, float | None]
    """What was said of it: values by name."""
    total: float | None
    """Their weighted sum."""
    references: tuple[str, ...] = ()
    """What people wrote, where the reply is a caption."""


def write_showcase(out: Path, shown: Sequence[Shown], display: Display) -> None:
    """Writes the replies, and their media, into the run folder; images as the model saw them."""
    lines = [json.dumps(_line(one, out, display), ensure_ascii=False) + "\n" for one in shown]
    write_text(out / FILE, "".join(lines))


def _line(shown: Shown, out: Path, display: Display) -> dict[str, Any]:
    sample = shown.sample
    return {
        "id": sample.id,
        "question": sample.question,
        "choices": sample.choices,
        "gold": _gold(sample, shown.parsed),
        "media": [_kept(media, out, display) for media in sample.media],
        "prompt": shown.prompt,
        "reply": shown.reply,
        "answer": shown.parsed.answer,
        "problem": shown.parsed.problem,
        "parts": dict(shown.parts),
        "total": shown.total,
        "tags": dict(sample.tags),
        **({"references": list(shown.references)} if shown.references else {}),
    }


def _gold(sample: Sample, parsed: Parsed) -> str:
    """The accepted answer that was given, or else the first one."""
    given = normal(parsed.answer or "")
    return next((answer for answer in sample.answers if normal(answer) == given), sample.answers[0])


def _kept(media: Media, out: Path, display: Display) -> dict[str, Any]:
    """Writes a recording as 16-bit WAV, an image as PNG, into the run's media folder; how the page finds it."""
    if isinstance(media, Frames):
        return {"kind": "frames", "file": None, "seconds": len(media.values) / media.rate}
    if isinstance(media, Image):
        pixels = image.decode(media, display)
        name = f"media/{Image.of(pixels).sha256}.png"
        write_bytes(out / name, image.encode_png(pixels))
        return {"kind": "image", "file": name, "seconds": None}
    wave = decode(media, RATE)
    name = f"media/{Audio.of(wave, RATE).sha256}.wav"
    buffer = io.BytesIO()
    soundfile.write(buffer, wave.clip(-1, 1), RATE, format="WAV", subtype="PCM_16")
    write_bytes(out / name, buffer.getvalue())
    return {"kind": "audio", "file": name, "seconds": len(wave) / RATE}
