"""Every recording and picture is looked at when its source is opened, not when training comes to it.

Headers only: is it there, whole, of a kind that can be decoded, as long as the section that is asked for? Each file is
opened once, however many rows name it. Measured on two busy cores: 0.1 to 0.2 ms a WAV, FLAC or MP3 of some seconds,
1 ms an Ogg; ten thousand WAV take two seconds. What only decoding tells is left to `auscult data check --decode`.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from auscult.core.errors import MediaError
from auscult.core.types import Audio, Frames, Image, Media
from auscult.data.waiting import counted
from auscult.media import audio, image

WORKERS = 4
"""Threads that open files: a folder on a network answers each of them late."""


def refuse_unusable(found: Iterable[tuple[str, Media]], *check: str) -> None:
    """Raises MediaError that counts the files of `found` which cannot be used, by reason, and names the first one.

    `found` has each medium with its place, such as "data.jsonl:17: `audio`: ". `check` are the arguments with which
    `auscult data check` lists them all, the file or folder first.
    """
    places: dict[Audio | Image, str] = {}
    for where, media in found:
        if not isinstance(media, Frames) and media.path:
            places.setdefault(media, where)
    files = {(type(media), media.path) for media in places}
    errors = unusable(places)
    bad: dict[tuple[type, str | None], tuple[str, MediaError]] = {}
    for media, error in errors.items():
        bad.setdefault((type(media), media.path), (places[media], error))
    if bad:
        where, first = next(iter(bad.values()))
        names = {Audio: "recordings", Image: "images"}
        kinds = " and ".join(name for kind, name in names.items() if any(kind is other for other, _ in files))
        reasons = Counter(error.reason for _, error in bad.values()).most_common()
        counts = ", ".join(f"{reason} {count}" for reason, count in reasons)
        raise MediaError(
            f"{check[0]}: {len(bad)} of {len(files)} {kinds} cannot be used ({counts}), first: {where}{first}; "
            f"to see all of them: {shlex.join(['auscult', 'data', 'check', *check])}",
            reason=first.reason,
        )


def unusable(found: Iterable[Media]) -> dict[Audio | Image, MediaError]:
    """Those of the recordings and images in files that cannot be used, in order, with why."""
    wanted = dict.fromkeys(media for media in found if not isinstance(media, Frames) and media.path)
    files = {_file(media): media for media in wanted}
    with ThreadPoolExecutor(WORKERS) as pool:
        looked = counted("opening files", pool.map(_header, files.values()), len(files))
        headers = dict(zip(files, looked, strict=True))
    errors = {media: _unusable(media, headers[_file(media)]) for media in wanted}
    return {media: error for media, error in errors.items() if error is not None}


def _file(media: Audio | Image) -> tuple[type, str | None, int | None]:
    """What is opened once: a recording, or one picture of a file."""
    return type(media), media.path, media.frame if isinstance(media, Image) else None


def _header(media: Audio | Image) -> audio.Header | image.Header | MediaError:
    try:
        return audio.read_header(media) if isinstance(media, Audio) else image.read_header(media)
    except MediaError as error:
        return error


def _unusable(media: Audio | Image, header: audio.Header | image.Header | MediaError) -> MediaError | None:
    """Why it cannot be used: the file as it is, or the section that is asked for."""
    if isinstance(header, audio.Header) and isinstance(media, Audio):
        try:
            audio.check_section(media, header=header)
        except MediaError as error:
            return error
    return header if isinstance(header, MediaError) else None
