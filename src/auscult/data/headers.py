"""Every recording and picture is looked at when its source is opened, not when training comes to it.

By its header: is it there, whole, of a kind that can be decoded, as long as the section that is asked for? Each file is
opened once, however many rows name it. Measured on two busy cores: 0.1 to 0.2 ms a WAV, FLAC or MP3 of some seconds,
1 ms an Ogg; ten thousand WAV take two seconds. Pictures are decoded too where they are few (`WHOLE`): 8 ms a megapixel.
What only decoding tells of others, and of recordings, is left to `auscult data check --decode`.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from auscult.core.errors import MediaError
from auscult.core.types import Audio, Frames, Image, Media
from auscult.data.index import stamp_of
from auscult.data.waiting import counted
from auscult.media import audio, image

WORKERS = 4
"""Threads that open files: a folder on a network answers each of them late."""
WHOLE = 2000
"""Image files up to which all of them are decoded before a run: seconds to a minute, where a run takes hours."""


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
    cut = torn(media for media in places if media not in errors)
    errors |= cut
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
            f"to see all of them: {listing(*check, decode=bool(cut))}",
            reason=first.reason,
        )


def listing(*check: str, decode: bool) -> str:
    """The command that lists what cannot be used of what `check` names; `decode` where headers do not tell."""
    return shlex.join(["auscult", "data", "check", *check, *(["--decode"] if decode else [])])


def torn(found: Iterable[Media]) -> dict[Audio | Image, MediaError]:
    """Those of the images in files, of `WHOLE` files at most, that cannot be decoded to their end, in order, with why;
    of more files none is looked at."""
    wanted = dict.fromkeys(media for media in found if isinstance(media, Image) and media.path)
    if len({image.path for image in wanted}) > WHOLE:
        return {}
    with ThreadPoolExecutor(WORKERS) as pool:
        looked = counted("decoding pictures", pool.map(_torn, wanted), len(wanted))
        return {image: error for image, error in zip(wanted, looked, strict=True) if error is not None}


def _torn(picture: Image) -> MediaError | None:
    try:
        _decoded(picture, stamp_of(Path(picture.path or "")))
    except MediaError as error:
        return error
    return None


@lru_cache(maxsize=2 * WHOLE)  # both splits and their notes are asked for one after the other
def _decoded(picture: Image, stamp: tuple[int, int] | None) -> None:
    """Raises MediaError where the file as it is at `stamp` cannot be decoded to its end."""
    image.shown(picture)


def unusable(found: Iterable[Media]) -> dict[Audio | Image, MediaError]:
    """Those of the recordings and images in files that cannot be used by their headers, in order, with why."""
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
