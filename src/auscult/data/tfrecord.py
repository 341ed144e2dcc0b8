"""TFRecords without TensorFlow: checked frames of bytes, and the `tf.train.SequenceExample` inside.

A file is records, one after another (tensorflow/core/lib/io/record_writer.h):

    length u64le | masked CRC32C of it | payload | masked CRC32C of it

Both checksums are always compared. Flipped bits in a payload lose that record; after a length that cannot be trusted
nobody knows where the next record begins, so the rest of the file is lost, however many records that is. Either is a
`Broken`, with file and offset, in place of the record. No more is read than the file holds, whatever a length says.

A payload is protocol buffers (tensorflow/core/example/{example,feature}.proto), read by walking its fields. A field
that is not known is stepped over, as the format demands.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from google_crc32c import value as crc32c
from numpy.typing import NDArray

from auscult.core.errors import DataError
from auscult.core.runs import write_bytes

HEAD = struct.Struct("<QI")
"""Length and its checksum."""
FOOT = struct.Struct("<I")
"""The payload's checksum."""
MOST = 1 << 31
"""Bytes; protocol buffers cannot be longer, so a longer record is absurd."""
REASONS = ("torn", "length_crc", "absurd_length", "payload_crc")
"""Why a record cannot be read."""

Values = tuple[bytes, ...] | tuple[float, ...] | tuple[int, ...]
"""A `tf.train.Feature`."""


class Record(NamedTuple):
    """One payload whose checksums are right."""

    offset: int
    """Where the record begins in its file, bytes."""
    payload: bytes
    """What it holds."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that cannot be used, or the rest of a file."""

    file: str
    """Which file; in an archive, its name there."""
    offset: int
    """Where the record begins in it, bytes."""
    reason: str
    """A short stable word for counting."""
    what: str
    """The matter in words."""
    lost: int = 0
    """Bytes from `offset` on in which no record can be told from the next; 0 where one record alone is broken."""

    def __str__(self) -> str:
        return f"{self.file}: record at byte {self.offset}: {self.what}"


class Malformed(DataError):
    """A payload is not what it should be. `reason` is a short stable word for counting."""

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(what)
        self.reason = reason


def masked(data: bytes) -> int:
    """CRC32C as TFRecords store it: rotated and shifted, because checksums of checksums are weak."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read(path: Path | str) -> Iterator[Record | Broken]:
    """The records of a file, in order. Raises DataError when it cannot be opened."""
    try:
        with open(path, "rb") as file:
            yield from records(file, str(path), os.fstat(file.fileno()).st_size)
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}); check the path") from problem


def records(file: IO[bytes], name: str, size: int) -> Iterator[Record | Broken]:
    """The records in `size` bytes of an open `file`, called `name` in what is said of it."""
    offset = 0
    while offset < size:
        head = file.read(HEAD.size)
        if len(head) < HEAD.size:
            yield Broken(name, offset, "torn", f"the file ends after {len(head)} of its first {HEAD.size} bytes")
            return
        length, check = HEAD.unpack(head)
        if masked(head[:8]) != check:
            lost = f"the checksum of its length is wrong, so {size - offset:,} bytes from here on are lost"
            yield Broken(name, offset, "length_crc", lost, size - offset)
            return
        if length >= MOST:
            absurd = f"it claims {length:,} bytes, more than a record can have; {size - offset:,} bytes are lost"
            yield Broken(name, offset, "absurd_length", absurd, size - offset)
            return
        payload = file.read(length) if (end := offset + HEAD.size + length + FOOT.size) <= size else b""
        foot = file.read(FOOT.size)
        if end > size or len(payload) + len(foot) < length + FOOT.size:
            yield Broken(name, offset, "torn", f"it claims {length:,} bytes, and the file ends before them")
            return
        if masked(payload) == FOOT.unpack(foot)[0]:
            yield Record(offset, payload)
        else:
            yield Broken(name, offset, "payload_crc", f"the checksum of its {length:,} bytes is wrong")
        offset = end


def write(path: Path | str, payloads: Iterable[bytes]) -> int:
    """Writes a file of records, whole or not at all, and returns how many; a file is held in memory until then."""
    framed = [record(payload) for payload in payloads]
    write_bytes(path, b"".join(framed))
    return len(framed)


def record(payload: bytes) -> bytes:
    """The payload as it stands in a file."""
    length = struct.pack("<Q", len(payload))
    return length + FOOT.pack(masked(length)) + payload + FOOT.pack(masked(payload))


# A field is its number times 8 plus how it is written (0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes), and
# then its value (protobuf.dev/programming-guides/encoding).
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_MOST = (1 << 64) - 1


def parse(payload: bytes) -> tuple[dict[str, Values], dict[str, bytes]]:
    """The context of a SequenceExample by key, and its feature lists by key, each as it stands (see `frames`).

    Raises Malformed, reason `not_an_example`.
    """
    context: dict[str, Values] = {}
    lists: dict[str, bytes] = {}
    for field, inside in _fields(payload):
        if field == 1:
            context.update(_feature(entry) for number, entry in _fields(inside) if number == 1)
        elif field == 2:
            lists.update(_entry(entry) for number, entry in _fields(inside) if number == 1)
    return context, lists


def frames(feature_list: bytes, features: int) -> NDArray[np.uint8]:
    """A feature list of byte strings as rows [T, F]; raises Malformed, reason `frame_size`, unless all have F bytes."""
    found = [_values(inside) for number, inside in _fields(feature_list) if number == 1]
    rows = [value for values in found for value in values if isinstance(value, bytes)]
    sizes = {len(row) for row in rows}
    if sizes != {features} or [len(values) for values in found] != [1] * len(rows):
        raise Malformed("frame_size", f"frames of {sorted(sizes)} bytes in {len(found)} lists instead of {features}")
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, features)


def encode(context: Mapping[str, Values], lists: Mapping[str, Sequence[bytes]]) -> bytes:
    """A SequenceExample; values of one key are all bytes, all int, or all float (kept as float32)."""
    entries = b"".join(pair(key, _encoded(values)) for key, values in context.items())
    rows = {key: b"".join(delimited(1, _encoded((row,))) for row in values) for key, values in lists.items()}
    return delimited(1, entries) + delimited(2, b"".join(pair(key, value) for key, value in rows.items()))


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    """Number and bytes of each field, in order: a varint as it is written. Raises Malformed."""
    found: list[tuple[int, bytes]] = []
    at, end = 0, len(data)
    try:
        while at < end:
            tag = data[at]
            at += 1
            if tag > 127:
                tag, at = _varint(data, at - 1)
            kind = tag & 7
            if kind == _BYTES:
                size = data[at]
                at += 1
                if size > 127:
                    size, at = _varint(data, at - 1)
            elif kind == _VARINT:
                size = _varint(data, at)[1] - at
            elif kind in (_FOUR, _EIGHT):
                size = 4 if kind == _FOUR else 8
            else:
                raise Malformed("not_an_example", f"a field is written in the unknown way {kind}")
            found.append((tag >> 3, data[at : at + size]))
            at += size
    except IndexError:
        at = end + 1
    if at > end:
        raise Malformed("not_an_example", "a field ends after the message that it stands in")
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number of 64 bits, and where the next byte is. Raises IndexError where `data` ends in it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & _MOST, at
        shift += 7
        if shift > 63:
            raise Malformed("not_an_example", "a number has more than ten bytes")


def _entry(data: bytes) -> tuple[str, bytes]:
    """Key and value of a map's entry; the last of each counts, and a missing one is empty."""
    entry = dict(_fields(data))
    try:
        return entry.get(1, b"").decode(), entry.get(2, b"")
    except UnicodeDecodeError as problem:
        raise Malformed("not_an_example", "a key is not UTF-8") from problem


def _feature(data: bytes) -> tuple[str, Values]:
    """Key and values of an entry of the context."""
    key, feature = _entry(data)
    return key, _values(feature)


def _values(feature: bytes) -> Values:
    """The values of a `tf.train.Feature`, packed or not; of an empty one, none."""
    lists = [(kind, inside) for kind, inside in _fields(feature) if kind in (1, 2, 3)]
    if not lists:
        return ()
    kind, inside = lists[-1]  # they exclude one another, so the last one counts
    found = [value for number, value in _fields(inside) if number == 1]
    if kind == 1:
        return tuple(found)
    packed = b"".join(found)
    if kind == 3:
        return integers(packed)
    if len(packed) % 4:
        raise Malformed("not_an_example", f"{len(packed)} bytes of numbers of four bytes each")
    return struct.unpack(f"<{len(packed) // 4}f", packed)


@lru_cache(1 << 14)
def integers(packed: bytes) -> tuple[int, ...]:
    """Numbers written one after another; remembered, because sets of labels come often. Raises Malformed."""
    values: list[int] = []
    value = shift = 0
    for byte in packed:  # as `_varint` does, but many at a time
        value |= (byte & 127) << shift
        shift += 7
        if shift > 70:
            raise Malformed("not_an_example", "a number has more than ten bytes")
        if byte < 128:
            value &= _MOST
            values.append(value - (1 << 64) if value >> 63 else value)
            value = shift = 0
    if shift:
        raise Malformed("not_an_example", "the last number is cut off")
    return tuple(values)


def _encoded(values: Values) -> bytes:
    """A `tf.train.Feature`."""
    if not values:
        return b""
    if isinstance(values[0], bytes):
        return delimited(1, b"".join(delimited(1, value) for value in values if isinstance(value, bytes)))
    if isinstance(values[0], float):
        return delimited(2, delimited(1, struct.pack(f"<{len(values)}f", *values)))
    return delimited(3, delimited(1, b"".join(_number(int(value)) for value in values)))


def pair(key: str, value: bytes) -> bytes:
    """A map's entry, as it stands in the map."""
    return delimited(1, delimited(1, key.encode()) + delimited(2, value))


def delimited(field: int, inside: bytes) -> bytes:
    """A field that holds bytes, text or a message."""
    return _number(field << 3 | _BYTES) + _number(len(inside)) + inside


def _number(value: int) -> bytes:
    """A varint; a negative number as its two's complement of 64 bits."""
    value &= _MOST
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes((*found, value))
