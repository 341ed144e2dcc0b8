"""Pictures per second of the processor, decoded and scaled to what a model sees, beside plain Pillow and pydicom; and
20,000 random reads through the memory of decoded pictures, whose bytes are bounded.

    python benchmarks/images.py [--side 2048] [--longest 512] [--reads 20000] [--memory-mb 512]

The films are generated: smooth shapes under noise, 12 bits of 16. The plain way is the one of most training scripts:
decode everything, window it in floating point, scale down last. For the random reads, one in 16
of the files is written and the others are links to it: names of their own, so pictures of their own.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image as Pillow
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from auscult.core.seeds import rng
from auscult.core.types import Image
from auscult.media.cache import Pictures
from auscult.media.image import shown
from auscult.media.window import Display

DISTINCT = 16
"""Files that are written for the random reads."""
THREADS = 4
"""That read at random."""


def main() -> None:
    parser = argparse.ArgumentParser(description="decoding, scaling and keeping pictures")
    parser.add_argument("--side", type=int, default=2048, help="of a film, pixels (default: 2048)")
    parser.add_argument("--longest", type=int, default=512, help="side that is asked for, pixels (default: 512)")
    parser.add_argument("--films", type=int, default=8, help="of each kind (default: 8)")
    parser.add_argument("--reads", type=int, default=20_000, help="at random (default: 20000)")
    parser.add_argument("--pictures", type=int, default=3000, help="that are read at random (default: 3000)")
    parser.add_argument("--memory-mb", type=int, default=512, help="of decoded pictures (default: 512)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = {
            "benchmark": "images",
            "side": options.side,
            "longest": options.longest,
            "decode": [rates(Path(folder), kind, options) for kind in PLAIN],
            "reads": random_reads(Path(folder), options),
        }
    print(json.dumps(told))


def film(number: int, side: int) -> np.ndarray:
    """uint16 [side, side] of 12 bits."""
    draw = rng(0, "film", number)
    coarse = Pillow.fromarray(draw.uniform(300, 3500, (12, 12)).astype(np.float32))
    smooth = np.asarray(coarse.resize((side, side), Pillow.Resampling.BICUBIC))
    return (smooth + draw.normal(0, 20, (side, side))).clip(0, 4095).astype(np.uint16)


def write_png(values: np.ndarray, path: Path) -> None:
    Pillow.fromarray(values * 16).save(path, "PNG")


def write_jpeg(values: np.ndarray, path: Path) -> None:
    Pillow.fromarray((values >> 4).astype(np.uint8)).save(path, "JPEG", quality=90)


def write_dicom(values: np.ndarray, path: Path, coding: str = ExplicitVRLittleEndian) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    found = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    found.SOPClassUID, found.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    found.Rows, found.Columns = values.shape
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME1"
    found.BitsAllocated, found.BitsStored, found.HighBit, found.PixelRepresentation = 16, 12, 11, 0
    found.WindowCenter, found.WindowWidth = 2048, 4096
    found.PixelData = values.tobytes()
    if coding != ExplicitVRLittleEndian:
        found.compress(coding)
    found.save_as(path, enforce_file_format=True)


def write_j2k(values: np.ndarray, path: Path) -> None:
    write_dicom(values, path, JPEG2000Lossless)


def plain_png(path: Path, longest: int) -> np.ndarray:
    return scaled(stretched(np.asarray(Pillow.open(path))), longest)


def plain_jpeg(path: Path, longest: int) -> np.ndarray:
    return np.asarray(Pillow.open(path).resize((longest, longest), Pillow.Resampling.LANCZOS))


def plain_dicom(path: Path, longest: int) -> np.ndarray:
    found = pydicom.dcmread(path)
    viewed = apply_voi_lut(apply_modality_lut(found.pixel_array, found), found)
    return scaled(255 - np.rint(255 * viewed / 4095).astype(np.uint8), longest)


def stretched(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    return np.rint(255 * (values - values.min()) / (values.max() - values.min())).astype(np.uint8)


def scaled(values: np.ndarray, longest: int) -> np.ndarray:
    return np.asarray(Pillow.fromarray(values).resize((longest, longest), Pillow.Resampling.LANCZOS))


PLAIN: dict[str, tuple[Callable[[np.ndarray, Path], None], Callable[[Path, int], np.ndarray]]] = {
    "png16": (write_png, plain_png),
    "jpeg": (write_jpeg, plain_jpeg),
    "dicom": (write_dicom, plain_dicom),
    "dicom_j2k": (write_j2k, plain_dicom),
}
"""By kind: how a film is written, and how it is decoded and scaled without auscult."""


def rates(folder: Path, kind: str, options: argparse.Namespace) -> dict[str, float | str]:
    """Films a second of the processor, best of two passes in turns; the largest difference of a grey value."""
    write, plain = PLAIN[kind]
    paths = [folder / f"{number}.{kind}" for number in range(options.films)]
    for number, path in enumerate(paths):
        write(film(number, options.side), path)
    display = Display(longest=options.longest)
    ours, theirs, apart = 0.0, 0.0, 0
    for _ in range(2):
        start = time.process_time()
        seen = [shown(Image(str(path)), display) for path in paths]
        middle = time.process_time()
        known = [plain(path, options.longest) for path in paths]
        end = time.process_time()
        ours, theirs = max(ours, len(paths) / (middle - start)), max(theirs, len(paths) / (end - middle))
        apart = max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(seen, known, strict=True))
    return {
        "kind": kind,
        "auscult_per_cpu_s": round(ours, 1),
        "plain_per_cpu_s": round(theirs, 1),
        "ratio": round(ours / theirs, 2),
        "largest_difference": apart,
    }


def random_reads(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Reads a second of pictures of `longest` pixels a side by several threads, and the process's peak memory."""
    paths = [folder / f"read-{number}.png" for number in range(options.pictures)]
    for number, path in enumerate(paths):
        if number < DISTINCT:
            Pillow.fromarray((film(number, options.longest) >> 4).astype(np.uint8)).save(path, compress_level=1)
        else:
            path.hardlink_to(paths[number % DISTINCT])
    pictures = Pictures(memory_mb=options.memory_mb)

    def read(thread: int) -> int:
        drawn = rng(0, "reads", thread).integers(0, len(paths), options.reads // THREADS)
        return max(max(pictures.get(Image(str(paths[number]))).shape[0], pictures.bytes) for number in drawn)

    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        most = max(pool.map(read, range(THREADS)))
    seconds = time.perf_counter() - start
    return {
        "pictures": len(paths),
        "reads": options.reads // THREADS * THREADS,
        "threads": THREADS,
        "reads_per_s": round(options.reads / seconds),
        "found_share": round(pictures.counts["found"] / options.reads, 3),
        "kept_mb_at_most": round(most / 1e6, 1),
        "limit_mb": options.memory_mb,
        "peak_mb_of_the_process": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


if __name__ == "__main__":
    main()
