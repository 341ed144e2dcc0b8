"""The local engine: prefilled once and repeated, it says what plain generation says, and knows how likely that was."""

import pytest
import torch

from auscult.core.types import Sampling
from auscult.rollouts.local import LocalEngine
from auscult.rollouts.scripted import ScriptedEngine
from auscult.train.learner import reply_logps

GREEDY = Sampling(temperature=0.0, max_tokens=12)
DRAWN = Sampling(temperature=1.0, max_tokens=12)


@pytest.fixture
def prompts(listener, heard):
    return [listener.prompt(heard(n, seconds=s)) for n, s in enumerate((0.2, 1.1, 0.6))]


def plain(listener, prompt, tokens):
    """The plain way: the whole prompt with its audio again for each new token."""
    ids = torch.tensor([prompt.ids])
    heard = {
        "features": prompt.features[0].inputs["rows"][None],
        "feature_lengths": torch.tensor([len(prompt.features[0].inputs["rows"])]),
    }
    said = []
    with torch.no_grad():
        while len(said) < tokens and (not said or said[-1] != listener.end_id):
            said.append(int(listener.model(input_ids=ids, **heard).logits[0, -1].argmax()))
            ids = torch.cat([ids, torch.tensor([[said[-1]]])], dim=1)
    return tuple(said)


def test_greedy_replies_equal_plain_generation_token_by_token(listener, prompts):
    rolled = LocalEngine(listener).roll(prompts, 2, GREEDY, 0)
    for prompt, rollouts in zip(prompts, rolled, strict=True):
        assert rollouts[0].reply_ids == rollouts[1].reply_ids == plain(listener, prompt, 12)


def test_left_padding_changes_no_reply(listener, prompts):
    together = LocalEngine(listener).roll(prompts, 1, GREEDY, 0)
    alone = [LocalEngine(listener).roll([prompt], 1, GREEDY, 0)[0] for prompt in prompts]
    assert [r.reply_ids for (r,) in together] == [r.reply_ids for (r,) in alone]


def test_padding_that_is_attended_to_would_change_a_reply(listener, prompts, monkeypatch):
    """The planted defect of the test above."""
    right = LocalEngine(listener).roll(prompts, 1, GREEDY, 0)
    whole = listener.run_prompts
    monkeypatch.setattr(listener, "run_prompts", lambda ids, mask, heard: whole(ids, torch.ones_like(mask), heard))
    wrong = LocalEngine(listener).roll(prompts, 1, GREEDY, 0)
    gaps = [abs(a.logps[0] - b.logps[0]) for (a,), (b,) in zip(right, wrong, strict=True)]
    assert max(gaps) > 1e-3


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_those_of_the_learner(listener, prompts, temperature):
    sampling = Sampling(temperature=temperature, max_tokens=12)
    rolled = LocalEngine(listener).roll(prompts, 3, sampling, 1)
    with torch.no_grad():
        prefix = listener.prefill(prompts, "test")
        for number, rollouts in enumerate(rolled):
            for rollout in rollouts:
                ids = torch.tensor([rollout.reply_ids])
                logps, _ = reply_logps(listener, prefix, torch.tensor([number]), ids, torch.ones_like(ids), temperature)
                torch.testing.assert_close(logps[0], torch.tensor(rollout.logps), atol=1e-5, rtol=0)


def test_replies_end_at_the_end_token_and_say_so(listener, prompts):
    rolled = [r for rollouts in LocalEngine(listener).roll(prompts, 40, DRAWN, 0) for r in rollouts]
    ended = [r for r in rolled if r.stop == "end"]
    cut = [r for r in rolled if r.stop == "length"]
    assert ended
    assert cut
    assert all(r.reply_ids[-1] == listener.end_id and listener.end_id not in r.reply_ids[:-1] for r in ended)
    assert all(len(r.reply_ids) == 12 and listener.end_id not in r.reply_ids for r in cut)
    assert all(len(r.logps) == len(r.reply_ids) for r in rolled)


def test_a_seed_gives_the_same_replies_and_leaves_the_global_generator_alone(listener, prompts):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = LocalEngine(listener).roll(prompts, 4, DRAWN, 7)
    assert torch.equal(torch.get_rng_state(), state)
    assert LocalEngine(listener).roll(prompts, 4, DRAWN, 7) == one
    assert LocalEngine(listener).roll(prompts, 4, DRAWN, 8) != one
    assert len({r.reply_ids for r in one[0]}) > 1


def test_each_clip_is_encoded_once_for_its_whole_group(listener, prompts):
    listener.counts.clear()
    LocalEngine(listener).roll(prompts, 8, DRAWN, 0)
    assert listener.counts["encoder_clips"] == len(prompts)


def test_rollouts_name_their_policy(listener, prompts):
    before = LocalEngine(listener).roll(prompts[:1], 1, GREEDY, 0)[0][0].policy
    with torch.no_grad():
        next(listener.model.parameters()).add_(1e-3)
    assert LocalEngine(listener).roll(prompts[:1], 1, GREEDY, 0)[0][0].policy != before


def test_a_scripted_engine_says_its_lines_and_they_are_parsed(listener, prompts):
    engine = ScriptedEngine(listener, lambda sample, n: f"<think>x</think><answer>{n + 1}</answer>")
    (first, second), *_ = engine.roll(prompts, 2, Sampling(max_tokens=64), 0)
    assert (first.parsed.answer, second.parsed.answer) == ("1", "2")
    assert listener.text(first.reply_ids) == first.text
