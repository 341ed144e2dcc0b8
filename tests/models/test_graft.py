"""The graft: what a clip sounds like depends on the clip alone, and a saved model is the same model."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoModelForCausalLM, Gemma3TextConfig, GPT2Config, LlamaConfig

from auscult.core.errors import LostMediaError
from auscult.models.graft import GraftConfig, GraftForConditionalGeneration

MARK = 5


def graft(text=None, **options) -> GraftForConditionalGeneration:
    torch.manual_seed(0)
    text = text or Gemma3TextConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    config = GraftConfig(
        text_config=text, encoder_width=32, encoder_layers=2, encoder_heads=2, audio_token_id=MARK, **options
    )
    return GraftForConditionalGeneration(config).eval()


def ids_for(model: GraftForConditionalGeneration, rows: int) -> torch.Tensor:
    return torch.tensor([[7, *[MARK] * model.config.tokens(rows), 8, 9]])


@settings(deadline=None, max_examples=25)
@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=4), source=st.sampled_from(["mel", "frames"]))
def test_a_clip_sounds_the_same_alone_and_in_any_batch(lengths, source):
    model = graft(source=source)
    clips = [torch.randn(rows, 80) for rows in lengths]
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=3.0)  # padding must not be heard
    together = model.hear(padded, torch.tensor(lengths))
    alone = torch.cat([model.hear(clip[None], torch.tensor([len(clip)])) for clip in clips])
    assert len(together) == sum(model.config.tokens(rows) for rows in lengths)
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=0)


def test_saved_and_loaded_through_the_auto_classes_it_is_the_same_model(tmp_path):
    model = graft()
    features, lengths = torch.randn(1, 40, 80), torch.tensor([40])
    before = model(input_ids=ids_for(model, 40), features=features, feature_lengths=lengths).logits
    model.save_pretrained(tmp_path)
    for auto in (AutoModel, AutoModelForCausalLM):
        again = auto.from_pretrained(tmp_path).eval()
        assert isinstance(again, GraftForConditionalGeneration)
        assert torch.equal(
            before, again(input_ids=ids_for(model, 40), features=features, feature_lengths=lengths).logits
        )


@pytest.mark.parametrize(
    "text",
    [
        LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
        ),
        GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2),
    ],
    ids=["llama", "gpt2"],
)
def test_ears_fit_on_other_language_models(text, tmp_path):
    model = graft(text)
    heard = {"features": torch.randn(1, 40, 80), "feature_lengths": torch.tensor([40])}
    before = model(input_ids=ids_for(model, 40), **heard).logits
    model.save_pretrained(tmp_path)
    after = AutoModelForCausalLM.from_pretrained(tmp_path)(input_ids=ids_for(model, 40), **heard).logits
    assert torch.equal(before, after)


def test_audio_changes_what_it_says():
    model = graft()
    ids = ids_for(model, 40)
    one, other = (
        model(input_ids=ids, features=torch.randn(1, 40, 80), feature_lengths=torch.tensor([40])).logits
        for _ in range(2)
    )
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("rows", [8, 72, None])
def test_features_that_do_not_fill_the_placeholders_are_refused(rows):
    model = graft()
    heard = {} if rows is None else {"features": torch.randn(1, rows, 80), "feature_lengths": torch.tensor([rows])}
    with pytest.raises(LostMediaError, match="placeholders"):
        model(input_ids=ids_for(model, 40), **heard)


def test_generate_hears_the_clip_once_and_goes_on():
    model = graft()
    features, lengths = torch.randn(1, 40, 80), torch.tensor([40])
    ids = ids_for(model, 40)
    said = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        features=features,
        feature_lengths=lengths,
        max_new_tokens=6,
        do_sample=False,
    )
    longer = ids
    for _ in range(6):  # the plain way: everything again for each token
        logits = model(input_ids=longer, features=features, feature_lengths=lengths).logits
        longer = torch.cat([longer, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(said, longer[:, : said.shape[1]])
