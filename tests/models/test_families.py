"""Every family, whichever there are: prompts as its own processor writes them, the network as its own forward pass
computes it, and the shared prefix equal to both.

The plain side of each comparison is transformers' public way: media through the processor's parts, the whole prompt
with its reply through `model(...)`, one row at a time, no cache.
"""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

import auscult.models.families
from auscult.core.config import Plugin
from auscult.core.errors import LostMediaError
from auscult.core.seeds import rng
from auscult.core.types import Audio, Image, Parsed, Rollout, Sample, Sampling, Turn
from auscult.models.family import Model
from auscult.models.learning import Lora
from auscult.models.wording import Wording
from auscult.rollouts.local import LocalEngine
from auscult.train import objectives
from auscult.train.algorithm import Objective
from auscult.train.learner import Lesson, backward, token_weights
from auscult.train.options import Train

FAMILIES = Plugin("family", "auscult.models.families").names()
WORDING = Wording(instruction=False, choices=False)
TEXTS = ["What is it? Listen, look and answer: low tone, click, a heart, 0 1 2 3 4 5 6 7 8 9"]
KINDS = {"text": (), "audio": ("audio", "audio"), "image": ("image",), "both": ("image", "audio", "image")}
LEARN = {
    "full": {"language": "train", "audio": "train", "image": "train", "projector": "train"},
    "lora": {"language": "adapt", "audio": "freeze", "image": "freeze", "projector": "freeze"},
}
CLIP = Objective(name="clip", average="sequence")


def options(family, **changes) -> Model:
    cls = importlib.import_module(f"{auscult.models.families.__name__}.{family}").Model
    return cls(**changes)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """A tiny random checkpoint of each family."""
    folder = tmp_path_factory.mktemp("families")
    for family in FAMILIES:
        options(family).build(TEXTS, ["<think>", "</think>"], WORDING, 1).save(_made(folder / family))
    return {family: folder / family for family in FAMILIES}


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def cases():
    """Family and kind of media, for all that a family takes."""
    for family in FAMILIES:
        kinds = set(options(family).build(TEXTS, [], WORDING, 0).slots)
        for kind, media in KINDS.items():
            if set(media) <= kinds:
                yield pytest.param(family, kind, id=f"{family}-{kind}")


CASES = list(cases())


def sample(kind: str, number: int) -> Sample:
    """A question with media of its kind; no two samples have the same media or length. The clips of one last alike:
    Gemma 3n's own encoder hears the end of a clip differently beside a longer one."""
    draw = rng(number, "family test")
    parts: list = [f"Listen {number}, "]
    for place, what in enumerate(KINDS[kind]):
        if what == "audio":
            parts.append(Audio.of(draw.standard_normal(17_600 + 3_200 * number).astype("float32") * 0.1, 16_000))
        else:
            parts.append(Image.of(draw.integers(0, 256, (30 + 14 * number, 44 + 9 * place, 3)).astype("uint8")))
        parts.append(" and then" * place)
    return Sample(f"{kind}-{number}", (Turn("user", (*parts, "What is it?" * (1 + number))),), ("low",))


def inputs(listener, prompt) -> dict[str, torch.Tensor]:
    """What the family's own processor makes of the prompt's text and media: the reference for ids and features."""
    images = [media.pixels for media in prompt.sample.media if isinstance(media, Image)]
    waves = [media.wave for media in prompt.sample.media if isinstance(media, Audio)]
    if type(listener).__name__ == "GraftListener":
        found = {"input_ids": torch.tensor([prompt.ids])}
        if waves:
            rows = [part.inputs["rows"] for part in prompt.features]
            found["features"] = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            found["feature_lengths"] = torch.tensor([len(row) for row in rows])
        return found
    processor = listener.processor
    if hasattr(processor, "files"):  # in parts: the whole cannot be made without torchvision
        found = {"input_ids": torch.tensor([prompt.ids]), "attention_mask": torch.ones(1, len(prompt.ids)).long()}
        if images:
            made = processor.image_processor(images=images, return_tensors="pt")
            found |= {"pixel_values": made["pixel_values"], "image_grid_thw": made["image_grid_thw"]}
        if waves:
            made = processor.feature_extractor(
                waves, sampling_rate=16_000, padding="max_length", return_attention_mask=True, return_tensors="pt"
            )
            found |= {"input_features": made["input_features"], "feature_attention_mask": made["attention_mask"]}
        return found
    given = ({"audio": waves, "sampling_rate": 16_000} if waves else {}) | ({"images": images} if images else {})
    made = processor(text=[prompt.text], return_tensors="pt", add_special_tokens=False, **given)
    return dict(made)


def plain_hidden(listener, prompt, reply: tuple[int, ...]) -> torch.Tensor:
    """Logits [T, V] that predict the reply, the plain way."""
    given = inputs(listener, prompt)
    assert given["input_ids"][0].tolist() == list(prompt.ids)
    more = torch.tensor([reply])
    given["input_ids"] = torch.cat([given["input_ids"], more], dim=1)
    for name, fill in (("attention_mask", 1), ("token_type_ids", 0)):
        if name in given:
            given[name] = torch.cat([given[name], torch.full_like(more, fill)], dim=1)
    model: PreTrainedModel = listener.model
    if hasattr(model, "model"):
        model.model.rope_deltas = None
    return model(**given).logits[0, len(prompt.ids) - 1 : -1].float()


def lessons(listener, samples, group=3) -> list[Lesson]:
    """Replies of unequal lengths, with log-probabilities near the policy's so that nothing is clipped away."""
    made = []
    for place, one in enumerate(samples):
        prompt = listener.prompt(one)
        for number in range(group):
            ids = tuple(rng(number, "reply", one.id).integers(40, 250, 2 + 3 * number + place).tolist())
            with torch.no_grad():
                logps = plain_hidden(listener, prompt, ids).log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
            noise = rng(number, "noise", one.id).standard_normal(len(ids)) * 0.05
            old = tuple((logps.double() + torch.from_numpy(noise)).tolist())
            rollout = Rollout(prompt.ids, ids, old, "", "length", "test", Parsed(None, "no_answer"))
            made.append(Lesson(prompt, rollout, (-1.0, 0.5, 1.5)[number % 3]))
    return made


def plain_loss(listener, batch) -> torch.Tensor:
    total = torch.zeros(())
    for one, weight in zip(batch, token_weights(batch, CLIP), strict=True):
        scores = plain_hidden(listener, one.prompt, one.rollout.reply_ids).log_softmax(-1)
        logps = scores.gather(1, torch.tensor(one.rollout.reply_ids)[:, None]).T
        tokens = objectives.Tokens(
            logps=logps,
            old=torch.tensor([one.rollout.logps]),
            reference=None,
            advantage=torch.tensor([[one.advantage]]),
            weight=torch.full_like(logps, weight),
        )
        total = total + objectives.loss(tokens, CLIP)
    return total


def gradients(listener, compute):
    listener.model.zero_grad(set_to_none=True)
    loss = compute()
    return loss, {
        name: p.grad.clone() for name, p in listener.model.named_parameters() if p.grad is not None and p.grad.any()
    }


def apart(one, other):
    """The worst relative difference of any parameter's gradient; small gradients are measured against the largest."""
    assert one.keys() == other.keys()
    floor = 1e-3 * max(value.norm() for value in one.values())
    return max(float((one[name] - other[name]).norm() / one[name].norm().clamp(min=floor)) for name in one)


def learner(checkpoints, family, learn):
    found = options(family, **LEARN[learn], lora=Lora(rank=4, dropout=0.0)).load(checkpoints[family], WORDING)
    if learn == "lora":  # an adapter begins at zero: its first matrix would have no gradient
        for name, p in found.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(p, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    found.model.eval()
    return found


@pytest.mark.parametrize("prompts", [1, 3])
@pytest.mark.parametrize("learn", LEARN)
@pytest.mark.parametrize(("family", "kind"), CASES)
def test_loss_and_gradients_equal_the_plain_computation(checkpoints, family, kind, learn, prompts):
    listener = learner(checkpoints, family, learn)
    batch = lessons(listener, [sample(kind, number) for number in range(prompts)])

    def plain():
        loss = plain_loss(listener, batch)
        loss.backward()
        return loss.item()

    def shared():
        return backward(listener, batch, CLIP, Train(prompt_batch=3, reply_batch=4, precision="float32")).loss

    expected, expected_gradients = gradients(listener, plain)
    found, found_gradients = gradients(listener, shared)
    assert found == pytest.approx(expected, abs=1e-6)
    assert apart(expected_gradients, found_gradients) < 1e-5


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_greedy_replies_equal_plain_generation_token_by_token(checkpoints, family, kind):
    listener = learner(checkpoints, family, "full")
    prompts = [listener.prompt(sample(kind, number)) for number in range(3)]
    rolled = LocalEngine(listener).roll(prompts, 2, Sampling(temperature=0.0, max_tokens=10), 0)
    for prompt, group in zip(prompts, rolled, strict=True):
        said: tuple[int, ...] = ()
        with torch.no_grad():
            while len(said) < 10 and not (said and said[-1] in listener.stop_ids):
                said += (int(plain_hidden(listener, prompt, (*said, 0))[-1].argmax()),)
        assert group[0].reply_ids == group[1].reply_ids == said


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_of_all_kinds_in_one_batch(checkpoints, family):
    """Text-only prompts beside audio and images: each is computed as if it were alone."""
    listener = learner(checkpoints, family, "full")
    kinds = [kind for kind, media in KINDS.items() if set(media) <= set(listener.slots)]
    prompts = [listener.prompt(sample(kind, number)) for number, kind in enumerate(kinds)]
    with torch.no_grad():
        together = listener.prefill(prompts, "test")
        for row, prompt in enumerate(prompts):
            alone = listener.prefill([prompt], "test")
            assert together.start[row] == alone.start[0]
            assert torch.allclose(together.out[row, -alone.out.shape[1] :], alone.out[0], atol=1e-5)


@pytest.mark.parametrize(("family", "kind"), [case for case in CASES if not case.id.endswith("text")])
def test_the_media_of_two_prompts_swapped_changes_the_loss(checkpoints, family, kind):
    """The planted defect: right counts, right order, wrong content."""
    listener = learner(checkpoints, family, "full")
    first, second = (listener.prompt(replace(sample(kind, 1), id=str(n))) for n in range(2))
    other = listener.prompt(replace(sample(kind, 0)))
    with torch.no_grad():
        right = listener.prefill([first, second], "test").out
        fake = replace(
            second, features=tuple(replace(f, inputs=_noise(f.inputs), key="x" + f.key) for f in second.features)
        )
        wrong = listener.prefill([first, fake], "test").out
    assert torch.allclose(right[0], wrong[0], atol=1e-6)
    assert not torch.allclose(right[1], wrong[1], atol=1e-3)
    if [f.tokens for f in other.features] != [f.tokens for f in first.features]:
        with pytest.raises(LostMediaError):
            listener.prefill([replace(first, features=other.features)], "test")


def _noise(given):
    return {name: value + 1.0 if value.is_floating_point() else value for name, value in given.items()}


@pytest.mark.parametrize("family", [family for family in FAMILIES if f"{family}-audio" in {case.id for case in CASES}])
def test_what_a_clip_sounds_like_does_not_depend_on_its_batch(checkpoints, family):
    """Qwen3-Omni's own convolutions see bias where a short clip was padded beside a longer one."""
    listener = learner(checkpoints, family, "full")
    waves = [rng(n, "clip").standard_normal(n).astype("float32") * 0.1 for n in (9_000, 5_000, 17_000, 33_000, 5_001)]
    parts = [part for wave in waves for part in listener.features(Audio.of(wave, 16_000))]
    with torch.no_grad():
        together = listener._encode("audio", parts)
        for part, rows in zip(parts, together, strict=True):
            assert torch.allclose(listener._encode("audio", [part])[0], rows, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_encoder_hears_each_clip_once_and_says_the_same(checkpoints, family):
    listener = learner(checkpoints, family, "lora")
    kind = "audio" if "audio" in listener.slots else "image"
    prompts = [listener.prompt(sample(kind, number)) for number in (0, 1, 0)]
    first = listener.prefill(prompts, "test").out
    distinct = len({part.key for prompt in prompts for part in prompt.features})
    assert listener.counts["encoder_clips"] == distinct
    again = listener.prefill(prompts, "test").out
    assert listener.counts["encoder_clips"] == distinct
    assert listener.counts["encoder_cached"] == distinct
    assert torch.equal(first, again)
    for module, _ in listener.stages(kind):
        module.requires_grad_(True)
    assert torch.allclose(listener.prefill(prompts, "test").out, first, atol=1e-5)
    assert listener.counts["encoder_clips"] == 2 * distinct, "a trained encoder is asked each time"
