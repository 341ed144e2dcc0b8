"""Decoded pictures are kept within their bytes, shared between threads, and never another file's or an old one."""

from __future__ import annotations

import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from auscult.core.errors import MediaError
from auscult.core.seeds import rng
from auscult.core.types import Image
from auscult.media import cache
from auscult.media.cache import Pictures
from auscult.media.image import decode, shown
from auscult.media.window import Display

SIDE = 100
"""A film takes 10 kB, so that 100 of them fill a megabyte."""


@pytest.fixture
def films(tmp_path: Path) -> list[Image]:
    """150 films of different grey."""
    paths = [tmp_path / f"{number}.png" for number in range(150)]
    for number, path in enumerate(paths):
        Pillow.fromarray(np.full((SIDE, SIDE), number, np.uint8)).save(path)
    return [Image(str(path)) for path in paths]


def decodings(monkeypatch: pytest.MonkeyPatch, gate: threading.Event | None = None) -> Counter[str]:
    """Counts what is decoded, by path; each waits for the gate."""
    counted: Counter[str] = Counter()

    def counting(image: Image, display: Display) -> np.ndarray:
        counted[str(image.path)] += 1
        assert gate is None or gate.wait(10)
        return shown(image, display)

    monkeypatch.setattr(cache, "shown", counting)
    return counted


def test_random_reads_from_several_threads_stay_within_the_bytes(films: list[Image]) -> None:
    pictures = Pictures(memory_mb=1)
    most = 0

    def read(thread: int) -> None:
        nonlocal most
        for number in rng(0, "reads", thread).integers(0, len(films), 400):
            pixels = pictures.get(films[number])
            assert pixels.shape == (SIDE, SIDE, 3)
            assert (pixels == number).all()
            most = max(most, pictures.bytes)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(4)))
    assert 900_000 < most <= 1_000_000
    told = pictures.counts
    assert told["found"] + told["decoded"] + told["awaited"] == 1600
    assert told["forgotten"] == told["decoded"] - 100


def test_the_least_recently_used_is_forgotten_first(films: list[Image], monkeypatch: pytest.MonkeyPatch) -> None:
    counted = decodings(monkeypatch)
    pictures = Pictures(memory_mb=1)
    for image in films[:100]:
        pictures.get(image)
    pictures.get(films[0])
    pictures.get(films[100])  # pushes out the second film, not the first
    pictures.get(films[0])
    pictures.get(films[1])
    assert counted[str(films[0].path)] == 1
    assert counted[str(films[1].path)] == 2


def test_a_file_that_changed_is_another_picture_and_so_is_another_frame(films: list[Image], tmp_path: Path) -> None:
    pictures = Pictures()
    first = Path(str(films[0].path))
    assert pictures.get(films[0]).max() == 0
    Pillow.fromarray(np.full((SIDE, SIDE), 77, np.uint8)).save(first)
    os.utime(first, ns=(1, 1))
    assert pictures.get(films[0]).max() == 77
    pages = [Pillow.fromarray(np.full((8, 8), value, np.uint8)) for value in (5, 6)]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    both = Image(str(tmp_path / "pages.tiff"), frame=0)
    assert [pictures.get(replace(both, frame=frame))[0, 0, 0] for frame in (0, 1, 0)] == [5, 6, 5]


def test_a_film_that_takes_anothers_place_with_its_size_and_date_is_another_picture(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.bmp", "b.bmp")]
    for path, value in zip(paths, (10, 200), strict=True):
        Pillow.fromarray(np.full((8, 8), value, np.uint8)).save(path)
        os.utime(path, ns=(1, 1))
    pictures = Pictures()
    assert pictures.get(Image(str(paths[0]))).max() == 10
    paths[1].replace(paths[0])
    assert pictures.get(Image(str(paths[0]))).max() == 200


def test_without_memory_nothing_is_decoded_ahead(films: list[Image]) -> None:
    pictures = Pictures(memory_mb=0)
    pictures.prefetch(films[:3])
    assert [int(pictures.get(film).max()) for film in films[:3]] == [0, 1, 2]
    assert pictures.counts["decoded"] == 3


def test_threads_that_ask_for_one_picture_wait_for_one_decoding(
    films: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    counted = decodings(monkeypatch, gate)
    pictures = Pictures()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(pictures.get, films[9]) for _ in range(4)]
        while pictures.counts["awaited"] < 3:
            pass
        gate.set()
        assert all((one.result() == 9).all() for one in asked)
    assert counted == {str(films[9].path): 1}


def test_what_was_prefetched_is_not_decoded_again(films: list[Image], monkeypatch: pytest.MonkeyPatch) -> None:
    counted = decodings(monkeypatch)
    pictures = Pictures()
    pictures.prefetch(films[:5])
    pictures.prefetch(films[:5])
    pictures.prefetch([Image("nowhere.png"), Image.of(np.zeros((9, 9, 3), np.uint8))])
    assert [pictures.get(image).max() for image in films[:5]] == [0, 1, 2, 3, 4]
    assert set(counted.values()) == {1}


def test_what_cannot_be_decoded_is_told_each_time_and_mended_files_are_read(films: list[Image]) -> None:
    path = Path(str(films[3].path))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    pictures = Pictures()
    pictures.prefetch([films[3]])
    for _ in range(2):
        with pytest.raises(MediaError) as caught:
            pictures.get(films[3])
        assert caught.value.reason == "torn"
    assert pictures.bytes == 0
    path.write_bytes(whole)
    assert pictures.get(films[3]).max() == 3
    with pytest.raises(MediaError) as caught:
        pictures.get(Image("nowhere.png"))
    assert caught.value.reason == "missing"


def test_pictures_are_kept_as_they_are_displayed_and_nobody_can_write_on_them(films: list[Image]) -> None:
    display = Display(longest=20, square=True)
    pictures = Pictures(display, memory_mb=1)
    assert (pictures.get(films[7]) == decode(films[7], display)).all()
    assert pictures.bytes == 400
    pictures.get(films[7])[:] = 0  # the caller's own
    assert pictures.get(films[7]).max() == 7
    colour = Path(str(films[8].path)).with_suffix(".jpg")
    Pillow.fromarray(np.full((40, 40, 3), 9, np.uint8)).save(colour)
    with pytest.raises(ValueError, match="read-only"):
        pictures.get(Image(str(colour)))[:] = 0


def test_a_memory_of_nothing_keeps_nothing(films: list[Image]) -> None:
    pictures = Pictures(memory_mb=0)
    assert pictures.get(films[5]).max() == pictures.get(films[5]).max() == 5
    assert (pictures.bytes, pictures.counts["decoded"]) == (0, 2)
