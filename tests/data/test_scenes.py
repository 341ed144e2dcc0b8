"""Scenes say what they sound like, and nothing but the sound tells the answer."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import DataError
from auscult.core.seeds import rng
from auscult.core.types import Audio, Sample, Turn, Wave
from auscult.data import jsonl
from auscult.data.sources.scenes import (
    EDGE,
    GAP,
    KINDS,
    LONGEST,
    PITCHES,
    QUESTIONS,
    Event,
    Scene,
    Source,
    compose,
    questions,
    render,
    write,
)
from auscult.media.audio import decode

ALL = tuple(QUESTIONS)
CLOSED = ALL[:-1]
RATE = 16_000


def heard(sample: Sample) -> Wave:
    (audio,) = sample.media
    assert isinstance(audio, Audio)
    assert audio.wave is not None
    assert audio.rate == RATE
    return audio.wave


def fingerprint() -> str:
    """Of the first samples of both splits, everything included."""
    total = hashlib.sha256()
    for name in ("train", "heldout"):
        samples = Source(tasks=ALL).split(name, 7)
        for index in (5, 0, 17):
            total.update(repr(samples[index]).encode() + heard(samples[index]).tobytes())
    return total.hexdigest()


def test_every_process_makes_the_same_samples() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_scenes as t; print(t.fingerprint())"
    other = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == fingerprint()


def test_seed_split_and_index_each_change_the_scene() -> None:
    source = Source()
    waves = [
        heard(source.split(name, seed)[index]) for name in ("train", "heldout") for seed in (0, 1) for index in (0, 1)
    ]
    assert len({wave.tobytes() for wave in waves}) == 8


def test_no_scene_is_in_both_splits() -> None:
    source = Source(heldout=200)
    train, heldout = source.split("train", 0), source.split("heldout", 0)
    assert train.size is None
    assert heldout.size == 200
    sides = [[samples[index] for index in range(200)] for samples in (train, heldout)]
    for key in ("group", "id"):
        assert not {getattr(s, key) for s in sides[0]} & {getattr(s, key) for s in sides[1]}
    assert not {s.media[0].sha256 for s in sides[0]} & {s.media[0].sha256 for s in sides[1]}
    with pytest.raises(IndexError):
        heldout[200]


@pytest.mark.parametrize("name", ["train", "heldout"])
def test_neither_the_task_nor_the_wording_tells_the_answer(name: str) -> None:
    samples = Source(tasks=CLOSED, heldout=3000).split(name, 3)
    dealt = Counter((q.task, q.text, q.answer) for q in (samples.scene(index)[1] for index in range(3000)))
    assert Counter({task: sum(n for (t, _, _), n in dealt.items() if t == task) for task in CLOSED}) == dict.fromkeys(
        CLOSED, 600
    )
    for task in CLOSED:
        counts = [dealt[q.task, q.text, q.answer] for q in QUESTIONS[task]]
        assert counts == [600 // len(counts)] * len(counts)


def test_the_number_of_sounds_does_not_tell_whether_one_is_present() -> None:
    samples = Source(tasks=("presence",)).split("train", 0)
    sounds = Counter((q.answer, len(scene.events)) for scene, q, _ in (samples.scene(index) for index in range(2000)))
    cells = [(answer, count) for answer in ("yes", "no") for count in range(1, 5)]
    assert set(sounds) == set(cells)
    chi_square = sum((sounds[cell] - 250) ** 2 / 250 for cell in cells)
    assert chi_square < 24.3  # 7 degrees of freedom, p = 0.001


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    index=st.integers(0, 10**6),
    overlap=st.sampled_from([0.0, 1.0]),
    seconds=st.sampled_from([2.0, 3.0, 10.0]),
)
def test_the_scene_answers_its_question(seed: int, index: int, overlap: float, seconds: float) -> None:
    samples = Source(tasks=ALL, overlap=overlap, seconds=seconds).split("train", seed)
    scene, question, _ = samples.scene(index)
    assert question in questions(scene)
    events = scene.events
    assert events[0].onset >= EDGE - 1e-9
    assert events[-1].offset <= seconds - EDGE + 1e-9
    for before, after in pairwise(events):
        assert after.onset > before.onset
        assert after.offset > before.offset
        overlapping = after.onset < before.offset
        assert overlapping or after.onset - before.offset >= GAP - 1e-9
        assert not (overlapping and (overlap == 0 or before.kind == after.kind or "click" in (before.kind, after.kind)))


def test_questions_are_asked_only_where_there_is_one_answer() -> None:
    tones = (Event("tone", 0.1, 0.5, "low", -6), Event("tone", 0.7, 1.2, "high", -6))
    asked = {question.task for question in questions(Scene(tones, 3.0))}
    assert asked == {"count", "caption", "presence", "order"}  # two tones: no pitch; 0.4 s and 0.5 s: no longest
    longer = (replace(tones[0], offset=0.7 - 0.5 + 0.1), tones[1])
    assert "duration" in {question.task for question in questions(Scene(longer, 3.0))}
    assert longer[1].duration / longer[0].duration >= LONGEST
    assert {q.task for q in questions(Scene(tones[:1], 3.0))} == {"count", "caption", "presence", "pitch"}


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    task=st.sampled_from(ALL),
    rate=st.sampled_from([8000, 16_000, 44_100]),
    reverb=st.booleans(),
    snr=st.sampled_from([None, -10.0, 15.0]),
)
def test_waves_are_what_is_promised(seed: int, task: str, rate: int, reverb: bool, snr: float | None) -> None:
    draw = rng(seed)
    scene = compose(QUESTIONS[task][seed % len(QUESTIONS[task])], draw, overlap=0.5)
    wave = render(scene, draw, rate=rate, reverb=reverb, snr=snr)
    assert wave.dtype == np.float32
    assert wave.shape == (3 * rate,)
    assert np.isfinite(wave).all()
    assert 0.05 < np.abs(wave).max() <= 1


def test_the_count_can_be_heard() -> None:
    """Stretches of sound, counted in the wave alone, are as many as the answer says."""
    samples = Source(tasks=("count",)).split("train", 0)
    for index in range(100):
        scene, question, draw = samples.scene(index)
        level = np.abs(render(scene, draw)).reshape(-1, 160).max(axis=1)  # 10 ms
        loud = np.flatnonzero(level > 1e-3)
        assert 1 + np.count_nonzero(np.diff(loud) > 5) == int(question.answer)


def strongest(wave: Wave) -> float:
    """Frequency of the strongest partial, Hz."""
    return float(np.argmax(np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 2 * len(wave)))) * RATE / 2 / len(wave))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_sounds_like_its_name(kind: str) -> None:
    for seed in range(30):
        pitch = list(PITCHES)[seed % 3] if kind == "tone" else None
        event = Event(kind, 0.5, 0.54 if kind == "click" else 0.9, pitch, -6)
        wave = render(Scene((event,), 2.0), rng(seed))
        sound = wave[round(0.5 * RATE) : round(event.offset * RATE)]
        assert np.abs(sound).max() == pytest.approx(10 ** (-6 / 20), rel=1e-3)
        assert not wave[: round(0.5 * RATE)].any()
        assert not wave[round(event.offset * RATE) :].any()
        start, end = strongest(sound[: len(sound) // 4]), strongest(sound[-len(sound) // 4 :])
        if pitch is not None:
            low, high = PITCHES[pitch]
            assert low - 5 <= strongest(sound) <= high + 5
        elif kind == "rising chirp":
            assert end > 1.3 * start
        elif kind == "falling chirp":
            assert start > 1.3 * end
        elif kind == "click":
            assert np.square(sound[: len(sound) // 2]).sum() > 0.9 * np.square(sound).sum()


def test_background_lies_below_the_quietest_sound() -> None:
    quiet, loud = Event("noise", 0.2, 0.6, None, -20), Event("noise", 1.0, 1.4, None, -6)
    scene = Scene((quiet, loud), 2.0)
    clean, noisy = render(scene, rng(1)), render(scene, rng(1), snr=20.0)
    level = np.sqrt(np.mean(clean[round(0.2 * RATE) : round(0.6 * RATE)] ** 2) / np.mean((noisy - clean) ** 2))
    assert 20 * np.log10(level) == pytest.approx(20, abs=0.2)


def test_reverberation_rings_on() -> None:
    scene = Scene((Event("tone", 0.2, 0.6, "middle", -6),), 2.0)
    ringing = render(scene, rng(1), reverb=True)
    assert np.abs(ringing[round(0.61 * RATE) : round(0.65 * RATE)]).max() > 1e-3
    assert np.abs(ringing[round(1.1 * RATE) :]).max() < 1e-4


def test_words_describe_the_events() -> None:
    events = (Event("tone", 0.1, 0.4, "low", -6), Event("click", 0.6, 0.64, None, -6), Event("noise", 1, 2, None, -6))
    scene = Scene(events, 3.0)
    assert scene.transcript == "low tone, click, noise"
    assert scene.caption == "A low tone, then a click, then a noise."
    sample = next(s for s in map(Source(tasks=("duration",)).split("train", 0).__getitem__, range(9)) if s.thought)
    (longest,) = [name for name in (sample.thought or "").split(", ") if name.startswith("long ")]
    assert longest.endswith(sample.answers[0])


def test_captions_are_open_questions() -> None:
    sample = Source(tasks=("caption",)).split("heldout", 0)[0]
    assert sample.choices == ()
    assert sample.answers == (sample.tags["caption"],)


@pytest.mark.parametrize(
    "options",
    [
        {"tasks": ("count", "colour")},
        {"tasks": ()},
        {"tasks": ("count", "count")},
        {"seconds": 1.0},
        {"rate": 4000},
        {"overlap": 1.5},
        {"reverb": -0.1},
        {"snr_db": (20.0, 10.0)},
        {"heldout": 0},
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Source(**options)


def test_scenes_written_down_are_read_back(tmp_path: Path) -> None:
    samples = Source(tasks=ALL).split("heldout", 0)
    made = [samples[index] for index in range(6)]
    target = write(tmp_path / "scenes", made)
    back = jsonl.read(target)
    assert len(back) == 6
    for sample, copy in zip(made, back, strict=True):
        assert replace(copy, turns=()) == replace(sample, turns=())
        assert copy.question == sample.question
        (audio,) = copy.media
        assert isinstance(audio, Audio)
        wave = decode(audio, RATE)
        assert np.abs(wave - heard(sample)).max() < 1 / 2**15
    assert {soundfile.info(path).subtype for path in (tmp_path / "scenes").glob("*.flac")} == {"PCM_16"}


def test_only_made_scenes_are_written(tmp_path: Path) -> None:
    sample = Source().split("train", 0)[0]
    file = replace(sample, turns=(Turn("user", (Audio(path="a.wav"), "How many sounds?")),))
    with pytest.raises(DataError, match=sample.id):
        write(tmp_path, [file])
