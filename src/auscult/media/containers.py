"""What an audio file promises about its own length, read from its container without decoding a sample.

Decoders are lenient: libsndfile opens half a WAV and hands out half the samples, reports an Ogg file that lost its last
page as shorter (or as empty), and stops an MP3 wherever the bytes stop. A recording that lost its end would then be a
shorter recording, and nobody would know. So the container is walked first and asked whether everything that it
promises is there:

    WAV, RF64   the size of the `data` chunk          FLAC  the sample count of STREAMINFO (the decoder compares)
    AIFF        the size of the `SSND` chunk          Ogg   the last page is whole and ends the stream
    MP4, M4A    every top-level box fits              MP3   every frame is whole, and there are as many as the Xing or
    WebM, MKV   the size of the Segment                     VBRI header says

What cannot be seen, because nothing declares a length: an MP3 without a Xing or VBRI header that is cut exactly between
two frames; a WAV that was written into a pipe (a size near the 2 or 4 GiB limit); a live WebM (Segment of unknown
size); a fragmented MP4 cut between two fragments; a FLAC without a sample count (ffmpeg into a pipe) cut between two
frames; damage inside of a frame whose format carries no checksum. And of a FLAC only the section that is asked for is
judged: one that lies wholly before a tear decodes.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

READABLE = "WAV, AIFF, FLAC, Ogg (Vorbis, Opus), MP3, and with the extra `av` M4A, MP4 and WebM"

_STREAMED = 0x7FFFF000
"""Chunk sizes from here on are what sox, arecord and ffmpeg write when they cannot seek back to fill the size in."""

_OGG_PAGE_LIMIT = 27 + 255 + 255 * 255
"""Bytes of the longest possible Ogg page: header, segment table, segments."""

_MP3_KBPS = {  # (MPEG-1?, layer) -> bit rates by index, kbit/s
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by the MPEG version's bits


class TornError(Exception):
    """The container promises more than the file holds; the message says what is missing."""


def sniff(file: BinaryIO) -> str | None:
    """Name of the container that `file` begins with, or None: a file's name is not asked."""
    head = _at(file, 0, 16)
    if head[:3] == b"ID3":
        head = _at(file, _id3_bytes(head), 16)
        return "flac" if head[:4] == b"fLaC" else "mp3"
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] in (b"WAVE", b""):
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC", b""):
        return "aiff"
    if head[4:8] == b"ftyp":
        return "mp4"
    if len(head) >= 4 and _mp3_frame(head, 0) is not None:
        return "mp3"
    return {b"fLaC": "flac", b"OggS": "ogg", b"\x1a\x45\xdf\xa3": "webm"}.get(head[:4])


def check_whole(file: BinaryIO, container: str) -> None:
    """Compare what the container declares with what is there.

    Raises TornError when something declared is missing.
    """
    size = os.fstat(file.fileno()).st_size
    match container:
        case "wav" | "aiff":
            _check_chunks(file, size)
        case "ogg":
            _check_ogg(file, size)
        case "mp3":
            _check_mp3(file, size)
        case "mp4":
            _check_boxes(file, size)
        case "webm":
            _check_segment(file, size)
        case _:  # FLAC: its decoder fails on a torn frame, and the caller counts the samples
            return


def with_frame_count(file: BinaryIO) -> bytes | None:
    """A whole MP3 with a Xing header put before it, or None where it has its own (or no frame at all).

    Without one, libmpg123 guesses the length from the first frame's bit rate, and libsndfile stops there: a file of
    variable rate with 46,080 samples came out as 14,824, silently. With one, the decoder's delay (529) is left out.
    """
    size = os.fstat(file.fileno()).st_size
    data = _at(file, 0, size)
    first = at = _next_frame(data, _id3_bytes(data))
    if first == size or _mp3_declared(data, first) is not None:
        return None
    count = 0
    while (frame := _mp3_frame(data, at)) is not None:
        at, count = at + frame.bytes, count + 1
    for bit_index in range(1, 15):  # the lowest bit rate whose frame has room for the header
        head = bytes((0xFF, data[first + 1] | 1, data[first + 2] & 0x0D | bit_index << 4, data[first + 3]))
        frame = _mp3_frame(head, 0)
        if frame is not None and frame.bytes >= frame.side_info + 12:
            xing = head + bytes(frame.side_info - 4) + struct.pack(">4sII", b"Xing", 1, count)
            return xing.ljust(frame.bytes, b"\0") + data[first:]
    return None


def _at(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)


def _check_chunks(file: BinaryIO, size: int) -> None:
    """IFF chunks (RIFF little-endian; RIFX and FORM big-endian) up to the one that holds the samples."""
    magic = _at(file, 0, 4)
    order = "<" if magic in (b"RIFF", b"RF64") else ">"
    samples = b"SSND" if magic == b"FORM" else b"data"
    long_size = None  # RF64 keeps the true 64-bit size in its `ds64` chunk
    offset = 12
    while offset + 8 <= size:
        name, length = struct.unpack(f"{order}4sI", _at(file, offset, 8))
        if name == b"ds64" and length >= 16 and offset + 24 <= size:
            (long_size,) = struct.unpack("<Q", _at(file, offset + 16, 8))
        if name == samples:
            if length == 0xFFFFFFFF and long_size is not None:
                length = long_size
            elif length >= _STREAMED and offset + 8 + length > size:
                return
            elif length == 0 and struct.unpack(f"{order}I", _at(file, 4, 4))[0] in (0, 36) and offset + 8 < size:
                raise TornError("its header was never finished (0 bytes of samples, and bytes after them)")
            missing = offset + 8 + length - size
            if missing > 0:
                raise TornError(f"{missing} of the {length} bytes of samples that its header promises are missing")
            return
        offset += 8 + length + (length & 1)
    raise TornError(f"it ends before its samples begin (no `{samples.decode()}` chunk)")


def _check_ogg(file: BinaryIO, size: int) -> None:
    start = max(0, size - _OGG_PAGE_LIMIT)
    tail = _at(file, start, _OGG_PAGE_LIMIT)
    page = tail.rfind(b"OggS")
    if page < 0 or len(tail) < page + 27:
        raise TornError("its last Ogg page is cut")
    segments = tail[page + 26]
    table = tail[page + 27 : page + 27 + segments]
    if len(table) < segments or page + 27 + segments + sum(table) > len(tail):
        raise TornError("its last Ogg page is cut")
    if not tail[page + 5] & 0x04:
        raise TornError("its last Ogg page does not end the stream, so later pages are missing")


@dataclass(frozen=True, slots=True)
class _Mp3Frame:
    bytes: int
    side_info: int
    """Where a Xing header would stand, counted from the frame's first byte."""


def _mp3_frame(data: bytes, at: int) -> _Mp3Frame | None:
    """The MPEG audio frame whose header stands at `at`; None where there is none (free-format streams are not read)."""
    if len(data) < at + 4 or data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return None
    version, layer = data[at + 1] >> 3 & 3, 4 - (data[at + 1] >> 1 & 3)
    rate_index, bit_index = data[at + 2] >> 2 & 3, data[at + 2] >> 4
    if version == 1 or layer == 4 or rate_index == 3 or bit_index in (0, 15):
        return None
    mpeg1, mono = version == 3, data[at + 3] >> 6 == 3
    rate, bits = _MP3_RATES[version][rate_index], 1000 * _MP3_KBPS[mpeg1, layer][bit_index]
    padding = data[at + 2] >> 1 & 1
    if layer == 1:
        length = (12 * bits // rate + padding) * 4
    else:
        length = (72 if layer == 3 and not mpeg1 else 144) * bits // rate + padding
    return _Mp3Frame(length, 4 + ((17 if mono else 32) if mpeg1 else (9 if mono else 17)))


def _check_mp3(file: BinaryIO, size: int) -> None:
    data = _at(file, 0, size)
    at = _id3_bytes(data)
    if at >= size:
        raise TornError("it ends inside of its ID3 tag")
    first = at = _next_frame(data, at)
    declared = _mp3_declared(data, first)
    count = 0
    while (frame := _mp3_frame(data, at)) is not None:
        if at + frame.bytes > size:
            raise TornError(f"its last MPEG frame lacks {at + frame.bytes - size} bytes")
        at, count = at + frame.bytes, count + 1
    found = count - 1  # the frame that holds the Xing header does not count itself
    if declared is not None and found < declared:
        raise TornError(f"{declared - found} of the {declared} MPEG frames that its header promises are missing")
    rest = data[at : at + 4]
    if declared is None and rest and len(rest) < 4 and rest[0] == 0xFF:
        raise TornError("it ends inside of an MPEG frame header")
    if declared is None and len(rest) == 4 and _next_frame(data, at) < size:
        raise TornError(f"its MPEG frames are interrupted at byte {at}")


def _next_frame(data: bytes, at: int) -> int:
    """Offset of the first frame from `at` on that another frame (or the end) follows; the length if there is none."""
    while (at := data.find(b"\xff", at)) >= 0:
        frame = _mp3_frame(data, at)
        if frame is not None and (at + frame.bytes >= len(data) or _mp3_frame(data, at + frame.bytes) is not None):
            return at
        at += 1
    return len(data)


def _mp3_declared(data: bytes, at: int) -> int | None:
    """How many frames the Xing, Info or VBRI header in the first frame promises; None without one."""
    frame = _mp3_frame(data, at)
    if frame is None:
        return None
    xing = at + frame.side_info
    if data[xing : xing + 4] in (b"Xing", b"Info") and len(data) >= xing + 12:
        flags, frames = struct.unpack(">II", data[xing + 4 : xing + 12])
        return frames if flags & 1 else None
    vbri = at + 36
    if data[vbri : vbri + 4] == b"VBRI" and len(data) >= vbri + 18:
        return struct.unpack(">I", data[vbri + 14 : vbri + 18])[0]
    return None


def _id3_bytes(data: bytes) -> int:
    """Length of the ID3v2 tag at the beginning, its sizes in 7-bit bytes; 0 without one."""
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    a, b, c, d = (byte & 0x7F for byte in data[6:10])
    return 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if data[5] & 0x10 else 0)


def _check_boxes(file: BinaryIO, size: int) -> None:
    offset, names = 0, set[bytes]()
    while offset + 8 <= size:
        length, name = struct.unpack(">I4s", _at(file, offset, 8))
        if length == 1 and offset + 16 <= size:
            (length,) = struct.unpack(">Q", _at(file, offset + 8, 8))
        elif length == 0:  # "up to the end of the file"
            length = size - offset
        if length < 8 or offset + length > size:
            raise TornError(f"its box `{name.decode('latin-1')}` at byte {offset} does not fit into the file")
        names.add(name)
        offset += length
    if offset != size:
        raise TornError(f"it ends inside of a box header at byte {offset}")
    if b"moov" not in names:
        raise TornError("it has no index (`moov` box)")


def _check_segment(file: BinaryIO, size: int) -> None:
    length, offset = _ebml_size(_at(file, 4, 8))
    at = 4 + offset + (length or 0)
    if at > size or _at(file, at, 4) != b"\x18\x53\x80\x67":
        raise TornError("it ends before its Segment begins")
    length, offset = _ebml_size(_at(file, at + 4, 8))
    if length is not None and at + 4 + offset + length > size:
        raise TornError(f"{at + 4 + offset + length - size} bytes of its Segment are missing")


def _ebml_size(data: bytes) -> tuple[int | None, int]:
    """An EBML variable-length size and how many bytes it takes; None is the reserved "unknown"."""
    width = 9 - data[0].bit_length() if data and data[0] else 0
    if not width or len(data) < width:
        raise TornError("it ends inside of an EBML size")
    value = int.from_bytes(data[:width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), width
