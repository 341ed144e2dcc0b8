"""Digits are added up right, balanced, and no speaker is in both splits."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.core.errors import DataError, MediaError
from auscult.core.seeds import rng
from auscult.core.types import Audio, Sample, Wave
from auscult.data.sources.digits import PAIRS, Recording, Source, check_disjoint, read, vary

RATE = 8000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three speakers; digit d of any speaker is a tone of its own frequency, so that the answer can be heard."""
    times = np.arange(RATE // 4) / RATE
    for offset, speaker in enumerate(("ann", "bob", "cy")):
        for digit in range(10):
            for take in range(2):
                level = 0.5 + 0.1 * offset + 0.01 * take
                wave = level * np.sin(2 * np.pi * (300 + 200 * digit) * times)
                soundfile.write(tmp_path / f"{digit}_{speaker}_{take}.wav", wave, RATE)
    return tmp_path


def source(folder: Path, **options: object) -> Source:
    return Source(root=str(folder), **{"heldout_speakers": ("cy",), **options})


def heard(sample: Sample) -> Wave:
    (audio,) = sample.media
    assert isinstance(audio, Audio)
    assert audio.wave is not None
    return audio.wave


def fingerprint(folder: str) -> str:
    total = hashlib.sha256()
    for name in ("train", "heldout"):
        samples = source(Path(folder)).split(name, 7)
        for index in (5, 0, 17):
            total.update(repr(samples[index]).encode() + heard(samples[index]).tobytes())
    return total.hexdigest()


def test_every_process_makes_the_same_samples(folder: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_digits as t; print(t.fingerprint(sys.argv[2]))"
    other = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(folder)],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == fingerprint(str(folder))


def test_the_answer_is_what_is_heard(folder: Path) -> None:
    """Both digits are read off the held-out waves by their frequencies, in order, apart by the pause."""
    samples = source(folder, tasks=("sum", "digits"), heldout=40).split("heldout", 0)
    for index in range(40):
        sample = samples[index]
        wave = heard(sample)
        loud = np.flatnonzero(np.convolve(np.abs(wave), np.ones(100) / 100, "same") > 0.05)
        (cut,) = np.flatnonzero(np.diff(loud) > 800)  # 50 ms
        assert 0.09 < np.diff(loud)[cut] / 16_000 < 0.41
        digits = []
        for part in (wave[loud[0] : loud[cut]], wave[loud[cut + 1] : loud[-1]]):
            hertz = np.argmax(np.abs(np.fft.rfft(part))) * 16_000 / len(part)
            digits.append(round((hertz - 300) / 200))
        if sample.tags["task"] == "sum":
            assert sample.answers == (str(sum(digits)),)
            assert sample.thought == f"{digits[0]} + {digits[1]}"
        else:
            assert sample.answers == (f"{digits[0]} {digits[1]}",)


@pytest.mark.parametrize("name", ["train", "heldout"])
def test_pairs_come_equally_often(folder: Path, name: str) -> None:
    samples = source(folder, heldout=500).split(name, 0)
    drawn = [samples[index] for index in range(500)]
    pairs = Counter(sample.thought for sample in drawn)
    assert pairs == {f"{first} + {second}": 5 for first, second in PAIRS}
    assert max(Counter(sample.answers for sample in drawn).values()) == 50  # the sum 9: chance is 10 %
    assert len({sample.question for sample in drawn}) == 1


def test_speakers_are_on_one_side(folder: Path) -> None:
    train, heldout = (source(folder, heldout=100).split(name, 0) for name in ("train", "heldout"))
    assert train.size is None
    assert heldout.size == 100
    assert {train[index].group for index in range(100)} == {"ann", "bob"}
    assert {heldout[index].group for index in range(100)} == {"cy"}
    with pytest.raises(IndexError):
        heldout[100]


def test_a_speaker_in_both_splits_is_refused(folder: Path) -> None:
    recordings = read(folder)
    ann, bob = ([r for r in recordings if r.speaker == speaker] for speaker in ("ann", "bob"))
    check_disjoint(ann, bob)
    with pytest.raises(DataError, match="the same speaker"):
        check_disjoint(ann, [*bob, ann[3]])
    shutil.copy(folder / "0_bob_0.wav", folder / "0_ANN_9.wav")
    with pytest.raises(DataError, match="0_ANN_9"):
        check_disjoint(ann, [Recording(folder / "0_ANN_9.wav", 0, "ANN")])


def test_a_recording_under_two_names_is_refused(folder: Path) -> None:
    shutil.copy(folder / "3_ann_1.wav", folder / "3_cy_7.wav")
    for name in ("train", "heldout"):
        with pytest.raises(DataError, match=r"3_cy_7.*3_ann_1"):
            source(folder).split(name, 0)


def test_foreign_files_are_named_and_counted(folder: Path) -> None:
    (folder / ".DS_Store").write_text("")
    source(folder).split("train", 0)
    for name in ("README.md", "10_ann_0.wav", "3_ann.wav"):
        (folder / name).write_text("")
    with pytest.raises(DataError, match=r"3 files .*10_ann_0\.wav, 3_ann\.wav, README\.md"):
        source(folder).split("train", 0)
    source(folder, ignore=(".*", "*.md", "10_*", "3_ann.wav")).split("train", 0)


def test_speakers_must_add_up(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no speaker bop \(did you mean bob\?\).*\['ann', 'bob', 'cy'\]"):
        source(folder, heldout_speakers=("bop",)).split("train", 0)
    with pytest.raises(DataError, match="training needs one"):
        source(folder, heldout_speakers=("ann", "bob", "cy")).split("train", 0)
    for path in folder.glob("7_bob_*"):
        path.unlink()
    with pytest.raises(DataError, match=r"bob speaks no \[7\]"):
        source(folder).split("train", 0)


def test_a_torn_recording_stops_before_training(folder: Path) -> None:
    (folder / "3_ann_0.wav").write_bytes((folder / "3_ann_0.wav").read_bytes()[:100])
    with pytest.raises(MediaError, match="3_ann_0"):
        source(folder).split("train", 0)


def test_only_training_is_varied(folder: Path) -> None:
    def lengths(name: str, **options: object) -> set[int]:
        samples = source(folder, pause=(0.2, 0.2), edge=(0.1, 0.1), **options).split(name, 0)
        return {len(heard(samples[index])) for index in range(20)}

    assert lengths("heldout") == lengths("train", augment=False)
    assert len(lengths("heldout")) == 1
    assert len(lengths("train")) > 10


def test_waves_are_what_is_promised(folder: Path) -> None:
    for name in ("train", "heldout"):
        samples = source(folder, gain_db=(0.0, 40.0)).split(name, 0)
        for index in range(30):
            wave = heard(samples[index])
            assert wave.dtype == np.float32
            assert np.isfinite(wave).all()
            assert 0.1 < np.abs(wave).max() <= 1


def test_speed_raises_pitch_and_shortens() -> None:
    wave = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)
    fast = vary(wave, rng(0), rate=16_000, speed=(1.25, 1.25), gain=(-6, -6), noise=(60, 60), colour=0)
    assert len(fast) == pytest.approx(12_800, abs=2)
    assert np.argmax(np.abs(np.fft.rfft(fast))) * 16_000 / len(fast) == pytest.approx(550, abs=2)
    assert np.sqrt(np.mean(fast**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize(
    "options",
    [{"tasks": ("product",)}, {"heldout_speakers": ()}, {"heldout": 0}, {"speed": (0.0, 1.0)}, {"pause": (0.4, 0.1)}],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Source(root="digits", **options)


def test_real_digits(testdata: Path) -> None:
    options = Source(root=str(testdata / "fsdd"))
    train, heldout = options.split("train", 0), options.split("heldout", 0)
    assert {train[index].group for index in range(60)} == {"jackson", "nicolas", "yweweler"}
    assert {heldout[index].group for index in range(60)} == {"theo"}
    for samples in (train, heldout):
        seconds = [len(heard(samples[index])) / 16_000 for index in range(60)]
        assert min(seconds) > 0.5
        assert max(seconds) < 4
