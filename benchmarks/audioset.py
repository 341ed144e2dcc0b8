"""Records a second from AudioSet's TFRecords to clips, and bytes a second from a frame set.

The records are of AudioSet's shape: 10 frames of 128 bytes and one to four labels. Ours are read with both checksums
compared and every field checked; the package `tfrecord` reads the same file without looking at any checksum, and
hands out arrays too. `convert` is the whole way, from the file to a frame set with its hashes on the disk.

A frame set's frames are one mapped array. Copying it, all of it or clips at random, is compared with `np.copy` of an
array of the same size in memory. Times are of the processor, so that other programs on the machine count little, but
for the copies, whose pages come from the kernel: there, the best of the runs counts.

    python benchmarks/audioset.py [--records 20000] [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from tfrecord.reader import sequence_loader  # pyright: ignore[reportMissingImports]

from auscult.core.seeds import rng
from auscult.data import tfrecord
from auscult.data.audioset import FEATURES, Clip, clips, encode
from auscult.data.convert import convert
from auscult.data.frames import FrameSet

BYTES = {"video_id": "byte", "start_time_seconds": "float", "end_time_seconds": "float", "labels": "int"}
"""What `tfrecord` is asked for, so that it need not guess."""


def payloads(records: int) -> Iterator[bytes]:
    """Clips like AudioSet's, every one different."""
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", np.uint8)
    draw = rng(0, "audioset")
    for number in range(records):
        name = bytes(draw.choice(letters, 6)).decode() + f"{number:05d}"
        start = float(10 * draw.integers(0, 60))
        labels = tuple(draw.integers(0, 527, draw.integers(1, 5)).tolist())
        yield encode(Clip(name, start, start + 10, labels, draw.integers(0, 256, (10, FEATURES), dtype=np.uint8)))


def rate(work: Callable[[], int], runs: int, clock: Callable[[], float], of: Callable[[list[float]], float]) -> float:
    """What `work` returns, a second, by the `runs` times of it."""
    times: list[float] = []
    done = 0
    for _ in range(runs):
        began = clock()
        done = work()
        times.append(clock() - began)
    return done / of(times)


def records(path: Path, count: int, runs: int, folder: Path) -> dict[str, float]:
    """Records a second."""

    def ours() -> int:
        found = sum(isinstance(clip, tuple) for clip in clips(tfrecord.read(path), str(path)))
        assert found == count
        return found

    def theirs() -> int:
        return sum(1 for _ in sequence_loader(str(path), None, BYTES, {"audio_embedding": "byte"}))

    def whole() -> int:
        return convert(path, folder / "sets")[0].clips

    cpu = time.process_time
    rates = {
        "clips_per_s": rate(ours, runs, cpu, median),
        "checked_frames_only_per_s": rate(lambda: sum(1 for _ in tfrecord.read(path)), runs, cpu, median),
        "tfrecord_package_per_s": rate(theirs, runs, cpu, median),
        "convert_per_s": rate(whole, runs, cpu, median),
    }
    ratio = rates["clips_per_s"] / rates["tfrecord_package_per_s"]
    return {**{name: round(value) for name, value in rates.items()}, "ratio": round(ratio, 2)}


def copies(path: Path, runs: int) -> dict[str, float]:
    """Gigabytes a second."""
    found = FrameSet.open(path)
    memory = np.array(found.frames)
    target = np.empty_like(memory)
    order = rng(0, "order").permutation(len(found))

    def copied(source: np.ndarray) -> int:
        np.copyto(target, source)
        return source.nbytes

    def shuffled() -> int:
        clips = found.frames.reshape(len(found), -1)  # they are equally long here
        np.take(clips, order, axis=0, out=target.reshape(clips.shape), mode="clip")  # "raise" would copy twice
        return clips.nbytes

    rates = {
        "mapped_gb_per_s": rate(lambda: copied(found.frames), runs, time.perf_counter, min),
        "memory_gb_per_s": rate(lambda: copied(memory), runs, time.perf_counter, min),
        "mapped_clips_at_random_gb_per_s": rate(shuffled, runs, time.perf_counter, min),
    }
    ratio = rates["mapped_gb_per_s"] / rates["memory_gb_per_s"]
    return {**{name: round(value / 1e9, 2) for name, value in rates.items()}, "ratio": round(ratio, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description="speed of AudioSet's records and of frame sets, on one core")
    parser.add_argument("--records", type=int, default=20_000, help="records in the file (default: 20000)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default: 5)")
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        tfrecord.write(folder / "eval" / "00.tfrecord", payloads(options.records))
        speed = records(folder / "eval" / "00.tfrecord", options.records, options.runs, folder)
        copy = copies(folder / "sets" / "eval", options.runs)
    print(json.dumps({"benchmark": "audioset", "records": options.records, "reading": speed, "copying": copy}))


if __name__ == "__main__":
    main()
