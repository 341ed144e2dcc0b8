"""What is Gemma 3n's alone; all else is in `test_families.py`."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from auscult.core.errors import MediaError
from auscult.core.seeds import rng
from auscult.core.types import Audio, Image, Sample, Turn
from auscult.models.families.gemma3n import Model
from auscult.models.hub import gemma3n
from auscult.models.learning import Lora
from auscult.models.wording import Wording

WORDING = Wording(instruction=False, choices=False)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gemma3n")
    gemma3n.tiny(["What is it? low tone, click"], ["<think>"], WORDING, 0).save(folder)
    return folder


def clip(seconds: float) -> Audio:
    wave = rng(0, "gemma3n").standard_normal(int(16_000 * seconds)).astype("float32") * 0.1
    return Audio.of(wave, 16_000)


def asked(*parts) -> Sample:
    return Sample("one", (Turn("user", (*parts, "What is it?")),), ("low",))


def test_a_reply_may_hold_any_token(checkpoint):
    """The sampler draws from the whole head, and some ids have their embeddings in the towers' tables."""
    listener = gemma3n.load(checkpoint, WORDING)
    prompt = listener.prompt(asked("Listen."))
    reply = [*range(len(listener.tokenizer) - 6, len(listener.tokenizer)), 40]
    with torch.no_grad():
        plain = listener.model(input_ids=torch.tensor([[*prompt.ids, *reply]])).logits[0, len(prompt.ids) - 1 : -1]
        ids = torch.tensor([reply])
        hidden = listener.reply(listener.prefill([prompt], "test"), torch.tensor([0]), ids, torch.ones_like(ids))
        assert torch.allclose(listener.logits(hidden)[0], plain, atol=1e-5)


def test_what_an_adapter_learns_in_training_is_what_rollouts_say(checkpoint):
    """AltUp reads its own matrices in training and calls them elsewhere: an adapter on them would be two policies."""
    listener = Model(language="adapt", lora=Lora(rank=4, dropout=0.0)).load(checkpoint, WORDING)
    with torch.no_grad():
        for name, parameter in listener.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    prompt = listener.prompt(asked("Listen."))
    ids = torch.tensor([[40, 41, 42]])
    heard = []
    for training in (True, False):
        listener.model.train(training)
        hidden = listener.reply(listener.prefill([prompt], "test"), torch.tensor([0]), ids, torch.ones_like(ids))
        heard.append(listener.logits(hidden).detach())
    assert torch.allclose(*heard, atol=1e-5)


def test_clips_of_every_length_fill_the_same_number_of_tokens_and_sound_alike_in_any_company(checkpoint):
    """Sixteen frames become one row: lengths of all remainders, beside the longest there is. With seed 0 the
    convolutions do answer to what lies behind a clip; not every seed's do."""
    listener = gemma3n.load(checkpoint, WORDING)
    lengths = [0.04, listener.max_seconds, *(1 + n / 100 for n in range(16))]
    clips = [features for seconds in lengths for features in listener.features(clip(seconds))]
    for features, rows in zip(clips, listener._encode("audio", clips), strict=True):
        assert len(rows) == features.tokens == 25
        assert torch.allclose(listener._encode("audio", [features])[0], rows, atol=1e-5)
    with pytest.raises(MediaError, match="too short"):
        listener.prompt(asked(clip(0.02)))


def test_without_timm_images_are_refused_and_the_tower_s_weights_are_carried_over(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(gemma3n, "timm_imports", lambda: False)
    whole = load_file(checkpoint / "model.safetensors")
    tower = {f"model.vision_tower.timm_model.{n}": torch.full((2, n), n / 3).bfloat16() for n in (1, 2)}
    origin, copy = tmp_path / "origin", tmp_path / "copy"
    gemma3n.load(checkpoint, WORDING).save(origin)
    (origin / "model.safetensors").unlink()
    heard = {name: value for name, value in whole.items() if "vision_tower" not in name}
    shards = {"a.safetensors": heard, "b.safetensors": tower}
    for file, weights in shards.items():
        save_file(weights, origin / file, {"format": "pt"})
    weight_map = {name: file for file, weights in shards.items() for name in weights}
    (origin / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))

    listener = gemma3n.load(origin, WORDING)
    with pytest.raises(MediaError, match="install timm"):
        listener.prompt(asked(Image.of(rng(0, "image").integers(0, 256, (9, 9, 3)).astype("uint8"))))
    shutil.rmtree(origin)  # as a run does that keeps its last checkpoint only
    listener.save(copy)

    saved = load_file(copy / "model.safetensors")
    assert saved.keys() == heard.keys() | tower.keys()
    assert all(torch.equal(saved[name], value) for name, value in (heard | tower).items())
    vision = json.loads((copy / "config.json").read_text())["vision_config"]
    assert (vision["model_type"], vision["architecture"]) == ("gemma3n_vision", "test_convnext")


def test_a_pass_in_training_changes_no_weight_that_is_held_in_4_bits(checkpoint):
    """AltUp clamps the numbers of its matrices in place; packed ones would become others."""
    listener = Model(weights="nf4", lora=Lora(rank=2)).load(checkpoint, WORDING)
    before = {name: p.clone() for name, p in listener.model.named_parameters()}
    listener.model.train()
    with torch.no_grad():
        listener.prefill([listener.prompt(asked(clip(0.5)))], "test")
    assert any(p.dtype == torch.uint8 for p in before.values())
    assert all(torch.equal(p, before[name]) for name, p in listener.model.named_parameters())
