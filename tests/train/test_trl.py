"""The learner against TRL 1.16: the same weights, prompts, replies and advantages through `GRPOTrainer`'s own loss.

TRL takes no audio, so prompts are text; what it computes in one pass over prompts and replies together, the learner
computes through the shared prefix. Loss and every gradient must agree."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from auscult.core.types import Parsed, Rollout, Sample, Turn
from auscult.models.families import graft
from auscult.models.wording import Wording
from auscult.train.algorithms import cispo, dapo, dr_grpo, grpo, gspo
from auscult.train.learner import Lesson, Reference, backward
from auscult.train.options import Train

with warnings.catch_warnings():  # TRL and what it imports warn of their own dependencies
    warnings.simplefilter("ignore")
    import trl
    from datasets import Dataset

MAX_TOKENS = 9
QUESTIONS = ("How many sounds?", "What is the sum of the two digits? low tone, click")
REPLIES = ((3, 7), (9, 1))
"""Lengths of the replies to each question."""
VARIANTS = {
    "grpo": (grpo.Algorithm(), {"loss_type": "grpo", "epsilon": 0.2}),
    "dr_grpo": (dr_grpo.Algorithm(max_tokens=MAX_TOKENS), {"loss_type": "dr_grpo", "epsilon": 0.2}),
    "dapo": (dapo.Algorithm(), {"loss_type": "dapo", "epsilon": 0.2, "epsilon_high": 0.28}),
    "gspo": (
        gspo.Algorithm(),
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
    ),
    # TRL's bound of the weight is the bound itself, ours and the paper's is its distance from 1.
    "cispo": (cispo.Algorithm(clip_high=0.25), {"loss_type": "cispo", "epsilon_high": 1.25}),
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A listener, and the folder of its language model as TRL opens it."""
    folder = tmp_path_factory.mktemp("trl")
    listener = graft.Model().load(graft.tiny(folder / "listener"), Wording(instruction=False, choices=False))
    listener.model.language_model.save_pretrained(folder / "text")
    listener.tokenizer.save_pretrained(folder / "text")
    return listener, folder


def reference_of(folder: Path):
    """The same listener a little elsewhere."""
    reference = graft.Model().load(folder / "listener", Wording(instruction=False, choices=False))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in reference.model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
    return reference


def replies(listener) -> list[Lesson]:
    """Lessons whose old log-probabilities lie around the learner's, so that some ratios leave every range."""
    lessons: list[Lesson] = []
    for number, (question, lengths) in enumerate(zip(QUESTIONS, REPLIES, strict=True)):
        prompt = listener.prompt(Sample(f"text-{number}", (Turn("user", (question,)),), ("2",)))
        for place, length in enumerate(lengths):
            reply = tuple(10 + (31 * number + 17 * place + 7 * step) % 200 for step in range(length))
            now = text_logps(listener, prompt.ids, reply)
            off = [0.02 * math.sin(5 * number + 3 * place) + 0.4 * math.sin(step + place) for step in range(length)]
            old = tuple(value + shift for value, shift in zip(now, off, strict=True))
            rollout = Rollout(prompt.ids, reply, old, "", "end", "test", Parsed(None, "no_answer"))
            lessons.append(Lesson(prompt, rollout, (-1) ** (place + number) * (0.4 + 0.3 * number)))
    return lessons


def text_logps(listener, prompt: tuple[int, ...], reply: tuple[int, ...]) -> list[float]:
    with torch.no_grad():
        logits = listener.model.language_model(input_ids=torch.tensor([[*prompt, *reply]])).logits.float()
    logps = logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return logps.gather(1, torch.tensor(reply)[:, None])[:, 0].tolist()


def trainer(folder: Path, beta: float, options):
    config = trl.GRPOConfig(
        output_dir=str(folder / "out"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        num_generations=2,
        per_device_train_batch_size=2,
        max_completion_length=MAX_TOKENS,
        beta=beta,
        use_bias_correction_kl=False,  # the papers' k3, without a ratio
        **options,
    )
    made = trl.GRPOTrainer(
        model=str(folder / "text"),
        args=config,
        reward_funcs=lambda completions, **columns: [0.0] * len(completions),
        train_dataset=Dataset.from_list([{"prompt": "x"}]),
    )
    made.current_gradient_accumulation_steps = 1
    return made


def padded(rows, left: bool, dtype=torch.long):
    width = max(map(len, rows))
    pads = [[0] * (width - len(row)) for row in rows]
    pairs = zip(pads, rows, strict=True)
    return torch.tensor([[*pad, *row] if left else [*row, *pad] for pad, row in pairs], dtype=dtype)


def theirs(made, lessons, **inputs):
    """TRL's loss of the batch and the gradients of the language model."""
    prompts = [one.prompt.ids for one in lessons]
    completions = [one.rollout.reply_ids for one in lessons]
    loss = made._compute_loss(
        made.model,
        {
            "prompt_ids": padded(prompts, left=True),
            "prompt_mask": padded([[1] * len(row) for row in prompts], left=True),
            "completion_ids": padded(completions, left=False),
            "completion_mask": padded([[1] * len(row) for row in completions], left=False),
            "advantages": torch.tensor([one.advantage for one in lessons]),
            "num_items_in_batch": torch.tensor(float(sum(map(len, completions)))),
            **{name: padded(rows, left=False, dtype=torch.float32) for name, rows in inputs.items()},
        },
    )
    loss.backward()
    return loss.item(), {name: p.grad for name, p in made.model.named_parameters() if p.grad is not None}


def ours(listener, lessons, objective, reference=None):
    """The learner's loss, the gradients of the language model, and the figures."""
    listener.model.zero_grad(set_to_none=True)
    options = Train(precision="float32", prompt_batch=1, reply_batch=1)
    tally = backward(listener, lessons, objective, options, reference and Reference.of(listener, reference))
    named = listener.model.language_model.named_parameters()
    return tally.loss, {name: p.grad for name, p in named if p.grad is not None}, tally.figures(objective)


def agree(mine, other):
    assert mine[0] == pytest.approx(other[0], abs=1e-5)
    assert mine[1].keys() == other[1].keys()
    for name in mine[1]:
        torch.testing.assert_close(mine[1][name], other[1][name], atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("beta", [0.0, 0.1], ids=["", "kl"])
@pytest.mark.parametrize("name", VARIANTS)
def test_loss_and_gradients_equal_trls(opened, name, beta):
    listener, folder = opened
    algorithm, options = VARIANTS[name]
    lessons = replies(listener)
    reference = reference_of(folder)
    mine = ours(listener, lessons, replace(algorithm, kl=beta).objective, reference if beta else None)
    assert 0 < mine[2]["clip/low"] + mine[2]["clip/high"] < 1, "the batch must stand on both sides of the range"
    other = theirs(
        trainer(folder, beta, options),
        lessons,
        old_per_token_logps=[one.rollout.logps for one in lessons],
        ref_per_token_logps=[text_logps(reference, one.prompt.ids, one.rollout.reply_ids) for one in lessons],
    )
    agree(mine, other)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", VARIANTS)
def test_truncated_importance_weights_equal_trls(opened, name):
    """The rollouts' log-probabilities as those of another engine: TRL has this for vLLM."""
    listener, folder = opened
    algorithm, options = VARIANTS[name]
    lessons = replies(listener)
    mine = ours(listener, lessons, replace(algorithm, old="learner", cap=1.2).objective)
    assert 0 < mine[2]["importance/truncated"] < 1
    made = trainer(folder, 0.0, options)
    made.use_vllm = True  # what was sampled stands in the inputs; only the correction is asked for
    now = [text_logps(listener, one.prompt.ids, one.rollout.reply_ids) for one in lessons]
    engine = [one.rollout.logps for one in lessons]
    weights = [
        [min(math.exp(a - b), 1.2) for a, b in zip(*rows, strict=True)] for rows in zip(now, engine, strict=True)
    ]
    agree(mine, theirs(made, lessons, old_per_token_logps=now, importance_sampling_ratio=weights))
