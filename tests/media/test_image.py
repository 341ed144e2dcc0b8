"""Pictures: every way in which a file can be unusable has its reason, most of them before anything is decoded."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from auscult.core.errors import MediaError
from auscult.core.types import Image
from auscult.media.image import REASONS, Header, decode, encode_png, read_header

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


def reason_of(image: Image) -> str:
    """Why the header is refused, and the same reason when it is decoded."""
    with pytest.raises(MediaError) as caught:
        read_header(image)
    with pytest.raises(MediaError) as again:
        decode(image)
    assert caught.value.reason == again.value.reason
    assert caught.value.reason in REASONS
    assert "0x" not in str(caught.value)  # Pillow names the place in memory, which tells nobody anything
    return caught.value.reason


def test_a_header_is_read_without_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(PIXELS))
    assert read_header(Image(str(path))) == Header("png", 40, 30)
    assert read_header(Image.of(PIXELS)) == Header("memory", 40, 30)
    assert (decode(Image(str(path))) == PIXELS).all()
    path.write_bytes(encode_png(PIXELS)[:-1500])
    assert read_header(Image(str(path))).width == 30
    with pytest.raises(MediaError) as caught:
        decode(Image(str(path)))
    assert caught.value.reason == "torn"


def test_what_cannot_be_used_says_why(tmp_path: Path) -> None:
    def file(name: str, content: bytes) -> Image:
        (tmp_path / name).write_bytes(content)
        return Image(str(tmp_path / name))

    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    Pillow.fromarray(np.full((4, 4), 4000, dtype=np.uint16)).save(tmp_path / "deep.png")
    huge = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n\0\0\0\r" + huge + struct.pack(">I", zlib.crc32(huge)) + encode_png(PIXELS)[33:]
    wrong = Image(pixels=np.zeros((4, 4), np.uint8))  # type: ignore[arg-type]
    assert {
        "missing": reason_of(Image(str(tmp_path / "none.png"))),
        "not_a_file": reason_of(Image(str(tmp_path / "pipe.png"))),
        "empty": reason_of(file("empty.png", b"")),
        "not_image": reason_of(file("text.png", b"no picture")),
        "depth": reason_of(Image(str(tmp_path / "deep.png"))),
        "huge": reason_of(file("huge.png", png)),
        "shape": reason_of(wrong),
    } == {reason: reason for reason in REASONS if reason not in ("unreadable", "torn")}
    assert reason_of(Image(None)) == "missing"
