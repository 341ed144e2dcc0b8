"""From a file to log-mel beside what others offer: decoding, resampling and log-mel of 10 s and of 30 s.

The clip is a stereo FLAC at 44.1 kHz, to be heard as one channel at 16 kHz. The others are soundfile; librosa, whose
default resampler is soxr too (scipy's `resample_poly` where librosa is not installed); and transformers'
WhisperFeatureExtractor, once without padding and once as it is by default, padding to 30 s. Log-mel agrees with the
extractor's within `largest_difference`. Times are of the processor on one thread, so that other programs on the machine
count little; a ratio is theirs to ours, so more than 1 is faster.

    python benchmarks/audio.py [--runs 20]
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from math import gcd
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly
from transformers import WhisperFeatureExtractor

from auscult.core.seeds import rng
from auscult.core.types import Audio
from auscult.media.audio import decode
from auscult.models.mel import RATE, log_mel

try:
    import librosa  # pyright: ignore[reportMissingImports]
except ImportError:
    librosa = None

RECORDED = 44_100
MELS = 80


def write(path: Path, seconds: int) -> None:
    """Noise that comes and goes, and a glide, on two channels."""
    at = np.arange(seconds * RECORDED) / RECORDED
    noise = rng(0, "audio", seconds).normal(0, 0.1, (len(at), 2))
    glide = 0.3 * np.sin(2 * np.pi * (300 + 100 * at) * at)
    soundfile.write(path, noise * np.abs(np.sin(at))[:, None] + glide[:, None], RECORDED, subtype="PCM_16")


def read(path: Path) -> NDArray[np.float32]:
    """Plain soundfile, one channel."""
    return soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1)


def resampled(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """At 16 kHz, as most would do it."""
    if librosa is not None:
        return librosa.resample(wave, orig_sr=RECORDED, target_sr=RATE)
    step = gcd(RATE, RECORDED)
    return resample_poly(wave, RATE // step, RECORDED // step).astype(np.float32)


def librosa_mel(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """Whisper's numbers from librosa's parts."""
    assert librosa is not None
    power = librosa.feature.melspectrogram(y=wave, sr=RATE, n_fft=400, hop_length=160, n_mels=MELS)[:, :-1]
    logs = np.log10(np.maximum(power, 1e-10))
    return (np.maximum(logs, logs.max() - 8.0) + 4.0) / 4.0


def timed(work: dict[str, Callable[[], Any]], runs: int) -> dict[str, float]:
    """Median milliseconds of each, run in turn; the first round does not count."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(runs + 1):
        for name, do in work.items():
            began = time.process_time()
            do()
            times[name].append(1000 * (time.process_time() - began))
    return {name: median(found[1:]) for name, found in times.items()}


def measure(path: Path, seconds: int, runs: int) -> dict[str, Any]:
    """Milliseconds and ratios for a clip of so many seconds."""
    write(path, seconds)
    audio, extractor = Audio(str(path)), WhisperFeatureExtractor(feature_size=MELS)
    native, wave = read(path), decode(audio, RATE)

    def extracted(wave: NDArray[np.float32], padding: str) -> NDArray[np.float32]:
        return extractor(wave, sampling_rate=RATE, padding=padding, return_tensors="np").input_features[0]

    stages: dict[str, dict[str, Callable[[], Any]]] = {
        "decode": {"ours": lambda: decode(audio, RECORDED), "soundfile": lambda: read(path)},
        "decode_and_resample": {
            "ours": lambda: decode(audio, RATE),
            "librosa" if librosa else "scipy": lambda: resampled(read(path)),
        },
        "log_mel": {
            "ours": lambda: log_mel(wave, MELS),
            "extractor": lambda: extracted(wave, "do_not_pad"),
            "extractor_as_by_default": lambda: extracted(wave, "max_length"),
            **({"librosa": lambda: librosa_mel(wave)} if librosa else {}),
        },
        "all": {
            "ours": lambda: log_mel(decode(audio, RATE), MELS),
            "usual": lambda: extracted(resampled(read(path)), "do_not_pad"),
        },
    }
    row: dict[str, Any] = {"seconds": seconds}
    for stage, work in stages.items():
        found = timed(work, runs)
        ratios = {f"ratio_{name}": round(value / found["ours"], 2) for name, value in found.items() if name != "ours"}
        row[stage] = {f"{name}_ms": round(value, 2) for name, value in found.items()} | ratios
    apart = np.abs(log_mel(wave, MELS).numpy().T - extracted(wave, "do_not_pad")).max()
    return row | {"largest_difference": float(apart), "samples": [len(native), len(wave)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="runs of each (default: 20)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=FutureWarning)  # librosa's dependencies
    with TemporaryDirectory() as folder:
        rows = [measure(Path(folder) / "clip.flac", seconds, options.runs) for seconds in (10, 30)]
    told = {"benchmark": "audio", "librosa": librosa.__version__ if librosa else None, "load": os.getloadavg()[0]}
    print(json.dumps({**told, "rows": rows}))


if __name__ == "__main__":
    main()
