"""Decoded pictures, kept: as many as fit into so many bytes, shared between threads, each decoded once.

A picture is known by its file's path, times and size, and by how it is displayed; a file that was changed is another
picture, so is one of the same size that was put in its place with the same date. It is kept as it is displayed, so
scaled down first, and a grey one with one channel: a film of 512 x 512 takes 0.26 MB. The least recently used is
forgotten first. Several threads that ask for one picture wait for one decoding; `prefetch` begins it before anybody
asks. What cannot be decoded is not kept: each who asks is told.
"""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from auscult.core.types import Image, Pixels
from auscult.media.image import AS_IT_IS, decode, rgb, shown
from auscult.media.window import Display

MB = 10**6
WORKERS = 2
"""Threads that decode ahead; Pillow, NumPy and the decoders of DICOM work without Python's lock."""

_Key = tuple[str, tuple[int, ...], int | None, Display]


class Pictures:
    """A memory of `memory_mb` MB for pictures in files."""

    def __init__(self, display: Display = AS_IT_IS, memory_mb: float = 512) -> None:
        self.display = display
        self.limit = memory_mb * MB
        self.bytes = 0
        """Of the pictures that are kept."""
        self.counts: Counter[str] = Counter()
        """`found` in memory, `decoded`, `awaited` while another thread decoded them, `forgotten`."""
        self._kept: OrderedDict[_Key, Pixels] = OrderedDict()
        self._coming: dict[_Key, Future[Pixels]] = {}
        self._lock = Lock()
        self._pool: ThreadPoolExecutor | None = None

    def get(self, image: Image) -> Pixels:
        """RGB pixels [H, W, 3]. Raises MediaError with a reason from `image.REASONS`."""
        key = self._key(image)
        return decode(image, self.display) if key is None else rgb(self._get(key, image))

    def prefetch(self, images: Iterable[Image]) -> None:
        """Begins to decode what will be asked for next, and returns at once. Name no more than fit into the memory."""
        for image in images if self.limit else ():  # what is not kept would be decoded twice
            key = self._key(image)
            if key is None:
                continue
            with self._lock:
                if key in self._kept or key in self._coming:
                    continue
                coming = self._coming[key] = Future()
                self._pool = self._pool or ThreadPoolExecutor(WORKERS, "pictures")
            self._pool.submit(self._decode, key, image, coming)

    def _get(self, key: _Key, image: Image) -> Pixels:
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                self.counts["found"] += 1
                return kept
            coming = self._coming.get(key)
            mine = coming is None
            if coming is None:
                coming = self._coming[key] = Future()
            else:
                self.counts["awaited"] += 1
        if mine:
            self._decode(key, image, coming)
        return coming.result()

    def _decode(self, key: _Key, image: Image, coming: Future[Pixels]) -> None:
        """Those who wait are told, whatever happens."""
        try:
            pixels = shown(image, self.display)
            pixels.setflags(write=False)  # it is everybody's
        except BaseException as error:  # noqa: BLE001 - it is raised where the picture is asked for
            with self._lock:
                del self._coming[key]
            coming.set_exception(error)
            return
        with self._lock:
            self.counts["decoded"] += 1
            del self._coming[key]
            if pixels.nbytes <= self.limit:
                self._kept[key] = pixels
                self.bytes += pixels.nbytes
            while self.bytes > self.limit:
                self.bytes -= self._kept.popitem(last=False)[1].nbytes
                self.counts["forgotten"] += 1
        coming.set_result(pixels)

    def _key(self, image: Image) -> _Key | None:
        """None for pixels in memory, and for a file that is not there: decoding says why."""
        if image.pixels is not None or image.path is None:
            return None
        try:
            status = os.stat(image.path)
        except (OSError, ValueError):
            return None
        return (
            image.path,
            (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size),
            image.frame,
            self.display,
        )
