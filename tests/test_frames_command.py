"""`auscult data frames`: recordings become frame sets; with VGGish in models/test_vggish.py."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.cli import main
from auscult.core.types import Audio
from auscult.data.frames import FrameSet
from auscult.media.audio import decode
from auscult.models.mel import log_mel


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Three recordings at two rates, one of them too short for VGGish."""
    for name, rate, seconds in (("a/one.wav", 16_000, 2.1), ("b/two.wav", 44_100, 3.0), ("a/short.wav", 16_000, 0.9)):
        (tmp_path / "audio" / name).parent.mkdir(parents=True, exist_ok=True)
        wave = np.random.default_rng(0).normal(0, 0.1, int(rate * seconds))
        soundfile.write(tmp_path / "audio" / name, wave, rate)
    return tmp_path / "audio"


def test_log_mel_without_weights(audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["data", "frames", str(audio), "--out", str(tmp_path / "set"), "--mels", "64", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"out": str(tmp_path / "set"), "clips": 3, "frames": 90 + 210 + 300, "features": 64, "rate": 100.0,
                    "dropped": {}, "silent": []}  # fmt: skip
    frames = FrameSet.open(tmp_path / "set", check=True)
    assert frames.about.kind == frames.media(0).kind == "mel"
    assert [frames.id(index) for index in range(3)] == ["a/one.wav", "a/short.wav", "b/two.wav"]
    expected = log_mel(decode(Audio(str(audio / "b/two.wav")), 16_000), 64)
    np.testing.assert_allclose(frames.values(2), expected, atol=1e-3)


def test_silent_recordings_are_counted_and_named(audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    soundfile.write(audio / "a" / "still.wav", np.zeros(16_000), 16_000)
    assert main(["data", "frames", str(audio), "--out", str(tmp_path / "set")]) == 0
    assert "4 clips" in (said := capsys.readouterr().out)
    assert "1 of them are silent, first a/still.wav; --ignore leaves them out" in said
    assert FrameSet.open(tmp_path / "set", check=True).silent == ("a/still.wav",)
    assert main(["data", "audioset", "stats", str(tmp_path / "set")]) == 0
    assert "silent 1 clips" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{audio}"], "the following arguments are required: --out"),
        (["{audio}", "--out", "{out}", "--vgish", "x"], "did you mean '--vggish'?"),
        (["{audio}", "--out", "{out}", "--mels", "0"], "give at least 1"),
        (["{audio}/none", "--out", "{out}"], "is no folder; name the folder that holds the recordings (AUDIO)"),
        (["{audio}", "--out", "{out}", "--vggish", "none"], "none: is no file of weights"),
    ],
)
def test_mistakes_are_a_sentence_and_leave_nothing(audio: Path, tmp_path: Path, capsys, words, said):
    out = tmp_path / "set"
    assert main(["data", "frames", *(word.format(audio=audio, out=out) for word in words)]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()
