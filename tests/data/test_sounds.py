"""Sounds are split by upload, and neither the wording nor the list of classes tells the answer."""

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
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import DataError, MediaError
from auscult.core.seeds import rng
from auscult.core.types import Audio, Sample, Wave
from auscult.data.sources.sounds import Clip, Source, crop, heldout_questions, read

RATE = 8000
CLASSES = ("dog_bark", "rain", "rooster")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of 8 one-second takes of 5 uploads each."""
    for number, name in enumerate(CLASSES):
        (tmp_path / name).mkdir()
        for take in range(8):
            wave = 0.3 * np.sin(np.arange(RATE) * (0.1 + 0.2 * number + 0.01 * take))
            soundfile.write(tmp_path / name / f"1-{number}{take % 5}-{'abcdefgh'[take]}.wav", wave, RATE)
    return tmp_path


def source(folder: Path, **options: object) -> Source:
    return Source(root=str(folder), **options)


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
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_sounds as t; print(t.fingerprint(sys.argv[2]))"
    other = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(folder)],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == fingerprint(str(folder))


@pytest.mark.parametrize("seed", range(5))
def test_uploads_are_on_one_side_and_classes_on_both(folder: Path, seed: int) -> None:
    train, heldout = (source(folder).split(name, seed) for name in ("train", "heldout"))
    sides = [{clip for clips in samples.clips.values() for clip in clips} for samples in (train, heldout)]
    assert len(sides[0]) + len(sides[1]) == 24
    assert not {clip.group for clip in sides[0]} & {clip.group for clip in sides[1]}
    for label in ("dog bark", "rain", "rooster"):
        assert len({clip.group for clip in sides[1] if clip.label == label}) == 2  # 40 % of 5 uploads
    assert train.size is None
    assert {train[index].group for index in range(300)} == {clip.group for clip in sides[0]}


def test_training_answers_are_balanced_under_every_wording(folder: Path) -> None:
    samples = source(folder).split("train", 0)
    drawn = [samples[index] for index in range(600)]
    dealt = Counter((sample.question, sample.answers[0]) for sample in drawn)
    for label in ("dog bark", "rain", "rooster"):
        assert dealt["What do you hear?", label] == 100
        assert dealt[f"Do you hear this sound: {label}?", "yes"] == 50
        assert dealt[f"Do you hear this sound: {label}?", "no"] == 50
    assert sum(dealt.values()) == 600


def test_answers_are_true(folder: Path) -> None:
    for name in ("train", "heldout"):
        samples = source(folder).split(name, 0)
        for index in range(samples.size or 100):
            sample = samples[index]
            label = sample.tags["file"].split("/")[0].replace("_", " ")
            if sample.tags["task"] == "class":
                assert sample.answers == (label,)
                assert sample.choices == ("dog bark", "rain", "rooster")
            else:
                assert sample.answers == ("yes" if f": {label}?" in sample.question else "no",)
                assert sample.choices == ("yes", "no")


@settings(deadline=None, max_examples=50)
@given(sizes=st.lists(st.integers(1, 6), min_size=2, max_size=6), seed=st.integers(0, 2**32))
def test_held_out_questions_are_balanced(sizes: list[int], seed: int) -> None:
    clips = [Clip(Path(f"{n}-{i}"), f"class {n}", f"{n}-{i}") for n, size in enumerate(sizes) for i in range(size)]
    questions = heldout_questions(clips, ("class", "presence"), seed)
    assert Counter(q.clip for q in questions if q.task == "class") == dict.fromkeys(clips, 1)
    present = Counter(q.asked for q in questions if q.asked == q.clip.label)
    absent = Counter(q.asked for q in questions if q.asked not in (None, q.clip.label))
    assert Counter(q.clip for q in questions if q.task == "presence") == dict.fromkeys(clips, 2)
    assert sum(present.values()) == sum(absent.values()) == len(clips)
    if max(sizes) <= len(clips) / 2:  # else no such deal exists
        assert present == absent
    assert questions == heldout_questions(clips, ("class", "presence"), seed)


def test_every_held_out_clip_is_asked_about(folder: Path) -> None:
    heldout = source(folder).split("heldout", 0)
    clips = [clip for clips in heldout.clips.values() for clip in clips]
    assert heldout.size == 3 * len(clips)
    assert heldout.size is not None
    with pytest.raises(IndexError):
        heldout[heldout.size]
    assert source(folder, tasks=("class",)).split("heldout", 0).size == len(clips)


def test_waves_are_what_is_promised(folder: Path) -> None:
    for name in ("train", "heldout"):
        for seconds in (0.5, 4.0):
            samples = source(folder, seconds=seconds, gain_db=(0.0, 40.0)).split(name, 0)
            for index in range(20):
                wave = heard(samples[index])
                assert wave.dtype == np.float32
                assert wave.shape == (round(seconds * 16_000),)
                assert np.isfinite(wave).all()
                assert 0 < np.abs(wave).max() <= 1


def test_only_training_is_varied(folder: Path) -> None:
    def takes(**options: object) -> Counter[str]:
        samples = source(folder, tasks=("class",), **options).split("train", 0)
        drawn = {(s.tags["file"], heard(s).tobytes()) for s in (samples[index] for index in range(60))}
        return Counter(file for file, _ in drawn)

    assert max(takes(augment=False).values()) == 1
    assert max(takes().values()) > 1
    heldout = source(folder).split("heldout", 0)
    waves = {(heldout[index].tags["file"], heard(heldout[index]).tobytes()) for index in range(heldout.size or 0)}
    assert len(waves) == (heldout.size or 0) // 3


@settings(deadline=None, max_examples=60)
@given(at=st.integers(0, 39), seed=st.integers(0, 2**32), seconds=st.sampled_from([0.5, 1.0, 3.9, 4.0, 5.0]))
def test_a_crop_always_has_the_sound_in_it(at: int, seed: int, seconds: float) -> None:
    """A bark of 0.1 s in 4 s of near silence is heard, whole when the crop is not placed at random."""
    wave = np.full(4 * RATE, 1e-5, dtype=np.float32)
    wave[at * RATE // 10 : (at + 1) * RATE // 10] = 0.5
    length = round(seconds * RATE)
    still = crop(wave, length, RATE)
    moving = crop(wave, length, RATE, rng(seed))
    assert len(still) == len(moving) == length
    assert np.count_nonzero(still == 0.5) == RATE // 10
    assert np.count_nonzero(moving == 0.5) >= RATE * 0.02


def test_names_say_what_must_stay_together(tmp_path: Path) -> None:
    for name in ("dog/1-100-a.wav", "dog/2-100-B-0.WAV", "dog/bark.flac", "cat/bark.flac"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [clip.group for clip in read(tmp_path)] == ["cat/bark", "freesound-100", "freesound-100", "dog/bark"]


def test_foreign_files_are_named_and_counted(folder: Path) -> None:
    (folder / "rain" / "notes.txt").write_text("")
    (folder / "loose.wav").write_text("")
    with pytest.raises(DataError, match=r"2 files .*loose\.wav, rain/notes\.txt"):
        source(folder).split("train", 0)
    source(folder, ignore=("*.txt", "loose*")).split("train", 0)


def test_links_are_followed_and_never_lost(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "wind"
    elsewhere.mkdir()
    for number in range(5):
        soundfile.write(elsewhere / f"1-9{number}-a.wav", 0.1 * np.sin((1 + number) * np.arange(RATE)), RATE)
    (folder / "wind").symlink_to(elsewhere)
    (folder / "rain" / "round").symlink_to(folder)  # has nothing new
    assert Counter(clip.label for clip in read(folder))["wind"] == 5
    (folder / "rain" / "1-800-a.wav").symlink_to(folder / "gone.wav")
    with pytest.raises(MediaError, match=r"1 of \d+ recordings.*1-800-a\.wav does not exist"):
        [source(folder).split(name, 0) for name in ("train", "heldout")]
    (folder / "rain" / "1-800-a.wav").unlink()
    (folder / "rain" / "1-800-a.wav").symlink_to(elsewhere / "1-90-a.wav")
    with pytest.raises(DataError, match=r"wind/1-90-a\.wav is a link to the same recording as .*rain/1-800-a\.wav"):
        read(folder)


def test_a_recording_under_two_names_stays_on_one_side(folder: Path) -> None:
    held = sorted(source(folder).split("heldout", 0).clips["rain"], key=lambda clip: clip.path)[0]
    trained = source(folder).split("train", 0).clips["rain"][0]
    shutil.copy(held.path, trained.path)
    for name in ("train", "heldout"):
        with pytest.raises(
            DataError, match=f"{held.path.name} .held out. is .*{trained.path.name}; remove one of each"
        ):
            source(folder).split(name, 0)


def test_a_name_that_cannot_be_written_down_is_refused(folder: Path) -> None:
    os.rename(next((folder / "rain").glob("*.wav")), bytes(folder) + b"/rain/\xff.wav")
    with pytest.raises(DataError, match=r"is not UTF-8; rename"):
        source(folder).split("train", 0)


def test_recordings_without_class_folders_are_to_be_sorted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", np.full(RATE, 0.1), RATE)
    said = (
        r"2 recordings lie in the folder itself, a\.wav first, .*; sort them into a folder for each class, .*data\.root"
    )
    with pytest.raises(DataError, match=said):
        source(tmp_path).split("train", 0)


def test_classes_must_add_up(folder: Path) -> None:
    with pytest.raises(DataError, match="fewer than two class folders"):
        source(folder, ignore=("r*",)).split("train", 0)
    (folder / "wind").mkdir()
    soundfile.write(folder / "wind" / "1-900-a.wav", np.full(RATE, 0.1), RATE)
    with pytest.raises(DataError, match="wind"):
        source(folder).split("train", 0)
    with pytest.raises(DataError, match=r"no folder; .*--data\.root"):
        source(folder / "nowhere").split("train", 0)


def test_clips_that_cannot_be_heard_are_refused(folder: Path) -> None:
    (path,) = (folder / "rain").glob("*-c.wav")
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(MediaError, match=path.name):
        source(folder).split("train", 0)
    soundfile.write(path, np.zeros(RATE), RATE)
    splits = [source(folder, tasks=("class",)).split(name, 0) for name in ("train", "heldout")]
    (silent,) = [samples for samples in splits if path in {clip.path for clip in samples.clips["rain"]}]
    with pytest.raises(DataError, match=f"{path.name} is silent"):
        [silent[index] for index in range(silent.size or 300)]


def test_a_small_cache_changes_nothing(folder: Path) -> None:
    small, large = (source(folder, cache_mb=mb).split("train", 0) for mb in (0, 100))
    assert all(np.array_equal(heard(small[index]), heard(large[index])) for index in range(20))


@pytest.mark.parametrize(
    "options",
    [{"tasks": ("caption",)}, {"heldout_share": 1.0}, {"noise": 2.0}, {"seconds": 0.0}, {"gain_db": (3.0, 0.0)}],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Source(root="sounds", **options)


def test_real_sounds(testdata: Path) -> None:
    options = Source(root=str(testdata / "esc10"))
    train, heldout = options.split("train", 0), options.split("heldout", 0)
    drawn = [train[index] for index in range(100)]
    asked = [heldout[index] for index in range(heldout.size or 0)]
    assert not {sample.group for sample in drawn} & {sample.group for sample in asked}
    classes = Counter(sample.answers[0] for sample in asked if sample.tags["task"] == "class")
    assert len(classes) == 10
    assert max(classes.values()) <= 0.25 * sum(classes.values())
    assert all(heard(sample).shape == (64_000,) for sample in drawn + asked)
