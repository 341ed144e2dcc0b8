"""A saved model asked from Python: what can be given to it, and what it says to what cannot."""

from io import BytesIO

import numpy as np
import pytest
import soundfile

import auscult
from auscult import AuscultModel
from auscult.asking import as_media
from auscult.core.errors import AuscultError, ConfigError, MediaError
from auscult.core.seeds import rng
from auscult.core.types import Audio, Frames, Image
from auscult.media.audio import decode
from auscult.models.families import gemma3, qwen2_audio
from auscult.models.learning import Lora
from auscult.models.wording import Wording

WAVE = rng(0, "asked").standard_normal(8_000).astype("float32") * 0.1


@pytest.fixture(scope="module")
def model(checkpoint) -> AuscultModel:
    return AuscultModel.from_pretrained(checkpoint, device="cpu")


def test_a_recording_is_one_however_it_is_given(model, tmp_path):
    held = BytesIO()
    soundfile.write(held, WAVE, 16_000, format="WAV", subtype="FLOAT")
    (tmp_path / "clip.wav").write_bytes(held.getvalue())
    ways = [
        str(tmp_path / "clip.wav"),
        tmp_path / "clip.wav",
        held.getvalue(),
        (WAVE, 16_000),
        (WAVE.astype(np.float64), np.int64(16_000)),
        Audio.of(WAVE, 16_000),
    ]
    assert len({decode(as_media(way), 16_000).tobytes() for way in ways}) == 1
    assert len({model.generate(way, "How many sounds?", max_tokens=6) for way in ways}) == 1


def test_several_recordings_or_none(model):
    assert isinstance(model.generate([(WAVE, 16_000), (WAVE[:4_000], 16_000)], "Which?", max_tokens=2), str)
    assert isinstance(model.generate(None, "Hello?", max_tokens=2), str)


def test_replies_are_greedy_unless_drawn_by_a_seed(model):
    said = [
        model.generate((WAVE, 16_000), "What?", max_tokens=12, temperature=t, seed=s)
        for t, s in ((0.0, 0), (0.0, 1), (1.0, 0), (1.0, 0), (1.0, 1))
    ]
    assert said[0] == said[1]
    assert said[2] == said[3] != said[4]


def test_frames_and_pictures_are_told_apart():
    assert isinstance(as_media(np.zeros((10, 128), np.float64)), Frames)
    assert isinstance(as_media(np.zeros((9, 8, 3), np.uint8)), Image)
    assert isinstance(as_media("scan.PNG"), Image)
    assert isinstance(as_media("scan.dcm"), Image)
    assert isinstance(as_media("a.flac"), Audio)


@pytest.mark.parametrize(
    "given",
    [3, WAVE, (WAVE.astype(np.int16), 16_000), (np.stack([WAVE, WAVE]), 16_000), np.zeros((10, 128), np.uint8)],
    ids=["a number", "no rate", "integers", "stereo", "quantised frames"],
)
def test_what_cannot_be_heard_is_refused_with_what_can(given):
    with pytest.raises(MediaError, match=r"is nothing to hear or see; give a file, \(mono samples \[N\], rate\)"):
        as_media(given)


def test_bytes_that_are_no_recording_are_refused(model):
    with pytest.raises(MediaError, match="is no recording"):
        model.generate(b"nothing", "What?")


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ConfigError, match=f"there is no model in {tmp_path}"):
        AuscultModel.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="there is no model in nowhere; name the folder"):  # a hub is not asked
        AuscultModel.from_pretrained("nowhere")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(AuscultError, match=r"a model of type 'bert'; there are .*graft"):
        AuscultModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("family", [gemma3, qwen2_audio], ids=["gemma3", "qwen2_audio"])
def test_every_familys_adapter_is_asked_as_it_was_taught(family, tmp_path):
    """Parts trained in full beside the adapter included."""
    wording = Wording(form="label", instruction=False, choices=False)
    options = family.Model(projector="train", lora=Lora(rank=4, dropout=0.0))
    for name in ("base", "adapted"):
        (tmp_path / name).mkdir()
    options.build(["What is it?"], [], wording, 0).save(tmp_path / "base")
    taught = options.load(tmp_path / "base", wording)
    for p in taught.model.parameters():
        if p.requires_grad:
            p.data.normal_(std=0.2)
    taught.save(tmp_path / "adapted")
    taught.model.eval()
    given = (WAVE, 16_000) if family is qwen2_audio else np.full((40, 40, 3), 90, np.uint8)
    expected = AuscultModel(taught).generate(given, "What is it?", max_tokens=8)
    assert (
        AuscultModel.from_pretrained(tmp_path / "adapted", device="cpu").generate(given, "What is it?", max_tokens=8)
        == expected
    )
    assert (
        AuscultModel.from_pretrained(tmp_path / "base", device="cpu").generate(given, "What is it?", max_tokens=8)
        != expected
    )
    with pytest.raises(ConfigError, match="adapted is no graft; leave it out"):
        AuscultModel.from_pretrained(tmp_path / "adapted", base="elsewhere", device="cpu")


def test_what_auscult_has_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Auscultation'"):
        _ = auscult.Auscultation
