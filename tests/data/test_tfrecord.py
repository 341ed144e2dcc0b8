"""Records are read back exactly, whoever wrote them; what is broken has its name and place, and costs no memory."""

from __future__ import annotations

import io
import math
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import crc32c
import numpy as np
import pytest
import tfrecord as independent
from hypothesis import example, given, settings
from hypothesis import strategies as st

from auscult.core.errors import DataError
from auscult.data import tfrecord
from auscult.data.tfrecord import Broken, Malformed, Record

FLOATS = st.floats(width=32, allow_nan=False)
VALUES = st.one_of(
    st.lists(st.binary(max_size=20), min_size=1, max_size=4),
    st.lists(FLOATS, min_size=1, max_size=4),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4),
).map(tuple)
CONTEXTS = st.dictionaries(st.text(max_size=8), VALUES, max_size=5)


def frame(payload: bytes, *, length: int | None = None, length_crc: int = 0, payload_crc: int = 0) -> bytes:
    """A record by the format's description, with another library's CRC32C, and lies where they are asked for."""

    def checksum(data: bytes) -> int:
        crc = crc32c.crc32c(data)
        return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32

    head = struct.pack("<Q", len(payload) if length is None else length)
    return b"".join(
        (
            head,
            struct.pack("<I", checksum(head) ^ length_crc),
            payload,
            struct.pack("<I", checksum(payload) ^ payload_crc),
        )
    )


def read(data: bytes) -> list[Record | Broken]:
    return list(tfrecord.records(io.BytesIO(data), "some.tfrecord", len(data)))


def reasons(data: bytes) -> list[str | bytes]:
    return [found.payload if isinstance(found, Record) else found.reason for found in read(data)]


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_records_by_hand_are_read_back_and_written_alike(payloads: list[bytes]):
    data = b"".join(map(frame, payloads))
    found = read(data)
    assert [one.payload for one in found if isinstance(one, Record)] == payloads
    assert [one.offset for one in found] == [sum(map(len, payloads[:n])) + 16 * n for n in range(len(payloads))]
    assert b"".join(map(tfrecord.record, payloads)) == data


def test_the_checksum_is_the_one_of_the_published_examples():
    """RFC 3720, appendix B.4."""
    assert tfrecord.crc32c(bytes(32)) == 0x8A9136AA
    assert tfrecord.crc32c(bytes([0xFF] * 32)) == 0x62A8AB43
    assert tfrecord.crc32c(bytes(range(32))) == 0x46DD794E


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.data())
def test_a_flipped_bit_is_never_read_as_a_record(payloads: list[bytes], draw: st.DataObject):
    data = bytearray(b"".join(map(frame, payloads)))
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    data[bit // 8] ^= 1 << bit % 8
    found = reasons(bytes(data))
    hit = next(n for n in range(len(payloads)) if bit // 8 < sum(map(len, payloads[: n + 1])) + 16 * (n + 1))
    assert found[:hit] == payloads[:hit]
    assert found[hit] in ("length_crc", "payload_crc")
    assert found[hit + 1 :] == (payloads[hit + 1 :] if found[hit] == "payload_crc" else [])


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.data())
def test_a_cut_file_is_torn_unless_the_cut_is_between_records(payloads: list[bytes], draw: st.DataObject):
    data = b"".join(map(frame, payloads))
    at = draw.draw(st.integers(0, len(data) - 1))
    found = reasons(data[:at])
    whole = [n for n in range(len(payloads) + 1) if sum(map(len, payloads[:n])) + 16 * n <= at]
    between = at == sum(map(len, payloads[: whole[-1]])) + 16 * whole[-1]
    assert found == payloads[: whole[-1]] + ([] if between else ["torn"])


@pytest.mark.parametrize(
    ("length", "reason"),
    [
        (2**20, "torn"),
        (2**30, "torn"),
        (2**31, "absurd_length"),
        (2**60, "absurd_length"),
        (2**64 - 1, "absurd_length"),
    ],
)
def test_an_absurd_length_has_its_name_and_reserves_nothing(tmp_path: Path, length: int, reason: str):
    path = tmp_path / "some.tfrecord"
    path.write_bytes(frame(b"first") + frame(b"second", length=length))
    tracemalloc.start()
    found = list(tfrecord.read(path))
    assert tracemalloc.get_traced_memory()[1] < 1 << 19
    tracemalloc.stop()
    assert isinstance(found[1], Broken)
    assert found[1].reason == reason
    assert str(found[1]).startswith(f"{path}: record at byte 21: it claims {length:,} bytes")


def test_each_defect_has_its_name_and_what_can_be_read_after_it_is():
    assert reasons(frame(b"one", payload_crc=1) + frame(b"two")) == ["payload_crc", b"two"]
    assert reasons(frame(b"one", length_crc=1) + frame(b"two")) == ["length_crc"]
    assert reasons(frame(b"one", length=2) + frame(b"two")) == ["payload_crc", "length_crc"]
    assert reasons(frame(b"one", length=400) + frame(b"two")) == ["torn"]
    assert reasons(frame(b"one", length=2**30)) == ["torn"]
    assert set(tfrecord.REASONS) == {"torn", "length_crc", "absurd_length", "payload_crc"}


def test_a_file_is_written_whole_and_read(tmp_path: Path):
    assert tfrecord.write(tmp_path / "a.tfrecord", [b"one", b""]) == 2
    assert list(tfrecord.read(tmp_path / "a.tfrecord")) == [Record(0, b"one"), Record(19, b"")]

    def failing() -> Iterator[bytes]:
        yield b"three"
        raise KeyError

    with pytest.raises(KeyError):
        tfrecord.write(tmp_path / "a.tfrecord", failing())
    assert [path.name for path in tmp_path.iterdir()] == ["a.tfrecord"]
    assert len(list(tfrecord.read(tmp_path / "a.tfrecord"))) == 2
    with pytest.raises(DataError, match=r"none\.tfrecord: cannot be read"):
        list(tfrecord.read(tmp_path / "none.tfrecord"))


@settings(max_examples=50)
@given(CONTEXTS, st.lists(st.binary(min_size=3, max_size=3), min_size=1, max_size=5))
def test_examples_agree_with_an_independent_encoder(context: dict[str, Any], rows: list[bytes]):
    """protobuf's, as the package `tfrecord` calls it; both ways."""
    kinds = {bytes: "byte", float: "float", int: "int"}
    theirs = independent.TFRecordWriter.serialize_tf_sequence_example(
        {key: (list(values), kinds[type(values[0])]) for key, values in context.items()},
        {"audio_embedding": (rows, "byte")},
    )
    found, lists = tfrecord.parse(theirs)
    assert found == context
    assert tfrecord.frames(lists["audio_embedding"], 3).tobytes() == b"".join(rows)
    ours = tfrecord.encode(context, {"audio_embedding": rows})
    parsed = independent.example_pb2.SequenceExample.FromString(ours)
    assert parsed == independent.example_pb2.SequenceExample.FromString(theirs)


def test_an_empty_list_has_no_values():
    theirs = independent.TFRecordWriter.serialize_tf_sequence_example({"labels": ([], "int")}, {"x": ([], "byte")})
    assert tfrecord.parse(theirs) == ({"labels": ()}, {"x": b""})
    assert tfrecord.parse(tfrecord.encode({"labels": ()}, {"x": []})) == ({"labels": ()}, {"x": b""})
    assert tfrecord.parse(b"") == ({}, {})


def test_numbers_may_stand_one_by_one_and_unknown_fields_are_stepped_over():
    """Unpacked lists are as valid; fields 9 (varint), 10 (eight bytes), 11 (four bytes) and 100 mean nothing to us."""
    labels = b"\x1a\x05\x08\x07\x08\x89\x01"  # Int64List of 7 and 137, each with its own tag
    times = b"\x12\x05\x0d" + struct.pack("<f", 2.5)
    foreign = b"\x48\x96\x01" + b"\x51" + bytes(8) + b"\x5d" + bytes(4) + b"\xa2\x06\x01x"
    entries = tfrecord.pair("labels", labels + foreign) + tfrecord.pair("t", times)
    assert tfrecord.parse(foreign + tfrecord.delimited(1, entries + foreign)) == ({"labels": (7, 137), "t": (2.5,)}, {})


@pytest.mark.parametrize(
    ("packed", "said"), [(b"\xff" * 11, "more than ten bytes"), (b"\x07\x80", "the last number is cut off")]
)
def test_numbers_that_do_not_end_are_refused(packed: bytes, said: str):
    entry = tfrecord.pair("labels", tfrecord.delimited(3, tfrecord.delimited(1, packed)))
    with pytest.raises(Malformed, match=said):
        tfrecord.parse(tfrecord.delimited(1, entry))


@given(st.binary(max_size=200))
@example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")  # a length of 2^64 - 1
@example(b"\x0a" + b"\xff" * 12)
@example(b"\x0b")  # a group, which nobody writes any more
@example(tfrecord.encode({"k": (1.5,)}, {})[:-1])
def test_bytes_that_are_no_example_are_at_worst_malformed(payload: bytes):
    with suppress(Malformed):
        _, lists = tfrecord.parse(payload)
        for value in lists.values():
            tfrecord.frames(value, 128)


@given(CONTEXTS, st.data())
def test_a_cut_example_is_refused_or_shorter_never_made_up(context: dict[str, Any], draw: st.DataObject):
    payload = tfrecord.encode(context, {"audio_embedding": [b"abc"]})
    cut = payload[: draw.draw(st.integers(0, len(payload) - 1))]
    with suppress(Malformed):
        found, lists = tfrecord.parse(cut)
        assert not lists
        assert found in ({}, context)


@pytest.mark.parametrize("rows", [[b"abc", b"ab"], [b"", b"abc"], [b"abcd"]])
def test_frames_of_another_size_are_refused(rows: list[bytes]):
    _, lists = tfrecord.parse(tfrecord.encode({}, {"x": rows}))
    with pytest.raises(Malformed, match="instead of 3"):
        tfrecord.frames(lists["x"], 3)


def test_frames_that_stand_in_one_list_are_no_sequence():
    two = independent.example_pb2.Feature(bytes_list=independent.example_pb2.BytesList(value=[b"abc", b"def"]))
    with pytest.raises(Malformed, match="in 1 lists"):
        tfrecord.frames(tfrecord.delimited(1, two.SerializeToString()), 3)


def test_floats_are_kept_to_single_precision():
    found, _ = tfrecord.parse(tfrecord.encode({"t": (0.1, math.inf, -0.0)}, {}))
    assert found["t"] == tuple(np.float32((0.1, math.inf, -0.0)).tolist())
