"""What learns and what does not; adapters saved, opened, merged; 4-bit weights."""

import json
import shutil

import pytest
import torch

from auscult.core.errors import ConfigError, RunError
from auscult.core.seeds import rng
from auscult.core.types import Audio, Sample, Turn
from auscult.models import adapters
from auscult.models.families import gemma3, graft, qwen2_audio, qwen3_omni
from auscult.models.hub import qwen2_audio as hub
from auscult.models.learning import Lora
from auscult.models.wording import Wording

WORDING = Wording(instruction=False, choices=False)
LORA = Lora(rank=4, dropout=0.0)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny random Qwen2-Audio, saved as an ordinary checkpoint."""
    path = tmp_path_factory.mktemp("base") / "model"
    path.mkdir()
    qwen2_audio.Model().build(["What is heard?"], [], WORDING, 0).save(path)
    return path


def heard(listener):
    wave = rng(0, "clip").standard_normal(20_000).astype("float32") * 0.1
    return listener.prompt(Sample("one", (Turn("user", (Audio.of(wave, 16_000), "What is heard?")),), ("noise",)))


def states(listener):
    with torch.no_grad():
        return listener.logits(listener.prefill([heard(listener)], "test").out)


def learning_names(listener):
    return {name for name, p in listener.model.named_parameters() if p.requires_grad}


def test_each_part_trains_adapts_or_rests_by_its_name(base):
    model = qwen2_audio.Model(language="adapt", projector="train", lora=LORA).load(base, WORDING)
    names = learning_names(model)
    assert any("language_model" in name and "lora_A" in name for name in names)
    assert any("multi_modal_projector" in name and "lora" not in name for name in names)
    assert not any("audio_tower" in name for name in names)
    assert not any("lm_head" in name for name in names)
    tower = learning_names(qwen2_audio.Model(language="freeze", audio="adapt", lora=LORA).load(base, WORDING))
    assert all("audio_tower" in name and "lora" in name for name in tower)
    whole = qwen2_audio.Model(language="train", audio="train", projector="train").load(base, WORDING)
    assert learning_names(whole) == {name for name, _ in whole.model.named_parameters()}


def test_only_the_named_layers_are_adapted(base):
    names = learning_names(qwen2_audio.Model(lora=Lora(rank=2, targets=("q_proj", "v_proj"))).load(base, WORDING))
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in names} == {"q_proj", "v_proj"}
    with pytest.raises(ConfigError, match=r"q_prok.*there are.*q_proj"):
        qwen2_audio.Model(lora=Lora(targets=("q_prok",))).load(base, WORDING)


def test_nothing_that_learns_is_refused(base):
    with pytest.raises(ConfigError, match="no part of the model learns"):
        qwen2_audio.Model(language="freeze").load(base, WORDING)


def test_a_fresh_adapter_changes_nothing_and_is_the_same_each_time(base):
    plain = qwen2_audio.Model(language="train").load(base, WORDING)
    one, two = (qwen2_audio.Model(lora=LORA).load(base, WORDING) for _ in range(2))
    assert torch.equal(states(plain), states(one))
    for (name, p), (_, q) in zip(one.model.named_parameters(), two.model.named_parameters(), strict=True):
        assert torch.equal(p, q), name


@pytest.mark.parametrize("changes", [{}, {"rslora": True}, {"dora": True}], ids=str)
def test_an_adapted_model_is_saved_and_opened_with_the_same_words(base, tmp_path, changes, moved):
    options = qwen2_audio.Model(projector="train", lora=Lora(rank=4, dropout=0.0, **changes))
    model = moved(options.load(base, WORDING))
    (tmp_path / "adapter").mkdir()
    model.save(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    again = options.load(tmp_path / "adapter", WORDING)
    assert torch.equal(states(model), states(again))
    assert learning_names(model) == learning_names(again)


def test_a_folder_of_base_and_adapter_can_be_moved_as_a_whole(base, tmp_path, moved):
    options = qwen2_audio.Model(lora=LORA)
    shutil.copytree(base, tmp_path / "run" / "model")
    model = moved(options.load(tmp_path / "run" / "model", WORDING))
    (tmp_path / "run" / "sft").mkdir()
    model.save(tmp_path / "run" / "sft")
    copy = tmp_path / "run" / "rest" / "model"  # an iteration's model becomes the stage's, a folder higher or deeper
    copy.mkdir(parents=True)
    adapters.copy_checkpoint(tmp_path / "run" / "sft", copy)
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    for place in ("sft", "rest/model"):
        assert torch.equal(states(model), states(options.load(tmp_path / "elsewhere" / place, WORDING)))


def test_an_adapter_that_does_not_fit_is_refused(base, tmp_path):
    (tmp_path / "adapter").mkdir()
    qwen2_audio.Model(projector="train", lora=LORA).load(base, WORDING).save(tmp_path / "adapter")
    with pytest.raises(RunError, match="multi_modal_projector"):
        qwen2_audio.Model(lora=LORA).load(tmp_path / "adapter", WORDING)
    with pytest.raises((RunError, RuntimeError), match=r"does not fit|size mismatch"):
        qwen2_audio.Model(projector="train", lora=Lora(rank=8)).load(tmp_path / "adapter", WORDING)
    with pytest.raises(ConfigError, match="holds an adapter"):
        qwen2_audio.Model(language="train").load(tmp_path / "adapter", WORDING)


@pytest.mark.parametrize("family", [qwen2_audio, gemma3, qwen3_omni], ids=lambda family: family.__name__[-8:])
def test_a_merged_model_is_a_plain_checkpoint_with_the_same_outputs(tmp_path, family, moved):
    for name in ("base", "merged"):
        (tmp_path / name).mkdir()
    family.Model().build(["What is heard?"], [], WORDING, 0).save(tmp_path / "base")
    experts = family is qwen3_omni
    model = moved(family.Model(lora=Lora(rank=4, dropout=0.0, experts=experts)).load(tmp_path / "base", WORDING))
    if experts:
        assert any("experts" in name for name in learning_names(model))
    words = model.prompt(Sample("one", (Turn("user", ("What is heard?",)),), ("noise",)))
    with torch.no_grad():
        before = model.logits(model.prefill([words], "test").out)
        adapters.merge(model).save(tmp_path / "merged")
        plain = family.Model(language="train").load(tmp_path / "merged", WORDING)
        after = plain.logits(plain.prefill([words], "test").out)
    assert not any("lora" in name for name, _ in plain.model.named_parameters())
    assert (before - after).abs().max() <= 1e-5 * before.abs().max()


def test_a_graft_on_a_language_model_adapts_it_and_trains_its_ears(checkpoint, tmp_path, moved):
    options = graft.Model(language="adapt", lora=LORA)
    model = moved(options.load(checkpoint, WORDING))
    names = learning_names(model)
    assert any(name.startswith("encoder.") for name in names)
    assert all("lora" in name for name in names if name.startswith("language_model."))
    (tmp_path / "adapter").mkdir()
    model.save(tmp_path / "adapter")
    assert torch.equal(states(model), states(options.load(tmp_path / "adapter", WORDING)))


def test_weights_of_another_time_are_lent_and_given_back(base, moved):
    model = qwen2_audio.Model(lora=LORA).load(base, WORDING)
    then = {name: p.detach().clone() for name, p in model.model.named_parameters() if p.requires_grad}
    first = states(model)
    second = states(moved(model))
    with adapters.weights_of(model, then):
        assert torch.equal(states(model), first)
    assert torch.equal(states(model), second)
    assert not torch.equal(first, second)


@pytest.mark.filterwarnings("ignore")  # bitsandbytes tells of kernels that it did not find
def test_four_bits_hold_the_language_model_and_adapters_learn_on_them(tmp_path, moved):
    base = tmp_path / "base"
    base.mkdir()
    hub.tiny(["What is heard?"], [], WORDING, width=64).save(base)  # blocks of 64 values share a scale
    options = qwen2_audio.Model(weights="nf4", lora=LORA)
    model = options.load(base, WORDING)
    kinds = {type(module).__name__ for module in model.language.modules()}
    assert "Linear4bit" in kinds
    assert "Linear4bit" not in {type(module).__name__ for module in model.core.audio_tower.modules()}
    whole = states(qwen2_audio.Model(language="train").load(base, WORDING))
    assert 0 < (states(model) - whole).abs().mean() < 0.5 * whole.abs().mean()
    moved(model)
    prefix = model.prefill([heard(model)], "test")
    prefix.out.square().mean().backward()
    assert all(p.grad is not None for n, p in model.model.named_parameters() if p.requires_grad and "lora" in n)
    (tmp_path / "adapter").mkdir()
    model.save(tmp_path / "adapter")
    assert torch.equal(states(model), states(options.load(tmp_path / "adapter", WORDING)))
    with pytest.raises(ConfigError, match="held in 4 bits"):
        qwen2_audio.Model(weights="nf4", language="train").load(base, WORDING)
    assert json.loads((tmp_path / "adapter" / adapters.CONFIG).read_text())["base_model_name_or_path"] != str(base)
