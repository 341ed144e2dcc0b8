"""A DICOM file becomes grey [H, W] or RGB [H, W, 3] of 8 bits, as a viewer shows it; and who it names.

    stored values -> modality LUT or rescaling -> VOI LUT or window -> MONOCHROME1 turned to its negative -> upright

The steps and their order are those of PS3.3 C.11 (grey-scale) and C.7.6.3 (photometric interpretation). Values of
PixelPaddingValue are black. Colour is decoded to RGB. A frontal film whose PatientOrientation says that it is mirrored
or upside down is turned, so that the patient's left is at the viewer's right; other directions are left as stored.
What the header says is checked before anything is decoded, also against the size that the coded frame promises.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from typing import TYPE_CHECKING, Any

import numpy as np

from auscult.core.errors import MediaError
from auscult.core.types import Pixels
from auscult.media import files
from auscult.media.window import Policy, Values, grey

if TYPE_CHECKING:  # pydicom takes half a second to load, and `--help` loads this file
    from pydicom import Dataset

REASONS = {
    "torn": "it begins as a DICOM file and cannot be decoded",
    "no_pixels": "a DICOM file of something else: a report, a waveform, a PDF",
    "codec": "coded in a way that needs a decoder which is not installed",
    "colour": "a photometric interpretation that nobody writes any more",
}
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")
_NAMING = (
    "AccessionNumber AcquisitionComments AdditionalPatientHistory AdmissionID BranchOfService CassetteID "
    "CountryOfResidence CurrentPatientLocation DerivationDescription DetectorID DeviceSerialNumber GantryID "
    "ImageComments InstitutionAddress InstitutionName InstitutionalDepartmentName IssuerOfPatientID "
    "MedicalRecordLocator MilitaryRank Occupation OtherPatientIDs PatientAddress PatientComments PatientID "
    "PatientInstitutionResidence PatientReligiousPreference PatientTelephoneNumbers PerformedProcedureStepID "
    "PersonAddress PersonTelephoneNumbers PlateID ProtocolName RegionOfResidence RequestedProcedureComments "
    "RequestedProcedureID RequestingService ScheduledProcedureStepID StationName StudyComments StudyID TextString "
    "VisitComments"
)
NAMING = frozenset(_NAMING.split())
"""Attributes that the basic profile of PS3.15 (table E.1-1) takes away or replaces and that say, or may say in free
text, who or where; names (VR PN) and dates (DA, DT) are known by their type."""


@dataclass(frozen=True, slots=True)
class Film:
    """A DICOM file that holds a picture in a coding that is understood."""

    name: str
    """What errors call it."""
    found: Dataset
    """Its attributes."""

    @property
    def height(self) -> int:
        """Rows as they are stored."""
        return int(self.found.Rows)

    @property
    def width(self) -> int:
        """Columns as they are stored."""
        return int(self.found.Columns)

    @property
    def frames(self) -> int:
        """How many pictures it holds."""
        return int(self.found.get("NumberOfFrames") or 1)

    def pixels(self, frame: int = 0, policy: Policy = "window") -> Pixels:
        """Grey [H, W] or RGB [H, W, 3] of one frame. Raises MediaError with the reason `torn`."""
        from pydicom.pixels import get_decoder

        with _reading(self.name):
            _check_coded(self, frame)
            stored, told = get_decoder(_syntax(self.found)).as_array(self.found, index=frame)
            of_grey = told["photometric_interpretation"] in GREY
            shown = _grey(stored, self.found, frame, policy) if of_grey else _rgb(stored, self.found)
            return np.ascontiguousarray(_upright(shown, self.found))


@dataclass(frozen=True, slots=True)
class Identity:
    """Who could be recognised by a DICOM file."""

    tags: dict[str, str]
    """Attributes that name a person, a place or a day, and what they say; local eyes only."""
    removed: bool
    """The file says that such attributes were taken away or replaced (PatientIdentityRemoved)."""
    burned_in: bool | None
    """Whether it says that text is burned into the pixels (BurnedInAnnotation); None where it does not say."""

    @property
    def problem(self) -> str | None:
        """Why it is not de-identified, without the values; None where nothing says so."""
        if self.burned_in:
            return "text is burned into its pixels (BurnedInAnnotation)"
        if self.tags and not self.removed:
            return f"its header names a person, a place or a day ({', '.join(sorted(self.tags))})"
        return None


def starts(file: BufferedReader) -> bool:
    """Whether an open file is a DICOM file; its position stays."""
    return file.peek(132)[128:132] == b"DICM"


def read(file: BufferedReader, name: str, header_only: bool = False) -> Film:
    """A film; its pixels cannot be asked for when only the header was read. Raises MediaError with a reason from
    `REASONS`; `name` is what it calls the file."""
    with _reading(name):
        found = _read(file, header_only)
        _check(found, name)
        return Film(name, found)


def identity(path: str) -> Identity:
    """Who could be recognised by a file's header; a file that is not DICOM names nobody. Raises MediaError where it
    cannot be read."""
    name = f"image {path}"
    with files.opened(path, name) as file, _reading(name):
        if not starts(file):
            return Identity({}, removed=False, burned_in=None)
        found = _read(file, True)
        told = str(found.get("BurnedInAnnotation", "")).upper()
        naming = [one for one in found.iterall() if one.VR in ("PN", "DA", "DT") or one.keyword in NAMING]
        tags = {one.keyword or str(one.tag): str(one.value) for one in naming if one.VR != "SQ" and one.value}
        removed = str(found.get("PatientIdentityRemoved", "")).upper() == "YES"
        return Identity(tags, removed, {"YES": True, "NO": False}.get(told))


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Whatever a torn file leads pydicom and its decoders to raise becomes one error."""
    try:
        yield
    except MediaError:
        raise
    except Exception as error:  # ValueError, KeyError, struct.error, RuntimeError …: there is no list of them
        said = str(error).partition("\n")[0][:200] or type(error).__name__
        message = f"{name} is a DICOM file that cannot be decoded ({said}); replace it, or leave it out"
        raise MediaError(message, reason="torn") from error


def _read(file: BufferedReader, header_only: bool) -> Dataset:
    from pydicom import dcmread

    return dcmread(file, stop_before_pixels=header_only)


def _syntax(found: Dataset) -> Any:
    from pydicom.uid import ImplicitVRLittleEndian

    return found.file_meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian


def _check(found: Dataset, name: str) -> None:
    from pydicom.pixels import get_decoder

    if any(found.get(key) is None for key in ("Rows", "Columns", "PhotometricInterpretation")):
        kind = getattr(found.get("SOPClassUID"), "name", "something without pixels")
        raise MediaError(f"{name} holds no picture but {kind}; leave it out", reason="no_pixels")
    if found.PhotometricInterpretation not in GREY + COLOUR:
        colours = f"{name} has the colours {found.PhotometricInterpretation}; convert it to RGB first"
        raise MediaError(colours, reason="colour")
    syntax = _syntax(found)
    try:
        missing = not get_decoder(syntax).is_available
    except NotImplementedError as error:
        raise MediaError(f"{name} is coded as {syntax.name}; save it as PNG first", reason="codec") from error
    if missing:
        raise MediaError(
            f"{name} is coded as {syntax.name}, for which no decoder is installed: pip install python-gdcm (BSD) or "
            "pylibjpeg-libjpeg (GPL)",
            reason="codec",
        )


def _check_coded(film: Film, frame: int) -> None:
    """A decoder believes the coded frame, whatever the header says of its size."""
    from pydicom.encaps import get_frame

    if not _syntax(film.found).is_encapsulated:
        return
    found = film.found
    offsets = (found.ExtendedOffsetTable, found.ExtendedOffsetTableLengths) if "ExtendedOffsetTable" in found else None
    coded = get_frame(found.PixelData, frame, extended_offsets=offsets, number_of_frames=film.frames)
    size = _coded_size(coded)
    if size is not None and size != (film.height, film.width):
        raise ValueError(f"the coded frame has {size[1]} x {size[0]} pixels, not {film.width} x {film.height}")


def _coded_size(coded: bytes) -> tuple[int, int] | None:
    """Height and width that a JPEG, JPEG-LS or JPEG 2000 frame begins with; None where it is none of these."""
    grid = coded.find(b"\xff\x4f\xff\x51", 0, 1024) if coded[:2] != b"\xff\xd8" else -1
    if grid >= 0:  # JPEG 2000, perhaps behind a header of JP2: the size of the grid and its offset, ISO 15444-1 A.5.1
        right, bottom, left, top = struct.unpack_from(">4I", coded, grid + 8)
        return bottom - top, right - left
    place = 2 if coded[:2] == b"\xff\xd8" else len(coded)
    while place + 9 <= len(coded) and coded[place] == 0xFF:
        marker = coded[place + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):  # SOF55 of JPEG-LS, SOFn
            return struct.unpack_from(">2H", coded, place + 5)
        place += 1 if marker == 0xFF else 2 + int.from_bytes(coded[place + 2 : place + 4], "big")
    return None


def _grey(stored: Values, found: Dataset, frame: int, policy: Policy) -> Pixels:
    """Stored values [H, W] -> grey [H, W] from black to white."""
    scaling = _of_frame(found, frame, "PixelValueTransformationSequence")
    little = found.original_encoding[1] is not False
    blank = _blank(found)
    shown = grey(
        stored,
        policy,
        meaning=lambda values: _scaled(values, scaling, little),
        window=_window(_of_frame(found, frame, "FrameVOILUTSequence"), little) or _eight_bits(found, stored, scaling),
        blank=blank,
    )
    if found.PhotometricInterpretation != "MONOCHROME1":
        return shown
    negative = 255 - shown
    return negative if blank is None else np.where((stored >= blank[0]) & (stored <= blank[1]), 0, negative)


def _window(viewing: Dataset, little: bool) -> Callable[[Values], Values] | None:
    """The look-up table, or else the first window, that is named for viewing. PS3.3 C.11.2."""
    if viewing.get("VOILUTSequence"):
        table = viewing.VOILUTSequence[0]
        return lambda real: _looked_up(real, table, little) / (2.0 ** table.LUTDescriptor[2] - 1)
    if viewing.get("WindowCenter") is None or viewing.get("WindowWidth") is None:
        return None
    center, width = _first(viewing.WindowCenter), _first(viewing.WindowWidth)
    if width <= 0:  # which the standard forbids: no window at all, rather than two greys
        return None
    return lambda real: windowed(real, center, width, str(viewing.get("VOILUTFunction") or "LINEAR"))


def _eight_bits(found: Dataset, stored: Values, scaling: Dataset) -> Callable[[Values], Values] | None:
    """Values of up to 8 bits that measure nothing else are the grey values of whoever wrote them."""
    bits = int(found.get("BitsStored") or 16)
    scaled = scaling.get("ModalityLUTSequence") or scaling.get("RescaleSlope") not in (None, 1)
    if bits > 8 or stored.dtype.kind != "u" or scaled or scaling.get("RescaleIntercept") not in (None, 0):
        return None
    return lambda real: real / (2.0**bits - 1)


def windowed(real: Values, center: float, width: float, function: str = "LINEAR") -> Values:
    """Values through a window, from below 0 (black) to above 1 (white). PS3.3 C.11.2.1.2.1 and C.11.2.1.3."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (real - center) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return (real - center) / width + 0.5
    if width <= 1:  # a threshold
        return (real > center - 0.5).astype(np.float64)
    return (real - (center - 0.5)) / (width - 1) + 0.5


def _scaled(values: Values, scaling: Dataset, little: bool) -> Values:
    """Stored values -> what they measure: modality LUT, or slope and intercept. PS3.3 C.11.1."""
    if scaling.get("ModalityLUTSequence"):
        return _looked_up(values, scaling.ModalityLUTSequence[0], little)
    slope, intercept = scaling.get("RescaleSlope"), scaling.get("RescaleIntercept")
    if slope is None and intercept is None:
        return values
    return values * float(1 if slope is None else slope) + float(intercept or 0)


def _looked_up(values: Values, table: Dataset, little: bool) -> Values:
    """Values through a DICOM look-up table, whose first entry also stands for all values below, its last for those
    above."""
    count, first, bits = table.LUTDescriptor
    count = count or 1 << 16
    data = table.LUTData
    if isinstance(data, bytes):
        one_byte = bits <= 8 and len(data) < 2 * count
        data = np.frombuffer(data, np.uint8 if one_byte else "<u2" if little else ">u2")
    entries = np.asarray(data)[:count]
    return entries[np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)]


def _of_frame(found: Dataset, frame: int, key: str) -> Dataset:
    """Where a frame's attributes stand: its own functional group, the shared one, or the file's header."""
    frames, shared = found.get("PerFrameFunctionalGroupsSequence"), found.get("SharedFunctionalGroupsSequence")
    groups = [*([frames[frame]] if frames else []), *([shared[0]] if shared else [])]
    return next((group[key][0] for group in groups if group.get(key)), found)


def _blank(found: Dataset) -> tuple[float, float] | None:
    """The stored values, from and to, that are no part of the picture. PS3.3 C.7.5.1.1.2."""
    value = found.get("PixelPaddingValue")
    if value is None:
        return None
    limit = found.get("PixelPaddingRangeLimit")
    return min(value, value if limit is None else limit), max(value, value if limit is None else limit)


def _first(value: Any) -> float:
    """The first of what may be one number or several."""
    return float(value[0]) if hasattr(value, "__len__") and not isinstance(value, str) else float(value)


def _rgb(stored: Values, found: Dataset) -> Pixels:
    """RGB [H, W, 3], or indices [H, W] of a palette -> RGB of 8 bits."""
    if stored.ndim == 2:
        from pydicom.pixels import apply_color_lut

        stored = apply_color_lut(stored, found)[..., :3]
        bits = 8 * stored.dtype.itemsize
    else:
        bits = int(found.BitsStored)
    return stored.astype(np.uint8) if bits <= 8 else (stored >> (bits - 8)).astype(np.uint8)


def _upright(shown: Values, found: Dataset) -> Values:
    """A frontal film with the patient's left at the viewer's right and the head above, where its header tells."""
    told = found.get("PatientOrientation") or ()
    if isinstance(told, str) or len(told) != 2 or not all(told):
        return shown
    along, down = told[0][0], told[1][0]
    if along in "HF" and down in "LR":
        shown, along, down = shown.swapaxes(0, 1), down, along
    if along in "LR" and down in "HF":
        shown = shown[:, ::-1] if along == "R" else shown
        shown = shown[::-1] if down == "H" else shown
    return shown
