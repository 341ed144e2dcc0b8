"""Prints: what was re-encoded, resampled, shifted, cut, turned down or scaled is found again, and nothing else is.

Run by hand over all of the test data that has a print, 1,150 recordings (660,675 pairs) and 85 pictures (3,570): each
recording with all changes at once is found again, and alike are only eight codings of one DTMF sequence, three of one
tone, and two clips of ESC-10 that seem to be one recording. The thresholds were chosen on these same data, so it is
no estimate for others. Agreement of bits over three seconds: copies 0.95 and more, others 0.64 and less, those two
clips 0.80; correlation of short waves: copies 0.99 and more, others 0.91 and less; of pictures: 0.996 and 0.77.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from auscult.core.seeds import rng
from auscult.core.types import Audio, Image, Wave
from auscult.media import audio_print as prints
from auscult.media import image
from auscult.media.audio import decode
from auscult.media.audio_print import RATE, SAME_WAVE, AudioIndex, audio_print, wave_likeness
from auscult.media.image_print import SAME_PICTURE, image_print

CLIPS = (
    *(
        f"fsdd/{digit}_{speaker}_{take}.wav"
        for digit in (0, 3, 6, 9)
        for speaker in ("jackson", "theo")
        for take in (0, 1, 2)
    ),
    *("esc10/rain/1-17367-a.ogg", "esc10/chainsaw/1-19898-b.ogg", "esc10/dog_bark/1-100032-a.ogg"),
    *("esc10/clock_tick/1-21934-a.ogg", "esc10/sea_waves/1-28135-a.ogg", "esc10/person_sneeze/1-26143-a.ogg"),
    *("esc10/helicopter/1-172649-a.ogg", "esc10/helicopter/1-172649-b.ogg", "asr/spk1_snt1.wav", "asr/spk1_snt2.wav"),
    *("librispeech/1688/1688-142285-0002.flac", "music/198-209-0000.hq.ogg", "music/sorohanro_-_solo-trumpet-06.ogg"),
    *("music/456440__inspectorj__bird-whistling-robin-single-13.ogg", "formats/typing.wav"),
)
OTHER_RATE = 22_050


def mp3(wave: Wave, rate: int) -> tuple[Wave, int]:
    """The wave after a constant 64 kbit/s, which its first frame's header is asked for."""
    most, least = (320, 32) if rate >= 32_000 else (160 if rate >= 16_000 else 64, 8)  # libsndfile's scale, 0 to 1
    file = io.BytesIO()
    level = (most - 64) / (most - least)
    soundfile.write(file, wave, rate, format="MP3", bitrate_mode="CONSTANT", compression_level=level)
    header = file.getvalue()
    kbps = (
        (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
        if header[1] >> 3 & 3 == 3
        else (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    )
    assert kbps[(header[2] >> 4) - 1] == 64
    file.seek(0)
    return np.asarray(soundfile.read(file, dtype="float32")[0]), rate


def resampled(wave: Wave, rate: int) -> tuple[Wave, int]:
    return np.asarray(soxr.resample(wave, rate, OTHER_RATE), dtype=np.float32), OTHER_RATE


def shifted(wave: Wave, rate: int) -> tuple[Wave, int]:
    """One second later."""
    return np.concatenate([np.zeros(rate, np.float32), wave]), rate


def turned_down(wave: Wave, rate: int) -> tuple[Wave, int]:
    """By 12 dB."""
    return wave * np.float32(10 ** (-12 / 20)), rate


def everything(wave: Wave, rate: int) -> tuple[Wave, int]:
    return mp3(*turned_down(*shifted(*resampled(wave, rate))))


def late(wave: Wave, rate: int) -> tuple[Wave, int]:
    """Half a hop of the print and half a sample later, where nothing lies on its grid any more."""
    return wave[round(rate * 0.0080625) :], rate


def clipped(wave: Wave, rate: int) -> tuple[Wave, int]:
    """Overdriven three times."""
    return np.clip(3 * wave / np.abs(wave).max(), -1, 1), rate


def faded(wave: Wave, rate: int) -> tuple[Wave, int]:
    """From beginning to end."""
    return wave * np.linspace(1, 0, len(wave), dtype=np.float32), rate


class Library:
    """Recordings at 8 kHz, to look others up in as `data leaks` does."""

    def __init__(self, waves: dict[str, Wave]) -> None:
        self.names, self.waves = list(waves), list(waves.values())
        self.prints = [audio_print(wave) for wave in self.waves]
        self.index = AudioIndex([one for one in self.prints if one is not None])
        assert None not in self.prints

    def find(self, wave: Wave) -> dict[str, float]:
        """Names of the same recordings, each with how much later it is heard in them."""
        one = audio_print(wave)
        assert one is not None
        return {
            self.names[alike.place]: alike.shift
            for alike in self.index.find(one)
            if alike.proven or wave_likeness(wave, self.waves[alike.place], alike.shift) >= SAME_WAVE
        }


@pytest.fixture(scope="module")
def native(testdata: Path) -> dict[str, tuple[Wave, int]]:
    """Mono recordings of at most 6 s, each with its own rate."""
    found: dict[str, tuple[Wave, int]] = {}
    for name in CLIPS:
        wave, rate = soundfile.read(testdata / name, dtype="float32", always_2d=True)
        found[name] = wave.mean(axis=1, dtype=np.float32)[: 6 * rate], rate
    return found


@pytest.fixture(scope="module")
def library(native: dict[str, tuple[Wave, int]]) -> Library:
    return Library({name: heard(*wave) for name, wave in native.items()})


def heard(wave: Wave, rate: int) -> Wave:
    return np.asarray(soxr.resample(wave, rate, RATE), dtype=np.float32)


@pytest.mark.parametrize("change", [mp3, resampled, shifted, turned_down, everything, late])
def test_a_recording_is_found_again_and_no_other(
    change: Callable[[Wave, int], tuple[Wave, int]], native: dict[str, tuple[Wave, int]], library: Library
) -> None:
    for name, recording in native.items():
        found = library.find(heard(*change(*recording)))
        assert list(found) == [name], (name, found)
        later = -1.0 if change in (shifted, everything) else 0.0
        assert abs(found[name] - later) < 0.1


@pytest.mark.parametrize("change", [clipped, faded])
def test_a_word_that_was_overdriven_or_faded_is_found_again(
    change: Callable[[Wave, int], tuple[Wave, int]], native: dict[str, tuple[Wave, int]], library: Library
) -> None:
    for name in [name for name in native if name.startswith("fsdd")]:
        assert list(library.find(heard(*change(*native[name])))) == [name]


def test_one_word_said_again_by_the_same_speaker_is_another_recording(testdata: Path) -> None:
    files = [*(testdata / "fsdd").glob("[29]_jackson_*.wav"), *(testdata / "fsdd").glob("3_theo_*.wav")]
    waves = {file.name: decode(Audio(str(file)), RATE) for file in files}
    library = Library(waves)
    assert [list(library.find(wave)) for wave in waves.values()] == [[name] for name in waves]


def test_a_section_is_found_in_the_whole_and_the_whole_by_a_section(testdata: Path) -> None:
    whole = decode(Audio(str(testdata / "music" / "Kevin_MacLeod_-_Vibe_Ace.ogg")), RATE)[: 20 * RATE]
    other = decode(Audio(str(testdata / "asr" / "jfk.flac")), RATE)
    for seconds in (0.5, 2.0, 8.0):
        section = whole[round(7.3 * RATE) : round((7.3 + seconds) * RATE)]
        assert Library({"whole": whole, "other": other}).find(section)["whole"] == pytest.approx(7.3, abs=0.02)
        assert Library({"section": section, "other": other}).find(whole)["section"] == pytest.approx(-7.3, abs=0.02)


def test_a_digit_is_found_in_a_row_of_digits(testdata: Path) -> None:
    takes = [decode(Audio(str(testdata / "fsdd" / f"{digit}_jackson_5.wav")), RATE) for digit in range(8)]
    said = np.concatenate([part for take in takes for part in (take, np.zeros(1600, np.float32))])
    names = {str(digit): take for digit, take in enumerate(takes)}
    assert sorted(Library({**names, "other": takes[0][::-1].copy()}).find(said)) == sorted(names)


def test_two_clips_of_esc_10_are_one_recording(testdata: Path) -> None:
    """Freesound's 28314 and 30322, "FireBurning" and "FireBurning_v2" of one uploader: their ids do not tell.

    Their waves agree for two seconds and more, their bits to the end.
    """
    one, two = (
        decode(Audio(str(testdata / "esc10" / "fire_crackling" / f"{name}.ogg")), RATE)
        for name in ("2-28314-b", "2-30322-b")
    )
    assert Library({"two": two}).find(one) == {"two": pytest.approx(0.16, abs=0.02)}


def test_what_says_nothing_has_no_print(testdata: Path) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(4 * RATE) / RATE).astype(np.float32)
    assert audio_print(np.zeros(RATE, np.float32)) is None
    assert audio_print(tone[: RATE // 10]) is None
    assert audio_print(tone[:1]) is None
    assert audio_print(decode(Audio(str(testdata / "formats" / "almost_silent.wav")), RATE)) is None
    assert AudioIndex([]).find(audio_print(rng(0, "noise").standard_normal(RATE).astype(np.float32))) == []  # type: ignore[arg-type]


def test_what_is_far_below_the_rest_is_not_compared() -> None:
    hum = 1e-4 * rng(0, "hum").standard_normal(6 * RATE)
    loud = [0.1 * rng(seed, "noise").standard_normal(6 * RATE) * (np.arange(6 * RATE) < 2 * RATE) for seed in (1, 2)]
    one, two = ((wave + hum).astype(np.float32) for wave in loud)
    assert Library({"two": two}).find(one) == {}


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1 << 30), cut=st.integers(0, 2 * RATE), gain=st.floats(-40, 20), noise=st.floats(-60, -20))
def test_any_cut_and_level_of_noise_is_found_where_it_was_cut(seed: int, cut: int, gain: float, noise: float) -> None:
    drawn = rng(seed, "noise")
    wave = (0.1 * drawn.standard_normal(6 * RATE)).astype(np.float32)
    again = (wave + 0.1 * 10 ** (noise / 20) * drawn.standard_normal(len(wave)).astype(np.float32))[cut:]
    found = Library({"wave": wave, "other": drawn.standard_normal(6 * RATE).astype(np.float32)}).find(
        again * np.float32(10 ** (gain / 20))
    )
    assert found == {"wave": pytest.approx(cut / RATE, abs=0.02)}


def test_long_recordings_are_printed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    wave = rng(0, "noise").standard_normal(3 * RATE).astype(np.float32)
    whole = audio_print(wave)
    monkeypatch.setattr(prints, "_BLOCK", 7)
    pieces = audio_print(wave)
    assert whole is not None
    assert pieces is not None
    assert (whole.words == pieces.words).all()
    assert (whole.firm == pieces.firm).all()


def test_waves_are_laid_over_each_other_to_a_part_of_a_sample() -> None:
    wide = rng(0, "noise").standard_normal(4 * RATE + 64)
    spectrum = np.fft.rfft(wide)
    spectrum[int(len(spectrum) * 0.9) :] = 0  # what a resampler keeps
    half = np.fft.irfft(spectrum * np.exp(1j * np.pi * np.arange(len(spectrum)) / len(wide))).astype(np.float32)
    wave = np.fft.irfft(spectrum).astype(np.float32)
    assert wave_likeness(wave, half, 0) > 0.98
    assert wave_likeness(wave[800:], -wave, 0.1) > 0.99
    assert wave_likeness(wave, wave[::-1].copy(), 0) < 0.1
    assert wave_likeness(wave, wave, 9.0) == wave_likeness(wave, wave, -9.0) == 0.0
    assert wave_likeness(wave, np.zeros(100, np.float32), 0) == 0.0


def recoded(picture: Pillow.Image, scale: float, quality: int, contrast: float = 1.0) -> np.ndarray:
    size = round(picture.width * scale), round(picture.height * scale)
    file = io.BytesIO()
    picture.resize(size).point(lambda value: int(value * contrast) + 5).save(file, "JPEG", quality=quality)
    return np.asarray(Pillow.open(file).convert("RGB"))


def test_a_film_is_found_again_and_no_other(testdata: Path) -> None:
    files = [*sorted((testdata / "cxr").glob("*.png")), *sorted((testdata / "vqarad").glob("*.jpg"))[::5]]
    films = [Pillow.fromarray(image.decode(Image(str(file)))) for file in files]
    known = np.stack([image_print(np.asarray(film)) for film in films])  # type: ignore[arg-type]
    for place, film in list(enumerate(films))[::9]:
        for scale, quality, contrast in ((0.37, 50, 1.0), (0.37, 95, 1.0), (1.0, 50, 1.0), (1.2, 75, 0.8)):
            again = image_print(recoded(film, scale, quality, contrast))
            likeness = known @ again  # type: ignore[operator]
            assert np.flatnonzero(likeness >= SAME_PICTURE).tolist() == [place]
            assert likeness[place] > 0.99
    likeness = known @ known.T
    assert likeness[~np.eye(len(films), dtype=bool)].max() < 0.8


def test_a_picture_of_one_colour_has_no_print() -> None:
    assert image_print(np.full((40, 50, 3), 7, np.uint8)) is None
    assert image_print(rng(0, "noise").integers(126, 130, (400, 400, 3), dtype=np.uint8)) is None
    assert image_print(np.zeros((1, 1, 3), np.uint8)) is None
