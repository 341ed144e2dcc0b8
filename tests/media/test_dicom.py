"""Films are shown as the standard says and as pydicom's own functions do; what is no film says why; who is named."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut, apply_windowing
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEG2000,
    MPEG2MPML,
    UID,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from auscult.core.errors import MediaError
from auscult.core.types import Image
from auscult.media import dicom
from auscult.media.image import Header, decode, read_header, shown
from auscult.media.window import Display
from auscult.rollouts.messages import wire
from auscult.rollouts.options import Server

TRUE, FAKE = "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm", "Fake_MONOHR1.dcm"
FILM = np.random.default_rng(0).integers(0, 4096, (40, 48), dtype=np.uint16)
Written = Callable[..., Image]


@pytest.fixture
def film(tmp_path: Path) -> Written:
    """Writes a film: `film(pixels, coding, WindowWidth=…)`; pixels [H, W], [H, W, 3] or [frames, H, W]."""

    def write(pixels: np.ndarray = FILM, coding: str = ExplicitVRLittleEndian, **told: object) -> Image:
        found = dataset(pixels, **told)
        if coding in (ExplicitVRLittleEndian, ExplicitVRBigEndian):
            found.file_meta.TransferSyntaxUID = UID(coding)
        else:
            found.compress(coding, encoding_plugin="pydicom" if coding == RLELossless else "")
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.dcm"
        little = coding != ExplicitVRBigEndian
        pydicom.dcmwrite(path, found, implicit_vr=False, little_endian=little, force_encoding=True)
        return Image(str(path))

    return write


def dataset(pixels: np.ndarray | None = FILM, **told: object) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID(str(told.get("SOPClassUID", SecondaryCaptureImageStorage)))
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["film"])
    found = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    found.SOPClassUID, found.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    if pixels is not None:
        colour = pixels.ndim == 3 and pixels.shape[2] == 3
        found.Rows, found.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
        found.SamplesPerPixel = 3 if colour else 1
        found.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
        if colour:
            found.PlanarConfiguration = 0
        elif pixels.ndim == 3:
            found.NumberOfFrames = len(pixels)
        found.BitsAllocated = 8 * pixels.dtype.itemsize
        found.BitsStored = 12 if pixels.dtype == np.uint16 else found.BitsAllocated
        found.HighBit = found.BitsStored - 1
        found.PixelRepresentation = int(pixels.dtype.kind == "i")
        found.PixelData = pixels.tobytes()
    for key, value in told.items():
        setattr(found, key, value)
    return found


def reason_of(image: Image) -> str:
    """Why the header is refused, and the same reason when it is decoded."""
    with pytest.raises(MediaError) as caught:
        read_header(image)
    with pytest.raises(MediaError) as again:
        decode(image)
    assert caught.value.reason == again.value.reason
    assert str(image.path) in str(caught.value)
    return caught.value.reason


def table(entries: np.ndarray, first: int, bits: int) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries.tolist())
    return Sequence([item])


def stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint(255 * np.clip((values - low) / (high - low), 0, 1))


# -- the real films --------------------------------------------------------------------------------------------------


def test_every_film_decodes_as_its_source_says_or_fails_with_the_right_error(testdata: Path) -> None:
    found: dict[str, object] = {}
    for path in sorted((testdata / "dicom").iterdir()):
        try:
            header = read_header(Image(str(path)))
            pixels = decode(Image(str(path)))
            assert pixels.dtype == np.uint8
            found[path.name] = (header.container, *pixels.shape)
        except MediaError as error:
            found[path.name] = error.reason
    assert found == {
        "00000001_000.png": ("png", 512, 512, 3),
        TRUE: ("dicom", 1024, 1024, 3),
        FAKE: ("dicom", 1024, 1024, 3),
        "JPEG-LL.dcm": "codec",
        "RG1_J2KI.dcm": ("dicom", 1955, 1841, 3),
        "RG3_J2KR.dcm": ("dicom", 1760, 1760, 3),
        "mlut_18.dcm": ("dicom", 512, 512, 3),
        "vlut_04.dcm": ("dicom", 512, 512, 3),
    }


def test_lossless_jpeg_names_what_to_install(testdata: Path) -> None:
    with pytest.raises(MediaError, match=r"JPEG-LL.dcm is coded as JPEG Lossless.*pip install python-gdcm"):
        read_header(Image(str(testdata / "dicom" / "JPEG-LL.dcm")))


def test_every_chest_film_is_the_grey_png_that_it_is(testdata: Path) -> None:
    films = sorted((testdata / "cxr").glob("*.png"))
    assert len(films) == 24
    for path in films:
        with Pillow.open(path) as opened:
            assert (shown(Image(str(path))) == np.asarray(opened)).all()


def test_twins_store_the_same_values_and_are_each_others_negative(testdata: Path) -> None:
    """One byte tells them apart: MONOCHROME2 became MONOCHROME1. The source made the second from the first without
    inverting its values and expects 8 at [60][2] of the one, its negative of the other."""
    true, fake = (testdata / "dicom" / name for name in (TRUE, FAKE))
    assert sum(a != b for a, b in zip(true.read_bytes(), fake.read_bytes(), strict=True)) == 1
    assert (pydicom.dcmread(true).pixel_array == pydicom.dcmread(fake).pixel_array).all()
    film, negative = (shown(Image(str(path))) for path in (true, fake))
    assert film[60][2] == 8
    assert (negative == 255 - film).all()


def test_a_film_and_its_inverted_values_as_monochrome1_are_one_picture(testdata: Path, film: Written) -> None:
    stored = pydicom.dcmread(testdata / "dicom" / TRUE).pixel_array
    assert (shown(film(stored)) == shown(film(255 - stored, PhotometricInterpretation="MONOCHROME1"))).all()
    deep = stored.astype(np.uint16) * 16
    for window in ("window", "percentile", "full"):
        twins = (film(deep), film(4095 - deep, PhotometricInterpretation="MONOCHROME1"))
        one, other = (shown(twin, Display(window=window)).astype(int) for twin in twins)
        assert np.abs(one - other).max() <= 1


@pytest.mark.parametrize("name", ["RG1_J2KI.dcm", "RG3_J2KR.dcm", "mlut_18.dcm", "vlut_04.dcm", TRUE])
def test_real_films_are_what_pydicoms_own_functions_make_of_them(testdata: Path, name: str) -> None:
    found = pydicom.dcmread(testdata / "dicom" / name)
    measured = apply_modality_lut(found.pixel_array, found)
    viewed = apply_voi_lut(measured, found).astype(float)
    bits = found.VOILUTSequence[0].LUTDescriptor[2] if "VOILUTSequence" in found else found.BitsStored
    low, high = (0, 2**bits - 1) if name != "mlut_18.dcm" else (viewed.min(), viewed.max())  # it names no window
    theirs = stretched(viewed, low, high)
    theirs = 255 - theirs if found.PhotometricInterpretation == "MONOCHROME1" else theirs
    theirs = theirs[:, ::-1] if name == "RG3_J2KR.dcm" else theirs  # its R stands mirrored, as its header says
    assert np.abs(shown(Image(str(testdata / "dicom" / name))) - theirs).max() <= 1


# -- the grey-scale chain --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(2000, 1000), (40, 400), (1000.5, 1)])
def test_windows_are_those_of_pydicom(film: Written, function: str, center: float, width: float) -> None:
    told = {"WindowCenter": center, "WindowWidth": width, "RescaleSlope": 2, "RescaleIntercept": -1024}
    image = film(VOILUTFunction=function, **told)
    found = pydicom.dcmread(str(image.path))
    with np.errstate(over="ignore"):
        theirs = apply_windowing(apply_modality_lut(found.pixel_array, found), found)
    assert np.abs(shown(image) - stretched(theirs, -1024, 2 * 4095 - 1024)).max() <= 1


@pytest.mark.parametrize("width", [0, -500])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_of_no_width_is_none(film: Written, width: int, function: str) -> None:
    ramp = np.arange(64, dtype=np.uint16).reshape(8, 8) * 64
    shown_whole = shown(film(ramp))
    assert np.array_equal(shown(film(ramp, WindowCenter=2000, WindowWidth=width, VOILUTFunction=function)), shown_whole)
    assert len(np.unique(shown_whole)) == 64


def test_an_intercept_without_a_slope_counts(film: Written) -> None:
    ramp = np.arange(64, dtype=np.uint16).reshape(8, 8) * 64
    told = {"RescaleIntercept": -1000, "WindowCenter": 1000, "WindowWidth": 2000}
    assert np.array_equal(shown(film(ramp, **told)), shown(film(ramp, RescaleSlope=1, **told)))


def test_a_look_up_table_comes_before_a_window_and_the_first_window_before_others(film: Written) -> None:
    image = film(WindowCenter=[100, 2000], WindowWidth=[50, 4000])
    assert (shown(image) == np.rint(255 * np.clip((FILM - 99.5) / 49 + 0.5, 0, 1))).all()
    inverse = np.arange(4095, -1, -1)
    image = film(WindowCenter=100, WindowWidth=50, VOILUTSequence=table(inverse, 0, 12))
    assert (shown(image) == np.rint(255 * (4095 - FILM.astype(float)) / 4095)).all()


def test_a_table_of_8_bits_does_not_wrap(film: Written) -> None:
    """pydicom 3.0.2 counts the entry of an 8-bit table in 8 bits: 256 above the first is the first again."""
    image = film(VOILUTSequence=table(np.arange(256), 100, 8))
    assert (shown(image) == np.clip(FILM.astype(int) - 100, 0, 255)).all()


def test_signed_values_and_tables_that_begin_below_zero(film: Written) -> None:
    signed = (FILM.astype(int) - 2048).astype(np.int16)
    low, high = signed.min(), signed.max()
    assert (shown(film(signed)) == stretched(signed.astype(float), low, high)).all()
    image = film(signed, ModalityLUTSequence=table(np.arange(4095, -1, -1), -2048, 16))
    assert (shown(image) == stretched(-signed.astype(float), -high, -low)).all()


def test_padding_is_black_and_has_no_say(film: Written) -> None:
    pixels = FILM.clip(1000, 2000)
    pixels[:4] = 4095
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        image = film(pixels, PixelPaddingValue=4095, PhotometricInterpretation=kind)
        inside = shown(image)[4:]
        assert (shown(image)[:4] == 0).all()
        assert (inside.min(), inside.max()) == (0, 255)


def test_the_percentile_is_of_what_is_measured(film: Written) -> None:
    pixels = np.arange(10_000, dtype=np.uint16).reshape(100, 100) % 4000
    pixels[0, 0] = 4095
    image = film(pixels, RescaleSlope=-1, RescaleIntercept=0)
    low, high = np.percentile(-pixels.astype(float), [0.5, 99.5])
    ours = shown(image, Display(window="percentile")).astype(int)
    assert np.abs(ours - stretched(-pixels.astype(float), low, high)).max() <= 1


@pytest.mark.parametrize("coding", [JPEG2000Lossless, JPEGLSLossless, RLELossless, ExplicitVRBigEndian])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_lossless_codings_give_the_same_picture(film: Written, coding: str, bits: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 1 << bits, (32, 40), dtype=np.uint16)
    plain = film(pixels, BitsStored=bits, HighBit=bits - 1)
    if coding == ExplicitVRBigEndian:
        coded = film(pixels.astype(">u2"), coding, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=0)
    else:
        coded = film(pixels, coding, BitsStored=bits, HighBit=bits - 1)
    assert (shown(coded) == shown(plain)).all()


def test_colours(film: Written) -> None:
    colour = np.random.default_rng(2).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    assert (shown(film(colour)) == colour).all()
    assert (shown(film(colour, JPEG2000Lossless)) == colour).all()
    told = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 16] for name in ("Red", "Green", "Blue")}
    entries = np.arange(256, dtype=np.uint16)[::-1] * 257
    told |= {f"{name}PaletteColorLookupTableData": entries.tobytes() for name in ("Red", "Green", "Blue")}
    palette = film(colour[:, :, 0], PhotometricInterpretation="PALETTE COLOR", **told)
    assert (shown(palette) == 255 - colour[:, :, [0]]).all()
    y = Pillow.fromarray(colour).convert("YCbCr")
    back = shown(film(np.asarray(y), PhotometricInterpretation="YBR_FULL"))
    assert np.abs(back.astype(int) - colour).max() <= 3


def test_one_of_several_frames_is_chosen_and_has_its_own_window(film: Written) -> None:
    frames = np.stack([FILM, FILM // 2, FILM // 4])
    groups = []
    for center in (2048, 1024, 512):
        lut = Dataset()
        lut.WindowCenter, lut.WindowWidth = center, 2 * center
        group = Dataset()
        group.FrameVOILUTSequence = Sequence([lut])
        groups.append(group)
    image = film(frames, PerFrameFunctionalGroupsSequence=Sequence(groups))
    assert reason_of(image) == "frames"
    for number, center in enumerate((2048, 1024, 512)):
        expected = dicom.windowed(frames[number].astype(float), center, 2 * center)
        assert (shown(Image(image.path, frame=number)) == np.rint(255 * np.clip(expected, 0, 1))).all()
    assert reason_of(Image(image.path, frame=3)) == "frames"


@pytest.mark.parametrize(
    ("told", "turned"),
    [
        (["L", "F"], lambda film: film),
        (["R", "F"], np.fliplr),
        (["L", "H"], np.flipud),
        (["R", "H"], lambda film: film[::-1, ::-1]),
        (["F", "L"], np.transpose),
        (["HL", "LF"], lambda film: film.T[::-1]),
        (["A", "F"], lambda film: film),
        (["P", "R"], lambda film: film),
        (["", "F"], lambda film: film),
        (None, lambda film: film),
    ],
)
def test_a_frontal_film_stands_upright_with_the_left_at_the_right(film: Written, told, turned) -> None:
    eight = (FILM >> 4).astype(np.uint8)
    assert (shown(film(eight, PatientOrientation=told)) == turned(eight)).all()


# -- what is no film -------------------------------------------------------------------------------------------------


def test_what_cannot_be_used_says_why(film: Written, tmp_path: Path) -> None:
    def without_pixels() -> Image:
        found = dataset(None, SOPClassUID=EncapsulatedPDFStorage, EncapsulatedDocument=b"%PDF-1.4")
        found.save_as(tmp_path / "letter.dcm", enforce_file_format=True)
        return Image(str(tmp_path / "letter.dcm"))

    def video() -> Image:
        found = dataset()
        found.file_meta.TransferSyntaxUID = MPEG2MPML
        found.PixelData = encapsulate([b"\0\0\1\xb3" * 8])
        found["PixelData"].VR = "OB"
        found.save_as(tmp_path / "video.dcm", enforce_file_format=True)
        return Image(str(tmp_path / "video.dcm"))

    assert {
        "no_pixels": reason_of(without_pixels()),
        "codec": reason_of(video()),
        "colour": reason_of(film(PhotometricInterpretation="HSV")),
        "huge": reason_of(film(Rows=60_000, Columns=60_000)),
        "tiny": reason_of(film(FILM[:1])),
        "frames": reason_of(film(np.stack([FILM, FILM]))),
    } == {reason: reason for reason in ("no_pixels", "codec", "colour", "huge", "tiny", "frames")}
    with pytest.raises(MediaError, match="no picture but Encapsulated PDF Storage"):
        decode(Image(str(tmp_path / "letter.dcm")))


def test_a_film_cut_short_is_torn_and_its_header_still_read(film: Written) -> None:
    for coding in (ExplicitVRLittleEndian, JPEG2000Lossless):
        image = film(coding=coding)
        path = Path(str(image.path))
        path.write_bytes(path.read_bytes()[:-300])
        assert read_header(image) == Header("dicom", 40, 48, alike=False)
        with pytest.raises(MediaError) as caught:
            decode(image)
        assert caught.value.reason == "torn"


def test_a_coded_frame_that_promises_more_than_the_header_is_not_decoded(film: Written) -> None:
    """A few bytes can promise terabytes, and decoders believe them."""
    for coding, sizes, promised in (
        (JPEG2000Lossless, struct.pack(">2I", 48, 40), struct.pack(">2I", 60_000, 60_000)),
        (JPEGLSLossless, struct.pack(">2H", 40, 48), struct.pack(">2H", 60_000, 60_000)),
    ):
        image = film(coding=coding)
        path = Path(str(image.path))
        whole = path.read_bytes()
        pixels = whole.index(b"\xff\x4f\xff\x51" if coding == JPEG2000Lossless else b"\xff\xd8\xff\xf7")
        path.write_bytes(whole[:pixels] + whole[pixels:].replace(sizes, promised, 1))
        with pytest.raises(MediaError, match="the coded frame has 60000 x 60000 pixels, not 48 x 40"):
            decode(image)


@pytest.mark.parametrize(
    ("coding", "how"),
    [
        (JPEGBaseline8Bit, {"format": "JPEG"}),
        (JPEGBaseline8Bit, {"format": "JPEG", "progressive": True, "comment": b"x" * 999}),
        (JPEG2000, {"format": "JPEG2000", "no_jp2": True}),
        (JPEG2000, {"format": "JPEG2000"}),  # in a JP2 file, as some devices write it
    ],
)
def test_the_size_of_a_coded_frame_is_found_in_all_its_kinds(tmp_path: Path, coding: UID, how: dict) -> None:
    for width, height in ((61, 47), (48, 40)):
        buffer = io.BytesIO()
        Pillow.fromarray(np.full((height, width), 9, np.uint8)).save(buffer, **how)
        found = dataset((FILM >> 4).astype(np.uint8))
        found.file_meta.TransferSyntaxUID = coding
        found.PixelData = encapsulate([buffer.getvalue()])
        found["PixelData"].VR = "OB"
        found.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, about JP2
            if (width, height) == (48, 40):
                assert set(np.unique(shown(Image(str(tmp_path / "a.dcm"))))) == {9}
            else:
                with pytest.raises(MediaError, match="the coded frame has 61 x 47 pixels, not 48 x 40"):
                    shown(Image(str(tmp_path / "a.dcm")))


@settings(max_examples=60)
@given(place=st.integers(132, 1600), data=st.binary(min_size=1, max_size=6), cut=st.integers(0, 200))
def test_a_damaged_film_is_a_film_or_an_error(tmp_path_factory, place: int, data: bytes, cut: int) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.dcm"
    found = dataset(WindowCenter=2000, WindowWidth=3000, PatientName="A^B")
    found.save_as(path, enforce_file_format=True)
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + data + whole[place + len(data) : len(whole) - cut])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about values that are not as the standard says
        for look in (read_header, decode):
            with suppress(MediaError):
                look(Image(str(path)))


# -- who is named ----------------------------------------------------------------------------------------------------


def test_the_names_of_attributes_are_in_the_dictionary() -> None:
    assert [name for name in dicom.NAMING if tag_for_keyword(name) is None] == []


def test_a_header_that_names_somebody_says_so_without_the_values(film: Written) -> None:
    step = Dataset()
    step.PerformingPhysicianName = "Doe^Jane"
    told = {"PatientName": "Roe^Richard", "PatientBirthDate": "19400305", "InstitutionName": "St. Elsewhere"}
    named = film(**told, PatientSex="M", RequestAttributesSequence=Sequence([step]))
    found = dicom.identity(str(named.path))
    assert found.tags == {**told, "PerformingPhysicianName": "Doe^Jane"}
    assert found.burned_in is None
    assert "InstitutionName, PatientBirthDate, PatientName, PerformingPhysicianName" in (found.problem or "")
    assert "Roe" not in (found.problem or "")
    removed = dicom.identity(str(film(PatientName="case 7", PatientIdentityRemoved="YES").path))
    assert removed.problem is None
    burned = dicom.identity(str(film(BurnedInAnnotation="YES", PatientIdentityRemoved="YES").path))
    assert "burned into" in (burned.problem or "")
    assert dicom.identity(str(film(PatientName="", BurnedInAnnotation="NO").path)).problem is None


def test_every_named_film_of_the_test_data_is_seen(testdata: Path) -> None:
    for path in sorted((testdata / "dicom").iterdir()):
        assert ("PatientName" in dicom.identity(str(path)).tags) == (path.suffix == ".dcm")


def test_no_server_is_sent_a_film_that_names_somebody(film: Written, tmp_path: Path) -> None:
    named, clean = film(PatientName="Roe^Richard"), film(PatientID="")
    said = [{"role": "user", "content": [named, "Which?"]}]
    for media in ("data_url", "file_url", "input_audio"):
        refusing, allowing = (Server(model="m", media=media, send_identified=send) for send in (False, True))
        with pytest.raises(MediaError, match=r"not de-identified.*PatientName.*server.send_identified") as caught:
            wire(said, refusing)
        assert caught.value.reason == "identified"
        url = wire(said, allowing)[0]["content"][0]["image_url"]["url"]
        assert url.startswith("data:image/png;base64,")  # pixels alone, also where paths are sent otherwise
        wire([{"role": "user", "content": [clean]}], refusing)


def test_a_server_sees_what_the_listener_sees(film: Written, tmp_path: Path) -> None:
    Pillow.fromarray(FILM).save(tmp_path / "deep.png")
    Pillow.fromarray((FILM >> 4).astype(np.uint8)).save(tmp_path / "flat.png")
    by_path = Server(model="m", media="file_url")

    def url(name: str, display: Display) -> str:
        said = [{"role": "user", "content": [Image(str(tmp_path / name))]}]
        return wire(said, by_path, display)[0]["content"][0]["image_url"]["url"]

    assert url("flat.png", Display()).startswith("file://")
    assert url("deep.png", Display()).startswith("data:")
    assert url("flat.png", Display(longest=16)).startswith("data:")
