"""Log-mel features as Whisper takes them, in one matrix product.

The same numbers as transformers' `WhisperFeatureExtractor` (tested to 1e-4) without its padding to 30 s and without its
silent cut there: a clip has as many frames as it is long. Source: openai/whisper `audio.py`, `log_mel_spectrogram`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from auscult.core.types import Wave

RATE = 16_000  # Hz; the window and hop below are in samples at this rate
WINDOW = 400  # 25 ms
HOP = 160  # 10 ms
FRAMES_PER_SECOND = RATE // HOP


@cache
def _filters(mels: int) -> Tensor:
    """Slaney mel filters [mels, WINDOW // 2 + 1]."""
    bank = mel_filter_bank(
        num_frequency_bins=WINDOW // 2 + 1,
        num_mel_filters=mels,
        min_frequency=0.0,
        max_frequency=RATE / 2,
        sampling_rate=RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(np.ascontiguousarray(bank.T, dtype=np.float32))


def log_mel(wave: Wave, mels: int = 80) -> Tensor:
    """Log-mel frames [T, mels], T = N // 160, of mono samples [N] at 16 kHz; values lie about in [-1, 1.5].

    The floor is 80 dB under the loudest value of the clip, so a clip's features depend on all of it.
    """
    samples = torch.from_numpy(wave)
    if len(samples) <= WINDOW // 2:  # reflection needs more samples than it mirrors
        samples = torch.nn.functional.pad(samples, (0, WINDOW // 2 + 1 - len(samples)))
    spectrum = torch.stft(samples, WINDOW, HOP, window=torch.hann_window(WINDOW), return_complex=True)
    power = spectrum[:, : max(1, len(wave) // HOP)].abs().square()
    logs = (_filters(mels) @ power).clamp(min=1e-10).log10()
    logs = torch.maximum(logs, logs.max() - 8.0)
    return ((logs + 4.0) / 4.0).T.contiguous()
