"""Decoding: real files of every format, every way in which a file can be unusable, and no recording cut in silence."""

from __future__ import annotations

import builtins
import hashlib
import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from auscult.core.errors import MediaError
from auscult.core.types import Audio
from auscult.media.audio import (
    REASONS,
    Header,
    check_section,
    content_hash,
    decode,
    fit,
    read_header,
)

RATE = 16_000
SHORT = (  # of every format, small enough to be cut hundreds of times
    "DTMF_tones_16KHZ_mono.flac",
    "DTMF_tones_16KHZ_mono.mp3",
    "DTMF_tones_44.1KHZ_stereo.mp3",
    "DTMF_tones_44.1KHZ_stereo.ogg",
    "bus.opus",
    "mono_float64.wav",
    "mono_int24.wav",
    "stereo_16bit.wav",
    "test_16KHZ_3channel_400-800-1600Hz_float32.wav",
    "testing.m4a",
)
property_of_files = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def tone(seconds: float = 0.5, rate: int = RATE, channels: int = 1) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    wave = np.stack([np.sin(2 * np.pi * 440 * (n + 1) * time) for n in range(channels)], axis=1)
    return (0.5 * wave).astype(np.float32)


def written(path: Path, wave: np.ndarray, rate: int = RATE, **options: str) -> Audio:
    soundfile.write(path, wave, rate, **options)
    return Audio(str(path))


def reason_of(audio: Audio, **options: object) -> str:
    with pytest.raises(MediaError) as caught:
        decode(audio, RATE, **options)  # type: ignore[arg-type]
    assert caught.value.reason in REASONS
    return caught.value.reason


def test_every_format_decodes_to_mono_float32_of_its_length(testdata: Path) -> None:
    for path in sorted((testdata / "formats").iterdir()):
        audio = Audio(str(path))
        wave, header = decode(audio, RATE), read_header(audio)
        assert wave.dtype == np.float32, path
        assert wave.ndim == 1, path
        assert header.seconds is not None, path
        assert len(wave) == pytest.approx(header.seconds * RATE, abs=1), path
        assert np.isfinite(wave).all(), path


def test_the_same_sound_in_every_format(testdata: Path) -> None:
    exact = decode(Audio(str(testdata / "formats" / "DTMF_tones_16KHZ_mono.flac")), RATE)
    for path in (testdata / "formats").glob("DTMF*"):
        wave = decode(Audio(str(path)), RATE)
        assert np.corrcoef(wave, exact)[0, 1] > 0.9, path


def test_lossy_overshoot_is_kept(testdata: Path) -> None:
    assert np.abs(decode(Audio(str(testdata / "formats" / "DTMF_tones_16KHZ_mono.ogg")), RATE)).max() > 1.1


def test_resampling_keeps_the_pitch(tmp_path: Path) -> None:
    wave = decode(written(tmp_path / "a.wav", tone(1.0, 44_100), 44_100, subtype="FLOAT"), RATE)
    assert len(wave) == RATE
    assert np.abs(wave - tone(1.0)[:, 0])[200:-200].max() < 1e-3


def test_channels(tmp_path: Path) -> None:
    wave = tone(0.1, channels=3)
    audio = written(tmp_path / "a.wav", wave, subtype="FLOAT")
    assert np.allclose(decode(audio, RATE), wave.mean(axis=1), atol=1e-7)
    assert np.array_equal(decode(audio, RATE, channels="first"), wave[:, 0])
    assert np.array_equal(decode(audio, RATE, channels=2), wave[:, 2])
    assert reason_of(audio, channels="error") == "channels"
    assert reason_of(audio, channels=3) == "channels"
    assert np.array_equal(
        decode(written(tmp_path / "b.wav", wave[:, :1], subtype="FLOAT"), RATE, channels="error"), wave[:, 0]
    )


def test_waves_in_memory(tmp_path: Path) -> None:
    wave = tone()[:, 0]
    audio = Audio.of(wave, RATE)
    assert np.array_equal(decode(audio, RATE), wave)
    assert len(decode(audio, 8_000)) == len(wave) // 2
    section = Audio(wave=wave, rate=RATE, start=0.1, end=0.2)
    assert np.array_equal(decode(section, RATE), wave[1600:3200])
    assert reason_of(Audio(wave=wave, rate=RATE, end=0.6)) == "bad_section"
    assert reason_of(Audio(wave=tone(channels=2), rate=RATE)) == "channels"
    assert reason_of(Audio(wave=wave)) == "channels"
    assert reason_of(Audio(wave=np.array([0, np.nan], np.float32), rate=RATE)) == "not_finite"
    assert reason_of(Audio(wave=wave[:0], rate=RATE)) == "zero_length"


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is not a recording, whatever its name says")
    os.mkfifo(tmp_path / "pipe.wav")
    assert reason_of(Audio(str(tmp_path / "absent.wav"))) == "missing"
    assert reason_of(Audio(str(tmp_path / "text.wav" / "below.wav"))) == "missing"
    assert reason_of(Audio("nul\0.wav")) == "missing"
    assert reason_of(Audio()) == "missing"
    assert reason_of(Audio(str(tmp_path))) == "not_a_file"
    assert reason_of(Audio(str(tmp_path / "pipe.wav"))) == "not_a_file"
    assert reason_of(Audio(str(tmp_path / ("long" * 100)))) == "unreadable"
    assert reason_of(Audio(str(tmp_path / "empty.wav"))) == "empty"
    assert reason_of(Audio(str(tmp_path / "text.wav"))) == "not_audio"
    assert reason_of(written(tmp_path / "zero.wav", np.zeros((0, 1)))) == "zero_length"


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    audio = written(tmp_path / "a.wav", tone())
    for name in ("a.raw", "a.mp3", "a"):  # soundfile would ask for a sample rate because of `.raw`
        (tmp_path / name).write_bytes((tmp_path / "a.wav").read_bytes())
        assert np.array_equal(decode(Audio(str(tmp_path / name)), RATE), decode(audio, RATE))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite(tmp_path: Path, value: float) -> None:
    wave = tone()
    wave[100] = value
    audio = written(tmp_path / "a.wav", wave, subtype="FLOAT")
    assert reason_of(audio) == "not_finite"
    assert len(decode(Audio(audio.path, start=0.1), RATE))  # what is not asked for is not judged


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0.2, 0.1),
        (0.1, 0.1),
        (-0.1, 0.2),
        (None, 0.6),
        (0.5, None),
        (0.7, None),
        (None, 0.0),
        (np.nan, None),
        (0.1, np.inf),
    ],
)
def test_sections_that_are_none(tmp_path: Path, start: float | None, end: float | None) -> None:
    path = written(tmp_path / "a.flac", tone()).path
    assert reason_of(Audio(path, start=start, end=end)) == "bad_section"
    with pytest.raises(MediaError):
        check_section(Audio(path, start=start, end=end))


def test_a_section_beyond_the_end_of_an_m4a(testdata: Path) -> None:
    path = str(testdata / "formats" / "testing.m4a")  # 3.204 s
    assert len(decode(Audio(path, start=3.0, end=3.2), RATE)) == 3200
    assert reason_of(Audio(path, start=3.0, end=3.25)) == "bad_section"  # within what its header leaves open
    assert reason_of(Audio(path, start=3.0, end=9.0)) == "bad_section"
    assert reason_of(Audio(path, start=9.0)) == "bad_section"


@property_of_files
@given(name=st.sampled_from(SHORT), data=st.data())
def test_a_section_is_a_slice_of_the_whole(testdata: Path, name: str, data: st.DataObject) -> None:
    path = str(testdata / "formats" / name)
    rate = read_header(Audio(path)).rate
    whole = decode(Audio(path), rate)
    first = data.draw(st.integers(0, len(whole) - 1), "first")
    last = data.draw(st.integers(first + 1, len(whole)), "last")
    section = Audio(path, start=first / rate, end=None if last == len(whole) else last / rate)
    assert np.array_equal(decode(section, rate), whole[first:last])


def test_no_seek_in_mp3_because_of_its_bit_reservoir(testdata: Path) -> None:
    path = str(testdata / "formats" / "DTMF_tones_44.1KHZ_stereo.mp3")
    whole = decode(Audio(path), 44_100)
    for first in range(500, 44_000, 500):
        section = Audio(path, start=first / 44_100, end=(first + 100) / 44_100)
        assert np.array_equal(decode(section, 44_100), whole[first : first + 100]), first


@property_of_files
@given(name=st.sampled_from(SHORT), share=st.floats(0, 1, exclude_max=True))
@example(name="DTMF_tones_44.1KHZ_stereo.ogg", share=0.9)  # libsndfile alone: 33,216 of 44,100 samples, no error
@example(name="DTMF_tones_16KHZ_mono.mp3", share=0.9)
@example(name="stereo_16bit.wav", share=0.5)
def test_a_cut_file_is_never_a_shorter_recording(testdata: Path, tmp_path: Path, name: str, share: float) -> None:
    content = (testdata / "formats" / name).read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(content[: int(len(content) * share)])
    reason = reason_of(Audio(str(cut)))
    assert reason == "torn" or (reason in ("empty", "not_audio") and share * len(content) < 100)


@pytest.mark.parametrize("name", ["DTMF_tones_44.1KHZ_stereo.flac", "DTMF_tones_44.1KHZ_stereo.ogg", "bus.opus"])
def test_files_cut_between_two_pages_or_frames_are_torn(testdata: Path, tmp_path: Path, name: str) -> None:
    content = (testdata / "formats" / name).read_bytes()
    sync = b"OggS" if content[:4] == b"OggS" else b"\xff\xf8"
    boundary = content.rfind(sync)
    assert boundary > 0
    (tmp_path / "cut").write_bytes(content[:boundary])
    assert reason_of(Audio(str(tmp_path / "cut"))) == "torn"


def encoded(path: Path, codec: str, sample_format: str, options: dict[str, str]) -> None:
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=48_000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(tone(2.0, 48_000).T, format=sample_format, layout="mono")
        frame.rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_an_mp4_whose_index_comes_first_is_torn_when_its_samples_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    encoded(path, "aac", "fltp", {"movflags": "faststart"})
    assert len(decode(Audio(str(path)), RATE)) == pytest.approx(2 * RATE, abs=0.1 * RATE)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    for missing in (1, 100, len(content) // 2):
        (tmp_path / "cut.m4a").write_bytes(content[:-missing])
        with pytest.raises(MediaError, match="torn"):
            read_header(Audio(str(tmp_path / "cut.m4a")))


def test_webm(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    encoded(path, "libopus", "flt", {})
    wave = decode(Audio(str(path)), RATE)
    assert len(wave) == pytest.approx(2 * RATE, abs=200)
    assert np.sqrt(np.mean(wave**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)
    content = path.read_bytes()
    for size in (len(content) - 1, len(content) // 2, 60, 10):
        (tmp_path / "cut.webm").write_bytes(content[:size])
        assert reason_of(Audio(str(tmp_path / "cut.webm"))) == "torn"


def test_without_pyav_the_error_says_what_to_install(testdata: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_av(name: str, *rest: object) -> object:
        if name == "av":
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(MediaError, match=r"pip install 'auscult\[av\]'") as caught:
        decode(Audio(str(testdata / "formats" / "testing.m4a")), RATE)
    assert caught.value.reason == "needs_extra"


def test_a_film_without_sound(tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        container.mux(stream.encode(None))
    assert reason_of(Audio(str(path))) == "not_audio"


def test_an_mp3_of_variable_rate_without_a_length_is_whole(testdata: Path, tmp_path: Path) -> None:
    content = (testdata / "formats" / "DTMF_tones_44.1KHZ_stereo.mp3").read_bytes()
    bare = tmp_path / "bare.mp3"
    bare.write_bytes(content[417:])  # its first frame holds the Xing header
    with soundfile.SoundFile(bare) as sound:
        assert sound.frames == 14_824  # what libsndfile would stop at
    assert len(decode(Audio(str(bare)), 44_100)) == 40 * 1152 - 529
    bare.write_bytes(content[417:-1])
    with pytest.raises(MediaError, match="lacks 1 bytes"):
        read_header(Audio(str(bare)))
    bare.write_bytes(content[417:5000] + bytes(50) + content[5000:])
    assert reason_of(Audio(str(bare))) == "torn"
    bare.write_bytes(content[417:] + b"TAG" + bytes(125))  # an ID3v1 tag behind the frames is no damage
    assert len(decode(Audio(str(bare)), 44_100)) == 40 * 1152 - 529


def test_a_flac_of_unknown_length_is_whole(testdata: Path, tmp_path: Path) -> None:
    content = bytearray((testdata / "formats" / "DTMF_tones_16KHZ_mono.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)  # as ffmpeg writes it into a pipe
    path = tmp_path / "piped.flac"
    path.write_bytes(content)
    assert read_header(Audio(str(path))).seconds is None
    assert len(decode(Audio(str(path)), RATE)) == RATE
    assert len(decode(Audio(str(path), start=0.25, end=0.5), RATE)) == RATE // 4
    assert reason_of(Audio(str(path)), max_seconds=0.5) == "too_long"
    path.write_bytes(content[:-300])
    assert reason_of(Audio(str(path))) == "torn"


def wav_with_size(path: Path, size: int, riff: int = 0) -> Audio:
    soundfile.write(path, tone(), RATE, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4], content[4:8] = struct.pack("<I", size), struct.pack("<I", riff)
    path.write_bytes(content)
    return Audio(str(path))


def test_wav_sizes_that_were_never_filled_in(tmp_path: Path) -> None:
    for size in (0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFDB):  # written into a pipe: all there is, is meant
        assert len(decode(wav_with_size(tmp_path / "a.wav", size, size), RATE)) == RATE // 2
    assert reason_of(wav_with_size(tmp_path / "a.wav", 0)) == "torn"  # the recorder died
    assert reason_of(wav_with_size(tmp_path / "a.wav", 16_001, 16_037)) == "torn"


def test_rf64_and_aiff(tmp_path: Path) -> None:
    for name, options in [("a.wav", {"format": "RF64"}), ("a.aiff", {"format": "AIFF"})]:
        audio = written(tmp_path / name, tone(), subtype="PCM_16", **options)
        assert np.abs(decode(audio, RATE) - tone()[:, 0]).max() < 1e-4
        content = (tmp_path / name).read_bytes()
        (tmp_path / "cut").write_bytes(content[:-2])
        assert reason_of(Audio(str(tmp_path / "cut"))) == "torn"


def test_a_flac_header_that_lies_reserves_no_memory(testdata: Path, tmp_path: Path) -> None:
    content = bytearray((testdata / "formats" / "DTMF_tones_16KHZ_mono.flac").read_bytes())
    content[22:26] = struct.pack(">I", RATE * 3600 * 3)  # three hours in 15 kB
    (tmp_path / "lie.flac").write_bytes(content)
    assert reason_of(Audio(str(tmp_path / "lie.flac"))) == "torn"
    content[22:26] = struct.pack(">I", RATE * 3600 * 5)
    (tmp_path / "lie.flac").write_bytes(content)
    assert reason_of(Audio(str(tmp_path / "lie.flac"))) == "too_long"


def test_hours_are_refused_before_they_are_decoded(
    testdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = written(tmp_path / "a.flac", np.zeros(5 * 3600 * 1000), 1000)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("decoded"))
    assert reason_of(audio) == "too_long"
    assert reason_of(Audio(str(testdata / "formats" / "testing.m4a")), max_seconds=2) == "too_long"
    monkeypatch.undo()
    assert len(decode(Audio(audio.path, start=3600, end=3660), 1000)) == 60_000


def check_decodes_or_says_why(path: Path) -> None:
    try:
        wave = decode(Audio(str(path)), RATE)
    except MediaError as error:
        said = error
    else:
        assert np.isfinite(wave).all()
        return
    assert said.reason in REASONS
    assert str(path) in str(said)


magics = st.sampled_from(
    [
        b"",
        b"RIFF\0\0\1\0WAVEfmt ",
        b"fLaC",
        b"OggS",
        b"ID3",
        b"\xff\xfb\x90\x64",
        b"\0\0\0\x18ftyp",
        b"\x1a\x45\xdf\xa3",
        b"FORM",
    ]
)


@property_of_files
@given(magic=magics, rest=st.binary(max_size=600))
def test_random_bytes_are_a_media_error_or_a_recording(tmp_path: Path, magic: bytes, rest: bytes) -> None:
    path = tmp_path / "random"
    path.write_bytes(magic + rest)
    check_decodes_or_says_why(path)


@property_of_files
@given(name=st.sampled_from(SHORT), data=st.data())
def test_damaged_files_are_a_media_error_or_a_recording(
    testdata: Path, tmp_path: Path, name: str, data: st.DataObject
) -> None:
    content = bytearray((testdata / "formats" / name).read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content)
    check_decodes_or_says_why(path)


def test_the_header_says_what_is_decoded(testdata: Path) -> None:
    formats = testdata / "formats"
    assert read_header(Audio(str(formats / "stereo_16bit.wav"))) == Header("wav", 16_000, 2, 17_833 / 16_000)
    assert read_header(Audio(str(formats / "bus.opus"))).container == "ogg"
    assert check_section(Audio(str(formats / "bus.opus"), start=0.5)) == pytest.approx(0.2642, abs=1e-4)


def test_content_hash(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert content_hash(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(MediaError):
        content_hash(tmp_path / "b")


@settings(deadline=None)
@given(length=st.integers(1, 500), limit=st.integers(1, 200))
def test_fit_accounts_for_every_sample(length: int, limit: int) -> None:
    wave, rate = np.arange(length, dtype=np.float32), 10
    trimmed = fit(wave, rate, limit / rate, "trim")
    assert len(trimmed.pieces) == 1
    assert len(trimmed.pieces[0]) == min(length, limit)
    assert len(trimmed.pieces[0]) + round(trimmed.cut_seconds * rate) == length
    chunks = fit(wave, rate, limit / rate, "chunk")
    assert chunks.cut_seconds == 0
    assert np.array_equal(np.concatenate(chunks.pieces), wave)
    lengths = [len(piece) for piece in chunks.pieces]
    assert max(lengths) <= limit
    assert max(lengths) - min(lengths) <= 1, "a rest of some samples would be too short to be heard"
    if length > limit:
        with pytest.raises(MediaError) as caught:
            fit(wave, rate, limit / rate, "error")
        assert caught.value.reason == "too_long"
    else:
        assert np.array_equal(fit(wave, rate, limit / rate, "error").pieces[0], wave)
