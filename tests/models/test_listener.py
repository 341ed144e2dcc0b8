"""Rendering and the shared prefix: nothing that a sample says or sounds like may go missing, or come twice."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import LostMediaError, MediaError, RenderError
from auscult.core.types import Audio, Sample, Turn
from auscult.media.audio import decode
from auscult.models.families import graft
from auscult.models.wording import Wording


def mark(listener):
    return listener.slots["audio"]


def test_a_prompt_holds_its_question_and_one_placeholder_per_audio_token(listener, heard):
    prompt = listener.prompt(heard(seconds=0.5))
    assert "How many sounds?" in prompt.text
    assert prompt.text.count(listener.marks["audio"]) == 1
    assert prompt.ids.count(mark(listener)) == prompt.features[0].tokens == listener.config.tokens(50)


def test_several_clips_keep_their_order(listener, heard):
    first, second = heard(1, seconds=0.3).media[0], heard(2, seconds=0.6).media[0]
    sample = Sample("two", (Turn("user", (first, " then ", second, "How many sounds?")),), ("2",))
    prompt = listener.prompt(sample)
    assert [part.key for part in prompt.features] == [first.sha256, second.sha256]
    runs = "".join("a" if token == mark(listener) else "." for token in prompt.ids).strip(".").split(".")
    assert [len(run) for run in runs if run] == [part.tokens for part in prompt.features]


@pytest.mark.parametrize("token", ["<audio>", "<end_of_turn>", "<bos>"])
def test_text_that_the_model_would_obey_is_refused(listener, heard, token):
    with pytest.raises(RenderError, match=r"clip-0.*special token"):
        listener.prompt(heard(question=f"How many {token} sounds?"))


def test_options_and_instruction_stand_in_the_prompt_when_asked_for(checkpoint, heard):
    listener = graft.Model().load(checkpoint, Wording(instruction=True, choices=True))
    text = listener.prompt(heard()).text
    assert "(A) 1\n(B) 2\n(C) 3" in text
    assert listener.form.instruction in text


def test_the_target_stands_verbatim_and_ends_with_the_end_token(listener, heard):
    sample = heard()
    text = listener.form.render("2", sample.thought)
    ids = listener.target(sample, text)
    assert listener.tokenizer.decode(ids[:-1]) == text
    assert ids[-1] == listener.end_id
    with pytest.raises(RenderError, match="special tokens"):
        listener.target(sample, "<think>a<audio></think><answer>2</answer>")


@settings(deadline=None, max_examples=50)
@given(text=st.text(max_size=40))
def test_any_text_survives_the_tokenizer(checkpoint, text):
    listener = graft.Model().load(checkpoint, Wording())
    if not any(token in text for token in listener.tokenizer.all_special_tokens):
        assert listener.tokenizer.decode(listener._ids(text), skip_special_tokens=True) == text


def test_too_long_clips_follow_the_policy_and_are_counted(checkpoint, heard):
    def opened(policy):
        found = graft.Model().load(checkpoint, Wording(too_long=policy))
        found.config.max_seconds = 0.5
        return found

    sample = heard(seconds=1.2)
    with pytest.raises(MediaError):
        opened("error").prompt(sample)
    trimmed = opened("trim")
    assert trimmed.prompt(sample).features[0].inputs["rows"].shape[0] == 50
    assert trimmed.counts["trimmed_clips"] == 1
    chunked = opened("chunk")
    assert [len(part.inputs["rows"]) for part in chunked.prompt(sample).features] == [40, 40, 40]
    assert chunked.counts["chunked_clips"] == 1
    assert "silent_clips" not in +trimmed.counts + chunked.counts


# -- media cannot be lost ----------------------------------------------------------------------------------------------


def test_dropped_features_stop_the_pass_and_name_sample_and_phase(listener, heard):
    prompt = listener.prompt(heard())
    with pytest.raises(LostMediaError, match="loss: sample clip-0"):
        listener.prefill([replace(prompt, features=())], "loss")


def test_dropped_placeholders_stop_the_pass(listener, heard):
    prompt = listener.prompt(heard())
    deaf = replace(prompt, ids=tuple(token for token in prompt.ids if token != mark(listener)))
    with pytest.raises(LostMediaError, match="rollout: sample clip-0"):
        listener.prefill([deaf], "rollout")


def test_features_and_placeholders_dropped_together_are_noticed_too(listener, heard):
    prompt = listener.prompt(heard())
    deaf = replace(prompt, ids=tuple(token for token in prompt.ids if token != mark(listener)), features=())
    with pytest.raises(LostMediaError, match="1 clips or images, 0 placeholders"):
        listener.prefill([deaf], "loss")


def test_an_encoder_that_loses_rows_is_noticed(listener, heard, monkeypatch):
    whole = listener._projected
    monkeypatch.setattr(listener, "_projected", lambda items, passed: [rows[:-1] for rows in whole(items, passed)])
    with pytest.raises(LostMediaError, match="encoder gave"):
        listener.prefill([listener.prompt(heard())], "evaluation")


def test_each_distinct_clip_is_encoded_once(listener, heard):
    one, other = heard(1), heard(2)
    same = replace(one, id="again")
    listener.prefill([listener.prompt(sample) for sample in (one, other, same)], "loss")
    assert listener.counts["clips"] == 3
    assert listener.counts["encoder_clips"] == 2
    assert listener.counts["placeholders"] == 3 * listener.config.tokens(50)


# -- padding -----------------------------------------------------------------------------------------------------------


def hidden(listener, prompts, replies):
    with torch.no_grad():
        prefix = listener.prefill(prompts, "test")
        width = max(map(len, replies))
        ids = torch.tensor([[*reply, *[0] * (width - len(reply))] for reply in replies])
        mask = torch.tensor([[1] * len(reply) + [0] * (width - len(reply)) for reply in replies])
        return listener.reply(prefix, torch.arange(len(prompts)), ids, mask)


def test_padding_changes_nothing(listener, heard):
    prompts = [listener.prompt(heard(n, seconds=s)) for n, s in enumerate((0.2, 0.9, 0.5))]
    replies = [(10, 11, 12), (13,), (14, 15)]
    together = hidden(listener, prompts, replies)
    for number, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
        alone = hidden(listener, [prompt], [reply])[0]
        torch.testing.assert_close(together[number, : len(reply)], alone, atol=2e-5, rtol=0)


def test_positions_that_ignore_the_padding_would_be_noticed(listener, heard, monkeypatch):
    """The planted defect of the test above: it must be able to fail."""
    prompts = [listener.prompt(heard(n, seconds=s)) for n, s in enumerate((0.2, 0.9))]
    right = hidden(listener, prompts, [(10, 11), (12, 13)])
    whole = listener.run_replies
    monkeypatch.setattr(
        listener, "run_replies", lambda ids, mask, positions, cache: whole(ids, mask, positions + 7, cache)
    )
    assert (hidden(listener, prompts, [(10, 11), (12, 13)]) - right).abs().max() > 1e-3


def test_a_file_is_heard_like_its_samples(listener, testdata):
    clip = Audio(str(testdata / "fsdd" / "3_theo_0.wav"))
    from_file = listener.prompt(Sample("file", (Turn("user", (clip, "How many sounds?")),), ("1",)))
    memory = Audio.of(decode(clip, 16_000), 16_000)
    from_memory = listener.prompt(Sample("memory", (Turn("user", (memory, "How many sounds?")),), ("1",)))
    assert from_file.ids == from_memory.ids
    assert torch.equal(from_file.features[0].inputs["rows"], from_memory.features[0].inputs["rows"])
