"""Pictures: every way in which a file can be unusable has its reason, most of them before anything is decoded; and
what can be used is shown as its kind and its display say."""

from __future__ import annotations

import io
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as Pillow

from auscult.core.errors import MediaError
from auscult.core.types import Image
from auscult.media import dicom
from auscult.media.image import REASONS, Header, decode, encode_png, read_header, shown
from auscult.media.window import Display, grey

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
GREY = PIXELS[:, :, 0]


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


def saved(picture: Pillow.Image, path: Path, **how: object) -> Image:
    picture.save(path, **how)  # type: ignore[arg-type]
    return Image(str(path))


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
    huge = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n\0\0\0\r" + huge + struct.pack(">I", zlib.crc32(huge)) + encode_png(PIXELS)[33:]
    wrong = Image(pixels=np.zeros((4, 4), np.uint8))  # type: ignore[arg-type]
    pages = [Pillow.fromarray(PIXELS), Pillow.fromarray(255 - PIXELS)]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    assert {
        "missing": reason_of(Image(str(tmp_path / "none.png"))),
        "not_a_file": reason_of(Image(str(tmp_path / "pipe.png"))),
        "empty": reason_of(file("empty.png", b"")),
        "not_image": reason_of(file("text.png", b"no picture")),
        "tiny": reason_of(file("dot.png", encode_png(PIXELS[:1, :1]))),
        "frames": reason_of(Image(str(tmp_path / "pages.tiff"))),
        "huge": reason_of(file("huge.png", png)),
        "shape": reason_of(wrong),
    } == {reason: reason for reason in REASONS if reason not in ("unreadable", "torn", "not_finite", *dicom.REASONS)}
    assert reason_of(Image(None)) == "missing"
    assert reason_of(Image(str(tmp_path / "pages.tiff"), frame=2)) == "frames"
    assert (decode(Image(str(tmp_path / "pages.tiff"), frame=1)) == 255 - PIXELS).all()


# -- kinds of pixels -------------------------------------------------------------------------------------------------


def test_a_ramp_of_16_bits_keeps_its_greys(tmp_path: Path) -> None:
    ramp = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    files = {
        "I;16": saved(Pillow.fromarray(ramp), tmp_path / "a.png"),
        "I;16B": saved(Pillow.frombytes("I;16B", (256, 256), ramp.astype(">u2").tobytes()), tmp_path / "b.tiff"),
        "I": saved(Pillow.fromarray(ramp.astype(np.int32)), tmp_path / "c.tiff"),
        "F": saved(Pillow.fromarray(ramp.astype(np.float32)), tmp_path / "d.tiff"),
    }
    for mode, image in files.items():
        with Pillow.open(image.path or "") as opened:
            assert opened.mode == mode
        assert not read_header(image).alike
        pixels = shown(image)
        assert len(np.unique(pixels)) == 256, mode  # Pillow's own conversion leaves 255 in 65,280 of 65,536
        assert (np.diff(pixels.reshape(-1).astype(int)) >= 0).all()
        assert (decode(image) == pixels[:, :, None]).all()


def test_twelve_bits_in_sixteen_fill_the_range_and_a_hot_pixel_only_under_full(tmp_path: Path) -> None:
    film = np.linspace(0, 4095, 64 * 64).astype(np.uint16).reshape(64, 64)
    assert shown(saved(Pillow.fromarray(film), tmp_path / "a.png")).max() == 255
    film[0, 0] = 65_535
    hot = saved(Pillow.fromarray(film), tmp_path / "b.png")
    assert np.percentile(shown(hot, Display(window="full")), 99) < 20
    assert np.percentile(shown(hot, Display(window="percentile")), 99) > 250


@pytest.mark.parametrize("window", ["window", "percentile", "full"])
@pytest.mark.parametrize("value", [0, 700, 65_535])
def test_a_constant_picture_is_constant(tmp_path: Path, window, value: int) -> None:
    image = saved(Pillow.fromarray(np.full((8, 9), value, np.uint16)), tmp_path / "a.png")
    assert len(np.unique(decode(image, Display(window=window)))) == 1
    floats = saved(Pillow.fromarray(np.full((8, 9), float(value), np.float32)), tmp_path / "a.tiff")
    assert len(np.unique(decode(floats, Display(window=window)))) == 1


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    film = np.ones((8, 8), np.float32)
    film[3, 3] = np.nan
    with pytest.raises(MediaError, match="no numbers") as caught:
        decode(saved(Pillow.fromarray(film), tmp_path / "a.tiff"))
    assert caught.value.reason == "not_finite"


def test_palettes_transparency_and_small_depths(tmp_path: Path) -> None:
    few = Pillow.fromarray(PIXELS).quantize(16)
    assert (decode(saved(few, tmp_path / "p.png")) == np.asarray(few.convert("RGB"))).all()
    clear = np.dstack([GREY, np.where(np.arange(30) < 15, 255, 0).astype(np.uint8).repeat(40).reshape(30, 40).T])
    la = decode(saved(Pillow.fromarray(clear, "LA"), tmp_path / "la.png"))
    assert (la[:, :15, 1] == GREY[:, :15]).all()
    assert (la[:, 15:] == 255).all()
    rgba = np.dstack([PIXELS, clear[:, :, 1]])
    assert (decode(saved(Pillow.fromarray(rgba), tmp_path / "rgba.png"))[:, 15:] == 255).all()
    bits = Pillow.fromarray(GREY).convert("1")
    assert set(np.unique(decode(saved(bits, tmp_path / "1.png")))) == {0, 255}
    grey8 = saved(Pillow.fromarray(GREY // 2), tmp_path / "l.png")
    for window in ("window", "percentile", "full"):  # whoever saved 8 bits has windowed them
        assert (shown(grey8, Display(window=window)) == GREY // 2).all()
    assert shown(grey8).ndim == 2  # kept in a third of the memory


@given(
    stored=arrays(np.uint16, (7, 6)) | arrays(np.int16, (7, 6)) | arrays(np.int32, (7, 6), elements=st.integers(-9, 9)),
    policy=st.sampled_from(["window", "percentile", "full"]),
)
def test_greys_keep_the_order_of_the_values(stored: np.ndarray, policy) -> None:
    order = np.argsort(stored.reshape(-1), kind="stable")
    levels = grey(stored, policy).reshape(-1)[order].astype(int)
    assert (np.diff(levels) >= 0).all()
    assert (levels[-1] - levels[0] == 255) == (stored.min() != stored.max())


def test_blank_values_have_no_say() -> None:
    film = np.tile(np.arange(100, 200, dtype=np.int16), (10, 1))
    film[0] = -2000
    pixels = grey(film, "full", blank=(-2000, -2000))
    assert (pixels[0] == 0).all()
    assert pixels[1, 0] == 0
    assert pixels[1, -1] == 255


# -- size, shape, direction ------------------------------------------------------------------------------------------


def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6  # the camera was held upright
    turned = decode(saved(Pillow.fromarray(PIXELS), tmp_path / "a.png", exif=exif))
    assert (turned == np.rot90(PIXELS, -1)).all()


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_smaller_side_is_asked_for(tmp_path: Path, name: str) -> None:
    smooth = np.add.outer(np.linspace(0, 120, 1000), np.linspace(0, 120, 1600)).astype(np.uint8)
    image = saved(Pillow.fromarray(smooth), tmp_path / name)
    small = shown(image, Display(longest=100))
    assert small.shape == (62, 100)
    plain = np.asarray(Pillow.fromarray(smooth).resize((100, 62), Pillow.Resampling.LANCZOS))
    assert np.abs(small.astype(int) - plain).max() <= 2
    assert shown(image, Display(longest=4000)).shape == (1000, 1600)
    square = shown(image, Display(longest=100, square=True))
    assert square.shape == (100, 100)
    assert (square[19:81] == small).all()
    assert square[:19].max() == 0
    assert decode(Image.of(PIXELS), Display(longest=20, square=True)).shape == (20, 20, 3)


@given(data=st.binary(max_size=40), cut=st.integers(0, 400), place=st.integers(0, 400))
def test_a_damaged_picture_is_a_picture_or_an_error(tmp_path_factory, data: bytes, cut: int, place: int) -> None:
    buffer = io.BytesIO()
    Pillow.fromarray(GREY.astype(np.uint16) * 200).save(buffer, "PNG")
    whole = buffer.getvalue()
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    path.write_bytes(whole[:place] + data + whole[place + len(data) : len(whole) - cut])
    with suppress(MediaError):
        assert decode(Image(str(path))).shape[2] == 3
