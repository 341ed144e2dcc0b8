"""The learner against the plain computation: the whole prompt again for every reply, all logits, one backward pass."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auscult.core.config import Plugin
from auscult.core.errors import LostMediaError, RunError
from auscult.core.types import Credit, Group, Parsed, Rollout
from auscult.models.families import graft
from auscult.models.wording import Wording
from auscult.train import learner as learners
from auscult.train import objectives
from auscult.train.algorithm import Algorithm, Objective
from auscult.train.learner import Learner, Lesson, Reference, backward, token_weights
from auscult.train.loop import teach
from auscult.train.options import Train

CLIP = Objective(name="clip", clip=0.2)
IMITATE = Objective(name="imitate")
OPTIONS = Train(precision="float32")
PLUGIN = Plugin("algorithm", "auscult.train.algorithms")
OBJECTIVES = [PLUGIN.find(name, Algorithm)().objective for name in PLUGIN.names()]
OBJECTIVES += [replace(one, old="learner", cap=1.02) for one in OBJECTIVES if one.name != "imitate"]


def lesson(prompt, reply, advantage, seed=0):
    """A reply whose sampled log-probabilities are a little off the learner's, so that ratios differ from 1."""
    logps = tuple(-3.0 - 0.1 * math.sin(seed + place) for place in range(len(reply)))
    return Lesson(
        prompt, Rollout(prompt.ids, tuple(reply), logps, "", "end", "test", Parsed(None, "no_answer")), advantage
    )


def plain_loss(listener, lessons, objective, reference=None):
    """Each reply with its prompt and its media through the whole model, one after another."""
    weights = token_weights(lessons, objective)
    total = torch.zeros(())
    for one, weight in zip(lessons, weights, strict=True):
        logps = plain_logps(listener, one, objective.temperature)
        engine = torch.tensor([one.rollout.logps])
        tokens = objectives.Tokens(
            logps=logps,
            old=logps.detach() if objective.old == "learner" else engine,
            reference=None if reference is None else plain_logps(reference, one, objective.temperature).detach(),
            advantage=torch.tensor([[one.advantage]]),
            weight=torch.full_like(logps, weight),
            importance=(logps.detach() - engine).exp().clamp(max=objective.cap) if objective.old == "learner" else None,
        )
        total = total + objectives.loss(tokens, objective)
    return total


def plain_logps(listener, one, temperature):
    prompt, reply = one.prompt, one.rollout.reply_ids
    features = [part.inputs["rows"] for part in prompt.features]
    heard = {}
    if features:
        heard = {
            "features": torch.nn.utils.rnn.pad_sequence(features, batch_first=True),
            "feature_lengths": torch.tensor([len(rows) for rows in features]),
        }
    logits = listener.model(input_ids=torch.tensor([[*prompt.ids, *reply]]), **heard).logits.float()
    predicted = (logits[:, len(prompt.ids) - 1 : -1] / temperature).log_softmax(-1)
    return predicted.gather(2, torch.tensor([reply])[..., None])[..., 0]


def gradients(listener, compute):
    listener.model.zero_grad(set_to_none=True)
    loss = compute()
    return loss, {name: p.grad.clone() for name, p in listener.model.named_parameters() if p.grad is not None}


def compare(listener, lessons, objective, options=OPTIONS, reference=None):
    """Relative differences (loss, worst gradient) of the learner from the plain computation."""

    def plainly():
        loss = plain_loss(listener, lessons, objective, reference)
        loss.backward()
        return loss.item()

    plain, expected = gradients(listener, plainly)
    tally, found = gradients(
        listener, lambda: backward(listener, lessons, objective, options, held(listener, reference))
    )
    assert expected.keys() == found.keys()
    worst = max((found[name] - expected[name]).norm() / expected[name].norm().clamp(min=1e-6) for name in expected)
    return abs(tally.loss - plain) / max(1.0, abs(plain)), worst.item()


def batch(listener, heard, shapes, vocabulary=200):
    """Lessons of the given shapes: for each prompt its seconds and the lengths of its replies."""
    lessons = []
    for number, (seconds, lengths) in enumerate(shapes):
        prompt = listener.prompt(heard(number, seconds=seconds))
        for place, length in enumerate(lengths):
            reply = [10 + (31 * number + 17 * place + 7 * step) % vocabulary for step in range(length)]
            lessons.append(lesson(prompt, reply, (-1) ** place * (0.3 + 0.2 * place), seed=number + place))
    return lessons


shape = st.tuples(st.floats(0.1, 1.5), st.lists(st.integers(1, 9), min_size=1, max_size=4))


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shapes=st.lists(shape, min_size=1, max_size=4),
    objective=st.sampled_from([*OBJECTIVES, replace(CLIP, temperature=0.7)]),
    prompts=st.sampled_from([1, 2, 64]),
    replies=st.sampled_from([1, 3, 128]),
)
def test_loss_and_every_gradient_equal_the_plain_computation(checkpoint, heard, shapes, objective, prompts, replies):
    listener = opened(checkpoint)
    lessons = batch(listener, heard, shapes)
    loss, worst = compare(listener, lessons, objective, replace(OPTIONS, prompt_batch=prompts, reply_batch=replies))
    assert loss < 1e-6
    assert worst < 1e-5


def held(listener, reference):
    """The other listener's policy, as the learner holds it."""
    return None if reference is None else Reference.of(listener, reference)


def opened(checkpoint):
    return graft.Model().load(checkpoint, Wording(instruction=False, choices=False))


def test_kl_to_a_reference_equals_the_plain_computation(listener, checkpoint, heard):
    reference = opened(checkpoint)
    with torch.no_grad():
        for parameter in reference.model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    lessons = batch(listener, heard, [(0.4, [3, 5]), (0.8, [2])])
    loss, worst = compare(listener, lessons, replace(CLIP, kl=0.1), reference=reference)
    assert loss < 1e-6
    assert worst < 1e-5


GRADIENTS = [name for name in PLUGIN.names() if PLUGIN.find(name, Algorithm)().request]


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("told", [True, False], ids=["", "engine tells nothing"])
@pytest.mark.parametrize("old", ["rollout", "learner"])
def test_a_second_pass_has_the_log_probabilities_of_before_the_first_update(
    listener, checkpoint, heard, name, told, old
):
    """With KL to a reference, after weights have moved; the plain computation is given what they were."""
    objective = replace(PLUGIN.find(name, Algorithm)().objective, kl=0.05, old=old, passes=2)
    reference = opened(checkpoint)
    lessons = batch(listener, heard, [(0.4, [3, 5]), (0.8, [2])])
    if not told:
        lessons = [replace(one, rollout=replace(one.rollout, logps=None)) for one in lessons]
    before = [plain_logps(listener, one, 1.0).detach() for one in lessons]
    lessons = backward(listener, lessons, objective, OPTIONS, held(listener, reference)).remembered(lessons)
    move(listener)

    def plainly():
        total = torch.zeros(())
        for one, weight, was in zip(lessons, token_weights(lessons, objective), before, strict=True):
            logps = plain_logps(listener, one, 1.0)
            engine = torch.tensor([one.rollout.logps]) if told else was
            tokens = objectives.Tokens(
                logps=logps,
                old=was if old == "learner" else engine,
                reference=plain_logps(reference, one, 1.0).detach(),
                advantage=torch.tensor([[one.advantage]]),
                weight=torch.full_like(logps, weight),
                importance=(was - engine).exp().clamp(max=objective.cap) if old == "learner" else None,
            )
            total = total + objectives.loss(tokens, objective)
        total.backward()
        return total.item()

    plain, expected = gradients(listener, plainly)
    tally, found = gradients(
        listener,
        lambda: backward(listener, lessons, objective, replace(OPTIONS, reply_batch=2), held(listener, reference)),
    )
    assert tally.loss == pytest.approx(plain, abs=1e-6)
    for key in expected:
        torch.testing.assert_close(found[key], expected[key], atol=1e-6, rtol=1e-4)


def move(listener):
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in listener.model.parameters():
            parameter.add_(0.003 * torch.randn(parameter.shape, generator=generator))


def test_old_log_probabilities_forgotten_after_the_first_pass_are_noticed(listener, heard):
    """The planted defect: a ratio of 1 in every pass, which clips nothing ever."""
    lessons = batch(listener, heard, [(0.4, [3, 5]), (0.8, [2])])
    objective = replace(CLIP, old="learner", clip=0.01, passes=2)
    remembered = backward(listener, lessons, objective, OPTIONS).remembered(lessons)
    move(listener)
    kept = backward(listener, remembered, objective, OPTIONS).figures(objective)
    forgotten = backward(listener, lessons, objective, OPTIONS).figures(objective)
    assert kept["clip/low"] + kept["clip/high"] > 0
    assert forgotten["clip/low"] + forgotten["clip/high"] == 0


def test_what_the_engine_told_is_compared_and_what_it_did_not_is_counted(listener, heard):
    lessons = batch(listener, heard, [(0.4, [3, 5]), (0.8, [2])])
    silent = [replace(one, rollout=replace(one.rollout, logps=None)) for one in lessons]
    figures = backward(listener, [lessons[0], *silent[1:]], CLIP, OPTIONS).figures(CLIP)
    assert figures["logps_recomputed"] == pytest.approx(7 / 10)
    assert figures["agreement/abs_diff"] > 0
    figures = backward(listener, silent, CLIP, OPTIONS).figures(CLIP)
    assert figures["logps_recomputed"] == 1
    assert not [key for key in figures if key.startswith("agreement")]


def test_several_demonstrations_of_one_prompt_are_learnt_from_one_prefill(listener, heard):
    """Rollouts of one prompt as an algorithm credits them, each at its own strength."""
    prompt = listener.prompt(heard())
    rollouts = tuple(lesson(prompt, [10 + n] * (n + 1), 1.0).rollout for n in range(3))
    rollouts = tuple(replace(one, logps=None, stop="demonstration") for one in rollouts)
    group = Group(prompt.sample, rollouts, ())
    lessons = teach(
        [prompt],
        [group],
        lambda group: [Credit(group.sample, one, 1 / (n + 1)) for n, one in enumerate(group.rollouts)],
    )
    listener.counts.clear()
    loss = backward(listener, lessons, IMITATE, replace(OPTIONS, reply_batch=1)).loss
    assert listener.counts["encoder_clips"] == listener.counts["clips"] == 1
    plain = sum(-one.advantage * plain_logps(listener, one, 1.0).sum().item() for one in lessons) / 6
    assert loss == pytest.approx(plain, abs=1e-5)


def test_logits_in_pieces_give_the_same_gradient(listener, heard, monkeypatch):
    monkeypatch.setattr(learners, "HEAD_TOKENS", 3)
    lessons = batch(listener, heard, [(0.4, [3, 5]), (0.8, [2, 7])])
    loss, worst = compare(listener, lessons, CLIP)
    assert loss < 1e-6
    assert worst < 1e-5


def test_prompts_without_media_learn_beside_prompts_with(listener, heard):
    deaf = replace(heard(5), id="text", turns=(replace(heard(5).turns[0], content=("How many sounds?",)),))
    lessons = [*batch(listener, heard, [(0.4, [3, 5])]), lesson(listener.prompt(deaf), (10, 11, 12), 0.5)]
    loss, worst = compare(listener, lessons, CLIP)
    assert loss < 1e-6
    assert worst < 1e-5


def test_a_group_is_encoded_once_however_many_replies_it_has(listener, heard):
    lessons = batch(listener, heard, [(0.4, [3] * 8), (0.8, [2] * 8)])
    listener.counts.clear()
    backward(listener, lessons, CLIP, replace(OPTIONS, reply_batch=2))
    assert listener.counts["encoder_clips"] == 2


def test_lessons_of_no_advantage_are_not_computed_but_count(listener, heard):
    lessons = batch(listener, heard, [(0.4, [3, 5]), (0.8, [2, 4])])
    flat = [replace(one, advantage=0.0) if one.prompt is lessons[2].prompt else one for one in lessons]
    loss, worst = compare(listener, flat, CLIP)
    assert loss < 1e-6
    assert worst < 1e-5
    listener.counts.clear()
    backward(listener, flat, CLIP, OPTIONS)
    assert listener.counts["encoder_clips"] == 1


# -- planted defects: what the equality above would not forgive
# -----------------------------------------------------------


@pytest.fixture
def lessons(listener, heard):
    return batch(listener, heard, [(0.5, [3, 5]), (0.5, [4, 6])])


def differs(listener, lessons):
    loss, worst = compare(listener, lessons, CLIP)
    return loss > 1e-6 or worst > 1e-5


def test_audio_of_two_prompts_swapped_is_noticed(listener, lessons, monkeypatch):
    whole = listener._encode
    assert not differs(listener, lessons)
    monkeypatch.setattr(listener, "_encode", lambda kind, items: whole(kind, list(reversed(items))))
    assert differs(listener, lessons)


def test_audio_dropped_in_the_loss_only_is_noticed(listener, lessons):
    """The rollout heard it; a lesson whose prompt lost its features cannot reach the loss."""
    listener.prefill([lessons[0].prompt], "rollout")
    with pytest.raises(LostMediaError, match="loss"):
        backward(listener, [replace(lessons[0], prompt=replace(lessons[0].prompt, features=()))], CLIP, OPTIONS)


def test_a_loss_mask_shifted_by_one_token_is_noticed(listener, lessons, monkeypatch):
    whole = learners.reply_logps

    def shifted(*arguments):
        logps, entropy = whole(*arguments)
        return logps.roll(1, dims=1), entropy

    monkeypatch.setattr(learners, "reply_logps", shifted)
    assert differs(listener, lessons)


def test_training_on_prompt_tokens_is_noticed(listener, lessons):
    """The last prompt token as part of the reply: what a mask that begins one early would do."""
    longer = [
        replace(
            one,
            prompt=replace(one.prompt, ids=one.prompt.ids[:-1]),
            rollout=replace(
                one.rollout,
                reply_ids=(one.prompt.ids[-1], *one.rollout.reply_ids),
                logps=(-3.0, *(one.rollout.logps or ())),
            ),
        )
        for one in lessons
    ]
    _, right = gradients(listener, lambda: backward(listener, lessons, IMITATE, OPTIONS))
    _, wrong = gradients(listener, lambda: backward(listener, longer, IMITATE, OPTIONS))
    assert max((right[name] - wrong[name]).abs().max() for name in right) > 1e-4


def test_weights_made_per_piece_would_change_the_gradient(listener, lessons, monkeypatch):
    """A group split over micro-batches: exact as it is, and wrong when each piece averages for itself."""
    _, whole = gradients(listener, lambda: backward(listener, lessons, IMITATE, OPTIONS))
    one = replace(OPTIONS, prompt_batch=1, reply_batch=1)
    _, split = gradients(listener, lambda: backward(listener, lessons, IMITATE, one))
    for name in whole:
        torch.testing.assert_close(split[name], whole[name], atol=1e-6, rtol=1e-5)

    def per_piece():
        for piece in lessons:
            backward(listener, [replace(piece, advantage=piece.advantage / len(lessons))], IMITATE, OPTIONS)

    _, wrong = gradients(listener, per_piece)
    assert max((wrong[name] - whole[name]).abs().max() for name in whole) > 1e-4


# -- steps
# ----------------------------------------------------------------------------------------------------------------


def test_rewarded_replies_become_likelier_and_the_others_rarer(listener, heard):
    assert follows_rewards(listener, heard, [1.0, -1.0])


def test_rewards_rotated_by_one_are_noticed(listener, heard):
    """The planted defect: the second reply's reward on the first."""
    assert not follows_rewards(listener, heard, [-1.0, 1.0])


def follows_rewards(listener, heard, advantages):
    prompt = listener.prompt(heard())
    replies = [(10, 11, 12), (20, 21, 22)]

    def logps():
        with torch.no_grad():
            return [plain_logps(listener, lesson(prompt, reply, 1.0), 1.0).sum().item() for reply in replies]

    before = logps()
    lessons = [
        replace(one, rollout=replace(one.rollout, logps=tuple(plain_logps(listener, one, 1.0)[0].tolist())))
        for one in (lesson(prompt, reply, advantage) for reply, advantage in zip(replies, advantages, strict=True))
    ]
    Learner(listener, replace(OPTIONS, warmup=0), peak=1e-3, steps=10).learn(lessons, CLIP)
    after = logps()
    return after[0] > before[0] and after[1] < before[1]


def test_clipping_is_logged_over_all_passes_and_the_rest_of_the_first(listener, heard):
    lessons = batch(listener, heard, [(0.4, [3, 5]), (0.8, [2])])
    objective = replace(CLIP, old="learner", clip=0.01, passes=3)
    learner = Learner(listener, replace(OPTIONS, warmup=0), peak=1e-3, steps=10)
    figures = learner.learn(lessons, objective)
    assert learner.done == 3
    assert figures["lr"] == learner.rate(0)
    assert 0 < figures["clip/low"] + figures["clip/high"] <= 2 / 3  # the first pass clips nothing
    assert {"entropy", "importance/mean", "importance/truncated", "agreement/abs_diff", "grad_norm"} <= figures.keys()


def test_a_gradient_that_is_no_number_changes_no_weight(listener, lessons):
    before = {name: p.detach().clone() for name, p in listener.model.named_parameters()}
    broken = [*lessons[1:], replace(lessons[0], advantage=math.nan)]
    with pytest.raises(RunError, match=r"optimiser step 0: the gradient's norm is nan.*lower learning rate"):
        Learner(listener, OPTIONS, 1e-3, 10).learn(broken, CLIP)
    assert all(torch.equal(p, before[name]) for name, p in listener.model.named_parameters())


def test_learning_rate_warms_up_and_falls_along_a_cosine(listener):
    learner = Learner(listener, replace(OPTIONS, warmup=10), peak=1.0, steps=110, final=0.1)
    assert learner.rate(0) == pytest.approx(0.1)
    assert learner.rate(9) == pytest.approx(1.0)
    assert learner.rate(60) == pytest.approx(0.55)
    assert learner.rate(110) == pytest.approx(0.1)
    assert learner.rate(500) == pytest.approx(0.1)


def test_bfloat16_arithmetic_leaves_weights_in_float32_and_stays_near(listener, lessons):
    exact, _ = gradients(listener, lambda: backward(listener, lessons, IMITATE, OPTIONS).loss)
    rough, found = gradients(
        listener, lambda: backward(listener, lessons, IMITATE, replace(OPTIONS, precision="bfloat16")).loss
    )
    assert rough == pytest.approx(exact, rel=0.02)
    assert rough != exact
    assert all(gradient.dtype == torch.float32 for gradient in found.values())
