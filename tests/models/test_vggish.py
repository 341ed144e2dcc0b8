"""VGGish's front end, network and bytes against the published arithmetic, written anew in NumPy."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from auscult.cli import main
from auscult.core.errors import DataError
from auscult.core.seeds import rng
from auscult.core.types import Audio
from auscult.data.frames import FrameSet
from auscult.media.audio import decode
from auscult.models import vggish
from auscult.models.vggish import SHAPES, VGGish, log_mel_patches

NOISE = rng(0, "noise").normal(0, 0.1, 15_600).astype(np.float32)
"""As long as one patch needs."""


def published_patches(wave: np.ndarray) -> np.ndarray:
    """Frame by frame and band by band, in double."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    mel = lambda hertz: 1127.0 * np.log(1.0 + hertz / 700.0)  # noqa: E731
    edges = [mel(125.0) + step * (mel(7500.0) - mel(125.0)) / 65 for step in range(66)]
    bank = np.zeros((257, 64))
    for number in range(1, 257):
        at = mel(8000.0 * number / 256)
        for band in range(64):
            rise = (at - edges[band]) / (edges[band + 1] - edges[band])
            fall = (edges[band + 2] - at) / (edges[band + 2] - edges[band + 1])
            bank[number, band] = max(0.0, min(rise, fall))
    rows = []
    for start in range(0, len(wave) - 399, 160):
        magnitudes = np.abs(np.fft.rfft(np.pad(wave[start : start + 400].astype(float) * window, (0, 112))))
        rows.append(np.log(magnitudes @ bank + 0.01))
    count = len(rows) // 96
    return np.array(rows[: count * 96]).reshape(count, 96, 64)


def test_patches_are_the_published_ones(testdata: Path):
    wave = decode(Audio(str(testdata / "asr" / "jfk.flac")), 16_000)
    ours, theirs = log_mel_patches(wave).numpy(), published_patches(wave)
    assert ours.shape == theirs.shape == (len(wave) // 160 // 96, 96, 64)
    assert np.abs(ours - theirs).max() < 1e-5


@settings(max_examples=30)
@given(samples=st.integers(0, 40_000))
def test_a_patch_for_every_whole_096_seconds(samples: int):
    found = log_mel_patches(np.full(samples, 0.1, dtype=np.float32))
    frames = 1 + (samples - 400) // 160 if samples >= 400 else 0
    assert found.shape == (frames // 96, 96, 64)
    assert bool(len(found)) == (samples >= vggish.SHORTEST * 16_000)
    assert found.isfinite().all()


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """Random ones, so scaled that sound arrives at the end."""
    pool = torch.randn(1_000_003, generator=torch.Generator().manual_seed(0))  # again and again: 72 million take long
    found: dict[str, torch.Tensor] = {}
    for name, shape in SHAPES.items():
        count = math.prod(shape)
        found[name] = pool.repeat(count // len(pool) + 1)[:count].reshape(shape)
    scaled = {
        name: (2 / math.prod(value.shape[:-1])) ** 0.5 * value for name, value in found.items() if "/weights" in name
    }
    return found | scaled | {name: 0.1 * value for name, value in found.items() if "/biases" in name}


def published_embeddings(patches: np.ndarray, weights: dict[str, torch.Tensor]) -> np.ndarray:
    """As TensorFlow has it: channels last, convolutions as sums over their nine places."""
    x = patches[..., None].astype(np.float32)
    w = {name: value.numpy() for name, value in weights.items()}
    for name in ("conv1", "conv2", "conv3/conv3_1", "conv3/conv3_2", "conv4/conv4_1", "conv4/conv4_2"):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        kernel = w[f"vggish/{name}/weights"]
        height, width = x.shape[1:3]
        x = sum(
            padded[:, row : row + height, column : column + width] @ kernel[row, column]
            for row in range(3)
            for column in range(3)
        )
        x = np.maximum(x + w[f"vggish/{name}/biases"], 0)
        if name not in ("conv3/conv3_1", "conv4/conv4_1"):
            x = x.reshape(len(x), height // 2, 2, width // 2, 2, -1).max((2, 4))
    x = x.reshape(len(x), -1)
    for name in ("fc1/fc1_1", "fc1/fc1_2", "fc2"):
        x = x @ w[f"vggish/{name}/weights"] + w[f"vggish/{name}/biases"]
        x = x if name == "fc2" else np.maximum(x, 0)
    return x


@pytest.fixture(scope="module")
def theirs(weights: dict[str, torch.Tensor]) -> np.ndarray:
    """The published embedding of the noise."""
    return published_embeddings(published_patches(NOISE), weights)


@pytest.fixture(scope="module")
def saved(
    weights: dict[str, torch.Tensor], theirs: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A file of 290 MB, with a postprocessor that leaves something on both sides of the cut, and most between."""
    path = tmp_path_factory.mktemp("vggish") / "vggish.safetensors"
    means, vectors = torch.from_numpy(theirs[0] - 1.0)[:, None], weights["pca_eigen_vectors"] / 10
    save_file(weights | {"pca_means": means, "pca_eigen_vectors": vectors}, path)
    yield path
    path.unlink()


def test_bytes_are_the_published_ones(saved: Path, weights: dict[str, torch.Tensor], theirs: np.ndarray):
    model = VGGish.load(saved)
    with torch.no_grad():
        ours = model(log_mel_patches(NOISE))
    assert ours.shape == (1, 128)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-3 * np.abs(theirs).max())
    found = model.frames(NOISE)
    assert (found.dtype, found.shape) == (np.uint8, (1, 128))
    again = ours.double().numpy() - theirs + 1.0  # less the means
    white = again @ (weights["pca_eigen_vectors"].double().numpy() / 10).T
    expected = ((np.clip(white, -2.0, 2.0) + 2.0) * (255.0 / 4.0)).astype(np.uint8)
    assert np.abs(found.astype(int) - expected).max() <= 1  # a value on the edge of two bytes
    assert (found == expected).mean() > 0.95
    assert len(np.unique(found)) > 50
    assert {0, 255} <= set(found.ravel())


def test_recordings_become_a_frame_set_as_audioset_is(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name, rate, seconds in (("one.wav", 16_000, 1.1), ("b/two.wav", 44_100, 2.0), ("short.wav", 16_000, 0.9)):
        (tmp_path / "audio" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "audio" / name, rng(0, name).normal(0, 0.1, int(rate * seconds)), rate)
    words = ["--out", str(tmp_path / "set"), "--vggish", str(saved), "--device", "cpu"]
    assert main(["data", "frames", str(tmp_path / "audio"), *words]) == 0
    said = capsys.readouterr().out
    assert "2 clips, 3 frames of 128 values, 1.042 a second; dropped: shorter_than_a_frame 1" in said
    frames = FrameSet.open(tmp_path / "set", check=True)
    assert (frames.about.stored, frames.about.rate) == ("uint8", vggish.FRAMES_PER_SECOND)
    assert (frames.id(0), frames.id(1), np.diff(frames.offsets).tolist()) == ("b/two.wav", "one.wav", [2, 1])
    expected = VGGish.load(saved).frames(decode(Audio(str(tmp_path / "audio/b/two.wav")), 16_000))
    assert np.array_equal(frames.stored(0), expected)
    assert "short.wav" in (tmp_path / "set/dropped.jsonl").read_text()


def test_a_file_that_is_no_vggish_is_refused(tmp_path: Path):
    path = tmp_path / "vggish.safetensors"
    with pytest.raises(DataError, match="is no file of weights"):
        VGGish.load(path)
    path.write_bytes(b"no tensors at all")
    with pytest.raises(DataError, match="is no file of weights"):
        VGGish.load(path)
    save_file({"vggish/conv1/weights": torch.zeros(64, 1, 3, 3)}, path)
    with pytest.raises(DataError, match=r"`vggish/conv1/weights` has the shape \[64, 1, 3, 3\], where \[3, 3, 1, 64\]"):
        VGGish.load(path)
    save_file({"vggish/conv1/weights": torch.zeros(3, 3, 1, 64)}, path)
    with pytest.raises(DataError, match="`vggish/conv2/weights` is missing"):
        VGGish.load(path)
