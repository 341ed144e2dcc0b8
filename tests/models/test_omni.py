"""A Thinker that came out of a full Omni model goes back into it: transformers loads the whole, and nothing else of it
has changed."""

import json
import shutil

import pytest
import torch
from transformers import (
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen3OmniMoeConfig,
    Qwen3OmniMoeForConditionalGeneration,
)

from auscult.core.errors import ConfigError
from auscult.models import adapters
from auscult.models.families import qwen2_5_omni, qwen3_omni
from auscult.models.hub.listener import seeded
from auscult.models.hub.omni import FILES
from auscult.models.learning import Lora
from auscult.models.wording import Wording

WORDING = Wording(instruction=False, choices=False)
ROPE = {"rope_type": "default", "rope_theta": 1e6}
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
TALKER = {
    "vocab_size": 40,
    "embedding_size": 32,
    "tts_codec_pad_token_id": 0,
    "rope_parameters": {**ROPE, "mrope_section": [1, 1, 2]},
    **SMALL,
}
TOKEN2WAV = {
    "dit_config": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "emb_dim": 8,
        "head_dim": 8,
        "num_embeds": 11,
        "mel_dim": 8,
        "enc_emb_dim": 8,
        "enc_dim": 8,
        "enc_channels": [8, 8, 8, 8, 24],
        "enc_attention_channels": 4,
        "enc_se_channels": 4,
    },
    "bigvgan_config": {
        "mel_dim": 8,
        "upsample_initial_channel": 16,
        "upsample_rates": [2, 2],
        "upsample_kernel_sizes": [4, 4],
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3, 5]],
    },
}
MOE_TALKER = {
    "thinker_hidden_size": 32,
    "num_code_groups": 4,
    "spatial_merge_size": 2,
    "speaker_id": {},
    "text_config": {
        "vocab_size": 40,
        "moe_intermediate_size": 16,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "shared_expert_intermediate_size": 16,
        "rope_parameters": {**ROPE, "mrope_section": [2, 1, 1]},
        **SMALL,
    },
    "code_predictor_config": {"vocab_size": 40, "num_code_groups": 4, **SMALL},
}
CODE2WAV = {
    "codebook_size": 11,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_quantizers": 4,
    "upsample_rates": [2, 2],
    "upsampling_ratios": [2],
    "decoder_dim": 16,
}
WHOLES = {
    qwen2_5_omni: (
        Qwen2_5OmniForConditionalGeneration,
        lambda thinker: Qwen2_5OmniConfig(thinker_config=thinker, talker_config=TALKER, token2wav_config=TOKEN2WAV),
    ),
    qwen3_omni: (
        Qwen3OmniMoeForConditionalGeneration,
        lambda thinker: Qwen3OmniMoeConfig(thinker_config=thinker, talker_config=MOE_TALKER, code2wav_config=CODE2WAV),
    ),
}


@pytest.fixture(scope="module", params=WHOLES, ids=lambda family: family.__name__.rpartition(".")[2])
def whole(request, tmp_path_factory):
    """A family, and a tiny random full model of it in several files."""
    path = tmp_path_factory.mktemp("whole") / "model"
    thinker = request.param.Model().build(["What is heard?"], [], WORDING, 0)
    cls, config = WHOLES[request.param]
    model = seeded(cls, config(thinker.model.config.to_dict()), 1)
    for name, p in model.named_parameters():
        if name.startswith("talker.") and "experts" in name:  # transformers leaves them as the memory was, nan or not
            torch.nn.init.normal_(p, generator=torch.Generator().manual_seed(1))
    model.save_pretrained(path, max_shard_size="100KB")
    thinker.save_processor(path)
    torch.save({"Chelsie": {"cond": torch.ones(2)}}, path / "spk_dict.pt")
    return request.param, path


def logits(thinker):
    with torch.no_grad():
        return thinker.eval()(input_ids=torch.arange(20)[None]).logits


def test_a_trained_thinker_is_saved_as_the_full_model_it_came_out_of(whole, tmp_path, moved):
    family, start = whole
    cls, _ = WHOLES[family]
    options = family.Model(audio="train", lora=Lora(rank=2, dropout=0.0))
    moved(options.load(start, WORDING)).save(tmp_path / "adapter")
    assert not list((tmp_path / "adapter").glob("talker*"))
    listener = adapters.merge(options.load(tmp_path / "adapter", WORDING))
    listener.save(tmp_path / "trained")
    # First: without its own configuration the full class would make 7 billion weights.
    for name in (*FILES, *listener.processor.files):
        assert (tmp_path / "trained" / name).read_bytes() == (start / name).read_bytes()
    before, after = cls.from_pretrained(start), cls.from_pretrained(tmp_path / "trained")
    assert (logits(after.thinker) - logits(listener.model)).abs().max() <= 1e-6
    assert (logits(after.thinker) - logits(before.thinker)).abs().max() > 1e-3
    was, now = before.state_dict(), after.state_dict()
    assert was.keys() == now.keys()
    spoken = [name for name in was if not name.startswith("thinker.")]
    assert len(spoken) > 50
    assert all(torch.equal(was[name], now[name]) for name in spoken)


def test_the_voice_outlives_the_folder_that_it_came_from(whole, tmp_path, moved):
    """As where a run goes on from a checkpoint that it removes behind the next one."""
    family, start = whole
    shutil.copytree(start, tmp_path / "step-1")
    listener = moved(family.Model(language="train").load(tmp_path / "step-1", WORDING))
    listener.save(tmp_path / "step-2")
    shutil.rmtree(tmp_path / "step-1")
    listener.save(tmp_path / "step-3")
    names = sorted(path.name for path in (tmp_path / "step-2").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "step-3").iterdir())
    assert all((tmp_path / "step-2" / name).read_bytes() == (tmp_path / "step-3" / name).read_bytes() for name in names)
    again = family.Model(language="train").load(tmp_path / "step-3", WORDING)
    assert torch.equal(logits(again.model), logits(listener.model))


def test_a_thinker_alone_stays_alone_and_the_full_class_takes_it_by_a_rule_for_its_names(whole, tmp_path, moved):
    family, start = whole
    cls, _ = WHOLES[family]
    alone = moved(family.Model(language="train").load(_alone(family, tmp_path / "start"), WORDING))
    alone.save(tmp_path / "alone")
    assert "thinker_config" not in json.loads((tmp_path / "alone" / "config.json").read_text())
    shutil.copy(start / "spk_dict.pt", tmp_path / "alone")
    config = cls.config_class.from_pretrained(start)
    full = cls.from_pretrained(tmp_path / "alone", config=config, key_mapping={r"^(?!thinker\.)": "thinker."})
    assert (logits(full.thinker) - logits(alone.model)).abs().max() <= 1e-6


def _alone(family, path):
    family.Model().build(["What is heard?"], [], WORDING, 2).save(path)
    return path


@pytest.mark.filterwarnings("ignore")  # bitsandbytes tells of kernels that it did not find
def test_four_bits_do_not_go_back_into_a_full_model(whole, tmp_path):
    family, start = whole
    listener = family.Model(weights="nf4", language="freeze", projector="train", audio="train").load(start, WORDING)
    with pytest.raises(ConfigError, match="in 4 bits does not go back"):
        listener.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()
