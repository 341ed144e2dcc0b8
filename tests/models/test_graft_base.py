"""The graft at full size: a pretrained encoder, three projectors, a language model that is somebody's; what one folder
holds, and that a new process says the same with it."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    LlamaConfig,
    Qwen2Config,
)

from auscult import AuscultModel
from auscult.core.errors import ConfigError
from auscult.core.seeds import rng
from auscult.core.types import Audio, Frames, Parsed, Rollout, Sample, Sampling, Turn
from auscult.models import adapters, base, tokens
from auscult.models.base import language_model
from auscult.models.families import gemma3, graft
from auscult.models.graft import GraftConfig, GraftForConditionalGeneration
from auscult.models.learning import Lora
from auscult.models.mae import MaeConfig, MaskedAutoencoder
from auscult.models.mel import log_mel
from auscult.models.wording import Wording
from auscult.rollouts.local import LocalEngine
from auscult.train.algorithm import Objective
from auscult.train.learner import Lesson, backward, token_weights
from auscult.train.options import Train

WORDING = Wording(form="label", instruction=False, choices=False)
TEXTS = ["Describe this sound. a low tone, then a click"]
GEMMA = tokens.Chat(template=tokens.turns(tokens.GEMMA_TURNS))
QWEN = tokens.Chat(
    template=tokens.CHATML_TURNS, pad="<|endoftext|>", bos=None, end="<|im_end|>", others=("<|im_start|>",)
)
PROJECTORS = ("mlp", "qformer", "perceiver")
LORA = Lora(rank=4, dropout=0.0)
MAE = {
    "source": "mel",
    "features": 16,
    "patch_rows": 8,
    "patch_features": 8,
    "width": 32,
    "layers": 1,
    "heads": 2,
    "decoder_width": 32,
    "decoder_layers": 1,
    "decoder_heads": 2,
}


def causal(folder: Path, config, chat: tokens.Chat, width: int = 32) -> Path:
    """A tiny random causal language model with its tokenizer."""
    tokenizer = tokens.build_tokenizer(TEXTS, (), 300, chat)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    shape = {"hidden_size": width, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        config(vocab_size=len(tokenizer), num_key_value_heads=1, head_dim=16, **shape, **ids)
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder of bases and a pretrained encoder."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "gemma3").mkdir()
    gemma3.Model().build(TEXTS, [], WORDING, 0).save(folder / "gemma3")
    causal(folder / "gemma3_text", Gemma3TextConfig, GEMMA)
    causal(folder / "qwen2", Qwen2Config, QWEN)
    torch.manual_seed(1)
    encoder = MaskedAutoencoder(MaeConfig(**MAE))
    encoder.encoder.mean.copy_(torch.randn(16))
    encoder.save_pretrained(folder / "run" / "encoder")
    return folder


def options(made: Path, on: str = "gemma3_text", **changes) -> graft.Model:
    kept = {"encoder": str(made / "run"), "tokens": 5, "language": "adapt", "audio": "freeze", "lora": LORA}
    return graft.Model(base=str(made / on), **{**kept, **changes})


def started(folder: Path, chosen: graft.Model):
    """A graft as a run begins with it: built, written, opened to learn."""
    chosen.build(TEXTS, [], WORDING, 0).save(folder)
    return chosen.load(folder, WORDING)


def clip(number: int = 0, samples: int = 12_000) -> Audio:
    return Audio.of(rng(number, "graft clip").standard_normal(samples).astype("float32") * 0.1, 16_000)


def asked(audio, question: str = "Describe this sound.", name: str = "one") -> Sample:
    return Sample(name, (Turn("user", (audio, question)),), ("a tone",))


def said(listener, sample: Sample | None = None):
    """Ids and log-probabilities of a greedy reply."""
    prompt = listener.prompt(sample or asked(clip()))
    ((reply,),) = LocalEngine(listener).roll([prompt], 1, Sampling(temperature=0.0, max_tokens=8), 0)
    return [list(reply.reply_ids), list(reply.logps)]


# -- what one folder holds ---------------------------------------------------------------------------------------------

CASES = [
    *itertools.product(PROJECTORS, ("adapt", "freeze"), ("freeze", "train")),
    ("mlp", "train", "train"),
    ("qformer", "of nothing", "train"),
]
AGAIN = """
import json, sys
import numpy as np
from auscult import AuscultModel
from auscult.rollouts.local import LocalEngine
roll, said = LocalEngine.roll, []
LocalEngine.roll = lambda *given: said.append(roll(*given)) or said[-1]
wave = np.load(sys.argv[1])
for folder in sys.argv[2:]:
    text = AuscultModel.from_pretrained(folder).generate((wave, 16_000), "Describe this sound.", max_tokens=8)
    ((reply,),) = said[-1]
    print(json.dumps([reply.reply_ids, reply.logps, text]))
"""


@pytest.fixture(scope="module")
def saved(made, tmp_path_factory):
    """For each case what was said before saving, and what a new process says that has the folder only."""
    folder = tmp_path_factory.mktemp("saved")
    np.save(folder / "wave.npy", clip().wave)
    before, starts = [], folder / "starts"
    for number, (kind, language, audio) in enumerate(CASES):
        chosen = options(made, projector_kind=kind, language=language, audio=audio)
        if language == "of nothing":
            chosen = replace(chosen, base=None, encoder=None, language="train")
        listener = started(starts / str(number), chosen)
        generator = torch.Generator().manual_seed(number)
        for p in listener.model.parameters():
            if p.requires_grad:
                p.data.add_(torch.randn(p.shape, generator=generator) * 0.1)
        listener.save(folder / str(number))
        ids, logps = said(listener)
        before.append([ids, logps, listener.text(ids)])
    shutil.rmtree(starts)  # the folder alone must do
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, str(folder / "wave.npy"), *(str(folder / str(n)) for n in range(len(CASES)))],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},  # sums of other threads end in other bits
    )
    return folder, before, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("number", range(len(CASES)), ids=["-".join(case) for case in CASES])
def test_saved_and_loaded_in_a_new_process_it_says_the_same(saved, number):
    folder, before, after = saved
    kind, language, _ = CASES[number]
    assert after[number] == before[number]
    config = json.loads((folder / str(number) / "config.json").read_text())
    assert config["projector_kind"] == kind
    names = {path.name for path in (folder / str(number)).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= names
    assert ("adapter_model.safetensors" in names) == (language == "adapt")
    with safe_open(folder / str(number) / "model.safetensors", "pt") as file:
        parts = {name.partition(".")[0] for name in file.keys()}  # noqa: SIM118 - no mapping
    borrowed = language in ("adapt", "freeze")
    assert parts == {"encoder", "projector", *([] if borrowed else ["language_model"])}
    where = config["base"] and (folder / str(number) / config["base"]).resolve().name
    assert where == ("gemma3_text" if borrowed else None)


def test_what_was_said_hangs_on_what_was_trained(saved):
    """Or the test above would compare constants."""
    _, before, _ = saved
    assert len({tuple(map(float, logps)) for _, logps, _ in before}) == len(CASES)


# -- parts that were there before --------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", ["gemma3", "gemma3_text", "qwen2"])
def test_a_base_keeps_its_weights_its_words_and_its_turns(made, tmp_path, on):
    listener = started(tmp_path, options(made, on))
    text = listener.model.language_model
    alone = AutoModelForCausalLM.from_pretrained(made / on)
    ids = torch.tensor([listener.tokenizer("a low tone", add_special_tokens=False)["input_ids"]])
    assert torch.equal(text(input_ids=ids).logits, alone(input_ids=ids).logits)
    assert isinstance(alone, Gemma3ForConditionalGeneration) == (on == "gemma3")
    assert text.get_input_embeddings().weight.shape[0] == alone.get_input_embeddings().weight.shape[0]
    assert listener.slots["audio"] >= text.get_input_embeddings().weight.shape[0] or on == "gemma3"
    turn = {"role": "user", "content": f"{tokens.AUDIO}Describe this sound."}
    own = base.tokenizer_of(str(made / on)).apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
    assert listener.prompt(asked(clip())).text == own
    assert ("<|im_start|>" in own) == (on == "qwen2")
    assert alone.generation_config.eos_token_id in listener.stop_ids
    assert said(listener)[1]


def test_a_base_without_turns_or_padding_gets_plain_ones(made, tmp_path):
    causal(tmp_path / "llama", LlamaConfig, replace(GEMMA, template="{{ nothing }}"))
    told = json.loads((tmp_path / "llama" / "tokenizer_config.json").read_text())
    told.pop("pad_token")
    (tmp_path / "llama" / "tokenizer_config.json").write_text(json.dumps(told))
    (tmp_path / "llama" / "chat_template.jinja").unlink()
    listener = started(tmp_path / "graft", replace(options(made), base=str(tmp_path / "llama")))
    assert listener.prompt(asked(clip())).text == "<bos><audio>Describe this sound.\n"
    assert listener.end_id == listener.tokenizer.eos_token_id
    assert said(listener)[1]


@pytest.mark.parametrize("audio", ["freeze", "train"])
def test_a_pretrained_encoder_hears_as_it_did(made, tmp_path, audio):
    listener = started(tmp_path, options(made, audio=audio))
    encoder = MaskedAutoencoder.from_pretrained(made / "run" / "encoder").encoder
    rows = log_mel(clip().wave, 16)[None]
    (part,) = listener.features(clip())
    assert torch.equal(part.inputs["rows"], rows[0])
    heard = listener.stages("audio")[0][1]([part], None)[0]
    assert torch.equal(heard, encoder.hear(rows, torch.tensor([rows.shape[1]]))[0][0])
    assert part.tokens == -(-rows.shape[1] // 8)
    (written,) = listener.features(Frames.of(rows[0].numpy(), 100.0, "mel"))  # by `auscult data frames`
    assert torch.equal(written.inputs["rows"], rows[0])
    with pytest.raises(ConfigError, match="hears mel of 16 values, the sample has frames of 16"):
        listener.features(Frames.of(rows[0].numpy(), 100.0))
    assert not any("decoder" in name for name, _ in listener.model.encoder.named_modules())
    assert any(p.requires_grad for p in listener.model.encoder.parameters()) == (audio == "train")


def test_frames_are_heard_by_an_encoder_of_frames(made, tmp_path):
    torch.manual_seed(0)
    shape = {**MAE, "source": "frames", "patch_rows": 1, "patch_features": 16, "rate": 1.0}
    MaskedAutoencoder(MaeConfig(**shape)).save_pretrained(tmp_path / "encoder")
    listener = started(tmp_path / "graft", options(made, encoder=str(tmp_path / "encoder"), projector_kind="perceiver"))
    frames = rng(0, "frames").standard_normal((10, 16)).astype("float32")
    assert AuscultModel(listener).generate(frames, "Describe this sound.", max_tokens=4) == listener.text(
        said(listener, asked(Frames.of(frames, 1.0)))[0][:4]
    )
    with pytest.raises(ConfigError, match="hears feature frames"):
        listener.prompt(asked(clip()))
    with pytest.raises(ConfigError, match="hears 1 frames a second, the sample has 100"):
        listener.prompt(asked(Frames.of(frames, 100.0)))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"features": 64}, "model.features is 64, but the pretrained encoder has 16"),
        ({"source": "frames"}, "model.source is frames, but the pretrained encoder has mel"),
        ({"encoder_width": 64}, "model.encoder_width is 64, but"),
        ({"encoder_layers": 7}, "model.encoder_layers is 7, but"),
        ({"encoder_dropout": 0.1}, "model.encoder_dropout is 0.1, but a pretrained encoder has none; leave it out"),
        ({"pool": 2}, "model.pool is 2, but a pretrained encoder has none"),
    ],
)
def test_a_setting_that_a_pretrained_encoder_does_not_follow_is_refused(made, setting, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        options(made, **setting).build(TEXTS, [], WORDING, 0)
    agreed = {"source": "mel", "features": 16, "encoder_width": MAE["width"], "encoder_layers": MAE["layers"]}
    assert options(made, **agreed).build(TEXTS, [], WORDING, 0).ears.features == 16


def test_an_encoder_or_base_that_is_none_is_named(made, tmp_path):
    with pytest.raises(ConfigError, match=r"model\.encoder: .*qwen2 is no pretrained encoder"):
        options(made, encoder=str(made / "qwen2")).build(TEXTS, [], WORDING, 0)
    shutil.copytree(made / "run" / "encoder", tmp_path / "torn")
    (tmp_path / "torn" / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"model\.encoder: .*torn has no model\.safetensors; pretrain it again"):
        options(made, encoder=str(tmp_path / "torn")).build(TEXTS, [], WORDING, 0)
    (tmp_path / "torn" / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"torn/config\.json cannot be read"):
        options(made, encoder=str(tmp_path / "torn")).build(TEXTS, [], WORDING, 0)
    with pytest.raises(ConfigError, match=r"model\.base: the language model .*nowhere is not there"):
        options(made, "nowhere").build(TEXTS, [], WORDING, 0)
    MaeConfig().save_pretrained(tmp_path / "encoder")
    with pytest.raises(ConfigError, match=r"encoder holds a model of type 'auscult_mae', which has no causal lang"):
        language_model(str(tmp_path / "encoder"), "model.base")


# -- moved, missing, exported ------------------------------------------------------------------------------------------


def test_without_its_base_a_graft_says_which_it_wants(made, tmp_path):
    shutil.copytree(made / "qwen2", tmp_path / "qwen2")
    chosen = replace(options(made), base=str(tmp_path / "qwen2"))
    listener = started(tmp_path / "graft", chosen)
    listener.save(tmp_path / "adapted")
    expected = said(listener)
    (tmp_path / "qwen2").rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match=rf"adapted: the language model {tmp_path}/qwen2 is not there.*--model.base"):
        AuscultModel.from_pretrained(tmp_path / "adapted")
    with pytest.raises(ConfigError, match=r"was grafted on .*model_type qwen2, .*gemma3_text has gemma3_text"):
        AuscultModel.from_pretrained(tmp_path / "adapted", base=str(made / "gemma3_text"))
    found = AuscultModel.from_pretrained(tmp_path / "adapted", base=str(tmp_path / "moved"))
    assert said(found.listener) == expected
    assert said(replace(chosen, base=str(tmp_path / "moved")).load(tmp_path / "adapted", WORDING)) == expected


def test_what_a_folder_stands_on_is_not_replaced_by_where_the_recipe_began(made, tmp_path, moved):
    """A base that learnt in one run is the base of the next, whose recipe still names the first."""
    taught = moved(started(tmp_path / "start", options(made, language="train")))
    taught.save(tmp_path / "taught")
    listener = moved(options(made).load(tmp_path / "taught", WORDING))
    listener.save(tmp_path / "adapted")
    assert said(options(made).load(tmp_path / "adapted", WORDING)) == said(listener)


def test_a_run_with_its_base_can_be_moved_and_copied_as_a_whole(made, tmp_path, moved):
    shutil.copytree(made / "qwen2", tmp_path / "all" / "qwen2")
    listener = moved(started(tmp_path / "all" / "model", replace(options(made), base=str(tmp_path / "all" / "qwen2"))))
    (tmp_path / "all" / "sft").mkdir()
    listener.save(tmp_path / "all" / "sft")
    deeper = tmp_path / "all" / "rest" / "model"
    deeper.mkdir(parents=True)
    adapters.copy_checkpoint(tmp_path / "all" / "sft", deeper)
    expected = said(listener)
    (tmp_path / "all").rename(tmp_path / "elsewhere")
    for place in ("sft", "rest/model"):
        assert said(AuscultModel.from_pretrained(tmp_path / "elsewhere" / place).listener) == expected


def test_a_hub_id_stays_one(tmp_path):
    assert base.named("google/medgemma-4b-it", tmp_path) == "google/medgemma-4b-it"
    assert base.located("google/medgemma-4b-it", tmp_path) == "google/medgemma-4b-it"


def test_a_merged_graft_stands_alone(made, tmp_path, moved):
    listener = moved(started(tmp_path / "start", options(made)))
    expected = said(listener)
    adapters.merge(listener).save(tmp_path / "merged")
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["base"] is None
    assert not (tmp_path / "merged" / adapters.CONFIG).exists()
    again = said(AuscultModel.from_pretrained(tmp_path / "merged").listener)
    assert again[0] == expected[0]
    assert again[1] == pytest.approx(expected[1], abs=1e-4)


def test_the_auto_classes_find_base_and_adapter(made, tmp_path, moved):
    listener = moved(started(tmp_path / "start", options(made, "gemma3")))
    listener.save(tmp_path / "adapted")
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "adapted")
    weights = dict(opened.named_parameters())
    assert all(torch.equal(p, weights[name]) for name, p in listener.model.named_parameters())
    assert any("lora_" in name for name in weights)


@pytest.mark.parametrize("language", ["freeze", "train", "adapt"])
def test_adapted_ears_are_saved_with_the_weights_beneath(made, tmp_path, moved, language):
    chosen = options(made, audio="adapt", language=language, projector_kind="qformer")
    listener = moved(started(tmp_path / "start", chosen))
    (tmp_path / "adapted").mkdir()
    listener.save(tmp_path / "adapted")
    if language != "train":  # in parts, then
        shutil.rmtree(tmp_path / "start")
    assert said(chosen.load(tmp_path / "adapted", WORDING)) == said(listener)
    assert said(AuscultModel.from_pretrained(tmp_path / "adapted").listener) == said(listener)


@pytest.mark.filterwarnings("ignore")  # bitsandbytes tells of kernels that it did not find
def test_a_base_in_four_bits_has_ears_in_full(made, tmp_path, moved):
    causal(tmp_path / "wide", Qwen2Config, QWEN, width=64)
    chosen = replace(options(made), base=str(tmp_path / "wide"), weights="nf4")
    listener = moved(started(tmp_path / "start", chosen))
    held = {name: type(module).__name__ for name, module in listener.model.named_modules()}
    assert "Linear4bit" in held.values()
    assert all(name.startswith("language_model.model") for name, kind in held.items() if kind == "Linear4bit")
    listener.save(tmp_path / "adapted")
    assert said(chosen.load(tmp_path / "adapted", WORDING)) == said(listener)


# -- a clip alone and in company ---------------------------------------------------------------------------------------


def ears(kind: str, mae: dict | None) -> GraftForConditionalGeneration:
    torch.manual_seed(0)
    text = Gemma3TextConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    heard = {"features": 16, "encoder_width": 32, "encoder_heads": 2, "encoder_layers": 1}
    config = GraftConfig(text_config=text, mae=mae, projector_kind=kind, projector_tokens=5, **heard)
    model = GraftForConditionalGeneration(config).eval()
    if mae is not None:
        model.encoder.mean.copy_(torch.randn(16))
    return model


@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    kind=st.sampled_from(PROJECTORS),
    mae=st.sampled_from([None, MAE]),
)
def test_a_clip_becomes_the_same_tokens_in_any_company(lengths, kind, mae):
    model = ears(kind, mae)
    clips = [torch.randn(rows, 16) for rows in lengths]
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=3.0)  # padding must not be heard
    with torch.no_grad():
        together = model.hear(padded, torch.tensor(lengths))
        alone = [model.hear(rows[None], torch.tensor([len(rows)])) for rows in clips]
    assert [len(one) for one in alone] == [model.config.tokens(rows) for rows in lengths]
    torch.testing.assert_close(together, torch.cat(alone), atol=2e-5, rtol=0)


@pytest.mark.parametrize("kind", PROJECTORS[1:])
def test_queries_are_told_where_a_patch_lies(kind):
    """Attention alone would hear the same in any order."""
    projector = ears(kind, MAE).projector
    patches = torch.randn(12, 32)
    with torch.no_grad():
        forward, backward = (projector(rows, [12]) for rows in (patches, patches.flip(0)))
    assert (forward - backward).abs().max() > 1e-3
    assert not torch.allclose(forward[0], forward[1], atol=1e-3), "one query is like another"


# -- the shared prefix -------------------------------------------------------------------------------------------------

IMITATE = Objective(name="imitate")


def lessons(listener, samples) -> list[Lesson]:
    """Replies of unequal lengths, two to a prompt."""
    made = []
    for place, sample in enumerate(samples):
        prompt = listener.prompt(sample)
        for length in (3 + place, 6):
            ids = tuple(rng(length, "reply", sample.id).integers(40, 250, length).tolist())
            made.append(Lesson(prompt, Rollout(prompt.ids, ids, None, "", "end", "test", Parsed(None, "empty")), 1.0))
    return made


def plain_loss(listener, batch) -> torch.Tensor:
    """Every reply with its prompt and its clip through the model's own forward pass."""
    total = torch.zeros(())
    for one, weight in zip(batch, token_weights(batch, IMITATE), strict=True):
        ids = torch.tensor([[*one.prompt.ids, *one.rollout.reply_ids]])
        rows = [part.inputs["rows"] for part in one.prompt.features]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        logits = listener.model(input_ids=ids, features=padded, feature_lengths=lengths).logits.float()
        scores = logits[0, len(one.prompt.ids) - 1 : -1].log_softmax(-1)
        total = total - weight * scores.gather(1, torch.tensor(one.rollout.reply_ids)[:, None]).sum()
    return total


def gradients(listener, compute):
    listener.model.zero_grad(set_to_none=True)
    loss = compute()
    return loss, {name: p.grad.clone() for name, p in listener.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("audio", ["freeze", "train"])
@pytest.mark.parametrize("kind", PROJECTORS)
def test_gradients_through_the_shared_prefix_equal_the_plain_ones(made, tmp_path, moved, kind, audio):
    """Two prompts of unequal length, one of them with two clips; a frozen encoder's output comes from its memory."""
    listener = moved(started(tmp_path, options(made, "gemma3", projector_kind=kind, audio=audio)))
    listener.model.eval()
    turn = Turn("user", (clip(1, 9_000), "Describe it.", clip(2, 17_500), "And this."))
    two = Sample("two", (turn,), ("a click",))
    batch = lessons(listener, [asked(clip()), two])
    assert len({len(one.prompt.ids) for one in batch}) == 2

    def plain():
        loss = plain_loss(listener, batch)
        loss.backward()
        return loss.item()

    def shared():
        return backward(listener, batch, IMITATE, Train(prompt_batch=2, reply_batch=3, precision="float32")).loss

    expected, expected_gradients = gradients(listener, plain)
    for _ in range(2):  # heard, then remembered
        found, found_gradients = gradients(listener, shared)
        assert found == pytest.approx(expected, abs=1e-6)
        assert found_gradients.keys() == expected_gradients.keys()
        floor = 1e-3 * max(value.norm() for value in expected_gradients.values())
        for name, value in expected_gradients.items():
            assert (found_gradients[name] - value).norm() <= 1e-5 * value.norm().clamp(min=floor), name
    assert any(name.startswith("encoder.") for name in expected_gradients) == (audio == "train")
    assert any(name.startswith("projector.") for name in expected_gradients)
    distinct = len({part.key for one in batch for part in one.prompt.features})
    assert distinct == 3
    assert listener.counts["encoder_clips"] == distinct * (1 if audio == "freeze" else 2)


@pytest.mark.parametrize("kind", PROJECTORS)
def test_the_clips_of_two_prompts_swapped_change_the_loss(made, tmp_path, kind):
    listener = started(tmp_path, options(made, projector_kind=kind))
    listener.model.eval()
    losses = []
    for first, second in ((1, 2), (2, 1)):
        batch = lessons(listener, [asked(clip(first), name="a"), asked(clip(second), name="b")])
        losses.append(backward(listener, batch, IMITATE, Train(precision="float32")).loss)
    assert abs(losses[0] - losses[1]) > 1e-4
