"""The log-mel function against transformers' Whisper extractor, which defines it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperFeatureExtractor

from auscult.core.seeds import rng
from auscult.core.types import Audio
from auscult.media.audio import decode
from auscult.models.mel import log_mel


@pytest.mark.parametrize("mels", [80, 128])
def test_equals_the_whisper_extractor_on_speech(testdata, mels):
    wave = decode(Audio(str(testdata / "asr" / "jfk.flac")), 16_000)
    extractor = WhisperFeatureExtractor(feature_size=mels)
    theirs = extractor(wave, sampling_rate=16_000, padding="do_not_pad", return_tensors="np").input_features[0].T
    ours = log_mel(wave, mels).numpy()
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-4


def test_equals_the_whisper_extractor_when_it_pads_to_thirty_seconds():
    wave = rng(0, "noise").standard_normal(16_000).astype(np.float32) * 0.1
    theirs = WhisperFeatureExtractor()(wave, sampling_rate=16_000, return_tensors="np").input_features[0].T
    padded = np.pad(wave, (0, 29 * 16_000))
    assert np.abs(log_mel(padded).numpy() - theirs).max() < 1e-4


@settings(deadline=None, max_examples=30)
@given(samples=st.integers(1, 4000))
def test_any_length_gives_finite_frames(samples):
    frames = log_mel(np.full(samples, 0.1, dtype=np.float32))
    assert frames.shape == (max(1, samples // 160), 80)
    assert frames.isfinite().all()


def test_silence_is_constant_and_finite():
    frames = log_mel(np.zeros(16_000, dtype=np.float32))
    assert frames.isfinite().all()
    assert frames.std() == 0
