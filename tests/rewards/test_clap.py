"""CLAP as a reward and as a caption score: the model's own cosine, of the right recording, without a draw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, PreTrainedTokenizerFast

from auscult.cli import main
from auscult.core.errors import ConfigError, DataError, MediaError
from auscult.core.seeds import rng
from auscult.core.types import Audio, Parsed, Rollout, Sample, Turn
from auscult.rewards import rubric
from auscult.rewards.clap import Clap, clap, load

RATE = 8000
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "a", "dog", "barks", "rain", "falls", "on", "leaves"]
TEXTS = ["a dog barks", "rain falls on leaves", "a dog barks a dog barks"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A CLAP of random weights that takes a second of audio, saved as its owners save one."""
    folder = tmp_path_factory.mktemp("clap")
    text = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = ClapConfig(
        text_config={**text, "intermediate_size": 16, "max_position_embeddings": 12, "projection_dim": 8},
        audio_config={
            "window_size": 4,
            "num_mel_bins": 16,
            "spec_size": 64,
            "patch_size": 2,
            "patch_stride": [2, 2],
            "hidden_size": 32,
            "patch_embeds_hidden_size": 16,
            "projection_dim": 8,
            "depths": [1, 1],
            "num_attention_heads": [2, 2],
            "enable_fusion": False,
        },
        projection_dim=8,
    )
    torch.manual_seed(1)
    made = ClapModel(config)
    for weight in made.parameters():
        if weight.ndim == 2:  # far apart
            torch.nn.init.normal_(weight, std=0.5)
    made.save_pretrained(folder)
    shape = {"feature_size": 16, "sampling_rate": RATE, "hop_length": 80, "fft_window_size": 256, "max_length_s": 1}
    extractor = ClapFeatureExtractor(**shape, frequency_max=4000, truncation="rand_trunc", padding="repeatpad")
    extractor.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **names).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def model(saved: str) -> Clap:
    """It, without a memory of what other tests played it."""
    load.cache_clear()
    return load(saved, "auto")


def noise(number: int, seconds: float = 0.6) -> Audio:
    tilt = np.cumsum(rng(number, "clap").standard_normal(round(RATE * seconds)))
    return Audio.of((np.diff(tilt, n=number % 3, prepend=[0.0] * (number % 3)) * 0.01).astype(np.float32), RATE)


def asked(*media: Audio) -> Sample:
    return Sample("s1", (Turn("user", (*media, "What is heard?")),), ("a dog barks",))


def reply(answer: str | None) -> Rollout:
    return Rollout((), (), None, answer or "", "end", "p", Parsed(answer, None if answer else "empty"))


def directly(model: Clap, audio: Audio, texts: list[str]) -> list[float]:
    """The cosines that ClapModel's own forward pass comes to."""
    features = model.extractor(audio.wave, sampling_rate=RATE, return_tensors="pt")
    with torch.inference_mode():
        out = model.model(**model.tokenizer(texts, padding=True, return_tensors="pt"), **features)
    return torch.nn.functional.cosine_similarity(out.audio_embeds, out.text_embeds).tolist()


def test_it_is_the_models_own_cosine_and_nothing_below_zero(model: Clap, saved: str):
    texts = [reply(text) for text in TEXTS]
    for number in range(3):
        expected = directly(model, noise(number), TEXTS)
        assert min(expected) > 0
        assert clap(asked(noise(number)), texts, model=saved) == pytest.approx(expected, abs=1e-6)
    for weight in model.model.text_projection.linear2.parameters():
        weight.data.neg_()
    assert max(directly(model, noise(1), TEXTS)) < 0
    assert clap(asked(noise(1)), texts, model=saved) == [0.0, 0.0, 0.0]


def test_swapped_recordings_swap_their_scores(model: Clap):
    one, other = noise(1), noise(3)
    vectors = model.read(TEXTS)
    assert not np.allclose(vectors @ model.hear(one), vectors @ model.hear(other), atol=1e-4)
    unhashed = [Audio(wave=audio.wave, rate=RATE) for audio in (one, other)]  # equal, but for their samples
    assert np.array_equal(model.hear(unhashed[0]), model.hear(one))
    assert np.array_equal(model.hear(unhashed[1]), model.hear(other))


def test_a_recording_is_heard_once_until_its_file_changes(model: Clap, tmp_path: Path):
    passes: list[int] = []
    model.model.audio_model.register_forward_hook(lambda *_: passes.append(1))
    path = tmp_path / "clip.wav"
    soundfile.write(path, noise(1).wave, RATE)
    first = model.similarity(Audio(str(path)), TEXTS)
    assert model.similarity(Audio(str(path)), TEXTS) == first
    assert len(passes) == 1
    soundfile.write(path, noise(2, seconds=0.7).wave, RATE)
    model.similarity(Audio(str(path)), TEXTS)
    assert len(passes) == 2


def test_a_long_recording_is_heard_whole_and_alike_every_time(model: Clap):
    parts = [noise(number, seconds=5 / 6).wave for number in (0, 1, 2)]
    long = Audio.of(np.concatenate(parts), RATE)
    state = np.random.get_state()[1]  # noqa: NPY002 - the generator that the extractor itself would crop with
    whole = model.hear(long)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    pieces = [model.hear(Audio.of(piece, RATE)) for piece in np.array_split(long.wave, 3)]
    mean = np.mean(pieces, axis=0)
    assert np.allclose(whole, mean / np.linalg.norm(mean), atol=1e-6)
    assert not any(np.allclose(whole, piece, atol=1e-5) for piece in pieces)
    model.heard.clear()
    assert np.array_equal(model.hear(long), whole)


def test_a_text_that_is_too_long_counts_by_its_beginning(model: Clap):
    begins = ["a", "dog", "barks", "on", "leaves", "a", "dog", "barks"]
    assert np.allclose(*model.read([" ".join(begins * times) for times in (5, 9)]), atol=1e-6)


def test_a_reply_without_an_answer_gets_nothing_and_disturbs_nobody(model: Clap, saved: str):
    found = clap(asked(noise(2)), [reply(None), reply(TEXTS[0]), reply(" ")], model=saved)
    assert found[::2] == [0.0, 0.0]
    assert found[1] == pytest.approx(model.similarity(noise(2), TEXTS[:1])[0], abs=1e-6)


def test_the_rubric_finds_it_by_its_name(saved: str):
    found = rubric.Rubric.from_config({"clap": {"weight": 2.0, "kwargs": {"model": saved, "device": "cpu"}}})
    (score,) = found.score(asked(noise(3)), [reply(TEXTS[0])])
    assert score.total == pytest.approx(2.0 * (score.parts["clap"] or 0.0))


def test_what_cannot_be_heard_is_an_error(saved: str, tmp_path: Path):
    with pytest.raises(DataError, match="s1 has 0 recordings"):
        clap(asked(), [reply(TEXTS[0])], model=saved)
    with pytest.raises(DataError, match="s1 has 2 recordings"):
        clap(asked(noise(1), noise(2)), [reply(TEXTS[0])], model=saved)
    with pytest.raises(MediaError, match=r"gone\.wav"):
        clap(asked(Audio(str(tmp_path / "gone.wav"))), [reply(TEXTS[0])], model=saved)


def test_a_model_that_is_no_clap_is_refused(saved: str, checkpoint: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="no CLAP; name a saved ClapModel"):
        load(str(checkpoint), "cpu")
    with pytest.raises(ConfigError, match="no CLAP can be loaded"):
        load(str(tmp_path / "nowhere"), "cpu")


def test_captions_are_scored_against_their_recordings(model: Clap, saved: str, tmp_path: Path, capsys):
    (tmp_path / "clips").mkdir()
    for number in (1, 3):
        soundfile.write(tmp_path / "clips" / f"{number}.wav", noise(number).wave, RATE, subtype="FLOAT")
    rows = [
        {"id": str(number), "audio": f"{number}.wav", "prediction": text, "references": ["a dog barks"]}
        for number, text in ((1, TEXTS[0]), (3, TEXTS[1]))
    ]
    path = tmp_path / "captions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {**rows[1], "id": "5", "prediction": ""}]))
    words = ["score", "captions", str(path), "--clap", saved, "--media", str(tmp_path / "clips"), "--json"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    told = json.loads(capsys.readouterr().out)
    expected = [model.similarity(noise(number), [text])[0] for number, text in ((1, TEXTS[0]), (3, TEXTS[1]))]
    assert told["clap"] == pytest.approx(sum(expected) / 3, abs=1e-6), "a row without a caption counts"
    assert told["empty"] == 1
    assert saved in told["variants"]["clap"]
    (samples,) = (tmp_path / "out").glob("samples_*.jsonl")
    assert [json.loads(line)["clap"] for line in samples.read_text().splitlines()] == pytest.approx([*expected, 0.0])
    path.write_text(json.dumps({key: value for key, value in rows[0].items() if key != "audio"}))
    assert main(words) == 2
    assert "names no recording" in capsys.readouterr().err
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["score", "captions", str(path), "--json"]) == 0
    assert "clap" not in json.loads(capsys.readouterr().out)
