"""A sample as the chat messages of the OpenAI protocol, its media inside or named by a path.

The messages are the listener's own (`Listener.messages`), so a server reads the same question, options and instruction
that the learner trains on. Audio is decoded here, with every check that the listener makes, and sent as a WAV of that
section at one rate: what a server would make of an MP3 is not left to the server. Pictures are sent as the listener
sees them, without a header; a film that may name a person is sent only where `send_identified` says so.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from auscult.core.errors import ConfigError, MediaError
from auscult.core.types import Audio, Image, Media
from auscult.media import dicom, image
from auscult.media.audio import decode
from auscult.media.window import Display
from auscult.rollouts.options import Server

SUBTYPES = {"float32": "FLOAT", "pcm16": "PCM_16"}


def wire(
    messages: Sequence[dict[str, Any]], options: Server, display: Display = image.AS_IT_IS
) -> list[dict[str, Any]]:
    """The listener's messages as JSON values, pictures as displayed. Raises MediaError, and ConfigError for media that
    no server takes."""
    return [
        {**message, "content": [_part(part, options, display) for part in message["content"]]} for message in messages
    ]


def _part(part: str | Media, options: Server, display: Display) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, Audio):
        if options.media == "file_url" and part.path and part.start is None and part.end is None:
            return {"type": "audio_url", "audio_url": {"url": _file(part.path)}}
        data = _base64(_wav(part, options))
        if options.media == "input_audio":
            return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
        return {"type": "audio_url", "audio_url": {"url": f"data:audio/wav;base64,{data}"}}
    if isinstance(part, Image):
        return {"type": "image_url", "image_url": {"url": _picture(part, options, display)}}
    raise ConfigError(f"a server takes recordings and images, no {type(part).__name__}; use the local engine")


def _wav(audio: Audio, options: Server) -> bytes:
    wave = decode(audio, options.rate)
    if options.samples == "pcm16":
        wave = np.clip(wave, -1, 1)
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, options.rate, format="WAV", subtype=SUBTYPES[options.samples])
    return buffer.getvalue()


def _picture(picture: Image, options: Server, display: Display) -> str:
    """Where a picture is, or the picture itself: a path only where every reader sees it alike."""
    if picture.path is not None and not options.send_identified:
        problem = dicom.identity(picture.path).problem
        if problem:
            raise MediaError(
                f"image {picture.path} is not de-identified: {problem}; it is not sent to {options.url}: remove what "
                "names a person, or allow it with server.send_identified true",
                reason="identified",
            )
    as_it_is = picture.frame is None and display == image.AS_IT_IS
    if options.media == "file_url" and picture.path and as_it_is and image.read_header(picture).alike:
        return _file(picture.path)
    return f"data:image/png;base64,{_base64(image.encode_png(image.decode(picture, display)))}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _file(path: str) -> str:
    return Path(path).resolve().as_uri()
