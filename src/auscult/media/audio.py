"""From a recording, or a section of one, to mono float32 samples at one rate: exactly those asked for, or an error.

    file -> is it there, and a file? -> which container? -> is all of it there? -> does the section fit, and the limit?
         -> decode that section -> as many samples as promised? -> all finite? -> one channel -> resample (soxr, HQ)

A recording is never shortened, padded, normalised or clipped on the way. Lossy formats (MP3, Ogg) decode to values
beyond |1.0|; they stay as they are. What cannot be used is a `MediaError` whose `reason` is a key of `REASONS`.

libsndfile reads WAV, AIFF, FLAC, Ogg and MP3 and seeks to the section, except in MP3: after a seek the bit reservoir of
the frames before is missing, and the first frames come out wrong (measured: by 0.8 of full scale). So MP3 is decoded
from its beginning to the section's end, and so are M4A, MP4 and WebM, which go through PyAV (extra `av`), whose seeks
land on packets and not on samples. Whether a file has lost its end is decided in `containers.py`, whose docstring
lists what no reader can see.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
import soxr

from auscult.core.errors import MediaError
from auscult.core.types import Audio, Wave
from auscult.media import files
from auscult.media.containers import READABLE, TornError, check_whole, sniff, with_frame_count

REASONS = {
    **files.REASONS,
    "not_audio": "no known container, or a container without a sound that can be decoded",
    "needs_extra": "the container needs PyAV, which is not installed",
    "torn": "the container promises more than is there, or decoding fails midway",
    "zero_length": "no samples",
    "bad_section": "the section is negative, empty or beyond the end",
    "too_long": "longer than the limit",
    "channels": "the channel policy does not fit the recording",
    "not_finite": "NaN or infinite samples",
}

Channels = Literal["mean", "first", "error"] | int
"""Which channel is heard: the mean of all, the first, number n, or an error unless there is exactly one."""

MAX_SECONDS = 4 * 3600.0
"""Longest section that is decoded unless a caller says otherwise: 0.9 GB of mono float32 at 16 kHz."""

SILENCE = 1e-4
"""Peak below which nothing is there to be heard: -80 dB of full scale, 3 steps of 16 bits."""

_BLOCK = 1 << 18
"""Frames decoded at a time, so that a header that lies about its length cannot make us reserve memory for the lie."""


_AV_SLACK = 0.1
"""Seconds by which a duration in MP4 or WebM may miss the decoded samples: two AAC frames at 22 kHz."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a recording says of itself before it is decoded."""

    container: str
    """`wav`, `aiff`, `flac`, `ogg`, `mp3`, `mp4`, `webm`, or `memory`."""
    rate: int
    """Samples per second."""
    channels: int
    """Number of channels."""
    seconds: float | None
    """Length of the whole recording; None where the container does not say."""
    slack: float = 0.0
    """How far `seconds` may be off: MP4 and WebM round their durations and count the codec's padding."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A recording made to fit a limit."""

    pieces: tuple[Wave, ...]
    """Consecutive pieces [n] of one length, at most the limit; one piece unless the policy is `chunk`."""
    cut_seconds: float
    """How much was thrown away, for the caller to count; 0 unless the policy is `trim`."""


def decode(audio: Audio, rate: int, *, channels: Channels = "mean", max_seconds: float = MAX_SECONDS) -> Wave:
    """Samples [N] of the section, mono float32 at `rate` Hz.

    The section is cut at the recording's own rate (times rounded to the nearest sample), then resampled. The length is
    checked against `max_seconds` before anything is decoded. Values may exceed |1.0| (lossy formats overshoot).
    Raises MediaError with a reason from `REASONS`.
    """
    if audio.wave is not None:
        header, wave = read_header(audio), audio.wave
        first, last = _section(audio, header, max_seconds)
        mono = _one_channel(wave[first:last, None], channels, audio)
        _check_finite(mono, audio)
    else:
        with _opened(audio) as (file, container):
            reader = _av_samples if container in ("mp4", "webm") else _soundfile_samples
            header, mono = reader(audio, file, container, channels, max_seconds)
    if header.rate != rate:
        mono = np.asarray(soxr.resample(mono, header.rate, rate, quality="HQ"), dtype=np.float32)
        _check_finite(mono, audio)  # resampling can carry huge values over the edge of float32
    if not len(mono):
        raise _error(audio, "zero_length", f"has no samples at {rate} Hz; leave it out")
    return mono


def read_header(audio: Audio) -> Header:
    """Rate, channels and length of the whole recording, and every check that needs no decoding except the section's.

    Raises MediaError with a reason from `REASONS`.
    """
    if audio.wave is not None:
        if audio.wave.ndim != 1 or not audio.rate:
            raise _error(audio, "channels", "must be a mono array [N] with a rate; make it with Audio.of(wave, rate)")
        return Header("memory", audio.rate, 1, len(audio.wave) / audio.rate)
    with _opened(audio) as (file, container):
        if container in ("mp4", "webm"):
            with _av_open(audio, file) as (opened, stream):
                return _av_header(audio, opened, stream, container)
        with _soundfile_open(audio, file, container) as sound:
            return _soundfile_header(sound, container)


def check_section(audio: Audio, *, header: Header | None = None, max_seconds: float = MAX_SECONDS) -> float | None:
    """Length of the section in seconds, after every check that needs no decoding; None where the header does not say.

    Reads the header unless it is given. Raises MediaError with a reason from `REASONS`.
    """
    header = header or read_header(audio)
    first, last = _section(audio, header, max_seconds)
    return None if last is None else (last - first) / header.rate


def silent(wave: Wave) -> bool:
    """Whether no sample of a recording [N] reaches `SILENCE`."""
    return max(wave.max(initial=0), -wave.min(initial=0)) < SILENCE


def fit(wave: Wave, rate: int, max_seconds: float, policy: Literal["error", "trim", "chunk"]) -> Fitted:
    """Make a recording [N] fit into what a model takes: refuse it, keep its beginning, or cut it into pieces in order.

    Pieces are as few as can be and equally long: after full ones the rest of a clip of 30.01 s would become no token.
    Raises MediaError `too_long` under the policy `error`.
    """
    limit = int(max_seconds * rate)
    if limit < 1:
        raise ValueError(f"max_seconds={max_seconds} at {rate} Hz leaves no sample")
    if len(wave) <= limit:
        return Fitted((wave,), 0.0)
    if policy == "trim":
        return Fitted((wave[:limit],), (len(wave) - limit) / rate)
    if policy == "chunk":
        return Fitted(tuple(np.array_split(wave, -(-len(wave) // limit))), 0.0)
    raise MediaError(
        f"a recording of {len(wave) / rate:.1f} s is longer than the {max_seconds:g} s that the model takes; "
        "shorten it, or choose the policy `trim` or `chunk`",
        reason="too_long",
    )


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, hex.

    Raises MediaError `missing`, `not_a_file`, `unreadable` or `empty`.
    """
    with files.opened(str(path), str(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _error(audio: Audio, reason: str, sentence: str) -> MediaError:
    return MediaError(f"{_name(audio)} {sentence}", reason=reason)


def _name(audio: Audio) -> str:
    return audio.path or "a recording in memory"


def _torn(audio: Audio, what: str) -> MediaError:
    return _error(audio, "torn", f"is torn: {what}; fetch it again, or leave it out")


@contextmanager
def _opened(audio: Audio) -> Iterator[tuple[BufferedReader, str]]:
    """The file and its container's name, once all that the container promises is known to be there."""
    with files.opened(audio.path, _name(audio)) as file:
        container = sniff(file)
        if container is None:
            raise _error(audio, "not_audio", f"is no recording that auscult reads ({READABLE}); convert it to FLAC")
        try:
            check_whole(file, container)
        except TornError as error:
            raise _torn(audio, str(error)) from error
        yield file, container


def _section(audio: Audio, header: Header, max_seconds: float) -> tuple[int, int | None]:
    """First and one-past-last frame of the section; the latter None when only decoding can tell."""
    total = None if header.seconds is None else round(header.seconds * header.rate)
    if total == 0 and not header.slack:
        raise _error(audio, "zero_length", "has no samples; leave it out")
    start, end = audio.start or 0.0, audio.end
    counted = np.isfinite(start * header.rate) and (end is None or np.isfinite(end * header.rate))
    if not (counted and start >= 0 and (end is None or end > start)):
        raise _error(
            audio, "bad_section", f"has no section from {start} s to {end} s; a section begins at 0 or later, then ends"
        )
    first = round(start * header.rate)
    last = total if end is None else round(end * header.rate)
    latest = None if total is None else total + round(header.slack * header.rate)
    if latest is not None and last is not None and (last > latest or first >= latest):
        raise _error(
            audio,
            "bad_section",
            f"lasts {header.seconds:.3f} s, but the section is {start} s to {'its end' if end is None else end}; "
            "correct the times (without `end`, a section reaches to the end)",
        )
    if last is not None and last <= first:
        raise _error(audio, "bad_section", f"has no sample between {start} s and {end} s; lengthen the section")
    if last is not None and (last - first) / header.rate > max_seconds:
        raise _too_long(audio, (last - first) / header.rate, max_seconds)
    return first, None if end is None and header.slack else last


def _too_long(audio: Audio, seconds: float, limit: float) -> MediaError:
    return _error(audio, "too_long", f"lasts {seconds:.0f} s, over the limit of {limit:g} s; name a section of it")


def _one_channel(block: Wave, channels: Channels, audio: Audio) -> Wave:
    """[n, C] -> [n]."""
    count = block.shape[1]
    if channels == "error" and count != 1:
        raise _error(audio, "channels", f"has {count} channels; choose `mean`, `first` or a channel number")
    if isinstance(channels, int):
        if not 0 <= channels < count:
            raise _error(audio, "channels", f"has {count} channels, so there is no number {channels} (counted from 0)")
        return np.ascontiguousarray(block[:, channels])
    if channels == "mean" and count > 1:
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused by name later
            return block.mean(axis=1, dtype=np.float32)
    return np.ascontiguousarray(block[:, 0])


def _check_finite(mono: Wave, audio: Audio) -> None:
    bad = len(mono) - int(np.isfinite(mono).sum())
    if bad:
        raise _error(audio, "not_finite", f"holds {bad} samples that are not finite numbers; export it again")


class _Forward(soundfile.SoundFile):
    """Reads ahead only: soundfile otherwise seeks after every read, which fails at the end of an uncounted FLAC."""

    def seekable(self) -> bool:
        return False


@contextmanager
def _soundfile_open(audio: Audio, file: BufferedReader, container: str) -> Iterator[soundfile.SoundFile]:
    counted = with_frame_count(file) if container == "mp3" else None
    if counted is None:
        # By descriptor: by name, soundfile would trust an extension such as .raw instead of the content.
        handle = os.dup(file.fileno())
        os.lseek(handle, 0, os.SEEK_SET)  # file.seek(0) may move only within Python's buffer
    else:
        handle = BytesIO(counted)
    try:
        sound = _Forward(handle, closefd=True)
    except (soundfile.SoundFileError, ValueError) as error:
        if container == "flac":  # the others are known to be whole, so what is left is a codec that nobody knows
            raise _torn(audio, "its header is cut or damaged") from error
        why = str(error).rpartition(": ")[2].rstrip(".")
        raise _error(audio, "not_audio", f"cannot be decoded ({why}); convert it to FLAC, or leave it out") from error
    with sound:
        yield sound


def _soundfile_header(sound: soundfile.SoundFile, container: str) -> Header:
    known = 0 <= sound.frames < 1 << 56  # libsndfile says "as many as there can be" where it does not know
    return Header(container, sound.samplerate, sound.channels, sound.frames / sound.samplerate if known else None)


def _soundfile_samples(
    audio: Audio, file: BufferedReader, container: str, channels: Channels, max_seconds: float
) -> tuple[Header, Wave]:
    with _soundfile_open(audio, file, container) as sound:
        header = _soundfile_header(sound, container)
        first, last = _section(audio, header, max_seconds)
        wanted = None if last is None else last - first
        skip = first if container == "mp3" else 0
        blocks = _soundfile_blocks(sound)
        try:
            if first and not skip:
                sound.seek(first)
            return header, _collect(audio, header, blocks, skip, wanted, channels, max_seconds)
        except soundfile.SoundFileError as error:
            raise _torn(audio, f"decoding fails midway ({error})") from error


def _soundfile_blocks(sound: soundfile.SoundFile) -> Iterator[Wave]:
    """From where it stands to its end, as [n, C] float32."""
    while len(block := np.asarray(sound.read(_BLOCK, dtype="float32", always_2d=True), dtype=np.float32)):
        yield block


def _collect(
    audio: Audio,
    header: Header,
    blocks: Iterator[Wave],
    skip: int,
    wanted: int | None,
    channels: Channels,
    max_seconds: float,
) -> Wave:
    """Mono samples `skip` to `skip + wanted` of the blocks [n, C]; all from `skip` when `wanted` is None."""
    kept: list[Wave] = []
    have, passed = 0, skip
    for block in blocks:
        dropped = min(skip, len(block))
        skip -= dropped
        block = block[dropped:] if wanted is None else block[dropped : dropped + wanted - have]
        if len(block):
            kept.append(_one_channel(block, channels, audio))
            have += len(block)
        if have / header.rate > max_seconds:
            raise _too_long(audio, have / header.rate, max_seconds)
        if have == wanted:
            break
    if (wanted is None or have < wanted) and header.slack and header.seconds is not None:
        missing = header.seconds - header.slack - (passed - skip + have) / header.rate
        if missing > 0:
            raise _torn(audio, f"about {missing + header.slack:.1f} s at its end are missing")
    elif wanted is not None and have < wanted:
        raise _torn(audio, f"{wanted - have} of {wanted} samples are missing")
    if wanted is not None and have < wanted:
        raise _error(audio, "bad_section", f"ends {wanted - have} samples before its section; leave out `end`")
    if not have:
        raise _error(audio, "bad_section" if audio.start else "zero_length", "has no samples there; leave it out")
    mono = np.concatenate(kept)
    _check_finite(mono, audio)
    return mono


@contextmanager
def _av_open(audio: Audio, file: BufferedReader) -> Iterator[tuple[Any, Any]]:
    """PyAV's container and its first audio stream."""
    try:
        import av  # optional extra, and FFmpeg's libraries are heavy: only for files that need it
    except ImportError as error:
        raise _error(
            audio, "needs_extra", "needs PyAV: run `pip install 'auscult[av]'`, or convert it to FLAC"
        ) from error
    file.seek(0)
    try:
        with av.open(file, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise _error(audio, "not_audio", "holds no sound; leave it out")
            yield container, container.streams.audio[0]
    except av.FFmpegError as error:
        raise _torn(audio, f"decoding fails ({error.strerror})") from error


def _av_header(audio: Audio, opened: Any, stream: Any, container: str) -> Header:
    if not stream.rate or not stream.channels:
        raise _error(audio, "not_audio", "does not say its sample rate or channels; convert it to FLAC")
    if stream.duration is not None:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = None if opened.duration is None else opened.duration / 1e6
    return Header(container, stream.rate, stream.channels, seconds, slack=_AV_SLACK)


def _av_samples(
    audio: Audio, file: BufferedReader, container: str, channels: Channels, max_seconds: float
) -> tuple[Header, Wave]:
    with _av_open(audio, file) as (opened, stream):
        header = _av_header(audio, opened, stream, container)
        first, last = _section(audio, header, max_seconds)
        wanted = None if last is None else last - first
        blocks = _av_blocks(audio, opened, stream)
        return header, _collect(audio, header, blocks, first, wanted, channels, max_seconds)


def _av_blocks(audio: Audio, opened: Any, stream: Any) -> Iterator[Wave]:
    """Decoded frames as [n, C] float32."""
    from av import AudioResampler  # see `_av_open`

    planar = AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)  # a change of format, not of rate
    for frame in opened.decode(stream):
        if frame.sample_rate != stream.rate or frame.layout.nb_channels != stream.channels:
            raise _torn(audio, "its rate or channels change midway")
        for part in planar.resample(frame):
            yield np.asarray(part.to_ndarray(), dtype=np.float32).T
